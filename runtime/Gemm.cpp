//===- Gemm.cpp - Matrix products in plain loops --------------------------===//

#include "Gemm.h"
#include "Checked.h"

#include <algorithm>
#include <cstring>

using namespace sparse::runtime;

namespace {

class ReferenceGemm : public Gemm {
public:
  void run(Parallel &parallel, const GemmStep &step, const float *a,
           const void *b, float *c) override;
};

} // namespace

template <typename Load>
static void panel(const GemmStep &step, const float *a, float *c,
                  int64_t columns, Load load) {
  for (int64_t i = 0; i < step.m; ++i) {
    float sum[64] = {};
    for (int64_t p = 0; p < step.k; ++p) {
      float x = a[i * step.k + p];
      for (int64_t j = 0; j < 64; ++j)
        sum[j] += x * load(p * 64 + j);
    }
    for (int64_t j = 0; j < columns; ++j)
      c[i * step.n + j] = step.accumulate ? c[i * step.n + j] + sum[j] : sum[j];
  }
}

void ReferenceGemm::run(Parallel &parallel, const GemmStep &step,
                        const float *a, const void *b, float *c) {
  parallel.forEach(ceilDiv(step.n, 64), [&](int64_t task) {
    int64_t columns = std::min<int64_t>(64, step.n - task * 64);
    if (step.dtype == DType::BF16) {
      const uint16_t *weights =
          static_cast<const uint16_t *>(b) + task * step.k * 64;
      panel(step, a, c + task * 64, columns,
            [&](int64_t i) { return bf16ToFloat(weights[i]); });
    } else {
      const float *weights = static_cast<const float *>(b) + task * step.k * 64;
      panel(step, a, c + task * 64, columns,
            [&](int64_t i) { return weights[i]; });
    }
  });
}

std::unique_ptr<Gemm> sparse::runtime::createReferenceGemm() {
  return std::make_unique<ReferenceGemm>();
}

#ifndef SPARSE_RUNTIME_ONEDNN
std::unique_ptr<Gemm> sparse::runtime::createGemm() {
  return createReferenceGemm();
}
#endif
