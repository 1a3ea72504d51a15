//===- PagePool.cpp - Pages of one size -----------------------------------===//

#include "PagePool.h"
#include "Checked.h"

#include <algorithm>
#include <cstring>
#include <limits>

using namespace sparse::runtime;

// Memory is committed in steps of about this many bytes.
static constexpr uint64_t growBytes = 4 << 20;

PagePool::PagePool(Memory &memory, uint64_t pageBytes, uint64_t limit)
    : memory(memory), bytes(pageBytes),
      maxPages(std::min<uint64_t>(limit, std::numeric_limits<int32_t>::max())),
      region(memory, checkedMul(maxPages, pageBytes), /*committed=*/false,
             /*huge=*/true) {}

void PagePool::ensure(uint64_t n) {
  uint64_t free = counts.size() - used;
  if (n <= free)
    return;
  if (n > maxPages - used)
    fail(Code::ResourceExhausted,
         "the cache has %llu of %llu pages of %llu bytes in use, %llu more "
         "are needed; raise the limit or free sequences",
         static_cast<unsigned long long>(used),
         static_cast<unsigned long long>(maxPages),
         static_cast<unsigned long long>(bytes),
         static_cast<unsigned long long>(n));
  uint64_t old = counts.size();
  uint64_t wanted = old + (n - free);
  uint64_t step = std::max<uint64_t>(1, growBytes / bytes);
  wanted = std::min(maxPages, ceilDiv(wanted, step) * step);
  // The only two things that can fail come first.
  counts.reserve(wanted);
  uint64_t begin = old * bytes / osPageBytes() * osPageBytes();
  uint64_t end =
      std::min(region.size(), alignTo(wanted * bytes, osPageBytes()));
  if (!memory.commit(region.data() + begin, end - begin))
    fail(Code::ResourceExhausted,
         "the system has no memory for %llu more cache pages",
         static_cast<unsigned long long>(wanted - old));
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

/// Pages first..last are free. OS pages that also belong to a neighbour in use
/// stay, and only our part of them is cleared.
void PagePool::returnMemory(int32_t first, int32_t last) {
  uint64_t os = osPageBytes();
  uint64_t begin = first * bytes, end = (last + 1) * bytes;
  uint64_t low = ceilDiv(begin, os) * os, high = end / os * os;
  auto isFree = [&](int64_t page) {
    return page < 0 || static_cast<uint64_t>(page) >= counts.size() ||
           counts[page] == 0;
  };
  auto rangeFree = [&](uint64_t from, uint64_t to) {
    for (uint64_t page = from / bytes; page * bytes < to; ++page)
      if (!isFree(static_cast<int64_t>(page)))
        return false;
    return true;
  };
  // The OS pages at both ends may have become free as a whole.
  uint64_t down = begin / os * os;
  uint64_t up = std::min(alignTo(end, os), region.size());
  if (down < begin && rangeFree(down, begin))
    low = down;
  if (up > end && rangeFree(end, up))
    high = up;
  if (low >= high) {
    std::memset(region.data() + begin, 0, end - begin);
    return;
  }
  if (begin < low)
    std::memset(region.data() + begin, 0, low - begin);
  if (end > high)
    std::memset(region.data() + high, 0, end - high);
  memory.decommit(region.data() + low, high - low);
}
