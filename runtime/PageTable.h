//===- PageTable.h - The page tables of one layer ---------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_PAGETABLE_H
#define SPARSE_RUNTIME_PAGETABLE_H

#include "Slab.h"

#include <memory>
#include <vector>

namespace sparse::runtime {

/// The host's view of the slab `table` of a layer. The host reads and writes
/// rows; `flush` brings what it wrote to where the kernels read. On the host
/// both are the same memory.
class PageTable {
public:
  PageTable(Memory &memory, const Slab &slab, const LayerLayout &layout,
            uint64_t sequences);

  int32_t *row(uint64_t sequence, uint64_t head) {
    return host + (sequence * heads + head) * width;
  }
  const int32_t *row(uint64_t sequence, uint64_t head) const {
    return host + (sequence * heads + head) * width;
  }

  /// Fills a sequence's rows with "no page", for the kernels too.
  void initRow(uint64_t sequence);

  /// Entries [begin, end) of a row were written.
  void changed(uint64_t sequence, uint64_t head, uint64_t begin, uint64_t end);

  /// Brings all changes to the kernels.
  void flush();

private:
  /// The same entries of `count` rows in succession.
  struct Change {
    uint64_t row, count, begin, end;
  };

  Memory &memory;
  const Slab &slab;
  uint64_t heads, width;
  /// Null where the host can use the slab. Rows are touched one by one.
  std::unique_ptr<int32_t[]> shadow;
  int32_t *host;
  std::vector<Change> changes;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_PAGETABLE_H
