//===- PagePoolTest.cpp - Pages and slabs ---------------------------------===//

#include "PagePool.h"
#include "Slab.h"
#include "TestUtil.h"

#include <cmath>
#include <cstring>
#include <sys/mman.h>

using namespace sparse::runtime;

namespace {

int32_t take(PagePool &pool) {
  pool.ensure(1);
  return pool.allocate();
}

void give(PagePool &pool, std::vector<int32_t> pages) { pool.release(pages); }

/// Bytes of the pool's first `pages` pages that have memory behind them.
uint64_t residentBytes(const PagePool &pool, uint64_t pages) {
  uint64_t os = osPageBytes(), bytes = pages * pool.pageBytes();
  std::vector<unsigned char> state((bytes + os - 1) / os);
  if (::mincore(pool.base(), bytes, state.data()) != 0)
    return UINT64_MAX;
  uint64_t resident = 0;
  for (unsigned char page : state)
    resident += (page & 1) * os;
  return resident;
}

TEST(PagePoolTest, TakesTheLowestFreePage) {
  Memory memory;
  PagePool pool(memory, 4096, 100);
  for (int32_t i = 0; i < 10; ++i)
    EXPECT_EQ(take(pool), i);
  give(pool, {7, 2, 5});
  EXPECT_EQ(pool.inUse(), 7u);
  EXPECT_EQ(take(pool), 2);
  EXPECT_EQ(take(pool), 5);
  EXPECT_EQ(take(pool), 7);
  EXPECT_EQ(take(pool), 10);
  EXPECT_EQ(pool.peak(), 11u);
}

TEST(PagePoolTest, NeverMoves) {
  Memory memory;
  PagePool pool(memory, 1 << 20, 1000);
  uint8_t *first = pool.address(take(pool));
  first[0] = 42;
  pool.ensure(900);
  for (int i = 0; i < 900; ++i)
    pool.allocate();
  EXPECT_EQ(pool.address(0), first);
  EXPECT_EQ(first[0], 42);
}

TEST(PagePoolTest, SharedPagesLiveUntilTheLastReference) {
  Memory memory;
  PagePool pool(memory, 4096, 10);
  int32_t page = take(pool);
  pool.share(page);
  pool.share(page);
  give(pool, {page});
  give(pool, {page});
  EXPECT_EQ(pool.inUse(), 1u);
  EXPECT_EQ(take(pool), 1);
  give(pool, {page});
  EXPECT_EQ(pool.inUse(), 1u);
  EXPECT_EQ(take(pool), 0);
}

TEST(PagePoolTest, RefusesBeyondTheLimitAndChangesNothing) {
  Memory memory;
  PagePool pool(memory, 4096, 8);
  pool.ensure(8);
  for (int i = 0; i < 5; ++i)
    pool.allocate();
  EXPECT_EQ(codeOf([&] { pool.ensure(4); }), Code::ResourceExhausted);
  EXPECT_EQ(codeOf([&] { pool.ensure(UINT64_MAX); }), Code::ResourceExhausted);
  EXPECT_EQ(pool.inUse(), 5u);
  pool.ensure(3);
  for (int32_t i = 5; i < 8; ++i)
    EXPECT_EQ(pool.allocate(), i);
}

TEST(PagePoolTest, FailedGrowthChangesNothing) {
  FailingMemory memory;
  PagePool pool(memory, 1 << 20, 100);
  take(pool);
  memory.failAfter = 0;
  EXPECT_EQ(codeOf([&] { pool.ensure(50); }), Code::ResourceExhausted);
  EXPECT_EQ(pool.inUse(), 1u);
  pool.ensure(50);
  EXPECT_EQ(pool.allocate(), 1);
}

// Pages smaller than, equal to and not dividing a page of the system.
TEST(PagePoolTest, FreshPagesReadAsZero) {
  for (uint64_t bytes : {192, 512, 3000, 4096, 5000, 8192, 20000}) {
    Memory memory;
    PagePool pool(memory, bytes, 200);
    std::vector<int32_t> pages;
    for (int i = 0; i < 64; ++i) {
      pages.push_back(take(pool));
      std::memset(pool.address(pages.back()), 0xaa, bytes);
    }
    std::vector<int32_t> odd, even;
    for (int32_t page : pages)
      (page % 3 ? odd : even).push_back(page);
    give(pool, odd);
    for (int32_t page : even)
      for (uint64_t i = 0; i < bytes; ++i)
        ASSERT_EQ(pool.address(page)[i], 0xaa) << "a neighbour was cleared";
    for (size_t n = odd.size(); n--;) {
      int32_t page = take(pool);
      for (uint64_t i = 0; i < bytes; ++i)
        ASSERT_EQ(pool.address(page)[i], 0) << bytes << " page " << page;
    }
  }
}

TEST(PagePoolTest, FreedMemoryGoesBackToTheSystem) {
  FailingMemory memory;
  const uint64_t bytes = 64 << 10;
  PagePool pool(memory, bytes, 1024);
  std::vector<int32_t> pages;
  pool.ensure(1024);
  for (int i = 0; i < 1024; ++i) {
    pages.push_back(pool.allocate());
    std::memset(pool.address(pages.back()), 1, bytes);
  }
  EXPECT_EQ(residentBytes(pool, 1024), 1024 * bytes);
  give(pool, pages);
  EXPECT_EQ(memory.decommitted, 1024 * bytes);
  EXPECT_EQ(residentBytes(pool, 1024), 0u);
}

// Pages that share a page of the system give it back with the last of them.
TEST(PagePoolTest, SmallPagesGiveBackWhatTheyShare) {
  FailingMemory memory;
  PagePool pool(memory, 1024, 64);
  std::vector<int32_t> pages;
  for (int i = 0; i < 8; ++i)
    pages.push_back(take(pool));
  give(pool, {0, 1, 2});
  EXPECT_EQ(memory.decommitted, 0u);
  give(pool, {3});
  EXPECT_EQ(memory.decommitted, 4096u);
  give(pool, {5, 7, 6, 4});
  EXPECT_EQ(memory.decommitted, 8192u);
}

Component component(DType dtype, std::vector<uint64_t> shape, Scope scope,
                    double init, size_t axis) {
  Component c;
  c.name = "field";
  c.dtype = dtype;
  c.shape = shape;
  c.scope = scope;
  c.axis = axis;
  encodeElement(dtype, init, c.init);
  return c;
}

// [heads, channels, pages]: the entries of a page are not contiguous.
TEST(SlabTest, ChannelMajorFields) {
  LayerLayout layout;
  layout.kvHeads = 2;
  layout.page = 4;
  layout.maxPages = 5;
  Memory memory;
  Component c = component(DType::F32, {2, 3, 5}, Scope::Page, -HUGE_VAL, 2);
  Slab slab(memory, c, layout, 4);
  EXPECT_EQ(slab.bytesPerPage(), 12u);
  float *row = reinterpret_cast<float *>(slab.row(2));
  slab.initPages(2, 1, 1, 3);
  for (int head = 0; head < 2; ++head)
    for (int channel = 0; channel < 3; ++channel)
      for (int page = 0; page < 5; ++page)
        EXPECT_EQ(row[(head * 3 + channel) * 5 + page],
                  head == 1 && page >= 1 && page < 3 ? -HUGE_VALF : 0.0f);
  row[(1 * 3 + 2) * 5 + 1] = 9;
  row[(1 * 3 + 2) * 5 + 2] = 8;
  slab.copyPages(2, 3, 1, 2);
  float *copy = reinterpret_cast<float *>(slab.row(3));
  EXPECT_EQ(copy[(1 * 3 + 2) * 5 + 1], 9);
  EXPECT_EQ(copy[(1 * 3 + 2) * 5 + 2], 0);
}

TEST(SlabTest, SlotFields) {
  LayerLayout layout;
  layout.kvHeads = 2;
  layout.page = 4;
  layout.maxPages = 3;
  Memory memory;
  Component c = component(DType::I16, {2, 12, 2}, Scope::Slot, -7, 1);
  Slab slab(memory, c, layout, 2);
  EXPECT_EQ(slab.bytesPerPage(), 16u);
  slab.initPages(1, 0, 1, 2);
  const int16_t *row = reinterpret_cast<const int16_t *>(slab.row(1));
  for (int slot = 0; slot < 12; ++slot)
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(row[slot * 2 + i], slot >= 4 && slot < 8 ? -7 : 0);
  slab.initSlots(1, 1, 5, 6);
  EXPECT_EQ(row[(12 + 5) * 2], -7);
  EXPECT_EQ(row[(12 + 4) * 2], 0);
  EXPECT_EQ(row[(12 + 6) * 2], 0);
}

} // namespace
