//===- CacheModelTest.cpp - The cache against a simple model (R7, R8, R9) -===//
//
// Random operations on a cache, with a simulated device in the place of the
// kernels, against a model that knows no pages. After every operation all
// content, tables, counts, references and limits are compared.
//
// An operation is four random numbers that are reduced to what is possible at
// that moment, so any part of a trace is a trace, and a failing one can be
// shrunk by leaving operations out. SPARSE_TEST_SEED repeats a run,
// SPARSE_TEST_OPS changes its length.
//
//===----------------------------------------------------------------------===//

#include "CacheModel.h"
#include "Cache.h"
#include "CacheDevice.h"
#include "TestUtil.h"

#include <algorithm>
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
    FailNext
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

/// What a run was about.
struct Tally {
  uint64_t refused = 0, evictions = 0, merges = 0, forks = 0, trims = 0,
           compactions = 0;
};

class Harness {
public:
  /// `strict`: memory that was given back faults, as on a card.
  Harness(Bug bug, bool strict) : bug(bug) {
    if (strict)
      memory = std::make_unique<StrictMemory>();
    else
      memory = std::make_unique<FailingMemory>();
    layers = {makeLayout(4, 192, {-1, -1}, PrefillCap::None, false, false),
              makeLayout(4, 192, {10, -1}, PrefillCap::End, true, true),
              makeLayout(8, 4096, {5}, PrefillCap::Chunk, true, false),
              makeLayout(2, 192, {3, 7}, PrefillCap::None, false, true)};
    CacheOptions options;
    options.maxSequences = most;
    options.limitBytes = 48 << 10;
    options.maxContext = 90;
    options.chunk = chunk;
    cache = std::make_unique<Cache>(*memory, layers, options);
    device = std::make_unique<CacheDevice>(*cache, layers, bug);
    model = std::make_unique<CacheModel>(layers);
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

  Tally tally;

private:
  static constexpr uint32_t most = 5;
  static constexpr uint64_t chunk = 8;

  //===--------------------------------------------------------------------===//
  // Operations
  //===--------------------------------------------------------------------===//

  std::string apply(const Op &op) {
    std::vector<uint32_t> live = model->live();
    if (op.kind == Op::FailNext) {
      memory->failAfter = op.a % 2;
      return "";
    }
    if (op.kind == Op::Create || live.empty())
      return create();
    uint32_t seq = live[op.a % live.size()];
    switch (op.kind) {
    case Op::Destroy:
      cache->destroy(seq);
      model->destroy(seq);
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
      return trim(seq,
                  op.c % 4 ? op.b % (model->at(seq).length + 1) : op.b % 60);
    case Op::Clear:
      cache->clear(seq);
      model->clear(seq);
      return "";
    default:
      return "";
    }
  }

  /// True when `fn` was done. A refusal must leave everything as it was, which
  /// the comparison afterwards sees, because the model was not changed.
  template <typename Fn>
  bool refusable(Fn fn) {
    try {
      fn();
      return true;
    } catch (const Error &error) {
      if (error.code != Code::ResourceExhausted &&
          error.code != Code::OutOfRange &&
          error.code != Code::FailedPrecondition)
        throw;
      ++tally.refused;
      return false;
    }
  }

  std::string create() {
    uint32_t seq = 0;
    bool fails = memory->failAfter >= 0;
    if (!refusable([&] { seq = cache->create(); }))
      return fails || model->live().size() == most ? "" : "create was refused";
    if (model->has(seq))
      return "create returned a sequence in use";
    model->create(seq);
    return "";
  }

  std::string append(uint32_t seq, bool decode) {
    int32_t token = static_cast<int32_t>(++tokens % 5000);
    std::string problem = device->append(
        seq, token,
        static_cast<int32_t>(cache->length(seq)) + static_cast<int32_t>(ahead),
        decode);
    if (problem.empty())
      model->append(seq, token, decode);
    return problem;
  }

  std::string prefill(uint32_t seq, uint64_t n, uint32_t random) {
    if (!refusable([&] { cache->reserve(seq, n, Append::Prefill); }))
      return "";
    for (uint64_t done = 0; done < n;) {
      uint64_t rows = std::min(chunk, n - done);
      if (done > 0 &&
          !refusable([&] { cache->reserve(seq, rows, Append::Prefill); }))
        return "a later chunk of a reserved prompt was refused";
      std::string problem;
      for (ahead = 0; ahead < rows && problem.empty(); ++ahead)
        problem = append(seq, false);
      ahead = 0;
      if (!problem.empty())
        return problem;
      cache->advance(seq, rows, Append::Prefill);
      done += rows;
      problem = checkBudgets(seq, chunk);
      if (problem.empty())
        problem = compact(seq, Compact::Chunk, random, done < n);
      if (problem.empty() && done == n)
        problem = compact(seq, Compact::Capped, random, false);
      if (!problem.empty())
        return problem;
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
      std::string problem = append(seq, true);
      if (problem.empty())
        problem = evict(seq, op.c);
      if (!problem.empty())
        return problem;
      cache->advance(seq, 1, Append::Decode);
    }
    return "";
  }

  /// A policy that chooses anything: what is evicted is not the cache's affair.
  std::string evict(uint32_t seq, uint32_t random) {
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        uint32_t count = static_cast<uint32_t>(
            device->component(l, CacheDevice::Count, seq)[h]);
        int64_t cap = layers[l].caps[h];
        if (cap < 0 || count <= static_cast<uint64_t>(cap))
          continue;
        size_t slot = (random + l * 31 + h * 17) % count;
        size_t target = (random / 7 + h) % count;
        std::string problem = device->evict(seq, {l, h}, slot, target);
        if (!problem.empty())
          return problem;
        model->evict(seq, {l, h}, slot, target);
        ++tally.evictions;
        tally.merges += merges(layers[l]) && slot != target;
      }
    return "";
  }

  std::string compact(uint32_t seq, Compact which, uint32_t random,
                      bool goesOn) {
    if (!cache->needsCompaction(seq, which))
      return "";
    ++tally.compactions;
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        if (layers[l].caps[h] < 0 ||
            (which == Compact::Chunk &&
             layers[l].prefillCap != PrefillCap::Chunk))
          continue;
        std::string problem = device->compact(seq, {l, h}, random + h);
        if (!problem.empty())
          return problem;
        model->compact(seq, {l, h}, random + h);
      }
    cache->compacted(seq, which, goesOn);
    return "";
  }

  std::string fork(uint32_t from) {
    uint32_t to = 0;
    if (!refusable([&] { to = cache->fork(from); }))
      return "";
    if (model->has(to))
      return "fork returned a sequence in use";
    ++tally.forks;
    model->fork(from, to);
    if (bug == Bug::ForkSharesTail && cache->pages(to, 0, 0) > 0) {
      // As if the tail had been shared.
      uint64_t last = cache->pages(to, 0, 0) - 1;
      device->component(0, CacheDevice::Table, to)[last] =
          cache->pageAt(from, 0, 0, last);
    }
    return "";
  }

  std::string trim(uint32_t seq, uint64_t n) {
    bool legal = model->canTrim(seq, n);
    bool done = refusable([&] { cache->trim(seq, n); });
    if (done != legal)
      return legal ? "a legal trim was refused" : "an illegal trim was done";
    if (!done || n == model->at(seq).length)
      return "";
    ++tally.trims;
    model->trim(seq, n);
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h)
        device->rebuild(seq, {l, h});
    if (bug == Bug::TrimKeepsCount)
      ++device->component(0, CacheDevice::Count, seq)[0];
    return "";
  }

  //===--------------------------------------------------------------------===//
  // Comparison
  //===--------------------------------------------------------------------===//

  static std::string at(uint32_t seq, Place place) {
    std::ostringstream where;
    where << "sequence " << seq << " layer " << place.layer << " head "
          << place.head << ": ";
    return where.str();
  }

  /// R9: no head holds more than its cap and the dead slot, nor than `more`
  /// rows on top where the cap is enforced after each chunk.
  std::string checkBudgets(uint32_t seq, uint64_t more) {
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        int64_t cap = layers[l].caps[h];
        bool holds = layers[l].prefillCap == PrefillCap::Chunk ||
                     (layers[l].prefillCap == PrefillCap::End && more == 0);
        if (holds && cap >= 0 &&
            cache->extent(seq, l, h) > static_cast<uint64_t>(cap) + 1 + more)
          return at(seq, {l, h}) + "holds more than its budget";
      }
    return "";
  }

  using Owners = std::map<std::pair<uint64_t, int32_t>, uint32_t>;

  /// R8 and R9: everything of one head.
  std::string compareHead(uint32_t seq, Place place, Owners &owners) {
    uint32_t l = place.layer, h = place.head;
    const LayerLayout &layout = layers[l];
    const ModelHead &head = model->at(seq).heads[l][h];
    auto bad = [&](const std::string &what) { return at(seq, place) + what; };
    uint64_t extent = cache->extent(seq, l, h), pages = cache->pages(seq, l, h);
    if (extent != head.slots.size())
      return bad("extent " + std::to_string(extent) + ", expected " +
                 std::to_string(head.slots.size()));
    auto number = [&](CacheDevice::Component which) {
      return device->component(l, which, seq)[h];
    };
    if (number(CacheDevice::Count) != static_cast<int32_t>(extent))
      return bad("the device counts differently");
    if (number(CacheDevice::Victim) != head.victim)
      return bad("victim");
    if (number(CacheDevice::Appends) != head.appends)
      return bad("field of scope head");
    if (pages * layout.page < extent)
      return bad("fewer pages than slots");
    const int32_t *table =
        device->component(l, CacheDevice::Table, seq) + h * layout.maxPages;
    for (uint64_t i = 0; i < layout.maxPages; ++i) {
      if ((table[i] >= 0) != (i < pages))
        return bad("table entry " + std::to_string(i));
      if (i >= pages)
        continue;
      ++owners[{layout.pageBytes, table[i]}];
      // A page of two owners never changes: it is full, and nothing evicts.
      if (cache->references(l, table[i]) > 1 &&
          (layout.writesInPlace || layout.caps[h] >= 0))
        return bad("page " + std::to_string(i) + " is shared");
    }
    const int32_t *position = device->component(l, CacheDevice::Position, seq) +
                              h * layout.maxSlots();
    for (uint64_t i = 0; i < pages * layout.page; ++i) {
      if (i >= extent) {
        if (position[i] != -1)
          return bad("a free slot is not fresh");
        continue;
      }
      const ModelSlot &slot = head.slots[i];
      if (device->keyAt(seq, place, i) != slot.key)
        return bad("key of slot " + std::to_string(i));
      if (device->valueAt(seq, place, i) != slot.value)
        return bad("value of slot " + std::to_string(i));
      if (position[i] != slot.position)
        return bad("position of slot " + std::to_string(i));
    }
    for (uint64_t i = 0; i < pages; ++i) {
      Bounds expected = i < head.bounds.size() ? head.bounds[i] : Bounds();
      if (!(device->boundsOf(seq, place, i) == expected))
        return bad("bounds of page " + std::to_string(i));
    }
    return "";
  }

  std::string compare() {
    Owners owners;
    for (uint32_t seq : model->live()) {
      if (cache->length(seq) != model->at(seq).length)
        return "length";
      if (cache->evicted(seq) != model->at(seq).evicted)
        return "evicted flag of sequence " + std::to_string(seq);
      for (uint32_t l = 0; l < layers.size(); ++l)
        for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
          std::string problem = compareHead(seq, {l, h}, owners);
          if (!problem.empty())
            return problem;
        }
      std::string problem = checkBudgets(seq, 0);
      if (!problem.empty())
        return problem;
    }
    return comparePools(owners);
  }

  /// R9: every page is free or has as many references as owners.
  std::string comparePools(const Owners &owners) {
    uint64_t bytes = 0;
    for (const auto &owner : owners) {
      bytes += owner.first.first;
      highest[owner.first.first] =
          std::max(highest[owner.first.first], owner.first.second);
    }
    for (const auto &[pageBytes, last] : highest)
      for (int32_t page = 0; page <= last; ++page) {
        auto owner = owners.find({pageBytes, page});
        if (cache->references(pageBytes == 192 ? 0 : 2, page) !=
            (owner == owners.end() ? 0 : owner->second))
          return "references of page " + std::to_string(page);
      }
    CacheUsage usage = cache->usage();
    if (usage.pages != owners.size() || usage.pageBytes != bytes)
      return "pages in use";
    if (bytes > cache->options().limitBytes)
      return "the limit is exceeded";
    return "";
  }

  Bug bug;
  std::unique_ptr<FailingMemory> memory;
  std::vector<LayerLayout> layers;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<CacheDevice> device;
  std::unique_ptr<CacheModel> model;
  std::map<uint64_t, int32_t> highest; ///< page that was ever seen, by size
  uint64_t tokens = 0, ahead = 0;
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
    tally.refused += harness.tally.refused;
    tally.evictions += harness.tally.evictions;
    tally.merges += harness.tally.merges;
    tally.forks += harness.tally.forks;
    tally.trims += harness.tally.trims;
    tally.compactions += harness.tally.compactions;
  }
  // The run was about something.
  EXPECT_GT(tally.refused, total / 100);
  EXPECT_GT(tally.evictions, total / 10);
  EXPECT_GT(tally.merges, total / 20);
  EXPECT_GT(tally.forks, total / 200);
  EXPECT_GT(tally.trims, total / 1000);
  EXPECT_GT(tally.compactions, total / 100);
}

// The harness finds planted faults, and the shrinker leaves little of a trace.
TEST(CacheModelTest, FindsAndShrinksPlantedFaults) {
  for (Bug bug :
       {Bug::ForkSharesTail, Bug::DecodeForgetsVictim, Bug::TrimKeepsCount,
        Bug::MergeIsForgotten, Bug::CompactionKeepsBounds}) {
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
