//===- CacheImage.h - All bytes of a cache ----------------------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CACHEIMAGE_H
#define SPARSE_UNITTESTS_CACHEIMAGE_H

#include "Cache.h"

#include <cstring>
#include <vector>

namespace toy {

/// The slabs of a cache on the host, those of sequences that do not live
/// included, and the pages that are in use.
class CacheImage {
public:
  explicit CacheImage(const sparse::runtime::Cache &cache) : cache(cache) {
    visit([&](const uint8_t *from, size_t n) {
      bytes.insert(bytes.end(), from, from + n);
    });
    usage = cache.usage();
  }

  /// True when the cache is what it was, byte by byte.
  bool isUnchanged() const {
    size_t at = 0;
    bool same = true;
    visit([&](const uint8_t *from, size_t n) {
      same = same && n <= bytes.size() - at &&
             std::memcmp(bytes.data() + at, from, n) == 0;
      at += n;
    });
    sparse::runtime::CacheUsage now = cache.usage();
    return same && at == bytes.size() && now.pages == usage.pages &&
           now.bytes == usage.bytes;
  }

private:
  template <typename Fn>
  void visit(Fn fn) const {
    const auto &layers = cache.layouts();
    uint32_t sequences = cache.options().maxSequences;
    for (uint32_t l = 0; l < layers.size(); ++l) {
      for (size_t c = 0; c < layers[l].components.size(); ++c)
        fn(cache.slabBase(l, c),
           layers[l].components[c].rowBytes() * sequences);
      for (uint32_t seq = 0; seq < sequences; ++seq) {
        if (!cache.exists(seq))
          continue;
        uint64_t length = cache.length(seq);
        fn(reinterpret_cast<const uint8_t *>(&length), sizeof(length));
        for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
          uint64_t extent = cache.extent(seq, l, h);
          fn(reinterpret_cast<const uint8_t *>(&extent), sizeof(extent));
          for (uint64_t p = 0; p < cache.pages(seq, l, h); ++p)
            fn(cache.keyBase(l) +
                   static_cast<uint64_t>(cache.pageAt(seq, l, h, p)) *
                       layers[l].pageBytes,
               layers[l].pageBytes);
        }
      }
    }
  }

  const sparse::runtime::Cache &cache;
  std::vector<uint8_t> bytes;
  sparse::runtime::CacheUsage usage;
};

} // namespace toy

#endif // SPARSE_UNITTESTS_CACHEIMAGE_H
