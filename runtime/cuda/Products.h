//===- Products.h - Matrix products by a library of the device --*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_PRODUCTS_H
#define SPARSE_RUNTIME_CUDA_PRODUCTS_H

#include "Plan.h"
#include "cuda/Stream.h"

#include <memory>

namespace sparse::runtime::cuda {

/// One `gemm` step with its addresses and the algorithm that was chosen for it.
class Product {
public:
  virtual ~Product() = default;

  /// Enqueues it, or records it while the stream is captured.
  virtual void enqueue(Stream &stream) = 0;
};

/// Chooses how products run. The choice depends on shapes and on the library
/// alone, so that results can be repeated.
class Products {
public:
  virtual ~Products() = default;
  virtual std::unique_ptr<Product> plan(const GemmStep &step, const void *a,
                                        const void *b, void *c) = 0;
};

/// What a platform brings: the driver and a library of products.
struct Platform {
  const Driver *driver = nullptr;
  /// The products of one context; its workspace comes from `memory`.
  std::unique_ptr<Products> (*createProducts)(const Card &card,
                                              Memory &memory) = nullptr;
};

/// Through cuBLASLt, opened at run time. Throws UNAVAILABLE without it.
std::unique_ptr<Products> createBlasProducts(const Card &card, Memory &memory);

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_PRODUCTS_H
