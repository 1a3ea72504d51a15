//===- CacheTest.cpp - The cache protocol, case by case -------------------===//

#include "Cache.h"
#include "TestUtil.h"

#include <cstring>

using namespace sparse::runtime;

namespace {

LayerLayout layout(std::vector<int64_t> caps, PrefillCap prefillCap,
                   bool inPlace, uint32_t page = 4) {
  LayerLayout l;
  l.kvHeads = static_cast<uint32_t>(caps.size());
  l.page = page;
  l.pageBytes = page * 64;
  l.keyBytes = page * 32;
  l.slotBytes = 64;
  l.maxPages = 64;
  l.caps = caps;
  l.prefillCap = prefillCap;
  l.writesInPlace = inPlace;
  auto add = [&](const char *name, std::vector<uint64_t> shape, Scope scope,
                 double init) {
    Component c;
    c.name = name;
    c.dtype = DType::I32;
    c.shape = shape;
    c.scope = scope;
    encodeElement(DType::I32, init, c.init);
    l.components.push_back(c);
  };
  add("table", {l.kvHeads, l.maxPages}, Scope::Page, -1);
  add("count", {l.kvHeads}, Scope::Head, 0);
  add("victim", {l.kvHeads}, Scope::Head, -1);
  add("position", {l.kvHeads, l.maxSlots()}, Scope::Slot, -1);
  l.table = 0;
  l.count = 1;
  l.victim = 2;
  return l;
}

class CacheTest : public testing::Test {
protected:
  Cache make(std::vector<LayerLayout> layers, uint64_t limit = 1 << 20) {
    CacheOptions options;
    options.maxSequences = 4;
    options.limitBytes = limit;
    options.maxContext = 200;
    options.chunk = 8;
    return Cache(memory, layers, options);
  }
  /// Reserve and advance: what a step does around its kernels.
  static void append(Cache &cache, uint32_t seq, uint64_t n, Append how) {
    cache.reserve(seq, n, how);
    if (how == Append::Prefill) {
      cache.advance(seq, n, how);
      return;
    }
    for (uint64_t i = 0; i < n; ++i)
      cache.advance(seq, 1, how);
  }
  FailingMemory memory;
};

TEST(LayerLayoutTest, ACapFollowsTheLength) {
  LayerLayout l = layout({40, -1, 7}, PrefillCap::End, true);
  l.growth = {{100, 6}, {0, 0}, {0, 0}};
  const std::pair<uint64_t, int64_t> caps[] = {
      {0, 6}, {1, 6}, {17, 6}, {18, 7}, {50, 20}, {99, 39}, {100, 40}, {1 << 30, 40}};
  for (auto [length, cap] : caps) {
    EXPECT_EQ(l.capAt(0, length), cap) << length;
    EXPECT_EQ(l.capAt(1, length), -1);
    EXPECT_EQ(l.capAt(2, length), 7);
  }
}

/// Every other step of half a cap takes a victim's slot, the steps between a
/// slot of their own.
TEST_F(CacheTest, AGrowingCapEvictsUntilItIsReached) {
  LayerLayout grows = layout({40}, PrefillCap::End, true);
  grows.growth = {{80, 10}};
  Cache cache = make({grows});
  uint32_t seq = cache.create();
  append(cache, seq, 30, Append::Prefill);
  EXPECT_TRUE(cache.needsCompaction(seq, Compact::Capped));
  cache.compacted(seq, Compact::Capped);
  EXPECT_EQ(cache.extent(seq, 0, 0), 15u);
  for (uint64_t length = 31; length <= 120; ++length) {
    append(cache, seq, 1, Append::Decode);
    // One more than the cap at most: the victim's slot.
    uint64_t cap = std::min<uint64_t>(length / 2, 40);
    EXPECT_GE(cache.extent(seq, 0, 0), cap) << length;
    EXPECT_LE(cache.extent(seq, 0, 0), cap + 1) << length;
  }
  EXPECT_EQ(cache.extent(seq, 0, 0), 41u);
  cache.compacted(seq, Compact::Capped);
  EXPECT_EQ(cache.extent(seq, 0, 0), 40u);
}

/// Pages for many steps at once are those that they need one by one.
TEST_F(CacheTest, AGrowingCapReservesWhatItsStepsReach) {
  LayerLayout grows = layout({40}, PrefillCap::Chunk, true);
  grows.growth = {{160, 3}};
  for (uint64_t prompt : {0, 5, 40, 77}) {
    Cache cache = make({grows});
    uint32_t seq = cache.create();
    if (prompt > 0)
      append(cache, seq, prompt, Append::Prefill);
    cache.compacted(seq, Compact::Chunk);
    cache.reserve(seq, 100, Append::Decode);
    uint64_t reserved = cache.pages(seq, 0, 0);
    for (int step = 0; step < 100; ++step)
      append(cache, seq, 1, Append::Decode);
    EXPECT_EQ(cache.pages(seq, 0, 0), reserved) << prompt;
    EXPECT_EQ(reserved, (cache.extent(seq, 0, 0) + 3) / 4) << prompt;
  }
}

/// A layout whose caps prompts set.
LayerLayout withBudget(std::vector<int64_t> caps) {
  LayerLayout l = layout(caps, PrefillCap::End, true);
  l.budget = l.components.size();
  Component c = l.components[l.count];
  c.name = "budget";
  l.components.push_back(c);
  return l;
}

/// What kernels write into the row of a sequence.
void storeBudgets(Cache &cache, uint32_t seq, uint32_t layer,
                  std::vector<int32_t> budgets) {
  const LayerLayout &l = cache.layouts()[layer];
  std::memcpy(cache.slabBase(layer, *l.budget) + seq * budgets.size() * 4,
              budgets.data(), budgets.size() * 4);
}

int32_t storedBudget(const Cache &cache, uint32_t seq, uint32_t layer,
                     uint32_t head) {
  const LayerLayout &l = cache.layouts()[layer];
  int32_t value;
  std::memcpy(&value,
              cache.slabBase(layer, *l.budget) + (seq * l.kvHeads + head) * 4,
              4);
  return value;
}

TEST_F(CacheTest, APromptSetsCaps) {
  Cache cache =
      make({withBudget({40, -1}), layout({9}, PrefillCap::End, true)});
  cache.create();
  uint32_t seq = cache.create();
  EXPECT_TRUE(cache.needsBudgets(seq));
  append(cache, seq, 30, Append::Prefill);
  storeBudgets(cache, seq, 0, {11, 0});
  cache.takeBudgets(seq);
  EXPECT_FALSE(cache.needsBudgets(seq));
  EXPECT_FALSE(cache.isPlain(seq));
  EXPECT_EQ(cache.budget(seq, 0, 0), 11u);
  EXPECT_EQ(cache.budget(seq, 0, 1), 0u);
  EXPECT_TRUE(cache.needsCompaction(seq, Compact::Capped));
  cache.compacted(seq, Compact::Capped);
  EXPECT_EQ(cache.extent(seq, 0, 0), 11u);
  EXPECT_EQ(cache.extent(seq, 0, 1), 30u);
  EXPECT_EQ(cache.extent(seq, 1, 0), 9u);
  // Pages for many steps are those of the budget and a victim's slot.
  cache.reserve(seq, 50, Append::Decode);
  EXPECT_EQ(cache.pages(seq, 0, 0), 3u);
  append(cache, seq, 50, Append::Decode);
  EXPECT_EQ(cache.extent(seq, 0, 0), 12u);
  EXPECT_EQ(cache.extent(seq, 0, 1), 80u);
  // Another prompt is cut to the budget of the first.
  append(cache, seq, 8, Append::Prefill);
  EXPECT_FALSE(cache.needsBudgets(seq));
  cache.compacted(seq, Compact::Capped);
  EXPECT_EQ(cache.extent(seq, 0, 0), 11u);
}

TEST_F(CacheTest, WithoutAPromptTheCapOfTheLayoutHolds) {
  Cache cache = make({withBudget({6})});
  uint32_t seq = cache.create();
  append(cache, seq, 20, Append::Decode);
  EXPECT_EQ(cache.extent(seq, 0, 0), 7u);
  EXPECT_TRUE(cache.needsBudgets(seq));
  EXPECT_FALSE(make({layout({6}, PrefillCap::End, true)}).needsBudgets(0));
}

TEST_F(CacheTest, BudgetsGoWithTheSequence) {
  Cache cache = make({withBudget({40})});
  uint32_t seq = cache.create();
  append(cache, seq, 12, Append::Prefill);
  storeBudgets(cache, seq, 0, {20});
  cache.takeBudgets(seq);
  uint32_t fork = cache.fork(seq);
  EXPECT_EQ(cache.budget(fork, 0, 0), 20u);
  EXPECT_EQ(storedBudget(cache, fork, 0, 0), 20);
  append(cache, fork, 30, Append::Decode);
  EXPECT_EQ(cache.extent(fork, 0, 0), 21u);
  uint32_t restored = cache.createAs(cache.stateOf(fork));
  EXPECT_EQ(cache.budget(restored, 0, 0), 20u);
  append(cache, restored, 5, Append::Decode);
  EXPECT_EQ(cache.extent(restored, 0, 0), 21u);
  // A trim leaves them as long as a token of the prompt is there.
  cache.trim(seq, 1);
  EXPECT_FALSE(cache.needsBudgets(seq));
  EXPECT_EQ(storedBudget(cache, seq, 0, 0), 20);
  cache.trim(seq, 0);
  EXPECT_TRUE(cache.needsBudgets(seq));
  EXPECT_EQ(storedBudget(cache, seq, 0, 0), 0);
  cache.clear(fork);
  EXPECT_TRUE(cache.needsBudgets(fork));
  EXPECT_EQ(storedBudget(cache, fork, 0, 0), 0);
}

TEST_F(CacheTest, BudgetsThatNoLayoutAllowsAreRefused) {
  Cache cache = make({withBudget({40, -1})});
  uint32_t seq = cache.create();
  append(cache, seq, 12, Append::Prefill);
  const std::vector<int32_t> wrong[] = {{41, 0}, {-1, 0}, {0, 0}, {5, 5}};
  for (const std::vector<int32_t> &budgets : wrong) {
    storeBudgets(cache, seq, 0, budgets);
    EXPECT_EQ(codeOf([&] { cache.takeBudgets(seq); }), Code::Internal);
  }
}

TEST_F(CacheTest, FreshSequencesHaveInitialValues) {
  Cache cache = make({layout({-1, -1}, PrefillCap::None, false)});
  uint32_t seq = cache.create();
  const int32_t *table = reinterpret_cast<int32_t *>(cache.slabBase(0, 0));
  for (int i = 0; i < 128; ++i)
    EXPECT_EQ(table[i], -1);
  cache.reserve(seq, 5, Append::Prefill);
  const int32_t *position = reinterpret_cast<int32_t *>(cache.slabBase(0, 3));
  for (int head = 0; head < 2; ++head)
    for (int slot = 0; slot < 8; ++slot)
      EXPECT_EQ(position[head * 256 + slot], -1);
  EXPECT_EQ(cache.pageAt(seq, 0, 0, 0), 0);
  EXPECT_EQ(cache.pageAt(seq, 0, 0, 2), -1);
}

TEST_F(CacheTest, ReserveIsIdempotent) {
  Cache cache = make({layout({-1, 6}, PrefillCap::None, true)});
  uint32_t seq = cache.create();
  for (int i = 0; i < 3; ++i) {
    cache.reserve(seq, 9, Append::Prefill);
    EXPECT_EQ(cache.usage().pages, 6u);
  }
  cache.reserve(seq, 3, Append::Prefill);
  EXPECT_EQ(cache.usage().pages, 6u);
}

TEST_F(CacheTest, DecodeStaysAtCapPlusOne) {
  Cache cache = make({layout({-1, 6}, PrefillCap::None, true)});
  uint32_t seq = cache.create();
  append(cache, seq, 100, Append::Decode);
  EXPECT_EQ(cache.extent(seq, 0, 0), 100u);
  EXPECT_EQ(cache.extent(seq, 0, 1), 7u);
  EXPECT_EQ(cache.pages(seq, 0, 1), 2u);
  EXPECT_TRUE(cache.evicted(seq));
}

// A prompt that was never capped has no victim until the first decode step.
TEST_F(CacheTest, FirstDecodeAfterALongPromptAppends) {
  Cache cache = make({layout({6, 6}, PrefillCap::None, true)});
  uint32_t seq = cache.create();
  append(cache, seq, 7, Append::Prefill);
  append(cache, seq, 1, Append::Decode);
  EXPECT_EQ(cache.extent(seq, 0, 0), 8u);
  append(cache, seq, 5, Append::Decode);
  EXPECT_EQ(cache.extent(seq, 0, 0), 8u);
}

TEST_F(CacheTest, ChunkedPromptsPeakAtCapPlusChunk) {
  Cache cache = make({layout({6, 6}, PrefillCap::Chunk, true)});
  uint32_t seq = cache.create();
  cache.reserve(seq, 100, Append::Prefill);
  EXPECT_EQ(cache.pages(seq, 0, 0), 4u) << "6 + 8 slots";
}

TEST_F(CacheTest, CompactionFreesTheTail) {
  Cache cache = make({layout({6, -1}, PrefillCap::End, true)});
  uint32_t seq = cache.create();
  append(cache, seq, 50, Append::Prefill);
  ASSERT_TRUE(cache.needsCompaction(seq, Compact::Capped));
  cache.compacted(seq, Compact::Capped);
  EXPECT_EQ(cache.extent(seq, 0, 0), 6u);
  EXPECT_EQ(cache.pages(seq, 0, 0), 2u);
  EXPECT_EQ(cache.pageAt(seq, 0, 0, 2), -1);
  EXPECT_EQ(cache.pages(seq, 0, 1), 13u);
  EXPECT_EQ(cache.usage().pages, 15u);
  EXPECT_FALSE(cache.needsCompaction(seq, Compact::Capped));
}

TEST_F(CacheTest, RefusalsChangeNothing) {
  // Eight pages of 256 bytes.
  Cache cache = make({layout({-1, -1}, PrefillCap::None, false)}, 2048);
  uint32_t a = cache.create(), b = cache.create();
  append(cache, a, 8, Append::Prefill);
  append(cache, b, 4, Append::Prefill);
  uint32_t both[] = {a, b};
  EXPECT_EQ(cache.usage().pages, 6u);
  // Two pages are left; both rows need two each.
  EXPECT_EQ(codeOf([&] { cache.reserve(both, 2, 1, Append::Decode); }),
            Code::ResourceExhausted);
  EXPECT_EQ(cache.usage().pages, 6u);
  EXPECT_EQ(cache.pageAt(a, 0, 0, 2), -1);
  EXPECT_EQ(cache.pages(a, 0, 0), 2u);
  append(cache, a, 1, Append::Decode);
  EXPECT_EQ(codeOf([&] { cache.fork(a); }), Code::ResourceExhausted);
  EXPECT_EQ(cache.usage().pages, 8u);
  EXPECT_EQ(codeOf([&] { cache.reserve(a, 192, Append::Prefill); }),
            Code::OutOfRange);
  EXPECT_EQ(codeOf([&] { cache.reserve(a, UINT64_MAX, Append::Prefill); }),
            Code::OutOfRange);
}

TEST_F(CacheTest, PagesOfTwoSizesShareOneLimit) {
  Cache cache = make({layout({-1}, PrefillCap::None, false, 4),
                      layout({-1}, PrefillCap::None, false, 8)},
                     1024);
  uint32_t seq = cache.create();
  append(cache, seq, 4, Append::Prefill); // 256 + 512
  EXPECT_EQ(codeOf([&] { cache.reserve(seq, 5, Append::Prefill); }),
            Code::ResourceExhausted);
  cache.reserve(seq, 4, Append::Prefill);
}

TEST_F(CacheTest, ForkSharesFullPagesOnly) {
  Cache cache = make({layout({-1, -1}, PrefillCap::None, false),
                      layout({-1, -1}, PrefillCap::None, true)});
  uint32_t a = cache.create();
  append(cache, a, 10, Append::Prefill);
  std::memset(cache.keyBase(0) + cache.pageAt(a, 0, 0, 2) * 256, 7, 256);
  uint32_t b = cache.fork(a);
  // 12 pages, 2 heads with a copied tail, 6 pages of the layer in place.
  EXPECT_EQ(cache.usage().pages, 12u + 2 + 6);
  EXPECT_EQ(cache.pageAt(a, 0, 0, 0), cache.pageAt(b, 0, 0, 0));
  EXPECT_EQ(cache.references(0, cache.pageAt(a, 0, 0, 0)), 2u);
  EXPECT_NE(cache.pageAt(a, 0, 0, 2), cache.pageAt(b, 0, 0, 2));
  EXPECT_NE(cache.pageAt(a, 1, 0, 0), cache.pageAt(b, 1, 0, 0));
  EXPECT_EQ(cache.keyBase(0)[cache.pageAt(b, 0, 0, 2) * 256 + 255], 7);
  EXPECT_EQ(cache.length(b), 10u);
  cache.destroy(a);
  EXPECT_EQ(cache.references(0, cache.pageAt(b, 0, 0, 0)), 1u);
  cache.destroy(b);
  EXPECT_EQ(cache.usage().pages, 0u);
}

// A compaction rewrites pages, so a capped head's are never shared.
TEST_F(CacheTest, ForkCopiesHeadsWithACap) {
  Cache cache = make({layout({6, -1}, PrefillCap::End, false)});
  uint32_t a = cache.create();
  append(cache, a, 4, Append::Prefill);
  uint32_t b = cache.fork(a);
  EXPECT_NE(cache.pageAt(a, 0, 0, 0), cache.pageAt(b, 0, 0, 0));
  EXPECT_EQ(cache.pageAt(a, 0, 1, 0), cache.pageAt(b, 0, 1, 0));
}

// After a trim a shared page can be the tail, which is written next.
TEST_F(CacheTest, TailsAreCopiedBeforeTheyAreWritten) {
  Cache cache = make({layout({-1}, PrefillCap::None, false)});
  uint32_t a = cache.create();
  append(cache, a, 8, Append::Prefill);
  uint32_t b = cache.fork(a);
  int32_t shared = cache.pageAt(a, 0, 0, 1);
  cache.keyBase(0)[shared * 256] = 9;
  cache.trim(a, 6);
  cache.trim(b, 5);
  EXPECT_EQ(cache.references(0, shared), 2u);
  uint32_t both[] = {a, b};
  cache.reserve(both, 2, 1, Append::Decode);
  EXPECT_NE(cache.pageAt(a, 0, 0, 1), cache.pageAt(b, 0, 0, 1));
  EXPECT_EQ(cache.references(0, shared), 1u);
  EXPECT_EQ(cache.keyBase(0)[cache.pageAt(a, 0, 0, 1) * 256], 9);
  EXPECT_EQ(cache.keyBase(0)[cache.pageAt(b, 0, 0, 1) * 256], 9);
  EXPECT_EQ(cache.usage().pages, 3u);
}

TEST_F(CacheTest, TrimIntoEvictedHistoryIsRefused) {
  Cache cache = make({layout({6, -1}, PrefillCap::End, true)});
  uint32_t seq = cache.create();
  append(cache, seq, 6, Append::Prefill);
  cache.trim(seq, 5);
  EXPECT_EQ(cache.extent(seq, 0, 0), 5u);
  const int32_t *count = reinterpret_cast<int32_t *>(cache.slabBase(0, 1));
  EXPECT_EQ(count[0], 5);
  EXPECT_EQ(codeOf([&] { cache.trim(seq, 6); }), Code::OutOfRange);
  append(cache, seq, 2, Append::Decode);
  EXPECT_EQ(codeOf([&] { cache.trim(seq, 3); }), Code::FailedPrecondition);
  EXPECT_EQ(cache.length(seq), 7u);
  cache.trim(seq, 7);
  cache.clear(seq);
  EXPECT_EQ(cache.length(seq), 0u);
  EXPECT_EQ(cache.usage().pages, 0u);
  append(cache, seq, 3, Append::Prefill);
  cache.trim(seq, 0);
  EXPECT_EQ(cache.usage().pages, 0u);
}

TEST_F(CacheTest, UsageCountsPagesAndTheirFields) {
  Cache cache = make({layout({-1, 6}, PrefillCap::None, true)});
  uint32_t seq = cache.create();
  append(cache, seq, 40, Append::Decode);
  CacheUsage usage = cache.usage();
  EXPECT_EQ(usage.pages, 10u + 2);
  EXPECT_EQ(usage.densePages, 20u);
  EXPECT_EQ(usage.pageBytes, 12u * 256);
  EXPECT_EQ(usage.bytes, 12u * (256 + 16)) << "positions are 4 bytes a slot";
}

TEST_F(CacheTest, MirrorIsComparedWithTheKernels) {
  Cache cache = make({layout({-1, -1}, PrefillCap::None, false)});
  uint32_t seq = cache.create();
  append(cache, seq, 3, Append::Prefill);
  int32_t *count = reinterpret_cast<int32_t *>(cache.slabBase(0, 1));
  EXPECT_EQ(codeOf([&] { cache.checkCounts(seq); }), Code::Internal);
  count[0] = count[1] = 3;
  cache.checkCounts(seq);
}

TEST_F(CacheTest, SequencesRunOut) {
  Cache cache = make({layout({-1}, PrefillCap::None, false)});
  for (uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(cache.create(), i);
  EXPECT_EQ(codeOf([&] { cache.create(); }), Code::ResourceExhausted);
  cache.destroy(2);
  EXPECT_EQ(cache.create(), 2u);
}

TEST_F(CacheTest, EveryFailedAllocationOfTheConstructorIsClean) {
  for (int64_t k = 0;; ++k) {
    memory.failAfter = k;
    Code code = codeOf([&] {
      Cache cache = make({layout({-1}, PrefillCap::None, false, 4),
                          layout({-1}, PrefillCap::None, false, 8)});
    });
    EXPECT_EQ(memory.reserved, 0) << "leak at call " << k;
    if (code == Code::Ok) {
      EXPECT_GT(k, 6);
      break;
    }
    EXPECT_EQ(code, Code::ResourceExhausted);
  }
}

} // namespace
