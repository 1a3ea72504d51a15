//===- AllocationTest.cpp - Every request for memory is refused once (R12) ===//
//
// One life of a context in which every kind of call occurs, once for each
// request for memory in it, which is refused. The call that made it must say so
// and change nothing, its repetition must succeed, all numbers must be those of
// an undisturbed life, and nothing may be left behind.
//
//===----------------------------------------------------------------------===//

#include "CacheBytes.h"
#include "Context.h"
#include "FakeCuda.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <set>

using namespace sparse::runtime;

namespace {

/// The i-th token of a text.
int32_t tokenOf(uint64_t text, uint64_t i) {
  return static_cast<int32_t>((text * 31 + i * 7 + i * i) % 48);
}

std::vector<int32_t> textOf(uint64_t text, size_t n) {
  std::vector<int32_t> ids(n);
  for (size_t i = 0; i < n; ++i)
    ids[i] = tokenOf(text, i);
  return ids;
}

class Life {
public:
  Life(std::shared_ptr<const Model> model, ContextOptions options)
      : model(std::move(model)), options(std::move(options)) {}

  /// Lives it. `seen` are all numbers that came out.
  void live() {
    attempt("context",
            [&] { context = std::make_unique<Context>(model, options); });
    uint32_t a = create(), b = create();
    prefill(a, 37);
    prefill(b, 5);
    uint32_t c = 0;
    attempt("fork", [&] { c = context->cache().fork(b); });
    attempt("trim", [&] { context->trim(c, 3); });
    keep(c);
    std::vector<uint32_t> all = {a,        b,        c,       create(),
                                 create(), create(), create()};
    // Seven rows: a bucket of four, one of two and one of one.
    for (int step = 0; step < 14; ++step)
      decode(all);
    decodeKnown({a, b, c}, 6);
    generate({b, c}, 9);
    attempt("clear", [&] { context->cache().clear(b); });
    prefill(b, 60);
    uint32_t d = 0;
    attempt("fork", [&] { d = context->cache().fork(a); });
    context->cache().destroy(a);
    decode({b, d});
    attempt("reserve",
            [&] { context->cache().reserve(d, 40, Append::Prefill); });
    prefill(d, 40);
    if (!capped()) {
      uint32_t e = create();
      attempt("fill", [&] { context->fillRandom(e, 50, 3); });
      decode({e});
    }
    for (uint32_t seq = 0; seq < options.maxSequences; ++seq)
      if (context->cache().exists(seq)) {
        keep(seq);
        context->cache().destroy(seq);
      }
    EXPECT_EQ(context->cache().usage().pages, 0u);
    EXPECT_FALSE(context->poisoned());
    context.reset();
  }

  std::vector<uint8_t> seen;
  std::set<std::string> refused; ///< what was refused at least once

private:
  bool capped() const {
    for (const LayerLayout &layout : model->layers())
      for (int64_t cap : layout.caps)
        if (cap >= 0)
          return true;
    return false;
  }

  /// What a refusal must not change.
  std::vector<uint64_t> state() const {
    std::vector<uint64_t> all;
    if (!context)
      return all;
    const Cache &cache = context->cache();
    for (uint32_t seq = 0; seq < options.maxSequences; ++seq) {
      all.push_back(cache.exists(seq));
      if (!cache.exists(seq))
        continue;
      all.push_back(cache.length(seq));
      all.push_back(cache.evicted(seq));
      for (uint32_t l = 0; l < cache.layouts().size(); ++l)
        for (uint32_t h = 0; h < cache.layouts()[l].kvHeads; ++h)
          all.push_back(cache.extent(seq, l, h));
    }
    all.push_back(context->stepsAhead());
    return all;
  }

  template <typename Fn>
  void attempt(const char *what, Fn fn) {
    std::vector<uint64_t> before = state();
    std::string message;
    Code code = codeOf(fn, &message);
    if (code == Code::Ok)
      return;
    refused.insert(what);
    EXPECT_EQ(code, Code::ResourceExhausted) << what << ": " << message;
    EXPECT_EQ(state(), before) << what << ": " << message;
    EXPECT_EQ(codeOf(fn, &message), Code::Ok) << what << ": " << message;
  }

  void see(const void *data, size_t bytes) {
    const uint8_t *from = static_cast<const uint8_t *>(data);
    seen.insert(seen.end(), from, from + bytes);
  }
  template <typename T>
  void see(const std::vector<T> &values) {
    see(values.data(), values.size() * sizeof(T));
  }
  void keep(uint32_t seq) { see(bytesOf(context->cache(), seq)); }

  uint32_t create() {
    uint32_t seq = 0;
    attempt("create", [&] { seq = context->cache().create(); });
    return seq;
  }

  void prefill(uint32_t seq, size_t n) {
    const ModelFacts &facts = model->manifest().model;
    std::vector<int32_t> ids = textOf(seq, n);
    std::vector<float> hidden(n * facts.hidden), logits(facts.vocab);
    attempt("prefill", [&] {
      context->prefill(seq, ids.data(), n, hidden.data(), logits.data());
    });
    see(hidden);
    see(logits);
  }

  void decode(const std::vector<uint32_t> &seqs) {
    std::vector<DecodeRow> rows;
    for (uint32_t seq : seqs)
      rows.push_back({seq, tokenOf(seq, context->cache().length(seq))});
    std::vector<float> logits(rows.size() * model->manifest().model.vocab);
    attempt("decode",
            [&] { context->decode(rows.data(), rows.size(), logits.data()); });
    see(logits);
  }

  void decodeKnown(const std::vector<uint32_t> &seqs, size_t steps) {
    std::vector<int32_t> tokens = textOf(9, seqs.size() * steps);
    std::vector<float> logits(seqs.size() * model->manifest().model.vocab);
    attempt("decodeKnown", [&] {
      context->decodeKnown(seqs.data(), seqs.size(), tokens.data(), steps,
                           logits.data());
    });
    see(logits);
  }

  void generate(const std::vector<uint32_t> &seqs, int steps) {
    std::vector<GenerateRow> rows;
    for (uint32_t seq : seqs)
      rows.push_back({seq, 5, Sampling(), 0, {}});
    attempt("beginGeneration",
            [&] { context->beginGeneration(rows.data(), rows.size()); });
    std::vector<int32_t> tokens(rows.size());
    for (int step = 0; step < steps; ++step) {
      attempt("queueStep", [&] { context->queueStep(); });
      if (step == 0)
        continue;
      context->readStep(tokens.data());
      see(tokens);
    }
    context->endGeneration();
  }

  std::shared_ptr<const Model> model;
  ContextOptions options;
  std::unique_ptr<Context> context;
};

ContextOptions optionsOfLife() {
  ContextOptions options = toy::smallOptions();
  options.maxSequences = 9;
  options.threads = 1;
  return options;
}

/// 0: dense; 1, 2: caps that are enforced after a prompt, after each chunk.
toy::Config configOf(int which) {
  return which == 0 ? toy::Config()
                    : toy::cappedConfig(which == 1 ? "end" : "chunk");
}

class AllocationTest : public testing::TestWithParam<int> {};

/// One life for each request of the host's memory.
template <typename Kind>
size_t refuseEach(const toy::Config &config, std::set<std::string> &refused) {
  auto loaded = toy::load(config);
  Life undisturbed(loaded->model, optionsOfLife());
  undisturbed.live();
  EXPECT_TRUE(undisturbed.refused.empty());
  for (int64_t k = 0;; ++k) {
    SCOPED_TRACE("request " + std::to_string(k));
    auto memory = std::make_shared<Kind>();
    memory->failAfter = k;
    ContextOptions options = optionsOfLife();
    options.memory = memory;
    Life life(loaded->model, options);
    life.live();
    EXPECT_TRUE(life.seen == undisturbed.seen);
    EXPECT_EQ(memory->reserved, 0) << "a reservation was left";
    refused.insert(life.refused.begin(), life.refused.end());
    if (testing::Test::HasFailure() || memory->failAfter >= 0)
      return static_cast<size_t>(k);
  }
}

TEST_P(AllocationTest, OfTheHost) {
  std::set<std::string> refused;
  EXPECT_GE(refuseEach<FailingMemory>(configOf(GetParam()), refused), 20u);
  EXPECT_TRUE(refused.count("context"));
  EXPECT_TRUE(refused.count("prefill"));
}

// Memory that has to be asked for again when it was given back.
TEST_P(AllocationTest, OfAHostThatDoesNotOvercommit) {
  std::set<std::string> refused;
  // A page is a granule: each one that is freed has to be asked for again.
  toy::Config config = configOf(GetParam());
  config.dim = 128;
  EXPECT_GT(refuseEach<StrictMemory>(config, refused), 40u);
  for (const char *what : {"context", "create", "fork", "prefill", "decode"})
    EXPECT_TRUE(refused.count(what)) << what;
}

// The calls of the driver that can say that there is no memory.
TEST_P(AllocationTest, OfACard) {
  fake::reset();
  toy::Config config = configOf(GetParam());
  config.cuda = true;
  config.dim = 16;
  toy::TempDir dir;
  toy::makeArtifact(config).write(dir.path());
  LoadOptions load;
  load.device = "cuda";
  load.cuda = fake::platform();
  auto live = [&](std::set<std::string> &refused) {
    std::shared_ptr<const Model> model;
    std::string message;
    auto loading = [&] { model = std::make_shared<Model>(dir.path(), load); };
    Code code = codeOf(loading, &message);
    if (code != Code::Ok) {
      refused.insert("load");
      EXPECT_EQ(code, Code::ResourceExhausted) << message;
      loading();
    }
    ContextOptions options = optionsOfLife();
    options.limitBytes = 512 << 10;
    Life life(model, options);
    life.live();
    refused.insert(life.refused.begin(), life.refused.end());
    return life.seen;
  };
  std::set<std::string> refused;
  std::vector<uint8_t> undisturbed = live(refused);
  ASSERT_TRUE(refused.empty());
  for (const char *call :
       {"contextRetain", "moduleLoad", "memAlloc", "hostAlloc", "streamCreate",
        "eventCreate", "addressReserve", "memCreate", "memMap", "memSetAccess",
        "graphInstantiate"})
    for (int64_t k = 0;; ++k) {
      SCOPED_TRACE(std::string(call) + " " + std::to_string(k));
      fake::reset();
      fake::card().failing = call;
      fake::card().failAfter = k;
      fake::card().error = 2;
      fake::card().once = true;
      EXPECT_TRUE(live(refused) == undisturbed);
      EXPECT_TRUE(fake::isClean());
      if (testing::Test::HasFailure() || !fake::card().failing.empty()) {
        EXPECT_GT(k, 0);
        break;
      }
    }
  for (const char *what : {"load", "context", "trim", "prefill", "decode",
                           "decodeKnown", "beginGeneration"})
    EXPECT_TRUE(refused.count(what)) << what;
  fake::reset();
}

INSTANTIATE_TEST_SUITE_P(Policies, AllocationTest, testing::Range(0, 3));

//===----------------------------------------------------------------------===//
// Steps that are refused before anything is written
//===----------------------------------------------------------------------===//

enum class Refusal { Pages, Memory, Cancel };

class RefusalTest : public testing::TestWithParam<Refusal> {};

// Neither a byte of any sequence nor the pages that are free change, and the
// same tokens can be appended later.
TEST_P(RefusalTest, WritesNothingAndCanBeRepeated) {
  toy::Config config = toy::cappedConfig("chunk");
  config.dim = 128; // a page is a granule
  auto loaded = toy::load(config);
  auto memory = std::make_shared<StrictMemory>();
  ContextOptions options = toy::smallOptions();
  options.memory = memory;
  options.limitBytes = 768 << 10;
  Context context(loaded->model, options);
  Cache &cache = context.cache();
  toy::Oracle oracle(config);
  uint32_t seq = cache.create(), other = cache.create();
  std::vector<float> logits(config.vocab);
  std::vector<int32_t> prompt = textOf(1, 9);
  context.prefill(seq, prompt.data(), prompt.size(), nullptr, nullptr);
  oracle.prefill(prompt);
  context.prefill(other, prompt.data(), 2, nullptr, nullptr);

  // Takes all pages that there are. When they are free again they have no
  // memory.
  auto fill = [&] {
    uint32_t filler = cache.create();
    for (uint64_t n = 8; n > 0; n /= 2)
      while (codeOf([&] {
               cache.reserve(filler, n, Append::Prefill);
               cache.advance(filler, n, Append::Prefill);
             }) == Code::Ok) {
      }
    return filler;
  };
  cache.destroy(fill());

  size_t refusals = 0;
  auto append = [&](const std::function<void()> &step) {
    // Makes the step impossible, where it needs what is taken away.
    uint32_t filler = 0;
    if (GetParam() == Refusal::Pages)
      filler = fill();
    if (GetParam() == Refusal::Memory)
      memory->failAfter = 0;
    if (GetParam() == Refusal::Cancel)
      context.cancel();
    std::vector<uint8_t> before = bytesOf(cache, seq),
                         beside = bytesOf(cache, other);
    uint64_t pages = cache.usage().pages, length = cache.length(seq);
    std::string message;
    Code code = codeOf(step, &message);
    if (code != Code::Ok) {
      ++refusals;
      EXPECT_EQ(code, GetParam() == Refusal::Cancel ? Code::Cancelled
                                                    : Code::ResourceExhausted)
          << message;
      EXPECT_EQ(cache.length(seq), length);
      EXPECT_EQ(cache.usage().pages, pages);
      EXPECT_TRUE(bytesOf(cache, seq) == before);
    }
    EXPECT_TRUE(bytesOf(cache, other) == beside);
    memory->failAfter = -1;
    if (GetParam() == Refusal::Pages)
      cache.destroy(filler);
    if (code != Code::Ok)
      step();
  };
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<int32_t> ids = textOf(turn, 11 + 9 * turn);
    append([&] {
      context.prefill(seq, ids.data(), ids.size(), nullptr, logits.data());
    });
    ASSERT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
    for (int step = 0; step < 20; ++step) {
      DecodeRow row = {seq, tokenOf(turn, step)};
      append([&] { context.decode(&row, 1, logits.data()); });
      ASSERT_EQ(logits, oracle.decode(row.token)) << step;
    }
  }
  EXPECT_GT(refusals, 5u);
  EXPECT_FALSE(context.poisoned());
}

INSTANTIATE_TEST_SUITE_P(Reasons, RefusalTest,
                         testing::Values(Refusal::Pages, Refusal::Memory,
                                         Refusal::Cancel));

} // namespace
