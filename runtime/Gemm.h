//===- Gemm.h - The large matrix products of a plan -------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_GEMM_H
#define SPARSE_RUNTIME_GEMM_H

#include "Parallel.h"
#include "Plan.h"

#include <memory>

namespace sparse::runtime {

/// Runs `gemm` steps. A step is cut into tasks by its shape alone, never by
/// the number of threads, so that its bits do not depend on the threads.
///
/// bf16 weights are widened to f32 panel by panel: the activations keep all
/// their bits, and a panel stays in the cache between the two passes.
class Gemm {
public:
  virtual ~Gemm() = default;

  /// `a` f32[m,k], `b` [ceil(n/64)][k][64] of `step.dtype`, `c` f32[m,n].
  virtual void run(Parallel &parallel, const GemmStep &step, const float *a,
                   const void *b, float *c) = 0;
};

/// oneDNN where it was found at build time, else plain loops.
std::unique_ptr<Gemm> createGemm();

/// Plain loops; the meaning of the step, and the oracle of the tests.
std::unique_ptr<Gemm> createReferenceGemm();

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_GEMM_H
