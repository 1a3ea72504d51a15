//===- Memory.cpp - Where the runtime's memory comes from -----------------===//

#include "Memory.h"
#include "Checked.h"
#include "File.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

using namespace sparse::runtime;

size_t sparse::runtime::osPageBytes() {
  return static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t Memory::granularity() const { return osPageBytes(); }

void *Memory::reserve(size_t bytes, bool huge) {
  if (huge)
    return mapAnonymous(bytes, PROT_NONE);
  void *address = ::mmap(nullptr, bytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? nullptr : address;
}

bool Memory::commit(void *address, size_t bytes) {
  return ::mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0;
}

void Memory::decommit(void *address, size_t bytes) {
  ::madvise(address, bytes, MADV_DONTNEED);
}

void Memory::release(void *address, size_t bytes) { ::munmap(address, bytes); }

static void fillOne(uint8_t *out, uint64_t bytes, const void *element,
                    uint64_t size) {
  if (bytes == 0)
    return;
  std::memcpy(out, element, size);
  // Doubling: as fast as a copy.
  for (uint64_t done = size; done < bytes;) {
    uint64_t chunk = done < bytes - done ? done : bytes - done;
    std::memcpy(out + done, out, chunk);
    done += chunk;
  }
}

void Memory::fill(void *to, Rows rows, const void *element, size_t size) {
  for (uint64_t i = 0; i < rows.count; ++i)
    fillOne(static_cast<uint8_t *>(to) + i * rows.pitch, rows.bytes, element,
            size);
}

void Memory::copy(void *to, const void *from, Rows rows) {
  for (uint64_t i = 0; i < rows.count; ++i)
    std::memcpy(static_cast<uint8_t *>(to) + i * rows.pitch,
                static_cast<const uint8_t *>(from) + i * rows.pitch,
                rows.bytes);
}

void Memory::upload(void *to, const void *host, Rows rows) {
  Memory::copy(to, host, rows);
}

void Memory::download(void *host, const void *from, uint64_t bytes) {
  std::memcpy(host, from, bytes);
}

Region::Region(Memory &memory, uint64_t size, Backing backing, bool huge)
    : memory(&memory), bytes(alignTo(size ? size : 1, memory.granularity())),
      whole(backing == Backing::Whole ||
            (backing == Backing::Touched && memory.overcommits())) {
  if (!whole)
    backed.resize(bytes / memory.granularity());
  base = static_cast<uint8_t *>(memory.reserve(bytes, huge));
  if (!base)
    fail(Code::ResourceExhausted, "cannot reserve %llu bytes of addresses",
         static_cast<unsigned long long>(bytes));
  if (whole && !memory.commit(base, bytes)) {
    memory.release(base, bytes);
    fail(Code::ResourceExhausted, "cannot commit %llu bytes",
         static_cast<unsigned long long>(bytes));
  }
}

Region::Region(Region &&other) noexcept
    : memory(other.memory), base(std::exchange(other.base, nullptr)),
      bytes(std::exchange(other.bytes, 0)), whole(other.whole),
      backed(std::move(other.backed)) {}

Region &Region::operator=(Region &&other) noexcept {
  std::swap(memory, other.memory);
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  std::swap(whole, other.whole);
  std::swap(backed, other.backed);
  return *this;
}

Region::~Region() {
  if (base)
    memory->release(base, bytes);
}

bool Region::commit(uint64_t begin, uint64_t end) {
  if (whole || begin >= end)
    return true;
  uint64_t granule = memory->granularity();
  uint64_t first = begin / granule, last = ceilDiv(end, granule);
  while (first < last) {
    // One call for each run of granules without memory.
    uint64_t stop = first;
    while (stop < last && !backed[stop])
      ++stop;
    if (stop > first) {
      if (!memory->commit(base + first * granule, (stop - first) * granule))
        return false;
      std::fill(backed.begin() + first, backed.begin() + stop, true);
    }
    first = stop + 1;
  }
  return true;
}

void Region::decommit(uint64_t begin, uint64_t end) {
  uint64_t granule = memory->granularity();
  uint64_t first = ceilDiv(begin, granule), last = end / granule;
  while (first < last) {
    uint64_t stop = first;
    while (stop < last && (whole || backed[stop]))
      ++stop;
    if (stop > first) {
      memory->decommit(base + first * granule, (stop - first) * granule);
      if (!whole && !memory->overcommits())
        std::fill(backed.begin() + first, backed.begin() + stop, false);
    }
    first = stop + 1;
  }
}
