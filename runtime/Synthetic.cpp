//===- Synthetic.cpp - Made-up content of caches --------------------------===//

#include "Synthetic.h"

#include <algorithm>
#include <cstring>

using namespace sparse::runtime;

/// Fills one page with numbers of a fixed sequence.
static void fillPage(uint8_t *page, uint64_t bytes, DType type,
                     uint64_t state) {
  uint64_t element = dtypeBytes(type);
  state = state * 0x9e3779b97f4a7c15u + 1;
  for (uint64_t i = 0; i < bytes / element; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    if (element == 1) { // codes; 0x7f and 0xff are no numbers of E4M3
      auto code = static_cast<uint8_t>(state >> 56);
      page[i] = type == DType::F8E4M3 && (code & 0x7f) == 0x7f ? code - 1 : code;
      continue;
    }
    float value = static_cast<float>(static_cast<int32_t>(state >> 32)) *
                  (1.0f / 2147483648.0f);
    if (type == DType::F32) {
      std::memcpy(page + i * 4, &value, 4);
    } else {
      uint16_t narrow =
          type == DType::BF16 ? floatToBF16(value) : floatToF16(value);
      std::memcpy(page + i * 2, &narrow, 2);
    }
  }
}

static uint64_t stateOf(uint64_t seed, uint32_t layer, uint32_t head,
                        uint64_t page) {
  return ((seed * 4099 + layer) * 4099 + head) * 1048583 + page;
}

static void fillOnHost(const Cache &cache, uint32_t seq, uint32_t layer,
                       uint64_t seed, Parallel &parallel) {
  const LayerLayout &layout = cache.layouts()[layer];
  parallel.forEach(layout.kvHeads, [&](int64_t task) {
    uint32_t head = static_cast<uint32_t>(task);
    for (uint64_t i = 0; i < cache.pages(seq, layer, head); ++i)
      fillPage(cache.keyBase(layer) +
                   static_cast<uint64_t>(cache.pageAt(seq, layer, head, i)) *
                       layout.pageBytes,
               layout.pageBytes, layout.dtype, stateOf(seed, layer, head, i));
  });
}

namespace {

/// Pages of random numbers that are copied again and again.
class Block {
public:
  Block(uint64_t pageBytes, uint64_t wanted, DType type, uint64_t seed,
        Parallel &parallel)
      : bytes(pageBytes),
        pages(std::max<uint64_t>(1, std::min(wanted, most / pageBytes))),
        data(bytes * pages) {
    parallel.forEach(static_cast<int64_t>(pages), [&](int64_t page) {
      fillPage(data.data() + static_cast<uint64_t>(page) * bytes, bytes, type,
               stateOf(seed, 0, 0, static_cast<uint64_t>(page)));
    });
  }

  /// Fills `count` pages that lie side by side.
  void copyTo(Memory &memory, uint8_t *to, uint64_t count) {
    while (count > 0) {
      uint64_t now = std::min(count, pages - next);
      memory.upload(to, data.data() + next * bytes, now * bytes);
      next = (next + now) % pages;
      to += now * bytes;
      count -= now;
    }
  }

private:
  static constexpr uint64_t most = 64 << 20;
  uint64_t bytes, pages, next = 0;
  std::vector<uint8_t> data;
};

} // namespace

static void fillOnDevice(const Cache &cache, uint32_t seq, uint32_t layer,
                         Block &block) {
  const LayerLayout &layout = cache.layouts()[layer];
  for (uint32_t head = 0; head < layout.kvHeads; ++head) {
    uint64_t pages = cache.pages(seq, layer, head);
    for (uint64_t i = 0; i < pages;) {
      int32_t first = cache.pageAt(seq, layer, head, i);
      uint64_t run = 1;
      while (i + run < pages && cache.pageAt(seq, layer, head, i + run) ==
                                    first + static_cast<int32_t>(run))
        ++run;
      block.copyTo(cache.storage(),
                   cache.keyBase(layer) +
                       static_cast<uint64_t>(first) * layout.pageBytes,
                   run);
      i += run;
    }
  }
}

void sparse::runtime::fillPages(const Cache &cache, uint32_t seq, uint64_t seed,
                                Parallel &parallel) {
  std::unique_ptr<Block> block;
  const LayerLayout *blockLayout = nullptr;
  for (uint32_t layer = 0; layer < cache.layouts().size(); ++layer) {
    if (cache.storage().onHost()) {
      fillOnHost(cache, seq, layer, seed, parallel);
      continue;
    }
    const LayerLayout &layout = cache.layouts()[layer];
    if (!blockLayout || layout.pageBytes != blockLayout->pageBytes ||
        layout.dtype != blockLayout->dtype)
      block = std::make_unique<Block>(layout.pageBytes, cache.usage(seq).pages,
                                      layout.dtype, seed, parallel);
    blockLayout = &layout;
    fillOnDevice(cache, seq, layer, *block);
  }
}

std::vector<uint8_t> sparse::runtime::randomBlock(DType type, uint64_t seed) {
  // An odd number of elements, so that rows of matrices do not repeat.
  constexpr uint64_t count = (4 << 20) - 1;
  uint64_t element = dtypeBytes(type);
  std::vector<uint8_t> block(count * element, 0);
  if (type != DType::F32 && type != DType::BF16 && type != DType::F16)
    return block;
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (uint64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    // Uniform in [-a, a) has the standard deviation a / sqrt(3).
    double value = static_cast<int32_t>(state >> 32) * (0.0346410 / 2147483648.0);
    encodeElement(type, value, block.data() + i * element);
  }
  return block;
}
