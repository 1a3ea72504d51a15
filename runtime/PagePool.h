//===- PagePool.h - Pages of one size ---------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_PAGEPOOL_H
#define SPARSE_RUNTIME_PAGEPOOL_H

#include "Memory.h"

#include <vector>

namespace sparse::runtime {

/// The pages of all layers that share a page size. Page p starts at
/// `base() + p * pageBytes()` and never moves. Pages are reference counted,
/// the lowest free id is taken first so that memory stays dense, and a page
/// that is allocated reads as zero.
class PagePool {
public:
  /// `limit`: most pages that may be in use.
  PagePool(Memory &memory, uint64_t pageBytes, uint64_t limit);

  uint8_t *base() const { return region.data(); }
  uint8_t *address(int32_t page) const {
    return base() + static_cast<uint64_t>(page) * bytes;
  }
  /// Copies the content of a page.
  void copy(int32_t to, int32_t from) {
    memory.copy(address(to), address(from), bytes);
  }
  uint64_t pageBytes() const { return bytes; }
  uint64_t limit() const { return maxPages; }
  uint64_t inUse() const { return used; }
  uint64_t peak() const { return mostUsed; }
  uint32_t references(int32_t page) const { return counts[page]; }

  /// Makes sure that the next `n` calls of `allocate` succeed. Throws
  /// RESOURCE_EXHAUSTED and then has changed nothing that can be seen.
  void ensure(uint64_t n);

  /// Takes the lowest free page, with one reference. Only after `ensure`.
  int32_t allocate();

  /// Adds a reference.
  void share(int32_t page) { ++counts[page]; }

  /// Drops one of several references.
  void drop(int32_t page) { --counts[page]; }

  /// Drops one reference of each page. Pages without any are free and their
  /// memory goes back to the operating system. Sorts `pages`.
  void release(std::vector<int32_t> &pages);

private:
  void clear(uint64_t begin, uint64_t end);
  void returnMemory(int32_t first, int32_t last);

  Memory &memory;
  uint64_t bytes, maxPages;
  Region region;
  std::vector<uint32_t> counts; ///< one per page that was ever committed
  uint64_t used = 0, mostUsed = 0;
  int32_t lowest = 0; ///< no page below is free
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_PAGEPOOL_H
