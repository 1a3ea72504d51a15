//===- CacheModelTest.cpp - The cache against a simple model --------------===//
//
// Random operations on a cache, with a simulated device in the place of the
// kernels, against a model that knows no pages: per head a list of slots. After
// every operation all content, tables, counts and references are compared.
//
// An operation is four random numbers that are reduced to what is possible at
// that moment, so any part of a trace is a trace, and a failing one can be
// shrunk by leaving operations out. SPARSE_TEST_SEED repeats a run,
// SPARSE_TEST_OPS changes its length.
//
//===----------------------------------------------------------------------===//

#include "Cache.h"
#include "TestUtil.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <sstream>

using namespace sparse::runtime;

namespace {

struct Op {
  enum Kind {
    Create,
    Destroy,
    Prefill,
    Decode,
    Reserve,
    Fork,
    Trim,
    Clear,
    FailNext,
    NumKinds
  };
  Kind kind;
  uint32_t a, b, c;

  std::string str() const {
    static const char *const names[] = {"create", "destroy", "prefill",
                                        "decode", "reserve", "fork",
                                        "trim",   "clear",   "fail-next"};
    std::ostringstream text;
    text << names[kind] << "(" << a << ", " << b << ", " << c << ")";
    return text.str();
  }
};

/// Faults that a test plants to see that the comparison finds them.
enum class Bug { None, ForkSharesTail, DecodeForgetsVictim, TrimKeepsCount };

LayerLayout makeLayout(uint32_t page, uint64_t pageBytes,
                       std::vector<int64_t> caps, PrefillCap prefillCap,
                       bool inPlace) {
  LayerLayout l;
  l.kvHeads = static_cast<uint32_t>(caps.size());
  l.page = page;
  l.pageBytes = pageBytes;
  l.keyBytes = page * 8;
  l.slotBytes = 16;
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
  add("tokens", {l.kvHeads, l.maxPages}, Scope::Page, -5);
  add("appends", {l.kvHeads}, Scope::Head, 0);
  l.table = 0;
  l.count = 1;
  l.victim = 2;
  return l;
}

/// One slot as the model knows it. Its bytes in a page are `tag` twice.
struct Slot {
  uint64_t tag = 0;
  int32_t position = -1;
};

struct ModelHead {
  std::vector<Slot> slots; ///< in use, dead ones too
  int64_t victim = -1;
  std::vector<int32_t> tokens; ///< field: appends per page
  int32_t appends = 0;
};

struct ModelSequence {
  bool evicted = false;
  uint64_t length = 0;
  std::vector<std::vector<ModelHead>> heads; ///< [layer][head]
};

class Harness {
public:
  explicit Harness(Bug bug) : bug(bug) {
    layers.push_back(makeLayout(4, 192, {-1, -1}, PrefillCap::None, false));
    layers.push_back(makeLayout(4, 192, {10, -1}, PrefillCap::End, true));
    layers.push_back(makeLayout(8, 4096, {5}, PrefillCap::Chunk, true));
    layers.push_back(makeLayout(2, 192, {3, 7}, PrefillCap::None, false));
    CacheOptions options;
    options.maxSequences = 5;
    options.limitBytes = 48 << 10;
    options.maxContext = 90;
    options.chunk = 8;
    cache = std::make_unique<Cache>(memory, layers, options);
    chunk = options.chunk;
  }

  /// Runs a trace. Empty when all comparisons hold, else what does not.
  std::string run(const std::vector<Op> &ops) {
    for (size_t i = 0; i < ops.size(); ++i) {
      std::string problem = apply(ops[i]);
      if (problem.empty())
        problem = compare();
      if (!problem.empty())
        return "after operation " + std::to_string(i) + " " + ops[i].str() +
               ": " + problem;
    }
    return "";
  }

  uint64_t refused = 0, evictions = 0, forks = 0, trims = 0, compactions = 0;

private:
  //===--------------------------------------------------------------------===//
  // Operations
  //===--------------------------------------------------------------------===//

  std::string apply(const Op &op) {
    std::vector<uint32_t> live;
    for (const auto &entry : model)
      live.push_back(entry.first);
    if (op.kind == Op::FailNext) {
      memory.failAfter = op.a % 2;
      return "";
    }
    if (op.kind == Op::Create || live.empty())
      return create();
    uint32_t seq = live[op.a % live.size()];
    switch (op.kind) {
    case Op::Destroy:
      cache->destroy(seq);
      model.erase(seq);
      return "";
    case Op::Prefill:
      return prefill(seq, 1 + op.b % 30, op.c);
    case Op::Decode:
      return decode(live, op);
    case Op::Reserve: {
      Append how = op.c % 2 ? Append::Prefill : Append::Decode;
      refusable([&] { cache->reserve(seq, op.b % 40, how); });
      return "";
    }
    case Op::Fork:
      return fork(seq);
    case Op::Trim:
      // Mostly to a length that there is.
      return trim(seq, op.c % 4 ? op.b % (model[seq].length + 1) : op.b % 60);
    case Op::Clear:
      cache->clear(seq);
      model[seq] = fresh();
      return "";
    default:
      return "";
    }
  }

  /// True when `fn` was done. A refusal must leave everything as it was, which
  /// the comparison afterwards sees, because the model was not changed.
  template <typename Fn> bool refusable(Fn fn) {
    try {
      fn();
      return true;
    } catch (const Error &error) {
      if (error.code != Code::ResourceExhausted &&
          error.code != Code::OutOfRange &&
          error.code != Code::FailedPrecondition)
        throw;
      ++refused;
      return false;
    }
  }

  ModelSequence fresh() const {
    ModelSequence sequence;
    for (const LayerLayout &layout : layers)
      sequence.heads.emplace_back(layout.kvHeads);
    return sequence;
  }

  std::string create() {
    uint32_t seq = 0;
    if (!refusable([&] { seq = cache->create(); }))
      return model.size() == 5 ? "" : "create was refused";
    if (model.count(seq))
      return "create returned a sequence in use";
    model[seq] = fresh();
    return "";
  }

  std::string prefill(uint32_t seq, uint64_t n, uint32_t random) {
    if (!refusable([&] { cache->reserve(seq, n, Append::Prefill); }))
      return "";
    for (uint64_t done = 0; done < n;) {
      uint64_t rows = std::min(chunk, n - done);
      if (done > 0 &&
          !refusable([&] { cache->reserve(seq, rows, Append::Prefill); }))
        return "a later chunk of a reserved prompt was refused";
      for (uint64_t i = 0; i < rows; ++i) {
        std::string problem = appendToken(seq, false);
        if (!problem.empty())
          return problem;
      }
      cache->advance(seq, rows, Append::Prefill);
      done += rows;
      compact(seq, Compact::Chunk, random);
      if (done == n)
        compact(seq, Compact::Capped, random);
    }
    return "";
  }

  std::string decode(const std::vector<uint32_t> &live, const Op &op) {
    std::vector<uint32_t> rows;
    for (size_t i = 0; i < live.size(); ++i)
      if (op.b >> i & 1)
        rows.push_back(live[i]);
    if (!refusable([&] {
          cache->reserve(rows.data(), rows.size(), 1, Append::Decode);
        }))
      return "";
    for (uint32_t seq : rows) {
      std::string problem = appendToken(seq, true);
      if (!problem.empty())
        return problem;
      chooseVictims(seq, op.c);
      cache->advance(seq, 1, Append::Decode);
    }
    return "";
  }

  std::string fork(uint32_t from) {
    uint32_t to = 0;
    if (!refusable([&] { to = cache->fork(from); }))
      return "";
    if (model.count(to))
      return "fork returned a sequence in use";
    ++forks;
    model[to] = model[from];
    if (bug == Bug::ForkSharesTail && cache->pages(to, 0, 0) > 0) {
      // As if the tail had been shared.
      uint64_t last = cache->pages(to, 0, 0) - 1;
      component(0, 0, to)[last] = cache->pageAt(from, 0, 0, last);
    }
    return "";
  }

  std::string trim(uint32_t seq, uint64_t n) {
    ModelSequence &sequence = model[seq];
    bool legal =
        n == sequence.length || (n < sequence.length && !sequence.evicted);
    bool done = refusable([&] { cache->trim(seq, n); });
    if (done != legal)
      return legal ? "a legal trim was refused" : "an illegal trim was done";
    if (!done || n == sequence.length)
      return "";
    ++trims;
    sequence.length = n;
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        ModelHead &head = sequence.heads[l][h];
        head.slots.resize(n);
        uint64_t page = layers[l].page, pages = (n + page - 1) / page;
        // maintain_rebuild: the field from the slots in use.
        head.tokens.assign(pages, 0);
        int32_t *field = component(l, 4, seq) + h * layers[l].maxPages;
        std::fill_n(field, pages, 0);
        for (uint64_t i = 0; i < n; ++i) {
          ++head.tokens[i / page];
          ++field[i / page];
        }
      }
    if (bug == Bug::TrimKeepsCount)
      ++component(0, 1, seq)[0];
    return "";
  }

  //===--------------------------------------------------------------------===//
  // The device
  //===--------------------------------------------------------------------===//

  int32_t *component(uint32_t layer, size_t index, uint32_t seq) {
    const Component &c = layers[layer].components[index];
    return reinterpret_cast<int32_t *>(cache->slabBase(layer, index) +
                                       seq * c.rowBytes());
  }
  uint64_t *keyOf(uint32_t layer, int32_t page, uint64_t slot) {
    return reinterpret_cast<uint64_t *>(cache->keyBase(layer) +
                                        static_cast<uint64_t>(page) *
                                            layers[layer].pageBytes) +
           slot % layers[layer].page;
  }
  uint64_t *valueOf(uint32_t layer, int32_t page, uint64_t slot) {
    return reinterpret_cast<uint64_t *>(cache->valueBase(layer) +
                                        static_cast<uint64_t>(page) *
                                            layers[layer].pageBytes) +
           slot % layers[layer].page;
  }

  std::string appendToken(uint32_t seq, bool decode) {
    ModelSequence &sequence = model[seq];
    int32_t position = static_cast<int32_t>(sequence.length++);
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        // Device side, from device state alone.
        int32_t &count = component(l, 1, seq)[h];
        int32_t &victim = component(l, 2, seq)[h];
        bool reuse = decode && victim >= 0 && bug != Bug::DecodeForgetsVictim;
        uint64_t slot = static_cast<uint64_t>(reuse ? victim : count);
        if (slot >= layers[l].maxSlots())
          return "slot beyond the table";
        int32_t page = component(
            l, 0, seq)[h * layers[l].maxPages + slot / layers[l].page];
        if (page < 0)
          return "append without a reserved page in layer " + std::to_string(l);
        uint64_t tag = ++lastTag;
        *keyOf(l, page, slot) = tag;
        *valueOf(l, page, slot) = ~tag;
        component(l, 3, seq)[h * layers[l].maxSlots() + slot] = position;
        int32_t &field = component(
            l, 4, seq)[h * layers[l].maxPages + slot / layers[l].page];
        field = field < 0 ? 1 : field + 1;
        ++component(l, 5, seq)[h];
        if (reuse)
          victim = -1;
        else
          ++count;

        // Model side.
        ModelHead &head = sequence.heads[l][h];
        uint64_t at = head.slots.size();
        if (decode && head.victim >= 0) {
          at = static_cast<uint64_t>(head.victim);
          head.victim = -1;
        } else {
          head.slots.emplace_back();
        }
        head.slots[at] = {tag, position};
        uint64_t logical = at / layers[l].page;
        if (head.tokens.size() <= logical)
          head.tokens.resize(logical + 1, 0);
        ++head.tokens[logical];
        ++head.appends;
      }
    return "";
  }

  /// A policy that chooses anything: what is evicted is not the cache's affair.
  void chooseVictims(uint32_t seq, uint32_t random) {
    ModelSequence &sequence = model[seq];
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        int32_t count = component(l, 1, seq)[h];
        int64_t cap = layers[l].caps[h];
        if (cap < 0 || count <= cap)
          continue;
        int32_t victim = static_cast<int32_t>((random + l * 31 + h * 17) %
                                              static_cast<uint32_t>(count));
        component(l, 2, seq)[h] = victim;
        sequence.heads[l][h].victim = victim;
        sequence.evicted = true;
        ++evictions;
      }
  }

  void compact(uint32_t seq, Compact which, uint32_t random) {
    if (!cache->needsCompaction(seq, which))
      return;
    ++compactions;
    ModelSequence &sequence = model[seq];
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        int64_t cap = layers[l].caps[h];
        if (cap < 0 || (which == Compact::Chunk &&
                        layers[l].prefillCap != PrefillCap::Chunk))
          continue;
        ModelHead &head = sequence.heads[l][h];
        if (head.slots.size() > static_cast<uint64_t>(cap))
          sequence.evicted = true;
        if (head.victim >= 0)
          head.slots.erase(head.slots.begin() + head.victim);
        head.victim = -1;
        while (head.slots.size() > static_cast<uint64_t>(cap))
          head.slots.erase(head.slots.begin() +
                           (random + h) % head.slots.size());
        std::sort(head.slots.begin(), head.slots.end(),
                  [](const Slot &a, const Slot &b) {
                    return a.position < b.position;
                  });
        // The device gathers into the first pages and rebuilds the field.
        uint64_t page = layers[l].page;
        uint64_t extent = static_cast<uint64_t>(component(l, 1, seq)[h]);
        int32_t *positions = component(l, 3, seq) + h * layers[l].maxSlots();
        std::fill_n(positions, extent, -1);
        int32_t *field = component(l, 4, seq) + h * layers[l].maxPages;
        std::fill_n(field, (extent + page - 1) / page, 0);
        head.tokens.assign((head.slots.size() + page - 1) / page, 0);
        for (uint64_t i = 0; i < head.slots.size(); ++i) {
          int32_t id = component(l, 0, seq)[h * layers[l].maxPages + i / page];
          *keyOf(l, id, i) = head.slots[i].tag;
          *valueOf(l, id, i) = ~head.slots[i].tag;
          positions[i] = head.slots[i].position;
          ++field[i / page];
          ++head.tokens[i / page];
        }
        component(l, 1, seq)[h] = static_cast<int32_t>(head.slots.size());
        component(l, 2, seq)[h] = -1;
      }
    cache->compacted(seq, which);
  }

  //===--------------------------------------------------------------------===//
  // Comparison
  //===--------------------------------------------------------------------===//

  std::string compareHead(uint32_t seq, uint32_t l, uint32_t h,
                          std::map<std::pair<uint64_t, int32_t>, int> &owners) {
    const LayerLayout &layout = layers[l];
    const ModelHead &head = model[seq].heads[l][h];
    std::ostringstream where;
    where << "sequence " << seq << " layer " << l << " head " << h << ": ";
    auto bad = [&](const std::string &what) { return where.str() + what; };
    uint64_t extent = cache->extent(seq, l, h), pages = cache->pages(seq, l, h);
    if (extent != head.slots.size())
      return bad("extent " + std::to_string(extent) + ", expected " +
                 std::to_string(head.slots.size()));
    if (component(l, 1, seq)[h] != static_cast<int32_t>(extent))
      return bad("the device counts differently");
    if (component(l, 2, seq)[h] != head.victim)
      return bad("victim");
    if (component(l, 5, seq)[h] != head.appends)
      return bad("field of scope head");
    if (pages * layout.page < extent)
      return bad("fewer pages than slots");
    const int32_t *table = component(l, 0, seq) + h * layout.maxPages;
    for (uint64_t i = 0; i < layout.maxPages; ++i) {
      if ((table[i] >= 0) != (i < pages))
        return bad("table entry " + std::to_string(i));
      if (table[i] >= 0)
        ++owners[{layout.pageBytes, table[i]}];
    }
    const int32_t *position = component(l, 3, seq) + h * layout.maxSlots();
    const int32_t *field = component(l, 4, seq) + h * layout.maxPages;
    for (uint64_t i = 0; i < pages * layout.page; ++i) {
      if (i >= extent) {
        if (position[i] != -1)
          return bad("a free slot is not fresh");
        continue;
      }
      if (*keyOf(l, table[i / layout.page], i) != head.slots[i].tag ||
          *valueOf(l, table[i / layout.page], i) != ~head.slots[i].tag)
        return bad("content of slot " + std::to_string(i));
      if (position[i] != head.slots[i].position)
        return bad("position of slot " + std::to_string(i));
    }
    for (uint64_t i = 0; i < pages; ++i) {
      int32_t expected = i < head.tokens.size() ? head.tokens[i] : -5;
      // A compaction may leave the rest of the tail page at 0.
      if (field[i] != expected && !(field[i] == 0 && expected == -5))
        return bad("field of page " + std::to_string(i));
    }
    return "";
  }

  std::string compare() {
    std::map<std::pair<uint64_t, int32_t>, int> owners;
    for (const auto &entry : model) {
      if (cache->length(entry.first) != entry.second.length)
        return "length";
      if (cache->evicted(entry.first) != entry.second.evicted)
        return "evicted flag of sequence " + std::to_string(entry.first);
      for (uint32_t l = 0; l < layers.size(); ++l)
        for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
          std::string problem = compareHead(entry.first, l, h, owners);
          if (!problem.empty())
            return problem;
        }
    }
    uint64_t bytes = 0;
    for (const auto &owner : owners) {
      bytes += owner.first.first;
      uint32_t layer = owner.first.first == 192 ? 0 : 2;
      if (cache->references(layer, owner.first.second) !=
          static_cast<uint32_t>(owner.second))
        return "references of page " + std::to_string(owner.first.second);
    }
    CacheUsage usage = cache->usage();
    if (usage.pages != owners.size() || usage.pageBytes != bytes)
      return "pages in use";
    if (bytes > cache->options().limitBytes)
      return "the limit is exceeded";
    return "";
  }

  Bug bug;
  FailingMemory memory;
  std::vector<LayerLayout> layers;
  std::unique_ptr<Cache> cache;
  std::map<uint32_t, ModelSequence> model;
  uint64_t chunk = 0, lastTag = 0;
};

std::vector<Op> makeTrace(uint64_t seed, size_t n) {
  std::mt19937 random(static_cast<unsigned>(seed));
  static const Op::Kind kinds[] = {
      Op::Create, Op::Destroy, Op::Prefill, Op::Prefill,
      Op::Decode, Op::Decode,  Op::Decode,  Op::Decode,
      Op::Decode, Op::Decode,  Op::Reserve, Op::Fork,
      Op::Trim,   Op::Trim,    Op::Clear,   Op::FailNext};
  std::vector<Op> ops(n);
  for (Op &op : ops) {
    op.kind = kinds[random() % std::size(kinds)];
    op.a = random() % 1000;
    op.b = random() % 1000;
    op.c = random() % 1000;
  }
  return ops;
}

std::string runTrace(const std::vector<Op> &ops, Bug bug = Bug::None) {
  Harness harness(bug);
  return harness.run(ops);
}

/// Leaves out ever smaller parts as long as the trace still fails.
std::vector<Op> shrink(std::vector<Op> ops, Bug bug = Bug::None) {
  // Nothing after the failing operation matters; find it by halving first.
  size_t low = 0, high = ops.size();
  while (low < high) {
    size_t half = (low + high) / 2;
    std::vector<Op> head(ops.begin(), ops.begin() + half);
    if (runTrace(head, bug).empty())
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
      if (!runTrace(rest, bug).empty()) {
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

uint64_t fromEnvironment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(CacheModelTest, RandomOperations) {
  uint64_t seed = fromEnvironment("SPARSE_TEST_SEED", std::random_device()());
  size_t total = fromEnvironment("SPARSE_TEST_OPS", 100000);
  // Many traces, because a cache that is full or long stays so.
  const size_t length = 2000;
  std::printf("SPARSE_TEST_SEED=%llu, %zu operations\n",
              static_cast<unsigned long long>(seed), total);
  uint64_t refused = 0, evictions = 0, forks = 0, trims = 0, compactions = 0;
  for (size_t done = 0; done < total; done += length) {
    std::vector<Op> ops = makeTrace(seed + done, length);
    Harness harness(Bug::None);
    std::string problem = harness.run(ops);
    if (!problem.empty()) {
      std::vector<Op> small = shrink(ops);
      FAIL() << "SPARSE_TEST_SEED=" << seed << ": " << problem
             << "\nsmallest trace found: " << runTrace(small) << "\n"
             << describe(small);
    }
    refused += harness.refused;
    evictions += harness.evictions;
    forks += harness.forks;
    trims += harness.trims;
    compactions += harness.compactions;
  }
  // The run was about something.
  EXPECT_GT(refused, total / 100);
  EXPECT_GT(evictions, total / 10);
  EXPECT_GT(forks, total / 200);
  EXPECT_GT(trims, total / 1000);
  EXPECT_GT(compactions, total / 100);
}

// The harness finds planted faults, and the shrinker leaves little of a trace.
TEST(CacheModelTest, FindsAndShrinksPlantedFaults) {
  for (Bug bug :
       {Bug::ForkSharesTail, Bug::DecodeForgetsVictim, Bug::TrimKeepsCount}) {
    std::vector<Op> ops = makeTrace(1, 2000);
    ASSERT_FALSE(runTrace(ops, bug).empty()) << static_cast<int>(bug);
    std::vector<Op> small = shrink(ops, bug);
    EXPECT_FALSE(runTrace(small, bug).empty());
    EXPECT_LE(small.size(), 12u) << describe(small);
    EXPECT_TRUE(runTrace(small).empty());
  }
}

} // namespace
