//===- PreemptionTest.cpp - Sequences that are put away and return (R15) --===//
//
// What a server does when the cache is full: some sequences lose their pages
// and are brought back later, and steps are cancelled. Their tokens are those
// of an undisturbed run. In CI 200 trials; SPARSE_TEST_LONG runs 5000. The same
// for a time shows that no memory is lost (R21): SPARSE_TEST_SECONDS.
//
//===----------------------------------------------------------------------===//

#include "Context.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <algorithm>
#include <chrono>
#include <malloc.h>
#include <random>

using namespace sparse::runtime;

namespace {

/// How a sequence is put away and what brings it back.
enum class Road {
  Recompute, ///< its pages are given up; its tokens are appended again
  Fork,      ///< a fork waits, and the sequence itself goes
  Rollback   ///< a fork waits while the sequence runs on with wrong tokens
};
constexpr size_t roads = 3;

int32_t best(const std::vector<float> &logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                              logits.begin());
}

struct Request {
  std::vector<int32_t> prompt;
  std::vector<int32_t> expected; ///< tokens of an undisturbed run
  size_t done = 0;               ///< how many of them were chosen
  bool running = false;
  uint32_t seq = 0;
  bool waits = false; ///< in `fork`
  uint32_t fork = 0;

  bool finished() const { return done == expected.size(); }
};

/// What happened in all trials.
struct Tally {
  size_t putAway[roads] = {}, broughtBack = 0, refused = 0, cancelled = 0;
};

class Trial {
public:
  Trial(uint64_t seed, std::shared_ptr<const Model> model,
        const toy::Config &config, Tally &tally)
      : random(static_cast<unsigned>(seed)), tally(tally),
        vocab(static_cast<size_t>(config.vocab)),
        context(std::move(model), optionsOf(random)) {
    requests.resize(1 + random() % 16);
    for (Request &request : requests) {
      request.prompt.resize(1 + random() % 30);
      for (int32_t &id : request.prompt)
        id = token();
      toy::Oracle oracle(config);
      int32_t next = best(oracle.logits(oracle.prefill(request.prompt).back()));
      for (size_t i = 3 + random() % 20; i > 0; --i) {
        request.expected.push_back(next);
        next = best(oracle.decode(next));
      }
    }
  }

  void run() {
    for (size_t turn = 0; !testing::Test::HasFailure(); ++turn) {
      ASSERT_LT(turn, 20000u) << "no request finishes any more";
      for (Request &request : requests)
        if (!request.running && !request.finished() && random() % 3 == 0)
          bringBack(request);
      std::vector<Request *> now = running();
      if (!now.empty() && random() % 4 == 0)
        putAway(*now[random() % now.size()],
                static_cast<Road>(random() % roads));
      if (random() % 12 == 0)
        context.cancel();
      step();
      if (std::all_of(requests.begin(), requests.end(),
                      [](const Request &one) { return one.finished(); }))
        break;
    }
    EXPECT_EQ(context.cache().usage().pages, 0u);
    EXPECT_FALSE(context.poisoned());
  }

private:
  static ContextOptions optionsOf(std::mt19937 &random) {
    ContextOptions options = toy::smallOptions();
    options.threads = 1;
    options.maxSequences = 40;
    // Between one sequence and all of them.
    options.limitBytes = (18 << 10) + random() % (40 << 10);
    return options;
  }

  int32_t token() { return static_cast<int32_t>(random() % vocab); }

  std::vector<Request *> running() {
    std::vector<Request *> all;
    for (Request &request : requests)
      if (request.running)
        all.push_back(&request);
    return all;
  }

  /// True when there was memory for `fn`, and nobody cancelled it.
  template <typename Fn>
  bool fits(Fn fn) {
    std::string message;
    Code code = codeOf(fn, &message);
    EXPECT_TRUE(code == Code::Ok || code == Code::ResourceExhausted ||
                code == Code::Cancelled)
        << message;
    tally.refused += code == Code::ResourceExhausted;
    tally.cancelled += code == Code::Cancelled;
    return code == Code::Ok;
  }

  void drop(Request &request) {
    if (request.running)
      context.cache().destroy(request.seq);
    request.running = false;
  }

  void dropFork(Request &request) {
    if (request.waits)
      context.cache().destroy(request.fork);
    request.waits = false;
  }

  void putAway(Request &request, Road road) {
    if (road != Road::Recompute) {
      if (!fits([&] { request.fork = context.cache().fork(request.seq); }))
        return;
      request.waits = true;
    }
    if (road == Road::Rollback)
      for (int i = 0; i < 4; ++i) {
        DecodeRow wrong = {request.seq, token()};
        if (!fits([&] { context.decode(&wrong, 1, nullptr); }))
          break;
      }
    drop(request);
    ++tally.putAway[static_cast<size_t>(road)];
  }

  void bringBack(Request &request) {
    if (request.waits) {
      request.seq = request.fork;
      request.waits = false;
      request.running = true;
      ++tally.broughtBack;
      return;
    }
    // What is not a prompt is appended as it was: evictions depend on that.
    std::vector<float> logits(vocab);
    if (!fits([&] { request.seq = context.cache().create(); }))
      return;
    request.running = true;
    bool there = fits([&] {
      context.prefill(request.seq, request.prompt.data(), request.prompt.size(),
                      nullptr, logits.data());
      if (request.done > 1)
        context.decodeKnown(&request.seq, 1, request.expected.data(),
                            request.done - 1, logits.data());
    });
    if (!there) {
      drop(request);
      return;
    }
    tally.broughtBack += request.done > 0;
    // The last token that was chosen, or the first.
    size_t at = request.done > 0 ? request.done - 1 : 0;
    EXPECT_EQ(best(logits), request.expected[at]);
    request.done = at + 1;
    if (request.finished())
      drop(request);
  }

  /// A decode step of some of the running sequences, in any order.
  void step() {
    std::vector<Request *> now = running();
    std::shuffle(now.begin(), now.end(), random);
    cancelled = tally.cancelled;
    while (!now.empty()) {
      std::vector<DecodeRow> rows;
      for (Request *one : now)
        rows.push_back({one->seq, one->expected[one->done - 1]});
      std::vector<float> logits(rows.size() * vocab);
      if (fits([&] {
            context.decode(rows.data(), rows.size(), logits.data());
          })) {
        for (size_t i = 0; i < now.size(); ++i) {
          std::vector<float> own(logits.begin() + i * vocab,
                                 logits.begin() + (i + 1) * vocab);
          ASSERT_EQ(best(own), now[i]->expected[now[i]->done]);
          if (++now[i]->done == now[i]->expected.size())
            drop(*now[i]);
        }
        return;
      }
      if (tally.cancelled != cancelled) {
        cancelled = tally.cancelled;
        continue;
      }
      // The cache is full: one leaves, and what waits in forks too.
      for (Request &request : requests)
        dropFork(request);
      putAway(*now.back(), Road::Recompute);
      now.pop_back();
    }
  }

  std::mt19937 random;
  Tally &tally;
  size_t cancelled = 0; ///< of the tally, as far as was seen
  size_t vocab;
  Context context;
  std::vector<Request> requests;
};

TEST(PreemptionTest, TokensAreThoseOfAnUndisturbedRun) {
  uint64_t seed = testSeed();
  std::vector<toy::Config> configs = {toy::Config(), toy::cappedConfig("none"),
                                      toy::cappedConfig("end"),
                                      toy::cappedConfig("chunk")};
  std::vector<std::unique_ptr<toy::LoadedModel>> models;
  for (const toy::Config &config : configs)
    models.push_back(toy::load(config));
  size_t trials = fromEnvironment("SPARSE_TEST_TRIALS", longRun() ? 5000 : 200);
  Tally tally;
  for (size_t i = 0; i < trials && !HasFailure(); ++i) {
    SCOPED_TRACE("SPARSE_TEST_SEED=" + std::to_string(seed + i));
    size_t which = (seed + i) % configs.size();
    Trial(seed + i, models[which]->model, configs[which], tally).run();
  }
  for (size_t road = 0; road < roads; ++road)
    EXPECT_GT(tally.putAway[road], trials) << "road " << road;
  EXPECT_GT(tally.broughtBack, trials * 3);
  EXPECT_GT(tally.refused, trials / 4);
  EXPECT_GT(tally.cancelled, trials);
}

/// Bytes that the process has allocated and not freed.
size_t bytesInUse() {
  struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(PreemptionTest, NoMemoryIsLost) {
  uint64_t seed = testSeed();
  std::vector<toy::Config> configs = {toy::Config(),
                                      toy::cappedConfig("chunk")};
  std::vector<std::unique_ptr<toy::LoadedModel>> models;
  for (const toy::Config &config : configs)
    models.push_back(toy::load(config));
  Tally tally;
  auto trials = [&](uint64_t first, uint64_t n) {
    for (uint64_t i = first; i < first + n && !HasFailure(); ++i) {
      SCOPED_TRACE("SPARSE_TEST_SEED=" + std::to_string(seed + i));
      size_t which = i % configs.size();
      Trial(seed + i, models[which]->model, configs[which], tally).run();
    }
  };
  // What is allocated once, by the library or the test, is after these.
  trials(0, 20);
  size_t before = bytesInUse();
  auto end = std::chrono::steady_clock::now() +
             std::chrono::seconds(
                 fromEnvironment("SPARSE_TEST_SECONDS", longRun() ? 60 : 3));
  uint64_t done = 20;
  for (; std::chrono::steady_clock::now() < end && !HasFailure(); done += 10)
    trials(done, 10);
  // The same trials once more end with the same bytes.
  trials(0, 20);
  size_t after = bytesInUse();
  std::printf("%llu trials, %zu bytes before, %zu after\n",
              static_cast<unsigned long long>(done), before, after);
  EXPECT_LE(after, before + before / 100);
}

} // namespace
