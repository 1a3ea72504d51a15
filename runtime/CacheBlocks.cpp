//===- CacheBlocks.cpp - Beginnings that sequences have in common ---------===//

#include "Cache.h"
#include "Checked.h"

#include <algorithm>

using namespace sparse::runtime;

uint64_t CachedBlock::pageCount() const {
  uint64_t count = 0;
  for (const auto &list : {&pages, &copies})
    for (const std::vector<int32_t> &head : *list)
      count += head.size();
  return count;
}

static bool isPaged(const LayerLayout &layout, size_t component) {
  Scope scope = layout.components[component].scope;
  return component != layout.table &&
         (scope == Scope::Page || scope == Scope::Slot);
}

/// Full pages of the head never change, nor do their fields: they follow from
/// the content, or are positions, which in a head that keeps all tokens follow
/// from the slots.
bool Cache::isShared(uint32_t layer, uint32_t head) const {
  const LayerLayout &layout = layers[layer];
  if (!sharable(layout, head))
    return false;
  for (size_t i = 0; i < layout.components.size(); ++i)
    if (isPaged(layout, i) && !layout.components[i].content &&
        layout.components[i].name != "position")
      return false;
  return true;
}

/// A row that is state of the kernels. What the host knows it writes itself,
/// and what is only counted for reports begins anew.
bool Cache::isOwnRow(uint32_t layer, size_t component) const {
  const LayerLayout &layout = layers[layer];
  return component != layout.table && component != layout.count &&
         component != layout.victim && !isPaged(layout, component) &&
         !layout.components[component].counter;
}

bool Cache::hasOwnState() const {
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      if (!isShared(layer, head))
        return true;
  return false;
}

/// Calls `fn(slab, head, first page, last page, bytes)` for the entries of a
/// block's shared pages.
template <typename Fn>
void Cache::forSharedFields(const CachedBlock &block, Fn fn) {
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      if (isShared(layer, head))
        for (const Slab &slab : slabs[layer])
          if (slab.perPage())
            fn(slab, head, block.begin / layers[layer].page,
               block.end / layers[layer].page,
               (block.end - block.begin) / layers[layer].page *
                   slab.bytesPerPage());
}

/// Calls `fn(slab, head, pages, bytes)` for the entries of heads with own
/// state, and with `pages` 0 for rows.
template <typename Fn>
void Cache::forOwnState(const CachedBlock &block, Fn fn) {
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    for (size_t i = 0; i < slabs[layer].size(); ++i)
      if (isOwnRow(layer, i))
        fn(slabs[layer][i], 0, 0, slabs[layer][i].bytesPerRow());
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      uint64_t pages = block.copies[firstHead[layer] + head].size();
      for (const Slab &slab : slabs[layer])
        if (pages && slab.perPage())
          fn(slab, head, pages, pages * slab.bytesPerPage());
    }
  }
}

void Cache::holdBlock(uint32_t seq, uint64_t begin, uint64_t end,
                      CachedBlock &block) {
  CachedBlock held;
  held.begin = begin;
  held.end = end;
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      held.pages.emplace_back();
      if (isShared(layer, head)) {
        const int32_t *table = tableRow(seq, layer, head);
        held.pages.back().assign(table + begin / layers[layer].page,
                                 table + end / layers[layer].page);
      }
    }
  forSharedFields(held, [&](const Slab &slab, uint32_t head, uint64_t first,
                            uint64_t last, uint64_t bytes) {
    held.fields.resize(held.fields.size() + bytes);
    slab.loadEntries(seq, head, first, last,
                     held.fields.data() + held.fields.size() - bytes);
  });
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      for (int32_t page : held.pages[firstHead[layer] + head])
        pools[poolOf[layer]]->share(page);
  block = std::move(held);
}

void Cache::completeBlock(uint32_t seq, CachedBlock &block) {
  CachedBlock whole;
  whole.copies.resize(block.pages.size());
  std::vector<uint64_t> perPool(pools.size(), 0);
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      whole.extents.push_back(extent(seq, layer, head));
      if (isShared(layer, head))
        continue;
      uint64_t pages = ceilDiv(whole.extents.back(), layers[layer].page);
      whole.copies[firstHead[layer] + head].resize(pages);
      perPool[poolOf[layer]] += pages;
    }
  forOwnState(whole, [&](const Slab &slab, uint32_t head, uint64_t pages,
                         uint64_t bytes) {
    whole.state.resize(whole.state.size() + bytes);
    uint8_t *to = whole.state.data() + whole.state.size() - bytes;
    if (pages)
      slab.loadEntries(seq, head, 0, pages, to);
    else
      slab.loadRow(seq, to);
  });
  ensurePages(perPool);

  // Nothing below can fail.
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      PagePool &pool = *pools[poolOf[layer]];
      const int32_t *table = tableRow(seq, layer, head);
      for (int32_t &page : whole.copies[firstHead[layer] + head]) {
        page = pool.allocate();
        pool.copy(page, *table++);
      }
    }
  block.extents = std::move(whole.extents);
  block.copies = std::move(whole.copies);
  block.state = std::move(whole.state);
  block.evicted = sequences[seq].evicted;
  block.complete = true;
  notePeak();
}

void Cache::dropBlock(CachedBlock &block) {
  std::vector<std::vector<int32_t>> freed(pools.size());
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      for (const auto *list : {&block.pages, &block.copies})
        if (!list->empty()) {
          const std::vector<int32_t> &pages = (*list)[firstHead[layer] + head];
          freed[poolOf[layer]].insert(freed[poolOf[layer]].end(), pages.begin(),
                                      pages.end());
        }
  release(freed);
  block = CachedBlock();
}

uint64_t Cache::bytesOf(const CachedBlock &block) const {
  uint64_t bytes = block.fields.size() + block.state.size();
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      for (const auto *list : {&block.pages, &block.copies})
        if (!list->empty())
          bytes +=
              (*list)[firstHead[layer] + head].size() * layers[layer].pageBytes;
  return bytes;
}

void Cache::adopt(uint32_t seq, const std::vector<const CachedBlock *> &blocks,
                  const int32_t *ids) {
  const CachedBlock &last = *blocks.back();
  // Pages that were reserved for the tokens which now come from blocks.
  clear(seq);
  std::vector<int32_t> tokens(ids, ids + last.end);
  std::vector<uint64_t> perPool(pools.size(), 0);
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      perPool[poolOf[layer]] += last.copies[firstHead[layer] + head].size();
  ensurePages(perPool);
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      uint64_t pages =
          ceilDiv(last.extents[firstHead[layer] + head], layers[layer].page);
      for (Slab &slab : slabs[layer])
        if (slab.perPage() && !slab.commitPages(seq, head, 0, pages))
          fail(Code::ResourceExhausted,
               "there is no memory for the fields of %llu pages",
               static_cast<unsigned long long>(pages));
    }

  // Nothing below can fail.
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      PagePool &pool = *pools[poolOf[layer]];
      HeadState &now = state(seq, layer, head);
      int32_t *next = tableRow(seq, layer, head);
      for (const CachedBlock *block : blocks)
        for (int32_t page : block->pages[firstHead[layer] + head]) {
          pool.share(page);
          *next++ = page;
        }
      for (int32_t page : last.copies[firstHead[layer] + head]) {
        *next = pool.allocate();
        pool.copy(*next++, page);
      }
      now.extent = last.extents[firstHead[layer] + head];
      now.pages = ceilDiv(now.extent, layers[layer].page);
      tables[layer].changed(seq, head, 0, now.pages);
    }
  for (const CachedBlock *block : blocks) {
    const uint8_t *from = block->fields.data();
    forSharedFields(*block, [&](const Slab &slab, uint32_t head, uint64_t first,
                                uint64_t end, uint64_t bytes) {
      slab.storeEntries(seq, head, first, end, from);
      from += bytes;
    });
  }
  const uint8_t *from = last.state.data();
  forOwnState(last, [&](const Slab &slab, uint32_t head, uint64_t pages,
                        uint64_t bytes) {
    if (pages)
      slab.storeEntries(seq, head, 0, pages, from);
    else
      slab.storeRow(seq, from);
    from += bytes;
  });
  Sequence &sequence = sequences[seq];
  sequence.length = sequence.plain = sequence.adopted = last.end;
  sequence.evicted = last.evicted;
  sequence.tokens = std::move(tokens);
  storeCounts(seq);
  notePeak();
}
