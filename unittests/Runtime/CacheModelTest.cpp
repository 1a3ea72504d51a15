//===- CacheModelTest.cpp - The cache against a simple model (R7, R8, R9) -===//
//
// Random operations on a cache, with a simulated device in the place of the
// kernels, against a model that knows no pages. Any part of a trace is a trace,
// so a failing one can be shrunk by leaving operations out. SPARSE_TEST_SEED
// repeats a run, SPARSE_TEST_OPS changes its length.
//
//===----------------------------------------------------------------------===//

#include "CacheHarness.h"

#include <random>

using namespace sparse::runtime;

namespace {

std::vector<Op> makeTrace(uint64_t seed, size_t n) {
  std::mt19937 random(static_cast<unsigned>(seed));
  static const Op::Kind kinds[] = {
      Op::Create, Op::Create,  Op::Destroy, Op::Prefill, Op::Prefill,
      Op::Decode, Op::Decode,  Op::Decode,  Op::Decode,  Op::Decode,
      Op::Decode, Op::Decode,  Op::Decode,  Op::Reserve, Op::Fork,
      Op::Trim,   Op::Trim,    Op::Trim,    Op::Clear,   Op::FailNext,
      Op::Save,   Op::Restore, Op::Begin,   Op::Adopt,   Op::Forget,
      Op::Keep};
  std::vector<Op> ops(n);
  for (Op &op : ops) {
    op.kind = kinds[random() % std::size(kinds)];
    op.a = random() % 1000;
    op.b = random() % 1000;
    op.c = random() % 1000;
  }
  return ops;
}

struct Setting {
  Bug bug = Bug::None;
  bool strict = false;
};

std::string runTrace(const std::vector<Op> &ops, Setting setting) {
  Harness harness(setting.bug, setting.strict);
  return harness.run(ops);
}

/// Leaves out ever smaller parts as long as the trace still fails.
std::vector<Op> shrink(std::vector<Op> ops, Setting setting) {
  // Nothing after the failing operation matters; find it by halving first.
  size_t low = 0, high = ops.size();
  while (low < high) {
    size_t half = (low + high) / 2;
    std::vector<Op> head(ops.begin(), ops.begin() + half);
    if (runTrace(head, setting).empty())
      low = half + 1;
    else
      high = half;
  }
  ops.resize(std::min(ops.size(), high));
  for (size_t part = std::max<size_t>(1, ops.size() / 2);;) {
    bool smaller = false;
    for (size_t at = 0; at < ops.size();) {
      std::vector<Op> rest(ops.begin(), ops.begin() + at);
      rest.insert(rest.end(), ops.begin() + std::min(at + part, ops.size()),
                  ops.end());
      if (!runTrace(rest, setting).empty()) {
        ops = rest;
        smaller = true;
      } else {
        at += part;
      }
    }
    if (part == 1 && !smaller)
      return ops;
    part = std::max<size_t>(1, part / 2);
  }
}

std::string describe(const std::vector<Op> &ops) {
  std::string text;
  for (const Op &op : ops)
    text += "  " + op.str() + "\n";
  return text;
}

// In CI 50 seeds; SPARSE_TEST_LONG takes 500.
TEST(CacheModelTest, RandomOperations) {
  uint64_t seed = testSeed();
  size_t total =
      fromEnvironment("SPARSE_TEST_OPS", longRun() ? 1000000 : 100000);
  // Many traces, because a cache that is full or long stays so.
  const size_t length = 2000;
  std::printf("%zu operations\n", total);
  Tally tally;
  for (size_t done = 0; done < total; done += length) {
    std::vector<Op> ops = makeTrace(seed + done, length);
    Setting setting = {Bug::None, done / length % 2 == 1};
    Harness harness(setting.bug, setting.strict);
    std::string problem = harness.run(ops);
    if (!problem.empty()) {
      std::vector<Op> small = shrink(ops, setting);
      FAIL() << "SPARSE_TEST_SEED=" << seed << ": " << problem
             << "\nsmallest trace found: " << runTrace(small, setting) << "\n"
             << describe(small);
    }
    tally += harness.tally;
  }
  // The run was about something.
  EXPECT_GT(tally.refused, total / 100);
  EXPECT_GT(tally.evictions, total / 10);
  EXPECT_GT(tally.merges, total / 20);
  EXPECT_GT(tally.forks, total / 200);
  EXPECT_GT(tally.trims, total / 1000);
  EXPECT_GT(tally.compactions, total / 100);
  EXPECT_GT(tally.restores, total / 200);
  EXPECT_GT(tally.adoptions, total / 200);
  EXPECT_GT(tally.budgets, total / 200);
}

// The harness finds planted faults, and the shrinker leaves little of a trace.
TEST(CacheModelTest, FindsAndShrinksPlantedFaults) {
  for (Bug bug :
       {Bug::ForkSharesTail, Bug::DecodeForgetsVictim, Bug::TrimKeepsCount,
        Bug::MergeIsForgotten, Bug::CompactionKeepsBounds,
        Bug::RestoreForgetsFields, Bug::BlockIsTakenLate}) {
    Setting setting = {bug, false};
    std::vector<Op> ops = makeTrace(1, 2000);
    ASSERT_FALSE(runTrace(ops, setting).empty()) << static_cast<int>(bug);
    std::vector<Op> small = shrink(ops, setting);
    EXPECT_FALSE(runTrace(small, setting).empty());
    EXPECT_LE(small.size(), 12u) << describe(small);
    EXPECT_TRUE(runTrace(small, {}).empty());
  }
}

} // namespace
