//===- ParallelTest.cpp - The thread pool ---------------------------------===//

#include "Parallel.h"
#include "TestUtil.h"

#include <chrono>
#include <numeric>

using namespace sparse::runtime;

namespace {

class ThreadPoolTest : public testing::TestWithParam<unsigned> {};

TEST_P(ThreadPoolTest, RunsEveryTaskOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (int64_t tasks : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<std::atomic<int>> counts(static_cast<size_t>(tasks));
    pool.forEach(tasks, [&](int64_t task) { ++counts[task]; });
    for (const auto &count : counts)
      ASSERT_EQ(count, 1);
  }
}

// Each run sees what the run before wrote: plans rely on nothing else.
TEST_P(ThreadPoolTest, StepsSeeTheStepBefore) {
  ThreadPool pool(GetParam());
  const int64_t n = 37;
  std::vector<int64_t> a(n), b(n);
  std::iota(a.begin(), a.end(), 0);
  for (int64_t step = 1; step <= 2000; ++step) {
    pool.forEach(n, [&](int64_t i) { b[i] = a[(i + 1) % n] + 1; });
    std::swap(a, b);
  }
  for (int64_t i = 0; i < n; ++i)
    ASSERT_EQ(a[i], (i + 2000) % n + 2000);
}

// Workers that have gone to sleep come back.
TEST_P(ThreadPoolTest, WakesUpAfterAPause) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 3));
    std::atomic<int64_t> sum{0};
    pool.forEach(100, [&](int64_t i) { sum += i; });
    ASSERT_EQ(sum, 4950);
  }
}

TEST_P(ThreadPoolTest, CanBeDestroyedAtOnce) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(GetParam());
    if (i % 2)
      pool.forEach(3, [](int64_t) {});
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest,
                         testing::Values(1u, 2u, 3u, 8u));

} // namespace
