//===- PagePool.cpp - Pages of one size -----------------------------------===//

#include "PagePool.h"
#include "Checked.h"

#include <algorithm>
#include <limits>

using namespace sparse::runtime;

// Memory is committed in steps of about this many bytes.
static constexpr uint64_t growBytes = 4 << 20;

PagePool::PagePool(Memory &memory, uint64_t pageBytes, uint64_t limit)
    : memory(memory), bytes(pageBytes),
      maxPages(std::min<uint64_t>(limit, std::numeric_limits<int32_t>::max())),
      region(memory, checkedMul(maxPages, pageBytes), Backing::Explicit,
             /*huge=*/true) {}

void PagePool::ensure(uint64_t n) {
  if (n == 0)
    return;
  if (n > maxPages - used)
    fail(Code::ResourceExhausted,
         "the cache has %llu of %llu pages of %llu bytes in use, %llu more "
         "are needed; raise the limit or free sequences",
         static_cast<unsigned long long>(used),
         static_cast<unsigned long long>(maxPages),
         static_cast<unsigned long long>(bytes),
         static_cast<unsigned long long>(n));
  uint64_t old = counts.size(), free = old - used;
  uint64_t wanted = old;
  if (n > free) {
    uint64_t step = std::max<uint64_t>(1, growBytes / bytes);
    wanted = std::min(maxPages, ceilDiv(old + (n - free), step) * step);
  }
  // The only things that can fail come first.
  counts.reserve(wanted);
  bool enough = region.commit(old * bytes, wanted * bytes);
  // Pages whose memory was given back may need it again.
  uint64_t left = std::min(n, free);
  for (uint64_t page = lowest; enough && left > 0; ++page)
    if (counts[page] == 0) {
      enough = region.commit(page * bytes, (page + 1) * bytes);
      --left;
    }
  if (!enough)
    fail(Code::ResourceExhausted,
         "there is no memory for %llu more cache pages of %llu bytes",
         static_cast<unsigned long long>(n),
         static_cast<unsigned long long>(bytes));
  counts.resize(wanted, 0);
}

int32_t PagePool::allocate() {
  while (static_cast<size_t>(lowest) < counts.size() && counts[lowest] != 0)
    ++lowest;
  if (static_cast<size_t>(lowest) >= counts.size())
    fail(Code::Internal, "a page was taken that was not ensured");
  counts[lowest] = 1;
  mostUsed = std::max(mostUsed, ++used);
  return lowest++;
}

void PagePool::release(std::vector<int32_t> &pages) {
  std::sort(pages.begin(), pages.end());
  // Neighbours go back in one call.
  int32_t first = 0, last = -1;
  for (int32_t page : pages) {
    if (--counts[page] != 0)
      continue;
    --used;
    lowest = std::min(lowest, page);
    if (page != last + 1) {
      if (first <= last)
        returnMemory(first, last);
      first = page;
    }
    last = page;
  }
  if (first <= last)
    returnMemory(first, last);
}

void PagePool::clear(uint64_t begin, uint64_t end) {
  const uint8_t zero = 0;
  if (begin < end)
    memory.fill(region.data() + begin, end - begin, &zero, 1);
}

/// Pages first..last are free. Granules that also belong to a neighbour in use
/// stay, and only our part of them is cleared.
void PagePool::returnMemory(int32_t first, int32_t last) {
  uint64_t granule = memory.granularity();
  uint64_t begin = static_cast<uint64_t>(first) * bytes;
  uint64_t end = (static_cast<uint64_t>(last) + 1) * bytes;
  uint64_t low = ceilDiv(begin, granule) * granule;
  uint64_t high = end / granule * granule;
  auto rangeFree = [&](uint64_t from, uint64_t to) {
    for (uint64_t page = from / bytes; page * bytes < to; ++page)
      if (page < counts.size() && counts[page] != 0)
        return false;
    return true;
  };
  // The granules at both ends may have become free as a whole.
  uint64_t down = begin / granule * granule;
  uint64_t up = std::min(alignTo(end, granule), region.size());
  if (down < begin && rangeFree(down, begin))
    low = down;
  if (up > end && rangeFree(end, up))
    high = up;
  if (low >= high) {
    clear(begin, end);
    return;
  }
  clear(begin, low);
  clear(high, end);
  region.decommit(low, high);
}
