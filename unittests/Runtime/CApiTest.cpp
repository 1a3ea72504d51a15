//===- CApiTest.cpp - The C API and its C++ header ------------------------===//

#include "sparse-opt/runtime.hpp"

#include "TestUtil.h"
#include "ToyModel.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

namespace {

class CApiTest : public testing::Test {
protected:
  CApiTest() {
    toy::Artifact artifact = toy::makeArtifact(config);
    artifact.files["tokenizer.json"] = "{}";
    artifact.write(dir.path());
  }
  sparse::Context makeContext(const sparse::Model &model) {
    sparse_context_options options = {};
    options.max_sequences = 4;
    options.threads = 2;
    options.kv_limit_bytes = 1 << 20;
    options.check = 1;
    return sparse::Context(model, options);
  }
  static sparse_status statusOf(const std::function<void()> &fn) {
    try {
      fn();
      return SPARSE_OK;
    } catch (const sparse::RuntimeError &error) {
      return error.status;
    }
  }

  toy::Config config = toy::cappedConfig("end");
  toy::TempDir dir;
  const sparse_api &api = sparse::api();
};

TEST_F(CApiTest, Versions) {
  EXPECT_EQ(sparse_get_api(0), nullptr);
  EXPECT_EQ(sparse_get_api(SPARSE_API_VERSION + 1), nullptr);
  ASSERT_NE(sparse_get_api(1), nullptr);
  EXPECT_EQ(sparse_get_api(1)->version, SPARSE_API_VERSION);
}

TEST_F(CApiTest, StatusNames) {
  EXPECT_STREQ(api.status_name(SPARSE_OK), "OK");
  EXPECT_STREQ(api.status_name(SPARSE_DATA_LOSS), "DATA_LOSS");
  EXPECT_STREQ(api.status_name(12345), "UNKNOWN");
}

TEST_F(CApiTest, GeneratesAsTheOracle) {
  sparse::Model model(dir.path());
  sparse_model_info info = model.info();
  EXPECT_EQ(info.layers, 3u);
  EXPECT_EQ(info.vocab, 48u);
  EXPECT_EQ(info.prefill_chunk, 8u);
  EXPECT_EQ(info.max_bucket, 4u);
  EXPECT_STREQ(info.target, "any");
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_EQ(model.tokenizer(), "{}");
  sparse::Context context = makeContext(model);
  EXPECT_EQ(context.threads(), 2u);
  sparse::Sequence sequence = context.create();
  toy::Oracle oracle(config);
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  std::vector<float> logits(48);
  context.prefill(sequence, ids.data(), ids.size(), nullptr, logits.data());
  EXPECT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
  context.decode({{sequence.get(), 12}}, logits.data());
  EXPECT_EQ(logits, oracle.decode(12));
  EXPECT_EQ(sequence.length(), 12u);

  sparse::Sequence forked = sequence.fork();
  context.decode({{forked.get(), 3}}, logits.data());
  EXPECT_EQ(logits, oracle.decode(3));
  EXPECT_EQ(statusOf([&] { sequence.trim(2); }), SPARSE_FAILED_PRECONDITION);
  sequence.clear();
  EXPECT_EQ(sequence.length(), 0u);
  EXPECT_EQ(sequence.usage().kv_bytes, 0u);
}

TEST_F(CApiTest, GenerationsAsTheOracle) {
  sparse::Model model(dir.path());
  sparse::Context context = makeContext(model);
  toy::Oracle oracle(config);
  std::vector<int32_t> ids = {1, 2, 3, 4, 5};
  auto best = [](const std::vector<float> &logits) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                                logits.begin());
  };
  sparse::Sequence sequence = context.create(), other = context.create();
  context.prefill(sequence, ids.data(), ids.size(), nullptr, nullptr);
  oracle.prefill(ids);
  sparse_generate_row row = {};
  row.sequence = sequence.get();
  row.token = 6;
  sparse_sampling sampling = sparse::makeSampling(0, 0);
  row.sampling = &sampling;
  {
    sparse::Generation generation(context, {row});
    int32_t token = 6;
    generation.step();
    for (int i = 0; i < 10; ++i) {
      generation.step();
      token = best(oracle.decode(token));
      ASSERT_EQ(generation.read(), std::vector<int32_t>{token});
    }
    EXPECT_EQ(statusOf([&] { sequence.trim(1); }), SPARSE_FAILED_PRECONDITION);
    EXPECT_EQ(statusOf([&] { sequence.fork(); }), SPARSE_FAILED_PRECONDITION);
    EXPECT_EQ(statusOf([&] { sequence.clear(); }), SPARSE_FAILED_PRECONDITION);
    EXPECT_EQ(statusOf([&] { sequence.reserve(1, SPARSE_APPEND_DECODE); }),
              SPARSE_FAILED_PRECONDITION);
    other.clear();
  }
  EXPECT_EQ(sequence.length(), 5u + 11);
  // The end of a sequence is the end of its generation.
  sparse_context *ctx = context.get();
  ASSERT_EQ(api.generate_begin(ctx, &row, 1), SPARSE_OK);
  ASSERT_EQ(api.generate_step(ctx), SPARSE_OK);
  EXPECT_EQ(api.sequence_destroy(ctx, sequence.get()), SPARSE_OK);
  EXPECT_EQ(api.generate_step(ctx), SPARSE_FAILED_PRECONDITION);
  EXPECT_EQ(context.usage().pages, 0u);
  EXPECT_EQ(api.generate_end(ctx), SPARSE_OK);
  // What begins no generation.
  row.sequence = other.get();
  EXPECT_EQ(api.generate_begin(ctx, nullptr, 1), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.generate_begin(ctx, &row, 0), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.generate_begin(ctx, &row, 1000), SPARSE_INVALID_ARGUMENT);
  row.stop_count = 2;
  EXPECT_EQ(api.generate_begin(ctx, &row, 1), SPARSE_INVALID_ARGUMENT);
  row.stop_count = 0;
  sampling.top_k = -1;
  EXPECT_EQ(api.generate_begin(ctx, &row, 1), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.generate_read(ctx, nullptr), SPARSE_INVALID_ARGUMENT);
}

// A caller of version 1 has no top_k and no top_p.
TEST_F(CApiTest, SamplingOfEarlierCallers) {
  std::vector<float> logits = {0, 1, 0.5f};
  sparse_sampling sampling = sparse::makeSampling(1, 3, 1, 0.5f);
  int32_t token = -1;
  std::set<int32_t> seen;
  for (uint64_t i = 0; i < 20; ++i) {
    sampling.struct_size = sizeof(sampling);
    ASSERT_EQ(api.sample(logits.data(), 3, &sampling, i, &token), SPARSE_OK);
    EXPECT_EQ(token, 1);
    sampling.struct_size = offsetof(sparse_sampling, top_k);
    ASSERT_EQ(api.sample(logits.data(), 3, &sampling, i, &token), SPARSE_OK);
    seen.insert(token);
  }
  EXPECT_GT(seen.size(), 1u);
}

TEST_F(CApiTest, UsageAndCounters) {
  sparse::Model model(dir.path());
  sparse::Context context = makeContext(model);
  sparse::Sequence sequence = context.create();
  std::vector<int32_t> ids(40, 1);
  context.prefill(sequence, ids.data(), ids.size(), nullptr, nullptr);
  context.decode({{sequence.get(), 1}}, nullptr);
  sparse_usage usage = sequence.usage();
  EXPECT_EQ(usage.tokens, 41u);
  // Pages of 4, 4, 8 slots: heads of 41, 41 | 11, 41 | 7, 10 slots.
  EXPECT_EQ(usage.pages, 11u + 11 + 3 + 11 + 1 + 2);
  EXPECT_EQ(usage.dense_pages, 4 * 11u + 2 * 6);
  EXPECT_EQ(usage.page_bytes, 36 * 128u + 3 * 256);
  EXPECT_EQ(usage.dense_bytes, 4 * 11 * 128u + 2 * 6 * 256);
  EXPECT_EQ(context.usage().kv_bytes, usage.kv_bytes);
  // The whole prompt before it was compacted: 40 tokens.
  EXPECT_EQ(context.usage().peak_page_bytes, 4 * 10 * 128u + 2 * 5 * 256);

  auto counters = sequence.counters(2);
  ASSERT_EQ(counters.size(), 4u);
  EXPECT_STREQ(counters[0].name, "slots");
  EXPECT_EQ(counters[0].value, 7 + 10);
  EXPECT_STREQ(counters[1].name, "pages");
  EXPECT_EQ(counters[1].value, 1 + 2);
  EXPECT_STREQ(counters[2].name, "page_bytes");
  EXPECT_EQ(counters[2].value, 3 * 256);
  EXPECT_STREQ(counters[3].name, "attended");
  EXPECT_EQ(counters[3].value, 1 + 2);
  EXPECT_EQ(statusOf([&] { sequence.counters(3); }), SPARSE_INVALID_ARGUMENT);
  size_t room = 2;
  sparse_counter some[2] = {};
  EXPECT_EQ(
      api.sequence_counters(context.get(), sequence.get(), 0, some, &room),
      SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(room, 4u);
  EXPECT_EQ(some[0].name, nullptr);
}

TEST_F(CApiTest, MisuseIsAStatus) {
  sparse::Model model(dir.path());
  sparse::Context context = makeContext(model);
  sparse::Sequence sequence = context.create();
  sparse_context *ctx = context.get();
  sparse_sequence seq = sequence.get();
  int32_t id = 1;
  float value = 0;
  sparse_model *noModel = nullptr;
  sparse_context *noContext = nullptr;

  EXPECT_EQ(api.model_load(nullptr, nullptr, &noModel),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.model_load("/nowhere", nullptr, &noModel), SPARSE_NOT_FOUND);
  EXPECT_EQ(api.model_load(dir.path().c_str(), nullptr, nullptr),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(noModel, nullptr);
  EXPECT_EQ(api.context_create(nullptr, nullptr, &noContext),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.context_create(reinterpret_cast<sparse_model *>(ctx), nullptr,
                               &noContext),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.cancel(reinterpret_cast<sparse_context *>(model.get())),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.prefill(nullptr, seq, &id, 1, nullptr, nullptr),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.prefill(ctx, seq, nullptr, 1, nullptr, nullptr),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.prefill(ctx, seq, &id, 0, nullptr, nullptr),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.decode(ctx, nullptr, 1, nullptr), SPARSE_INVALID_ARGUMENT);
  sparse_decode_row row = {seq, 1};
  EXPECT_EQ(api.decode(ctx, &row, 0, nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.decode(ctx, &row, SIZE_MAX, nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.logits(ctx, nullptr, 1, &value), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_create(ctx, nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_fork(ctx, seq, nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_length(ctx, seq, nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_reserve(ctx, seq, 1, 9), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_trim(ctx, seq, UINT64_MAX), SPARSE_OUT_OF_RANGE);
  for (sparse_sequence bad : {uint64_t(0), uint64_t(1) << 32 | 77, ~uint64_t(0),
                              seq + (uint64_t(1) << 32)})
    EXPECT_EQ(api.sequence_clear(ctx, bad), SPARSE_INVALID_ARGUMENT);
  sparse_usage usage = {};
  EXPECT_EQ(api.context_usage(ctx, &usage), SPARSE_INVALID_ARGUMENT)
      << "struct_size is not set";
  EXPECT_EQ(api.context_usage(ctx, nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.model_info(model.get(), nullptr), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sample(nullptr, 1, nullptr, 0, &id), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sample(&value, 0, nullptr, 0, &id), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.last_error(nullptr, nullptr), SPARSE_INVALID_ARGUMENT);
  api.model_destroy(nullptr);
  api.context_destroy(nullptr);
}

TEST_F(CApiTest, DestroyedSequencesStayInvalid) {
  sparse::Model model(dir.path());
  sparse::Context context = makeContext(model);
  sparse_sequence first = 0, second = 0;
  ASSERT_EQ(api.sequence_create(context.get(), &first), SPARSE_OK);
  ASSERT_EQ(api.sequence_destroy(context.get(), first), SPARSE_OK);
  EXPECT_EQ(api.sequence_destroy(context.get(), first),
            SPARSE_INVALID_ARGUMENT);
  ASSERT_EQ(api.sequence_create(context.get(), &second), SPARSE_OK);
  EXPECT_NE(first, second);
  EXPECT_EQ(api.sequence_clear(context.get(), first), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_clear(context.get(), second), SPARSE_OK);
}

TEST_F(CApiTest, OptionsOfOtherVersions) {
  sparse::Model model(dir.path());
  // An older caller whose struct ends after the threads.
  struct {
    size_t struct_size;
    uint32_t max_sequences, threads;
    uint64_t garbage;
  } old = {offsetof(sparse_context_options, kv_limit_bytes), 2, 1,
           0xffffffffffffffff};
  sparse_context *context = nullptr;
  ASSERT_EQ(
      api.context_create(model.get(),
                         reinterpret_cast<const sparse_context_options *>(&old),
                         &context),
      SPARSE_OK);
  api.context_destroy(context);
  // A newer caller, with and without use of what is new.
  struct {
    sparse_context_options known;
    uint64_t unknown;
  } newer = {};
  newer.known.struct_size = sizeof(newer);
  newer.known.kv_limit_bytes = 1 << 20;
  ASSERT_EQ(api.context_create(model.get(), &newer.known, &context), SPARSE_OK);
  api.context_destroy(context);
  context = nullptr;
  newer.unknown = 1;
  EXPECT_EQ(api.context_create(model.get(), &newer.known, &context),
            SPARSE_INCOMPATIBLE);
  newer.known.struct_size = 0;
  EXPECT_EQ(api.context_create(model.get(), &newer.known, &context),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(context, nullptr);
}

TEST_F(CApiTest, LastErrorIsOfThisThread) {
  sparse_model *model = nullptr;
  EXPECT_EQ(api.model_load("/nowhere/model.spx", nullptr, &model),
            SPARSE_NOT_FOUND);
  std::thread([&] {
    EXPECT_EQ(api.cancel(nullptr), SPARSE_INVALID_ARGUMENT);
  }).join();
  size_t size = 0;
  ASSERT_EQ(api.last_error(nullptr, &size), SPARSE_OK);
  std::vector<char> text(size);
  size_t small = size - 1;
  text[0] = 'x';
  EXPECT_EQ(api.last_error(text.data(), &small), SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(text[0], 'x');
  ASSERT_EQ(api.last_error(text.data(), &size), SPARSE_OK);
  EXPECT_EQ(std::strlen(text.data()) + 1, size);
  EXPECT_NE(std::strstr(text.data(), "/nowhere/model.spx"), nullptr);
  EXPECT_EQ(std::strncmp(text.data(), "NOT_FOUND: ", 11), 0);
}

TEST_F(CApiTest, ContextsOutliveTheirModel) {
  auto model = std::make_unique<sparse::Model>(dir.path());
  sparse::Context context = makeContext(*model);
  model.reset();
  sparse::Sequence sequence = context.create();
  int32_t id = 1;
  context.prefill(sequence, &id, 1, nullptr, nullptr);
  EXPECT_EQ(sequence.counters(0).size(), 4u);
}

TEST_F(CApiTest, InjectedMemoryThreadsAndLog) {
  struct Seen {
    int64_t reserved = 0, commits = 0, runs = 0, messages = 0;
    sparse::runtime::Memory memory;
  } seen;
  sparse_memory memory = {
      &seen,
      [](void *user, size_t bytes) {
        ++static_cast<Seen *>(user)->reserved;
        return static_cast<Seen *>(user)->memory.reserve(bytes, false);
      },
      [](void *user, void *address, size_t bytes) -> int32_t {
        ++static_cast<Seen *>(user)->commits;
        return static_cast<Seen *>(user)->memory.commit(address, bytes);
      },
      [](void *user, void *address, size_t bytes) {
        static_cast<Seen *>(user)->memory.decommit(address, bytes);
      },
      [](void *user, void *address, size_t bytes) {
        --static_cast<Seen *>(user)->reserved;
        static_cast<Seen *>(user)->memory.release(address, bytes);
      }};
  sparse_parallel parallel = {&seen, 3,
                              [](void *user, int64_t tasks,
                                 void (*body)(void *, int64_t), void *context) {
                                ++static_cast<Seen *>(user)->runs;
                                // The order does not matter.
                                for (int64_t task = tasks; task--;)
                                  body(context, task);
                              }};
  sparse_load_options load = {};
  load.skip_verify = 1;
  load.log_user = &seen;
  load.log = [](void *user, int32_t level, const char *message) {
    static_cast<Seen *>(user)->messages +=
        level == SPARSE_LOG_WARNING && std::strlen(message) > 0;
  };
  {
    sparse::Model model(dir.path(), load);
    EXPECT_EQ(seen.messages, 1);
    sparse_context_options options = {};
    options.kv_limit_bytes = 1 << 20;
    options.memory = &memory;
    options.parallel = &parallel;
    sparse::Context context(model, options);
    EXPECT_EQ(context.threads(), 3u);
    sparse::Sequence sequence = context.create();
    toy::Oracle oracle(config);
    std::vector<int32_t> ids = {5, 6, 7, 8, 9, 10, 11, 12, 13};
    std::vector<float> logits(48);
    context.prefill(sequence, ids.data(), ids.size(), nullptr, logits.data());
    EXPECT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
    EXPECT_GT(seen.commits, 0);
    EXPECT_GT(seen.runs, 10);
    EXPECT_GT(seen.reserved, 10);
  }
  EXPECT_EQ(seen.reserved, 0);
  parallel.run = nullptr;
  sparse::Model model(dir.path(), load);
  sparse_context_options options = {};
  options.parallel = &parallel;
  EXPECT_EQ(statusOf([&] { sparse::Context context(model, options); }),
            SPARSE_INVALID_ARGUMENT);
}

// Calls of several threads on one context are serialised; cancel is not.
TEST_F(CApiTest, OneContextOnManyThreads) {
  sparse::Model model(dir.path());
  sparse::Context context = makeContext(model);
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  toy::Oracle oracle(config);
  std::vector<float> expected = oracle.logits(oracle.prefill(ids).back());
  std::atomic<bool> stop{false};
  std::atomic<int> cancelled{0}, done{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        sparse::Sequence sequence = context.create();
        std::vector<float> logits(48);
        sparse_status status =
            api.prefill(context.get(), sequence.get(), ids.data(), ids.size(),
                        nullptr, logits.data());
        if (status == SPARSE_OK)
          wrong += logits != expected;
        else
          wrong += status != SPARSE_CANCELLED;
        (status == SPARSE_OK ? done : cancelled)++;
      }
    });
  std::thread antagonist([&] {
    while (!stop) {
      context.cancel();
      context.usage();
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  for (std::thread &thread : threads)
    thread.join();
  stop = true;
  antagonist.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(done + cancelled, 300);
  EXPECT_GT(done, 0);
}

} // namespace
