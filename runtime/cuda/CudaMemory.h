//===- CudaMemory.h - Memory of a card --------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_CUDAMEMORY_H
#define SPARSE_RUNTIME_CUDA_CUDAMEMORY_H

#include "Memory.h"
#include "cuda/Stream.h"

#include <array>
#include <map>
#include <memory>
#include <vector>

namespace sparse::runtime::cuda {

/// Memory of the host that a card reads and writes directly.
class PinnedMemory {
public:
  PinnedMemory(std::shared_ptr<const Card> card, uint64_t bytes);
  PinnedMemory(const PinnedMemory &) = delete;
  ~PinnedMemory();

  uint8_t *data() const { return base; }

private:
  std::shared_ptr<const Card> card;
  uint8_t *base = nullptr;
};

/// Small uploads on their way to a card. The caller's bytes are copied here, so
/// that it need not wait; a part is used again when the card has read it.
class UploadRing {
public:
  explicit UploadRing(Stream &stream);

  /// Room for bytes whose copy the caller enqueues next; null when they are too
  /// many.
  uint8_t *take(uint64_t bytes);

private:
  static constexpr uint64_t partBytes = 64 << 10;
  static constexpr size_t parts = 4;
  PinnedMemory memory;
  std::array<std::unique_ptr<Event>, parts> ends; ///< of the copies of a part
  size_t part = 0;
  uint64_t used = 0;
};

/// Ranges of addresses that keep their place while memory comes and goes: the
/// driver maps and unmaps it in granules.
class CudaMemory : public Memory {
public:
  explicit CudaMemory(std::shared_ptr<const Card> card);
  ~CudaMemory() override;

  uint64_t granularity() const override { return granule; }
  bool overcommits() const override { return false; }
  bool onHost() const override { return false; }

  void *reserve(size_t bytes, bool huge) override;
  bool commit(void *address, size_t bytes) override;
  void decommit(void *address, size_t bytes) override;
  void release(void *address, size_t bytes) override;

  void fill(void *to, Rows rows, const void *element, size_t size) override;
  void copy(void *to, const void *from, Rows rows) override;
  void upload(void *to, const void *host, Rows rows) override;
  void download(void *host, const void *from, uint64_t bytes) override;
  void throwIfFailed() override;

  /// In which everything above runs.
  Stream stream;

private:
  std::vector<bool> &mappedOf(Address address, size_t &first);
  uint8_t *stage(uint64_t bytes);
  void unmap(Address address, std::vector<bool> &mapped, size_t first,
             size_t count);
  void copy2D(int fromKind, const void *from, uint64_t fromPitch, void *to,
              Rows rows, const char *what);

  const Driver &driver;
  uint64_t granule = 0;
  std::map<Address, std::vector<bool>> reservations; ///< mapped granules
  std::unique_ptr<UploadRing> uploads; ///< from the first upload on
};

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_CUDAMEMORY_H
