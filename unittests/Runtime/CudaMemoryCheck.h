//===- CudaMemoryCheck.h - A card's memory against the host's ---*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CUDAMEMORYCHECK_H
#define SPARSE_UNITTESTS_CUDAMEMORYCHECK_H

#include "cuda/CudaMemory.h"

#include <gtest/gtest.h>

#include <random>

namespace sparse::runtime {

/// The operations of a memory, on both kinds.
class MemoryPair {
public:
  explicit MemoryPair(const cuda::Driver &driver)
      : card(std::make_shared<cuda::Card>(driver, 0)),
        device(card) {
    onDevice = Region(device, bytes, Backing::Whole, false);
    onHost = Region(host, bytes, Backing::Whole, false);
    std::vector<uint8_t> random(bytes);
    for (uint8_t &byte : random)
      byte = static_cast<uint8_t>(next());
    device.upload(onDevice.data(), random.data(), bytes);
    host.upload(onHost.data(), random.data(), bytes);
  }
  uint64_t next(uint64_t bound = 1 << 20) { return engine() % bound; }
  void expectSame() {
    std::vector<uint8_t> a(bytes), b(bytes);
    device.download(a.data(), onDevice.data(), bytes);
    host.download(b.data(), onHost.data(), bytes);
    EXPECT_EQ(a, b);
  }

  static constexpr uint64_t bytes = 256 << 10;
  std::mt19937 engine{7};
  std::shared_ptr<cuda::Card> card;
  Memory host;
  cuda::CudaMemory device;
  Region onDevice, onHost;
};

/// Random fills, copies and uploads on a card and on the host.
inline void compareOperations(const cuda::Driver &driver) {
  MemoryPair pair(driver);
  for (int i = 0; i < 400; ++i) {
    size_t element = size_t(1) << pair.next(4);
    uint64_t width = (pair.next(40) + 1) * element;
    uint64_t pitch = width + pair.next(3) * element * pair.next(9);
    uint64_t count = pair.next(6) + 1;
    uint64_t to = pair.next(1000) * 8, from = 128 * 1024 + pair.next(1000) * 8;
    Rows rows(width, count, pitch);
    uint64_t value = pair.next(3) ? pair.engine() : 0;
    value |= pair.next(2) ? uint64_t(pair.engine()) << 32 : 0;
    std::vector<uint8_t> source(count * pitch + width);
    for (uint8_t &byte : source)
      byte = static_cast<uint8_t>(pair.next());
    auto apply = [&](Memory &memory, uint8_t *base) {
      if (i % 3 == 0)
        memory.fill(base + to, rows, &value, element);
      else if (i % 3 == 1)
        memory.copy(base + to, base + from, rows);
      else
        memory.upload(base + to, source.data(), rows);
    };
    apply(pair.device, pair.onDevice.data());
    apply(pair.host, pair.onHost.data());
  }
  pair.expectSame();
}

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_CUDAMEMORYCHECK_H
