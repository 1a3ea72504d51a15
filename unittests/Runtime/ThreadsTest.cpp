//===- ThreadsTest.cpp - One library, many threads (R18) ------------------===//
//
// Readers ask one context while a writer works on it, the application's
// threads, in which the kernels run, call the library themselves and hold the
// lock of the context, and models come and go. Nothing may be wrong, race
// (under ThreadSanitizer) or get stuck: a watchdog ends a run that does. In CI
// 500 probes of each reader; SPARSE_TEST_LONG goes on for two minutes.
//
//===----------------------------------------------------------------------===//

#include "sparse-opt/runtime.hpp"

#include "TestUtil.h"
#include "ToyModel.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

using sparse::runtime::longRun;

namespace {

using Clock = std::chrono::steady_clock;

/// Ends the process when it is not told in time that all is well.
class Watchdog {
public:
  explicit Watchdog(std::chrono::seconds most)
      : thread([this, most] {
          std::unique_lock<std::mutex> lock(mutex);
          if (done.wait_for(lock, most, [this] { return well; }))
            return;
          std::fprintf(stderr, "threads are stuck for %lld s\n",
                       static_cast<long long>(most.count()));
          std::abort();
        }) {}
  ~Watchdog() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      well = true;
    }
    done.notify_all();
    thread.join();
  }

private:
  std::mutex mutex;
  std::condition_variable done;
  bool well = false;
  std::thread thread;
};

constexpr int readers = 8, probes = 500;

class ThreadsTest : public testing::Test {
public:
  ThreadsTest() { toy::makeArtifact(config).write(dir.path()); }

  static sparse_context_options smallOptions() {
    sparse_context_options options = {};
    options.max_sequences = 16;
    options.threads = 2;
    options.kv_limit_bytes = 1 << 20;
    options.check = 1;
    return options;
  }

  /// A call from a thread that kernels run in. It holds the lock of `context`,
  /// so only what does not wait for that may be used of it.
  void antagonize() {
    uint64_t turn = ++callbacks;
    if (turn % 61 == 0)
      api.cancel(context);
    if (turn % 13 == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    sparse_usage usage = {};
    usage.struct_size = sizeof(usage);
    wrong += api.context_usage(beside, &usage) != SPARSE_OK;
    uint32_t threads = 0;
    wrong += api.context_threads(context, &threads) != SPARSE_OK;
    // The last error is this thread's own.
    wrong += api.sequence_length(beside, 0, nullptr) != SPARSE_INVALID_ARGUMENT;
    size_t size = 0;
    wrong += api.last_error(nullptr, &size) != SPARSE_OK || size < 20;
  }

  /// Whatever one can ask without changing anything.
  void probe(int reader, int turn) {
    sparse_usage usage = {};
    usage.struct_size = sizeof(usage);
    sparse_model_info info = {};
    info.struct_size = sizeof(info);
    uint64_t length = 0;
    size_t count = 0;
    switch ((reader + turn) % 6) {
    case 0:
      wrong += api.context_usage(context, &usage) != SPARSE_OK ||
               usage.page_bytes > 1 << 20;
      break;
    case 1:
      wrong += api.sequence_length(context, kept, &length) != SPARSE_OK ||
               length != 9;
      break;
    case 2:
      wrong += api.sequence_usage(context, kept, &usage) != SPARSE_OK ||
               usage.tokens != 9;
      break;
    case 3:
      wrong += api.sequence_counters(context, kept, 1, nullptr, &count) !=
                   SPARSE_OK ||
               count != 4;
      break;
    case 4:
      wrong += api.model_info(model, &info) != SPARSE_OK || info.vocab != 48;
      break;
    case 5:
      wrong +=
          api.sequence_length(context, 77, &length) != SPARSE_INVALID_ARGUMENT;
      break;
    }
  }

  /// True when the step was done; false when it was cancelled.
  bool done(sparse_status status) {
    wrong += status != SPARSE_OK && status != SPARSE_CANCELLED;
    return status == SPARSE_OK;
  }

  /// Sequences that come, grow, fork and go, compared with the oracle.
  void write(uint64_t turn) {
    sparse_sequence seq = 0, forked = 0;
    if (!done(api.sequence_create(context, &seq)))
      return;
    std::vector<int32_t> ids(1 + turn % 25, static_cast<int32_t>(turn % 48));
    std::vector<float> logits(48);
    toy::Oracle oracle(config);
    if (done(api.prefill(context, seq, ids.data(), ids.size(), nullptr,
                         logits.data()))) {
      wrong += logits != oracle.logits(oracle.prefill(ids).back());
      for (int32_t token = 0; token < 8; ++token) {
        sparse_decode_row row = {seq, token};
        if (!done(api.decode(context, &row, 1, logits.data())))
          continue;
        wrong += logits != oracle.decode(token);
        ++steps;
      }
      if (done(api.sequence_fork(context, seq, &forked))) {
        sparse_generate_row row = {};
        row.sequence = forked;
        if (done(api.generate_begin(context, &row, 1))) {
          int32_t token = 0;
          for (int i = 0; i < 4; ++i)
            if (done(api.generate_step(context)))
              done(api.generate_read(context, &token));
          done(api.generate_end(context));
        }
        done(api.sequence_destroy(context, forked));
      }
    }
    done(api.sequence_destroy(context, seq));
  }

  toy::Config config = toy::cappedConfig("end");
  toy::TempDir dir;
  const sparse_api &api = sparse::api();
  sparse_model *model = nullptr;
  sparse_context *context = nullptr, *beside = nullptr;
  sparse_sequence kept = 0;
  std::atomic<uint64_t> callbacks{0}, steps{0};
  std::atomic<int> wrong{0};
};

TEST_F(ThreadsTest, ReadersWriterAndAntagonists) {
  Watchdog watchdog(std::chrono::seconds(longRun() ? 240 : 120));
  sparse::Model loaded(dir.path());
  sparse::Context other(loaded, smallOptions());
  sparse_parallel parallel = {
      this, 2,
      [](void *user, int64_t tasks, void (*body)(void *, int64_t), void *data) {
        static_cast<ThreadsTest *>(user)->antagonize();
        for (int64_t task = 0; task < tasks; ++task)
          body(data, task);
      }};
  sparse_context_options options = smallOptions();
  options.parallel = &parallel;
  sparse::Context contested(loaded, options);
  model = loaded.get();
  context = contested.get();
  beside = other.get();
  ASSERT_EQ(api.sequence_create(context, &kept), SPARSE_OK);
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  while (api.prefill(context, kept, ids.data(), ids.size(), nullptr, nullptr) !=
         SPARSE_OK)
    ASSERT_EQ(api.sequence_clear(context, kept), SPARSE_OK);

  Clock::time_point end = Clock::now() + std::chrono::seconds(120);
  // Each goes on until the others have done what they are to do at least.
  const uint64_t leastTurns = 200, leastLoads = 5;
  std::atomic<int> behind{readers + 2};
  auto goesOn = [&](bool enough, bool &told) {
    if (longRun())
      return Clock::now() < end;
    if (enough && !told)
      --behind;
    told |= enough;
    return behind > 0;
  };
  std::vector<std::thread> threads;
  for (int reader = 0; reader < readers; ++reader)
    threads.emplace_back([&, reader] {
      bool told = false;
      for (int turn = 0; goesOn(turn >= probes, told); ++turn) {
        probe(reader, turn);
        if (turn % 16 == 0)
          std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    });
  uint64_t turns = 0, loads = 0;
  threads.emplace_back([&] {
    for (bool told = false; goesOn(turns >= leastTurns, told); ++turns)
      write(turns);
  });
  threads.emplace_back([&] {
    for (bool told = false; goesOn(loads >= leastLoads, told); ++loads) {
      sparse::Model again(dir.path());
      sparse::Context fresh(again, smallOptions());
      sparse::Sequence sequence = fresh.create();
      fresh.prefill(sequence, ids.data(), ids.size(), nullptr, nullptr);
    }
  });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(steps, 50u);
  EXPECT_GT(callbacks, 1000u);
  EXPECT_EQ(other.usage().pages, 0u);
  std::printf("%llu steps, %llu callbacks, %llu loads\n",
              static_cast<unsigned long long>(steps),
              static_cast<unsigned long long>(callbacks),
              static_cast<unsigned long long>(loads));
}

} // namespace
