//===- GemmTest.cpp - Matrix products -------------------------------------===//

#include "Gemm.h"
#include "TestUtil.h"

#include <cmath>
#include <random>

using namespace sparse::runtime;

namespace {

struct Problem {
  GemmStep step;
  std::vector<float> a, c;
  std::vector<float> wide;
  std::vector<uint16_t> narrow;

  Problem(int64_t m, int64_t n, int64_t k, DType weights, bool accumulate) {
    step.m = m;
    step.n = n;
    step.k = k;
    step.dtype = weights;
    step.accumulate = accumulate;
    std::mt19937 random(static_cast<unsigned>(m * 31 + n * 7 + k));
    std::uniform_real_distribution<float> uniform(-1, 1);
    a.resize(m * k);
    c.resize(m * n);
    wide.resize((n + 63) / 64 * 64 * k);
    for (float &x : a)
      x = uniform(random);
    for (float &x : c)
      x = uniform(random);
    // Padding columns hold anything.
    for (float &x : wide)
      x = uniform(random);
    for (float &x : wide) {
      narrow.push_back(floatToBF16(x));
      if (weights == DType::BF16)
        x = bf16ToFloat(narrow.back());
    }
  }
  const void *b() const {
    if (step.dtype == DType::BF16)
      return narrow.data();
    return wide.data();
  }
  std::vector<float> run(Gemm &gemm, unsigned threads) const {
    ThreadPool pool(threads);
    std::vector<float> out = c;
    gemm.run(pool, step, a.data(), b(), out.data());
    return out;
  }
  /// In double, with the absolute sum that bounds the rounding error.
  void exact(std::vector<double> &sum, std::vector<double> &bound) const {
    for (int64_t i = 0; i < step.m; ++i)
      for (int64_t j = 0; j < step.n; ++j) {
        double total = step.accumulate ? c[i * step.n + j] : 0;
        double size = std::fabs(total);
        for (int64_t p = 0; p < step.k; ++p) {
          double term = double(a[i * step.k + p]) *
                        wide[(j / 64 * step.k + p) * 64 + j % 64];
          total += term;
          size += std::fabs(term);
        }
        sum.push_back(total);
        bound.push_back(size);
      }
  }
};

const int64_t shapes[][3] = {{1, 1, 1},    {4, 48, 8},     {7, 64, 16},
                             {8, 65, 48},  {128, 192, 64}, {3, 130, 40},
                             {5, 200, 33}, {16, 128, 576}, {2, 1, 64}};

TEST(GemmTest, EqualsTheSumWithinRounding) {
  for (bool library : {false, true})
    for (const auto &shape : shapes)
      for (DType weights : {DType::F32, DType::BF16})
        for (bool accumulate : {false, true}) {
          std::unique_ptr<Gemm> gemm =
              library ? createGemm() : createReferenceGemm();
          Problem problem(shape[0], shape[1], shape[2], weights, accumulate);
          std::vector<float> got = problem.run(*gemm, 2);
          std::vector<double> sum, bound;
          problem.exact(sum, bound);
          for (size_t i = 0; i < got.size(); ++i)
            ASSERT_NEAR(got[i], sum[i],
                        bound[i] * static_cast<double>(shape[2] + 1) * 6e-8)
                << shape[0] << "x" << shape[1] << "x" << shape[2] << " at " << i
                << " library " << library;
        }
}

// The bits are those of the shape, whatever the threads.
TEST(GemmTest, DoesNotDependOnTheThreads) {
  std::unique_ptr<Gemm> gemm = createGemm();
  for (DType weights : {DType::F32, DType::BF16}) {
    Problem problem(128, 500, 576, weights, false);
    std::vector<float> one = problem.run(*gemm, 1);
    for (unsigned threads : {2u, 3u, 5u})
      ASSERT_EQ(problem.run(*gemm, threads), one);
  }
}

} // namespace
