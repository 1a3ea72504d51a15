//===- CacheHarness.h - Operations on a cache, and on its model -*- C++ -*-===//
//
// An operation is four random numbers that are reduced to what is possible at
// that moment, so any part of a trace is a trace. After every operation all
// content, tables, counts, references and limits are compared.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_UNITTESTS_CACHEHARNESS_H
#define SPARSE_UNITTESTS_CACHEHARNESS_H

#include "Cache.h"
#include "CacheComparison.h"
#include "TestUtil.h"

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>

namespace sparse::runtime {

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
    Save,
    Restore,
    Begin,
    Adopt,
    Forget,
    Keep
  };
  Kind kind;
  uint32_t a, b, c;

  std::string str() const {
    static const char *const names[] = {
        "create",  "destroy", "prefill", "decode",    "reserve",
        "fork",    "trim",    "clear",   "fail-next", "save",
        "restore", "begin",   "adopt",   "forget",    "keep"};
    std::ostringstream text;
    text << names[kind] << "(" << a << ", " << b << ", " << c << ")";
    return text.str();
  }
};

/// What a run was about.
struct Tally {
  uint64_t refused = 0, evictions = 0, merges = 0, forks = 0, trims = 0,
           compactions = 0, restores = 0, adoptions = 0, budgets = 0;

  Tally &operator+=(const Tally &other) {
    refused += other.refused;
    evictions += other.evictions;
    merges += other.merges;
    forks += other.forks;
    trims += other.trims;
    compactions += other.compactions;
    restores += other.restores;
    adoptions += other.adoptions;
    budgets += other.budgets;
    return *this;
  }
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
    // Caps that follow the length.
    layers[1].growth = {{40, 2}, {0, 0}};
    layers[3].growth = {{0, 0}, {60, 1}};
    addBudget(layers[1]);
    CacheOptions options;
    options.maxSequences = most;
    options.limitBytes = 48 << 10;
    options.maxContext = 90;
    options.chunk = chunk;
    cache = std::make_unique<Cache>(*memory, layers, options);
    device = std::make_unique<CacheDevice>(*cache, layers, bug);
    model = std::make_unique<CacheModel>(layers);
    comparison =
        std::make_unique<CacheComparison>(*cache, *device, *model, layers);
    cache->setReclaim([this] { return forget(0); });
  }

  /// Runs a trace. Empty when all comparisons hold, else what does not.
  std::string run(const std::vector<Op> &ops) {
    for (size_t i = 0; i < ops.size(); ++i) {
      std::string problem = apply(ops[i]);
      if (problem.empty())
        problem = comparison->all(beginnings);
      if (!problem.empty())
        return "after operation " + std::to_string(i) + " " + ops[i].str() +
               ": " + problem;
    }
    return "";
  }

  Tally tally;

private:
  static constexpr uint32_t most = 5;
  static constexpr size_t mostKept = 3; ///< sessions, and beginnings
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
      clear(seq);
      return "";
    case Op::Save:
      save(seq);
      return "";
    case Op::Restore:
      return saved.empty() ? "" : restore(saved[op.b % saved.size()]);
    case Op::Begin:
      return begin(seq, 1 + op.b % 3, op.c);
    case Op::Adopt:
      return beginnings.empty() ? "" : adopt(seq, op.b, op.c);
    case Op::Forget:
      forget(op.b);
      return "";
    case Op::Keep:
      for (uint32_t other : live)
        if (other != seq) {
          cache->destroy(other);
          model->destroy(other);
        }
      return "";
    default:
      return "";
    }
  }

  void clear(uint32_t seq) {
    cache->clear(seq);
    model->clear(seq);
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

  /// With `held` the blocks of the prompt are kept in it, unless that is
  /// refused; then it is empty.
  std::string prefill(uint32_t seq, uint64_t n, uint32_t random,
                      Beginning *held = nullptr) {
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
      const std::vector<int32_t> &all = model->at(seq).tokens;
      cache->advance(seq, rows, Append::Prefill, &all[all.size() - rows]);
      done += rows;
      problem = comparison->checkBudgets(seq, chunk);
      if (problem.empty())
        problem = compact(seq, Compact::Chunk, random, done < n);
      bool late = bug == Bug::BlockIsTakenLate && done == n;
      if (held)
        held->model = model->at(seq);
      if (held && problem.empty() && !late)
        hold(seq, done - rows, done, done == n, *held);
      if (problem.empty() && done == n)
        problem = setBudgets(seq, random);
      if (problem.empty() && done == n)
        problem = compact(seq, Compact::Capped, random, false);
      if (held && problem.empty() && late)
        hold(seq, done - rows, done, true, *held);
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
      cache->advance(seq, 1, Append::Decode, &model->at(seq).tokens.back());
    }
    return "";
  }

  /// A policy that chooses anything: what is evicted is not the cache's affair.
  std::string evict(uint32_t seq, uint32_t random) {
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        uint32_t count = static_cast<uint32_t>(
            device->component(l, CacheDevice::Count, seq)[h]);
        // The step is not recorded yet.
        int64_t cap = layers[l].capAt(h, cache->length(seq) + 1,
                                      model->at(seq).heads[l][h].budget);
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

  /// The first prompt sets what capped heads keep.
  std::string setBudgets(uint32_t seq, uint32_t random) {
    if (cache->needsBudgets(seq) == model->hasBudgets(seq))
      return "the cache does not know whether a prompt has set budgets";
    if (!cache->needsBudgets(seq))
      return "";
    ++tally.budgets;
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        if (!layers[l].budget || layers[l].caps[h] < 0)
          continue;
        uint32_t slots = 1 + random % static_cast<uint32_t>(layers[l].caps[h]);
        device->setBudget(seq, {l, h}, slots);
        model->setBudget(seq, {l, h}, slots);
      }
    cache->takeBudgets(seq);
    return cache->isPlain(seq) ? "a sequence with budgets is plain" : "";
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

  //===--------------------------------------------------------------------===//
  // Content outside of sequences
  //===--------------------------------------------------------------------===//

  /// What a session holds.
  struct Saved {
    SequenceState state;
    std::vector<std::vector<uint8_t>> parts;
    ModelSequence model;
  };

  void save(uint32_t seq) {
    Saved one;
    one.state = cache->stateOf(seq);
    for (const CachePart &part : partsOf(layers, one.state.heads)) {
      one.parts.emplace_back(part.bytes);
      cache->readPart(seq, part, one.parts.back().data());
    }
    one.model = model->at(seq);
    if (saved.size() == mostKept)
      saved.erase(saved.begin());
    saved.push_back(std::move(one));
  }

  std::string restore(const Saved &one) {
    uint32_t seq = 0;
    if (!refusable([&] { seq = cache->createAs(one.state); }))
      return "";
    if (model->has(seq))
      return "a restore returned a sequence in use";
    ++tally.restores;
    model->put(seq, one.model);
    std::vector<CachePart> parts = partsOf(layers, one.state.heads);
    for (size_t i = 0; i < parts.size(); ++i)
      if (bug != Bug::RestoreForgetsFields ||
          parts[i].kind != CachePart::Entries)
        cache->writePart(seq, parts[i], one.parts[i].data());
    return "";
  }

  /// A prompt of an empty sequence that others can begin with.
  std::string begin(uint32_t seq, uint64_t chunks, uint32_t random) {
    clear(seq);
    Beginning held;
    std::string problem = prefill(seq, chunks * chunk, random, &held);
    if (held.blocks.empty())
      return problem;
    if (beginnings.size() == mostKept)
      forget(random);
    beginnings.push_back(std::move(held));
    return problem;
  }

  void hold(uint32_t seq, uint64_t from, uint64_t to, bool last,
            Beginning &held) {
    // A block before this one was refused.
    if (held.blocks.size() != from / chunk)
      return;
    held.blocks.emplace_back();
    bool done = refusable([&] {
      cache->holdBlock(seq, from, to, held.blocks.back());
      if (last)
        cache->completeBlock(seq, held.blocks.back());
    });
    if (done)
      return;
    drop(held);
    held.blocks.clear();
  }

  std::string adopt(uint32_t seq, uint32_t which, uint32_t random) {
    clear(seq);
    // Room may be made by forgetting others, never this one.
    size_t at = which % beginnings.size();
    Beginning used = std::move(beginnings[at]);
    beginnings.erase(beginnings.begin() + static_cast<ptrdiff_t>(at));
    std::vector<const CachedBlock *> blocks;
    for (const CachedBlock &block : used.blocks)
      blocks.push_back(&block);
    bool done =
        refusable([&] { cache->adopt(seq, blocks, used.model.tokens.data()); });
    std::string problem;
    if (done) {
      ++tally.adoptions;
      model->put(seq, used.model);
      problem = cache->adopted(seq) == used.model.length ? "" : "adopted";
    }
    beginnings.push_back(std::move(used));
    if (!done || !problem.empty())
      return problem;
    // The prompt goes on, or the sequence is empty again: its heads are not
    // compacted.
    uint64_t length = cache->length(seq);
    problem = prefill(seq, 1 + random % 20, random);
    if (problem.empty() && cache->length(seq) == length)
      clear(seq);
    return problem;
  }

  void drop(Beginning &held) {
    for (CachedBlock &block : held.blocks)
      if (!block.pages.empty())
        cache->dropBlock(block);
  }

  bool forget(uint32_t which) {
    if (beginnings.empty())
      return false;
    auto at =
        beginnings.begin() + static_cast<ptrdiff_t>(which % beginnings.size());
    drop(*at);
    beginnings.erase(at);
    return true;
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

  Bug bug;
  std::unique_ptr<FailingMemory> memory;
  std::vector<LayerLayout> layers;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<CacheDevice> device;
  std::unique_ptr<CacheModel> model;
  std::unique_ptr<CacheComparison> comparison;
  std::vector<Saved> saved;
  std::vector<Beginning> beginnings;
  uint64_t tokens = 0, ahead = 0;
};

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_CACHEHARNESS_H
