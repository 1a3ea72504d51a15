//===- Cache.cpp - The paged KV cache -------------------------------------===//

#include "Cache.h"
#include "Checked.h"

#include <algorithm>

using namespace sparse::runtime;

Cache::Cache(Memory &memory, const std::vector<LayerLayout> &layouts,
             const CacheOptions &options)
    : memory(memory), layers(layouts), opts(options) {
  size_t heads = 0;
  for (const LayerLayout &layout : layers) {
    size_t pool = 0;
    while (pool < pools.size() && pools[pool]->pageBytes() != layout.pageBytes)
      ++pool;
    if (pool == pools.size())
      pools.push_back(std::make_unique<PagePool>(
          memory, layout.pageBytes,
          std::max<uint64_t>(1, opts.limitBytes / layout.pageBytes)));
    poolOf.push_back(pool);
    firstHead.push_back(heads);
    heads += layout.kvHeads;
  }
  placeSlabs();
  sequences.resize(opts.maxSequences);
  for (Sequence &sequence : sequences)
    sequence.heads.resize(heads);
}

/// Slabs that would not fill a granule lie side by side.
void Cache::placeSlabs() {
  // What a bulk copy of a device needs, and never less than an element.
  constexpr uint64_t alignment = 256;
  auto isSmall = [&](const Component &component) {
    return Slab::bytesOf(component, opts.maxSequences) < memory.granularity();
  };
  uint64_t bytes = 0;
  for (const LayerLayout &layout : layers)
    for (const Component &component : layout.components)
      if (isSmall(component))
        bytes = checkedAdd(
            bytes, alignTo(Slab::bytesOf(component, opts.maxSequences),
                           alignment));
  small = Region(memory, bytes, Backing::Whole, /*huge=*/false);
  uint8_t *next = small.data();
  for (const LayerLayout &layout : layers) {
    slabs.emplace_back();
    slabs.back().reserve(layout.components.size());
    for (const Component &component : layout.components) {
      uint8_t *place = nullptr;
      if (isSmall(component)) {
        place = next;
        next +=
            alignTo(Slab::bytesOf(component, opts.maxSequences), alignment);
      }
      slabs.back().emplace_back(memory, component, layout, opts.maxSequences,
                                place);
    }
    tables.emplace_back(memory, slabs.back()[layout.table], layout,
                        opts.maxSequences);
  }
}

void Cache::flush() {
  for (PageTable &table : tables)
    table.flush();
}

//===----------------------------------------------------------------------===//
// Addresses
//===----------------------------------------------------------------------===//

uint8_t *Cache::keyBase(uint32_t layer) const {
  return pools[poolOf[layer]]->base();
}

uint8_t *Cache::valueBase(uint32_t layer) const {
  return keyBase(layer) + layers[layer].keyBytes;
}

uint8_t *Cache::slabBase(uint32_t layer, size_t component) const {
  return slabs[layer][component].base();
}

//===----------------------------------------------------------------------===//
// Arithmetic of extents
//===----------------------------------------------------------------------===//

/// The extent after one prefill chunk or after `n` decode steps of a sequence
/// of `length` tokens. A decode step takes the victim's slot when there is one,
/// and leaves a victim whenever the extent is beyond the cap. A prefill neither
/// takes nor leaves one.
uint64_t Cache::nextExtent(const LayerLayout &layout, uint32_t head,
                           const HeadState &now, uint64_t length, uint64_t n,
                           Append how) const {
  if (how == Append::Prefill || layout.caps[head] < 0)
    return now.extent + n;
  uint64_t extent = now.extent;
  bool victim = now.victim;
  for (uint64_t step = 1; step <= n; ++step) {
    uint64_t cap =
        static_cast<uint64_t>(layout.capAt(head, length + step, now.budget));
    extent += !victim;
    victim = extent > cap;
    // Beyond the largest cap nothing changes any more.
    if (extent >
        (now.budget ? now.budget : static_cast<uint64_t>(layout.caps[head])))
      break;
  }
  return extent;
}

/// The largest extent while `n` tokens are appended, compactions included.
uint64_t Cache::peakExtent(const LayerLayout &layout, uint32_t head,
                           const HeadState &now, uint64_t length, uint64_t n,
                           Append how) const {
  if (how == Append::Decode || layout.caps[head] < 0 ||
      layout.prefillCap != PrefillCap::Chunk)
    return nextExtent(layout, head, now, length, n, how);
  uint64_t extent = now.extent, peak = extent;
  while (n > 0) {
    uint64_t rows = std::min(n, opts.chunk);
    length += rows;
    peak = std::max(peak, extent + rows);
    extent = std::min<uint64_t>(
        extent + rows,
        static_cast<uint64_t>(layout.capAt(head, length, now.budget)));
    n -= rows;
  }
  return peak;
}

/// Pages that may change after they are full cannot have two owners. A cap
/// makes a compaction possible, which rewrites pages too.
bool Cache::sharable(const LayerLayout &layout, uint32_t head) const {
  return !layout.writesInPlace && layout.caps[head] < 0;
}

//===----------------------------------------------------------------------===//
// Pages
//===----------------------------------------------------------------------===//

void Cache::ensurePages(const std::vector<uint64_t> &perPool) {
  while (true)
    try {
      return ensurePagesOnce(perPool);
    } catch (const Error &error) {
      if (error.code != Code::ResourceExhausted || !reclaim || !reclaim())
        throw;
    }
}

void Cache::ensurePagesOnce(const std::vector<uint64_t> &perPool) {
  // One limit over all pools; each pool alone cannot see it.
  uint64_t total = 0;
  for (size_t i = 0; i < pools.size(); ++i)
    total += (pools[i]->inUse() + perPool[i]) * pools[i]->pageBytes();
  if (total > opts.limitBytes)
    fail(Code::ResourceExhausted,
         "the cache would need %llu bytes, the limit is %llu; raise the limit "
         "or free sequences",
         static_cast<unsigned long long>(total),
         static_cast<unsigned long long>(opts.limitBytes));
  for (size_t i = 0; i < pools.size(); ++i)
    pools[i]->ensure(perPool[i]);
}

void Cache::dropPages(uint32_t seq, uint32_t layer, uint32_t head,
                      uint64_t keep, std::vector<std::vector<int32_t>> &freed) {
  HeadState &head_ = state(seq, layer, head);
  int32_t *table = tableRow(seq, layer, head);
  for (uint64_t i = keep; i < head_.pages; ++i) {
    freed[poolOf[layer]].push_back(table[i]);
    table[i] = -1;
  }
  tables[layer].changed(seq, head, keep, head_.pages);
  head_.pages = std::min(head_.pages, keep);
}

void Cache::release(std::vector<std::vector<int32_t>> &freed) {
  for (size_t i = 0; i < pools.size(); ++i)
    pools[i]->release(freed[i]);
}

void Cache::notePeak() {
  uint64_t bytes = 0;
  for (const auto &pool : pools)
    bytes += pool->inUse() * pool->pageBytes();
  mostPageBytes = std::max(mostPageBytes, bytes);
}

void Cache::reserve(const uint32_t *seqs, size_t count, uint64_t n,
                    Append how) {
  struct Need {
    uint32_t seq, layer, head;
    uint64_t pages;
    bool copyTail;
  };
  std::vector<Need> needs;
  std::vector<uint64_t> perPool(pools.size(), 0);
  for (size_t i = 0; i < count; ++i) {
    uint32_t seq = seqs[i];
    const Sequence &sequence = sequences[seq];
    if (n > opts.maxContext - std::min(opts.maxContext, sequence.length))
      fail(Code::OutOfRange,
           "sequence has %llu tokens, %llu more exceed the context of %llu",
           static_cast<unsigned long long>(sequence.length),
           static_cast<unsigned long long>(n),
           static_cast<unsigned long long>(opts.maxContext));
    for (uint32_t layer = 0; layer < layers.size(); ++layer) {
      const LayerLayout &layout = layers[layer];
      for (uint32_t head = 0; head < layout.kvHeads; ++head) {
        const HeadState &now = state(seq, layer, head);
        uint64_t extent = peakExtent(layout, head, now, sequence.length, n, how);
        if (extent > layout.maxSlots())
          fail(Code::OutOfRange,
               "layer %u holds at most %llu slots per head, %llu are needed",
               layer, static_cast<unsigned long long>(layout.maxSlots()),
               static_cast<unsigned long long>(extent));
        uint64_t pages = ceilDiv(extent, layout.page);
        // A page that is shared since it was full can become the tail again
        // by a trim; it is written next.
        uint64_t tail = now.extent / layout.page;
        bool copyTail = n > 0 && now.extent % layout.page != 0 &&
                        pools[poolOf[layer]]->references(
                            tableRow(seq, layer, head)[tail]) > 1;
        if (pages <= now.pages && !copyTail)
          continue;
        pages = std::max(pages, now.pages);
        needs.push_back({seq, layer, head, pages, copyTail});
        perPool[poolOf[layer]] += pages - now.pages + copyTail;
      }
    }
  }
  ensurePages(perPool);
  for (size_t i = 0; i < count; ++i) {
    // So that `advance` cannot fail.
    std::vector<int32_t> &tokens = sequences[seqs[i]].tokens;
    if (tokens.capacity() < tokens.size() + n)
      tokens.reserve(std::max(tokens.size() + n, tokens.capacity() * 2));
  }
  for (const Need &need : needs)
    for (Slab &slab : slabs[need.layer])
      if (slab.perPage() &&
          !slab.commitPages(need.seq, need.head,
                            state(need.seq, need.layer, need.head).pages,
                            need.pages))
        fail(Code::ResourceExhausted,
             "there is no memory for the fields of %llu pages",
             static_cast<unsigned long long>(need.pages));

  // Nothing below can fail.
  for (size_t i = 0; i < needs.size();) {
    // Heads that get the same pages are initialised together.
    const Need &first = needs[i];
    uint64_t from = state(first.seq, first.layer, first.head).pages;
    size_t heads = 1;
    while (i + heads < needs.size()) {
      const Need &next = needs[i + heads];
      if (next.seq != first.seq || next.layer != first.layer ||
          next.head != first.head + heads || next.pages != first.pages ||
          state(next.seq, next.layer, next.head).pages != from)
        break;
      ++heads;
    }
    if (first.pages > from)
      for (const Slab &slab : slabs[first.layer])
        if (slab.perPage())
          slab.initPages(first.seq, first.head, from, first.pages, heads);
    i += heads;
  }
  for (const Need &need : needs) {
    const LayerLayout &layout = layers[need.layer];
    PagePool &pool = *pools[poolOf[need.layer]];
    HeadState &now = state(need.seq, need.layer, need.head);
    int32_t *table = tableRow(need.seq, need.layer, need.head);
    // Two rows of one batch may share the page: the last owner keeps it.
    uint64_t tail = now.extent / layout.page;
    if (need.copyTail && pool.references(table[tail]) > 1) {
      int32_t page = pool.allocate();
      pool.copy(page, table[tail]);
      pool.drop(table[tail]);
      table[tail] = page;
      tables[need.layer].changed(need.seq, need.head, tail, tail + 1);
    }
    for (uint64_t i = now.pages; i < need.pages; ++i)
      table[i] = pool.allocate();
    tables[need.layer].changed(need.seq, need.head, now.pages, need.pages);
    now.pages = need.pages;
  }
  notePeak();
}

void Cache::advance(uint32_t seq, uint64_t n, Append how, const int32_t *ids) {
  Sequence &sequence = sequences[seq];
  uint64_t length = sequence.length;
  if (ids && sequence.tokens.size() == sequence.length) {
    sequence.tokens.insert(sequence.tokens.end(), ids, ids + n);
    if (how == Append::Prefill && n == opts.chunk &&
        sequence.plain == sequence.length)
      sequence.plain += n;
  }
  sequence.length += n;
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      HeadState &now = state(seq, layer, head);
      now.extent = nextExtent(layout, head, now, length, n, how);
      // Beyond its cap a head has chosen a victim, whose token is lost.
      int64_t cap = layout.capAt(head, sequence.length, now.budget);
      if (how == Append::Decode && cap >= 0) {
        now.victim = now.extent > static_cast<uint64_t>(cap);
        sequence.evicted |= now.victim;
      }
    }
  }
}

//===----------------------------------------------------------------------===//
// Caps that prompts set
//===----------------------------------------------------------------------===//

bool Cache::needsBudgets(uint32_t seq) const {
  bool any = false;
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    any |= layers[layer].budget.has_value();
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      if (budget(seq, layer, head) != 0)
        return false;
  }
  return any;
}

void Cache::takeBudgets(uint32_t seq) {
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    if (!layout.budget)
      continue;
    std::vector<int32_t> row(layout.kvHeads);
    slabs[layer][*layout.budget].loadRow(seq, row.data());
    memory.throwIfFailed();
    bool any = false;
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      if (row[head] < 0 || row[head] > std::max<int64_t>(layout.caps[head], 0))
        fail(Code::Internal,
             "layer %u head %u: the kernels set a budget of %d slots, the cap "
             "is %lld",
             layer, head, row[head], static_cast<long long>(layout.caps[head]));
      state(seq, layer, head).budget = static_cast<uint64_t>(row[head]);
      any |= row[head] != 0;
    }
    if (!any)
      fail(Code::Internal, "layer %u: the kernels set no budget", layer);
  }
  // At the end of a longer prompt they would be others.
  sequences[seq].plain = 0;
}

void Cache::dropBudgets(uint32_t seq) {
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      state(seq, layer, head).budget = 0;
    if (layers[layer].budget)
      slabs[layer][*layers[layer].budget].initRow(seq);
  }
}

//===----------------------------------------------------------------------===//
// Compaction
//===----------------------------------------------------------------------===//

static bool concerns(const LayerLayout &layout, uint32_t head, Compact which) {
  return layout.caps[head] >= 0 &&
         (which == Compact::Capped || layout.prefillCap == PrefillCap::Chunk);
}

bool Cache::needsCompaction(uint32_t seq, Compact which) const {
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      if (concerns(layers[layer], head, which) &&
          extent(seq, layer, head) >
              static_cast<uint64_t>(layers[layer].capAt(
                  head, sequences[seq].length, budget(seq, layer, head))))
        return true;
  return false;
}

void Cache::compacted(uint32_t seq, Compact which, bool goesOn) {
  // In the middle of a longer prompt this would not have happened.
  if (which == Compact::Capped)
    sequences[seq].plain = 0;
  std::vector<std::vector<int32_t>> freed(pools.size());
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      if (!concerns(layout, head, which))
        continue;
      HeadState &now = state(seq, layer, head);
      uint64_t cap = static_cast<uint64_t>(
          layout.capAt(head, sequences[seq].length, now.budget));
      // A hole goes even where a budget is now more than the head holds.
      if (now.extent > cap || now.victim) {
        now.extent = std::min(now.extent - now.victim, cap);
        now.victim = false;
        sequences[seq].evicted = true;
      }
      uint64_t keep = ceilDiv(now.extent, layout.page);
      if (!goesOn) {
        dropPages(seq, layer, head, keep, freed);
        continue;
      }
      if (keep < now.pages)
        for (const Slab &slab : slabs[layer])
          if (slab.perPage())
            slab.initPages(seq, head, keep, now.pages);
    }
  }
  release(freed);
}

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

void Cache::commitRows(uint32_t seq) {
  for (auto &components : slabs)
    for (Slab &slab : components)
      if (!slab.perPage() && !slab.commitRow(seq))
        fail(Code::ResourceExhausted,
             "there is no memory for the tables of one more sequence");
}

void Cache::initHeads(uint32_t seq) {
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    for (size_t i = 0; i < slabs[layer].size(); ++i)
      if (!slabs[layer][i].perPage() && i != layers[layer].table)
        slabs[layer][i].initRow(seq);
    tables[layer].initRow(seq);
  }
}

uint32_t Cache::create() {
  for (uint32_t seq = 0; seq < sequences.size(); ++seq) {
    if (sequences[seq].live)
      continue;
    std::string salt = opts.salt;
    commitRows(seq);
    initHeads(seq);
    sequences[seq].salt = std::move(salt);
    sequences[seq].live = true;
    return seq;
  }
  fail(Code::ResourceExhausted, "all %u sequences are in use",
       opts.maxSequences);
}

void Cache::clear(uint32_t seq) {
  std::vector<std::vector<int32_t>> freed(pools.size());
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      dropPages(seq, layer, head, 0, freed);
      state(seq, layer, head) = HeadState();
    }
  release(freed);
  Sequence &sequence = sequences[seq];
  sequence.length = 0;
  sequence.evicted = false;
  sequence.tokens.clear();
  sequence.plain = sequence.adopted = 0;
  // The other rows stay: a clear must not fail.
  for (auto &components : slabs)
    for (Slab &slab : components)
      if (slab.perPage())
        slab.dropRow(seq);
  initHeads(seq);
}

void Cache::destroy(uint32_t seq) {
  clear(seq);
  for (auto &components : slabs)
    for (Slab &slab : components)
      slab.dropRow(seq);
  sequences[seq].live = false;
}

/// A new sequence with memory for the fields of as many pages per head.
uint32_t Cache::createWithPages(const std::vector<uint64_t> &pages) {
  uint32_t seq = create();
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      for (Slab &slab : slabs[layer])
        if (slab.perPage() &&
            !slab.commitPages(seq, head, 0, pages[firstHead[layer] + head])) {
          destroy(seq);
          fail(Code::ResourceExhausted,
               "there is no memory for the fields of one more sequence");
        }
  return seq;
}

uint32_t Cache::fork(uint32_t from) {
  std::vector<uint64_t> perPool(pools.size(), 0);
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      uint64_t slots = extent(from, layer, head);
      perPool[poolOf[layer]] += sharable(layout, head)
                                    ? slots % layout.page != 0
                                    : ceilDiv(slots, layout.page);
    }
  }
  ensurePages(perPool);
  std::vector<int32_t> tokens = sequences[from].tokens;
  std::string salt = sequences[from].salt;
  std::vector<uint64_t> pagesOf;
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      pagesOf.push_back(
          ceilDiv(extent(from, layer, head), layers[layer].page));
  uint32_t to = createWithPages(pagesOf);

  // Nothing below can fail.
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    PagePool &pool = *pools[poolOf[layer]];
    for (size_t i = 0; i < slabs[layer].size(); ++i)
      if (!slabs[layer][i].perPage() && i != layout.table)
        slabs[layer][i].copyRow(from, to);
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      const HeadState &source = state(from, layer, head);
      HeadState &target = state(to, layer, head);
      const int32_t *sourceTable = tableRow(from, layer, head);
      int32_t *targetTable = tableRow(to, layer, head);
      uint64_t full = source.extent / layout.page;
      uint64_t pages = ceilDiv(source.extent, layout.page);
      for (uint64_t i = 0; i < pages; ++i) {
        if (i < full && sharable(layout, head)) {
          pool.share(sourceTable[i]);
          targetTable[i] = sourceTable[i];
          continue;
        }
        targetTable[i] = pool.allocate();
        pool.copy(targetTable[i], sourceTable[i]);
      }
      tables[layer].changed(to, head, 0, pages);
      for (const Slab &slab : slabs[layer])
        if (slab.perPage())
          slab.copyPages(from, to, head, pages);
      target.extent = source.extent;
      target.victim = source.victim;
      target.budget = source.budget;
      target.pages = pages;
    }
  }
  sequences[to].length = sequences[from].length;
  sequences[to].evicted = sequences[from].evicted;
  sequences[to].tokens = std::move(tokens);
  sequences[to].salt = std::move(salt);
  sequences[to].plain = sequences[from].plain;
  notePeak();
  return to;
}

void Cache::trim(uint32_t seq, uint64_t n) {
  Sequence &sequence = sequences[seq];
  if (n > sequence.length)
    fail(Code::OutOfRange, "sequence has %llu tokens, cannot trim to %llu",
         static_cast<unsigned long long>(sequence.length),
         static_cast<unsigned long long>(n));
  if (n == sequence.length)
    return;
  if (sequence.evicted)
    fail(Code::FailedPrecondition,
         "a head of the sequence has evicted tokens; clear it instead, or fork "
         "before what may have to be undone");
  std::vector<std::vector<int32_t>> freed(pools.size());
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      // Nothing was evicted, so the extent of every head is the length.
      state(seq, layer, head).extent = n;
      uint64_t pages = ceilDiv(n, layout.page);
      dropPages(seq, layer, head, pages, freed);
      for (const Slab &slab : slabs[layer])
        if (slab.perPage())
          slab.initSlots(seq, head, n, pages * layout.page);
    }
    storeCounts(seq, layer);
  }
  if (sequence.tokens.size() > n)
    sequence.tokens.resize(n);
  // A sequence without tokens has no prompt whose budgets it could keep.
  if (n == 0)
    dropBudgets(seq);
  // Page fields are made anew by other means than a prefill's.
  sequence.plain = 0;
  sequence.length = n;
  release(freed);
}

//===----------------------------------------------------------------------===//
// Content
//===----------------------------------------------------------------------===//

// Pages move in blocks of about this many bytes.
static constexpr uint64_t blockBytes = 1 << 20;

std::vector<CachePart>
sparse::runtime::partsOf(const std::vector<LayerLayout> &layers,
                         const std::vector<SequenceState::Head> &heads) {
  std::vector<CachePart> parts;
  size_t next = 0;
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    for (size_t i = 0; i < layout.components.size(); ++i) {
      const Component &component = layout.components[i];
      if (i == layout.table)
        continue;
      CachePart part;
      part.layer = layer;
      part.component = i;
      if (component.scope != Scope::Slot && component.scope != Scope::Page) {
        part.bytes = component.rowBytes();
        parts.push_back(part);
        continue;
      }
      part.kind = CachePart::Entries;
      for (uint32_t head = 0; head < layout.kvHeads; ++head) {
        part.head = head;
        part.end = ceilDiv(heads[next + head].extent, layout.page);
        part.bytes = checkedMul(Slab::bytesPerPage(component, layout), part.end);
        if (part.end)
          parts.push_back(part);
      }
    }
    next += layout.kvHeads;
  }
  next = 0;
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    uint64_t block = std::max<uint64_t>(1, blockBytes / layout.pageBytes);
    for (uint32_t head = 0; head < layout.kvHeads; ++head, ++next) {
      uint64_t pages = ceilDiv(heads[next].extent, layout.page);
      for (uint64_t begin = 0; begin < pages; begin += block) {
        CachePart part;
        part.kind = CachePart::Pages;
        part.layer = layer;
        part.head = head;
        part.begin = begin;
        part.end = std::min(pages, begin + block);
        part.bytes = checkedMul(part.end - begin, layout.pageBytes);
        parts.push_back(part);
      }
    }
  }
  return parts;
}

SequenceState Cache::stateOf(uint32_t seq) const {
  const Sequence &sequence = sequences[seq];
  SequenceState state;
  state.length = sequence.length;
  state.evicted = sequence.evicted;
  for (const HeadState &head : sequence.heads)
    state.heads.push_back({head.extent, head.victim, head.budget});
  if (tokens(seq))
    state.tokens = sequence.tokens;
  return state;
}

uint32_t Cache::createAs(const SequenceState &from) {
  std::vector<uint64_t> perPool(pools.size(), 0), pagesOf;
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      pagesOf.push_back(ceilDiv(from.heads[firstHead[layer] + head].extent,
                                layers[layer].page));
      perPool[poolOf[layer]] += pagesOf.back();
    }
  ensurePages(perPool);
  std::vector<int32_t> tokens = from.tokens;
  uint32_t seq = createWithPages(pagesOf);

  // Nothing below can fail.
  Sequence &sequence = sequences[seq];
  sequence.length = from.length;
  sequence.evicted = from.evicted;
  sequence.tokens = std::move(tokens);
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head) {
      const SequenceState::Head &wanted = from.heads[firstHead[layer] + head];
      HeadState &now = state(seq, layer, head);
      now.extent = wanted.extent;
      now.victim = wanted.victim;
      now.budget = wanted.budget;
      now.pages = pagesOf[firstHead[layer] + head];
      int32_t *table = tableRow(seq, layer, head);
      for (uint64_t i = 0; i < now.pages; ++i)
        table[i] = pools[poolOf[layer]]->allocate();
      tables[layer].changed(seq, head, 0, now.pages);
    }
  notePeak();
  return seq;
}

/// Calls `fn(address, offset, bytes)` for runs of pages that lie side by side.
template <typename Fn>
static void forPageRuns(const PagePool &pool, const int32_t *table,
                        const CachePart &part, Fn fn) {
  uint64_t bytes = pool.pageBytes();
  for (uint64_t i = part.begin; i < part.end;) {
    uint64_t run = 1;
    while (i + run < part.end &&
           table[i + run] == table[i] + static_cast<int32_t>(run))
      ++run;
    fn(pool.address(table[i]), (i - part.begin) * bytes, run * bytes);
    i += run;
  }
}

void Cache::readPart(uint32_t seq, const CachePart &part, void *host) const {
  if (part.kind == CachePart::Row)
    return slabs[part.layer][part.component].loadRow(seq, host);
  if (part.kind == CachePart::Entries)
    return slabs[part.layer][part.component].loadEntries(seq, part.head, 0,
                                                         part.end, host);
  forPageRuns(*pools[poolOf[part.layer]],
              tableRow(seq, part.layer, part.head), part,
              [&](uint8_t *address, uint64_t offset, uint64_t bytes) {
                memory.download(static_cast<uint8_t *>(host) + offset, address,
                                bytes);
              });
}

void Cache::writePart(uint32_t seq, const CachePart &part, const void *host) {
  if (part.kind == CachePart::Row)
    return slabs[part.layer][part.component].storeRow(seq, host);
  if (part.kind == CachePart::Entries)
    return slabs[part.layer][part.component].storeEntries(seq, part.head, 0,
                                                          part.end, host);
  forPageRuns(*pools[poolOf[part.layer]],
              tableRow(seq, part.layer, part.head), part,
              [&](uint8_t *address, uint64_t offset, uint64_t bytes) {
                memory.upload(address,
                              static_cast<const uint8_t *>(host) + offset,
                              bytes);
              });
}

//===----------------------------------------------------------------------===//
// Reports
//===----------------------------------------------------------------------===//

CacheUsage Cache::usage(uint32_t seq) const {
  CacheUsage usage;
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    const LayerLayout &layout = layers[layer];
    uint64_t fields = 0;
    for (const Slab &slab : slabs[layer])
      fields += slab.bytesPerPage();
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      uint64_t pages = state(seq, layer, head).pages;
      usage.pages += pages;
      usage.pageBytes += pages * layout.pageBytes;
      usage.bytes += pages * (layout.pageBytes + fields);
      usage.densePages += ceilDiv(sequences[seq].length, layout.page);
    }
  }
  return usage;
}

CacheUsage Cache::usage() const {
  CacheUsage total;
  for (uint32_t seq = 0; seq < sequences.size(); ++seq) {
    if (!sequences[seq].live)
      continue;
    CacheUsage one = usage(seq);
    // Fields are per sequence; pages are counted by the pools.
    total.bytes += one.bytes - one.pageBytes;
    total.densePages += one.densePages;
  }
  for (const auto &pool : pools) {
    total.pages += pool->inUse();
    total.pageBytes += pool->inUse() * pool->pageBytes();
  }
  total.bytes += total.pageBytes;
  return total;
}

int64_t Cache::counter(uint32_t seq, uint32_t layer, size_t component) const {
  std::vector<int32_t> row(layers[layer].components[component].elements());
  slabs[layer][component].loadRow(seq, row.data());
  int64_t sum = 0;
  for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
    sum += row[head];
  return sum;
}

void Cache::storeCounts(uint32_t seq, uint32_t layer) {
  std::vector<int32_t> row;
  for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
    row.push_back(static_cast<int32_t>(extent(seq, layer, head)));
  slabs[layer][layers[layer].count].storeRow(seq, row.data());
}

void Cache::storeCounts(uint32_t seq) {
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    storeCounts(seq, layer);
}

void Cache::checkCounts(uint32_t seq) const {
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    std::vector<int32_t> row(layers[layer].kvHeads);
    slabs[layer][layers[layer].count].loadRow(seq, row.data());
    for (uint32_t head = 0; head < layers[layer].kvHeads; ++head)
      if (row[head] != static_cast<int64_t>(extent(seq, layer, head)))
        fail(Code::Internal,
             "layer %u head %u: the kernels count %d slots, the host %llu",
             layer, head, row[head],
             static_cast<unsigned long long>(extent(seq, layer, head)));
  }
}
