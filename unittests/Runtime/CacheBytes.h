//===- CacheBytes.h - All that a sequence has in a cache --------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CACHEBYTES_H
#define SPARSE_UNITTESTS_CACHEBYTES_H

#include "Cache.h"

#include <vector>

namespace sparse::runtime {

/// The bytes that kernels could read of a sequence, in one order: the pages in
/// use and their fields, and the components per head. Page ids are left out,
/// because the same content may lie elsewhere.
inline std::vector<uint8_t> bytesOf(const Cache &cache, uint32_t seq) {
  std::vector<uint8_t> all;
  auto isPaged = [](const Component &component) {
    return component.scope == Scope::Page || component.scope == Scope::Slot;
  };
  auto take = [&](const uint8_t *from, uint64_t bytes) {
    all.resize(all.size() + bytes);
    cache.storage().download(all.data() + all.size() - bytes, from, bytes);
  };
  for (uint32_t l = 0; l < cache.layouts().size(); ++l) {
    const LayerLayout &layout = cache.layouts()[l];
    for (uint32_t h = 0; h < layout.kvHeads; ++h) {
      uint64_t pages =
          (cache.extent(seq, l, h) + layout.page - 1) / layout.page;
      for (uint64_t i = 0; i < pages; ++i)
        take(cache.keyBase(l) +
                 static_cast<uint64_t>(cache.pageAt(seq, l, h, i)) *
                     layout.pageBytes,
             layout.pageBytes);
      for (size_t i = 0; i < layout.components.size(); ++i) {
        const Component &c = layout.components[i];
        if (i == layout.table || !isPaged(c))
          continue;
        // [heads][outer][pages or slots][inner]
        uint64_t outer = 1, inner = dtypeBytes(c.dtype);
        for (size_t axis = 1; axis < c.axis; ++axis)
          outer *= c.shape[axis];
        for (size_t axis = c.axis + 1; axis < c.shape.size(); ++axis)
          inner *= c.shape[axis];
        uint64_t entries = c.scope == Scope::Slot ? pages * layout.page : pages;
        const uint8_t *row = cache.slabBase(l, i) + seq * c.rowBytes();
        for (uint64_t o = 0; o < outer; ++o)
          take(row + (h * outer + o) * c.shape[c.axis] * inner,
               entries * inner);
      }
    }
    for (size_t i = 0; i < layout.components.size(); ++i)
      if (!isPaged(layout.components[i]))
        take(cache.slabBase(l, i) + seq * layout.components[i].rowBytes(),
             layout.components[i].rowBytes());
  }
  return all;
}

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_CACHEBYTES_H
