//===- Memory.cpp - Where the runtime's memory comes from -----------------===//

#include "Memory.h"
#include "Checked.h"
#include "File.h"

#include <sys/mman.h>
#include <unistd.h>
#include <utility>

using namespace sparse::runtime;

size_t sparse::runtime::osPageBytes() {
  return static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

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

Region::Region(Memory &memory, uint64_t size, bool committed, bool huge)
    : memory(&memory), bytes(alignTo(size ? size : 1, osPageBytes())) {
  base = static_cast<uint8_t *>(memory.reserve(bytes, huge));
  if (!base)
    fail(Code::ResourceExhausted, "cannot reserve %llu bytes of addresses",
         static_cast<unsigned long long>(bytes));
  if (committed && !memory.commit(base, bytes)) {
    memory.release(base, bytes);
    fail(Code::ResourceExhausted, "cannot commit %llu bytes",
         static_cast<unsigned long long>(bytes));
  }
}

Region::Region(Region &&other) noexcept
    : memory(other.memory), base(std::exchange(other.base, nullptr)),
      bytes(std::exchange(other.bytes, 0)) {}

Region &Region::operator=(Region &&other) noexcept {
  std::swap(memory, other.memory);
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  return *this;
}

Region::~Region() {
  if (base)
    memory->release(base, bytes);
}

void Region::decommit(uint64_t begin, uint64_t end) const {
  uint64_t page = osPageBytes();
  begin = ceilDiv(begin, page) * page;
  end = end / page * page;
  if (begin < end)
    memory->decommit(base + begin, end - begin);
}
