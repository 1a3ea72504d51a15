//===- Upload.h - Large copies to a card ------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_UPLOAD_H
#define SPARSE_RUNTIME_CUDA_UPLOAD_H

#include "cuda/CudaMemory.h"

namespace sparse::runtime::cuda {

/// Copies through two pinned buffers: one is filled while the other travels.
class Upload {
public:
  explicit Upload(std::shared_ptr<const Card> card);

  void add(Address to, const uint8_t *host, uint64_t bytes);

  /// Waits for the last copy. Throws INTERNAL when one failed.
  void finish();

private:
  static constexpr uint64_t chunk = 16 << 20;
  PinnedMemory staging; ///< outlives what is on its way
  Stream streams[2];
  unsigned turn = 0;
};

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_UPLOAD_H
