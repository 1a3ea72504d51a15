//===- MisuseTest.cpp - Wrong calls of the C API (R23) --------------------===//
//
// Every wrong call gets a status with a text, and leaves the objects as they
// were.
//
//===----------------------------------------------------------------------===//

#include "sparse-opt/runtime.hpp"

#include "TestUtil.h"
#include "ToyModel.h"

#include <cstring>
#include <limits>

namespace {

struct Case {
  std::string what;
  sparse_status expected;
  std::function<sparse_status()> call;
};

/// An options struct of a caller whose library would be newer.
template <typename T>
struct Newer {
  T known = {};
  uint64_t unknown = 1;
  Newer() { known.struct_size = sizeof(*this); }
};

template <typename T>
T sized() {
  T made = {};
  made.struct_size = sizeof(made);
  return made;
}

class MisuseTest : public testing::Test {
protected:
  MisuseTest() {
    toy::Artifact artifact = toy::makeArtifact(config);
    artifact.write(plain.path());
    artifact.files["tokenizer.json"] = "{}";
    artifact.write(dir.path());
  }

  static sparse_context_options smallOptions() {
    auto options = sized<sparse_context_options>();
    options.max_sequences = 3;
    options.threads = 1;
    options.kv_limit_bytes = 24 << 10;
    options.check = 1;
    return options;
  }

  /// Runs all cases; `unchanged` says what must stay the same.
  void expectAll(const std::vector<Case> &cases, const std::function<void(const std::string &)> &unchanged) {
    for (const Case &one : cases) {
      SCOPED_TRACE(one.what);
      sparse_status status = one.call();
      EXPECT_EQ(status, one.expected) << api.status_name(status) << ", expected " << api.status_name(one.expected);
      if (status != SPARSE_OK) {
        std::vector<char> text(1000);
        size_t size = text.size();
        ASSERT_EQ(api.last_error(text.data(), &size), SPARSE_OK);
        std::string message = text.data(), name = std::string(api.status_name(status)) + ": ";
        EXPECT_EQ(message.compare(0, name.size(), name), 0) << message;
        EXPECT_GT(message.size(), name.size() + 5) << message;
      }
      unchanged(one.what);
    }
  }

  toy::Config config = toy::cappedConfig("end");
  toy::TempDir dir, plain;
  const sparse_api &api = sparse::api();
};

TEST_F(MisuseTest, EveryWrongCallIsAStatus) {
  sparse::Model model(dir.path()), bare(plain.path());
  sparse::Context context(model, smallOptions()), second(model, smallOptions());
  sparse_context *ctx = context.get();
  auto *modelAsContext = reinterpret_cast<sparse_context *>(model.get());
  auto *contextAsModel = reinterpret_cast<sparse_model *>(ctx);
  sparse_sequence seq = 0, dropped = 0, foreign = 0;
  ASSERT_EQ(api.sequence_create(ctx, &dropped), SPARSE_OK);
  ASSERT_EQ(api.sequence_create(ctx, &seq), SPARSE_OK);
  ASSERT_EQ(api.sequence_destroy(ctx, dropped), SPARSE_OK);
  // The other context has its third sequence where this one has none.
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(api.sequence_create(second.get(), &foreign), SPARSE_OK);
  toy::Oracle oracle(config);
  // Long enough that heads have evicted.
  std::vector<int32_t> ids(40, 3);
  ASSERT_EQ(api.prefill(ctx, seq, ids.data(), ids.size(), nullptr, nullptr), SPARSE_OK);
  oracle.prefill(ids);

  std::vector<float> hidden(config.hidden()), logits(4 * config.vocab);
  std::vector<int32_t> many(300, 1);
  int32_t token = 7;
  size_t size = 0;
  uint64_t length = 0;
  uint32_t threads = 0;
  const char *text = nullptr;
  sparse_model *noModel = nullptr;
  sparse_context *noContext = nullptr;
  sparse_sequence noSequence = 0;
  sparse_usage unsized = {};
  auto usage = sized<sparse_usage>();
  sparse_decode_row row = {seq, 1}, twice[] = {{seq, 1}, {seq, 2}};
  std::string path = dir.path(), file = dir.path() + "/manifest.json";

  std::vector<Case> cases;
  auto add = [&](const std::string &what, sparse_status expected, std::function<sparse_status()> call) {
    cases.push_back({what, expected, std::move(call)});
  };
  const sparse_status invalid = SPARSE_INVALID_ARGUMENT;

  // -- Models.
  auto load = [&](auto change) {
    return [&, change] {
      auto options = sized<sparse_load_options>();
      change(options);
      return api.model_load(path.c_str(), &options, &noModel);
    };
  };
  add("load NULL", invalid, [&] { return api.model_load(nullptr, nullptr, &noModel); });
  add("load to NULL", invalid, [&] { return api.model_load(path.c_str(), nullptr, nullptr); });
  add("load nothing", SPARSE_NOT_FOUND, [&] { return api.model_load("", nullptr, &noModel); });
  add("load nowhere", SPARSE_NOT_FOUND, [&] { return api.model_load("/nowhere/at.spx", nullptr, &noModel); });
  add("load a file", invalid, [&] { return api.model_load(file.c_str(), nullptr, &noModel); });
  add("load a folder of something else", SPARSE_NOT_FOUND, [&] { return api.model_load("/", nullptr, &noModel); });
  add("load: no struct_size", invalid, load([](auto &o) { o.struct_size = 0; }));
  add("load: small struct_size", invalid, load([](auto &o) { o.struct_size = 7; }));
  add("load: huge struct_size", invalid, load([](auto &o) { o.struct_size = SIZE_MAX; }));
  add("load: newer option", SPARSE_INCOMPATIBLE, [&] {
    Newer<sparse_load_options> options;
    return api.model_load(path.c_str(), &options.known, &noModel);
  });
  add("load: unknown target", SPARSE_NOT_FOUND, load([](auto &o) { o.target = "pdp-11"; }));
  add("load: unknown device", SPARSE_INCOMPATIBLE, load([](auto &o) { o.device = "npu"; }));
  add("load: device that the model has no code for", SPARSE_INCOMPATIBLE, load([](auto &o) { o.device = "cuda:0"; }));
  for (const char *weights : {"", "random", "random:", "random:1x", "random:-1", "zeros:1"})
    add(std::string("load: weights ") + weights, invalid, load([=](auto &o) { o.weights = weights; }));
  add("load: random weights of a model that has some", SPARSE_FAILED_PRECONDITION,
      load([](auto &o) { o.weights = "random:1"; }));
  auto info = sized<sparse_model_info>();
  sparse_model_info unsizedInfo = {};
  add("info of NULL", invalid, [&] { return api.model_info(nullptr, &info); });
  add("info of a context", invalid, [&] { return api.model_info(contextAsModel, &info); });
  add("info to NULL", invalid, [&] { return api.model_info(model.get(), nullptr); });
  add("info: no struct_size", invalid, [&] { return api.model_info(model.get(), &unsizedInfo); });
  add("tokenizer of NULL", invalid, [&] { return api.model_tokenizer(nullptr, &text, &size); });
  add("tokenizer of a context", invalid, [&] { return api.model_tokenizer(contextAsModel, &text, &size); });
  add("tokenizer to NULL", invalid, [&] { return api.model_tokenizer(model.get(), nullptr, &size); });
  add("tokenizer of no size", invalid, [&] { return api.model_tokenizer(model.get(), &text, nullptr); });
  add("tokenizer that there is not", SPARSE_NOT_FOUND, [&] { return api.model_tokenizer(bare.get(), &text, &size); });
  add("destroy a context as a model", SPARSE_OK, [&] {
    api.model_destroy(contextAsModel);
    return SPARSE_OK;
  });
  add("destroy NULL", SPARSE_OK, [&] {
    api.model_destroy(nullptr);
    api.context_destroy(nullptr);
    return SPARSE_OK;
  });

  // -- Contexts.
  auto create = [&](auto change) {
    return [&, change] {
      sparse_context_options options = smallOptions();
      change(options);
      return api.context_create(model.get(), &options, &noContext);
    };
  };
  add("context of NULL", invalid, [&] { return api.context_create(nullptr, nullptr, &noContext); });
  add("context of a context", invalid, [&] { return api.context_create(contextAsModel, nullptr, &noContext); });
  add("context to NULL", invalid, [&] { return api.context_create(model.get(), nullptr, nullptr); });
  add("context: no struct_size", invalid, create([](auto &o) { o.struct_size = 0; }));
  add("context: newer option", SPARSE_INCOMPATIBLE, [&] {
    Newer<sparse_context_options> options;
    return api.context_create(model.get(), &options.known, &noContext);
  });
  add("context: too many sequences", invalid, create([](auto &o) { o.max_sequences = UINT32_MAX; }));
  add("context: too many threads", invalid, create([](auto &o) { o.threads = 100000; }));
  sparse_memory whole = {nullptr, [](void *, size_t) -> void * { return nullptr; },
                         [](void *, void *, size_t) -> int32_t { return 0; }, [](void *, void *, size_t) {},
                         [](void *, void *, size_t) {}};
  sparse_memory noReserve = whole, noCommit = whole, noDecommit = whole, noRelease = whole;
  noReserve.reserve = nullptr;
  noCommit.commit = nullptr;
  noDecommit.decommit = nullptr;
  noRelease.release = nullptr;
  for (const sparse_memory *memory : {&noReserve, &noCommit, &noDecommit, &noRelease})
    add("context: memory that lacks a function", invalid, create([=](auto &o) { o.memory = memory; }));
  add("context: memory that has none", SPARSE_RESOURCE_EXHAUSTED, create([&](auto &o) { o.memory = &whole; }));
  sparse_parallel noRun = {nullptr, 1, nullptr};
  add("context: threads that cannot run", invalid, create([&](auto &o) { o.parallel = &noRun; }));
  add("destroy a model as a context", SPARSE_OK, [&] {
    api.context_destroy(modelAsContext);
    return SPARSE_OK;
  });
  add("cancel NULL", invalid, [&] { return api.cancel(nullptr); });
  add("cancel a model", invalid, [&] { return api.cancel(modelAsContext); });
  add("threads of NULL", invalid, [&] { return api.context_threads(nullptr, &threads); });
  add("threads to NULL", invalid, [&] { return api.context_threads(ctx, nullptr); });
  add("usage of NULL", invalid, [&] { return api.context_usage(nullptr, &usage); });
  add("usage of a model", invalid, [&] { return api.context_usage(modelAsContext, &usage); });
  add("usage to NULL", invalid, [&] { return api.context_usage(ctx, nullptr); });
  add("usage: no struct_size", invalid, [&] { return api.context_usage(ctx, &unsized); });

  // -- Sequences. A bad handle is one that never was, is no more, or is another
  // context's.
  std::vector<sparse_sequence> bad = {
      0, 1, ~uint64_t(0), uint64_t(1) << 32 | 77, dropped, foreign, seq + (uint64_t(1) << 32)};
  for (sparse_sequence handle : bad) {
    std::string name = " of the handle " + std::to_string(handle);
    add("destroy" + name, invalid, [&, handle] { return api.sequence_destroy(ctx, handle); });
    add("fork" + name, invalid, [&, handle] { return api.sequence_fork(ctx, handle, &noSequence); });
    add("clear" + name, invalid, [&, handle] { return api.sequence_clear(ctx, handle); });
    add("prefill" + name, invalid, [&, handle] { return api.prefill(ctx, handle, ids.data(), 1, nullptr, nullptr); });
    add("decode" + name, invalid, [&, handle] {
      sparse_decode_row rows[] = {{seq, 1}, {handle, 1}};
      return api.decode(ctx, rows, 2, nullptr);
    });
  }
  add("trim of a bad handle", invalid, [&] { return api.sequence_trim(ctx, dropped, 0); });
  add("length of a bad handle", invalid, [&] { return api.sequence_length(ctx, dropped, &length); });
  add("reserve of a bad handle", invalid, [&] { return api.sequence_reserve(ctx, dropped, 1, SPARSE_APPEND_DECODE); });
  add("fill of a bad handle", invalid, [&] { return api.sequence_fill_random(ctx, dropped, 1, 1); });
  add("usage of a bad handle", invalid, [&] { return api.sequence_usage(ctx, dropped, &usage); });
  add("counters of a bad handle", invalid, [&] { return api.sequence_counters(ctx, dropped, 0, nullptr, &size); });
  add("create of NULL", invalid, [&] { return api.sequence_create(nullptr, &noSequence); });
  add("create of a model", invalid, [&] { return api.sequence_create(modelAsContext, &noSequence); });
  add("create to NULL", invalid, [&] { return api.sequence_create(ctx, nullptr); });
  add("create of one too many", SPARSE_RESOURCE_EXHAUSTED,
      [&] { return api.sequence_create(second.get(), &noSequence); });
  add("fork of one too many", SPARSE_RESOURCE_EXHAUSTED,
      [&] { return api.sequence_fork(second.get(), foreign, &noSequence); });
  add("fork to NULL", invalid, [&] { return api.sequence_fork(ctx, seq, nullptr); });
  add("trim beyond the length", SPARSE_OUT_OF_RANGE, [&] { return api.sequence_trim(ctx, seq, 41); });
  add("trim to the largest number", SPARSE_OUT_OF_RANGE, [&] { return api.sequence_trim(ctx, seq, UINT64_MAX); });
  add("trim into what was evicted", SPARSE_FAILED_PRECONDITION, [&] { return api.sequence_trim(ctx, seq, 39); });
  add("length to NULL", invalid, [&] { return api.sequence_length(ctx, seq, nullptr); });
  add("reserve in no way", invalid, [&] { return api.sequence_reserve(ctx, seq, 1, 2); });
  add("reserve beyond the context", SPARSE_OUT_OF_RANGE,
      [&] { return api.sequence_reserve(ctx, seq, 300, SPARSE_APPEND_PREFILL); });
  add("reserve the largest number", SPARSE_OUT_OF_RANGE,
      [&] { return api.sequence_reserve(ctx, seq, UINT64_MAX, SPARSE_APPEND_DECODE); });
  add("reserve beyond the limit", SPARSE_RESOURCE_EXHAUSTED,
      [&] { return api.sequence_reserve(ctx, seq, 210, SPARSE_APPEND_PREFILL); });
  add("fill what is not empty", SPARSE_FAILED_PRECONDITION, [&] { return api.sequence_fill_random(ctx, seq, 1, 1); });
  add("fill what evicts", SPARSE_UNIMPLEMENTED, [&] { return api.sequence_fill_random(second.get(), foreign, 1, 1); });
  add("sequence usage to NULL", invalid, [&] { return api.sequence_usage(ctx, seq, nullptr); });
  add("sequence usage: no struct_size", invalid, [&] { return api.sequence_usage(ctx, seq, &unsized); });
  add("counters of no size", invalid, [&] { return api.sequence_counters(ctx, seq, 0, nullptr, nullptr); });
  add("counters of a layer too many", invalid, [&] { return api.sequence_counters(ctx, seq, 3, nullptr, &size); });
  add("counters without room", invalid, [&] {
    sparse_counter one = {};
    size_t room = 1;
    return api.sequence_counters(ctx, seq, 0, &one, &room);
  });

  // -- Steps.
  add("prefill of NULL", invalid, [&] { return api.prefill(nullptr, seq, ids.data(), 1, nullptr, nullptr); });
  add("prefill NULL", invalid, [&] { return api.prefill(ctx, seq, nullptr, 1, nullptr, nullptr); });
  add("prefill nothing", invalid, [&] { return api.prefill(ctx, seq, ids.data(), 0, nullptr, nullptr); });
  add("prefill beyond the context", SPARSE_OUT_OF_RANGE,
      [&] { return api.prefill(ctx, seq, many.data(), many.size(), nullptr, nullptr); });
  add("prefill more than memory holds", SPARSE_OUT_OF_RANGE,
      [&] { return api.prefill(ctx, seq, many.data(), SIZE_MAX, nullptr, nullptr); });
  for (int32_t wrong : {-1, 48, INT32_MAX, INT32_MIN}) {
    add("prefill of the token " + std::to_string(wrong), invalid,
        [&, wrong] { return api.prefill(ctx, seq, &wrong, 1, nullptr, nullptr); });
    add("decode of the token " + std::to_string(wrong), invalid, [&, wrong] {
      sparse_decode_row bad = {seq, wrong};
      return api.decode(ctx, &bad, 1, nullptr);
    });
  }
  add("decode of NULL", invalid, [&] { return api.decode(nullptr, &row, 1, nullptr); });
  add("decode NULL", invalid, [&] { return api.decode(ctx, nullptr, 1, nullptr); });
  add("decode nothing", invalid, [&] { return api.decode(ctx, &row, 0, nullptr); });
  add("decode more rows than sequences", invalid, [&] { return api.decode(ctx, &row, SIZE_MAX, nullptr); });
  add("decode a sequence twice", invalid, [&] { return api.decode(ctx, twice, 2, nullptr); });
  add("known tokens of no sequences", invalid,
      [&] { return api.decode_known(ctx, nullptr, 1, many.data(), 1, nullptr); });
  add("no known tokens", invalid, [&] { return api.decode_known(ctx, &seq, 1, nullptr, 1, nullptr); });
  add("known tokens for no step", invalid, [&] { return api.decode_known(ctx, &seq, 1, many.data(), 0, nullptr); });
  add("known tokens for no row", invalid, [&] { return api.decode_known(ctx, &seq, 0, many.data(), 1, nullptr); });
  add("known tokens beyond the context", SPARSE_OUT_OF_RANGE,
      [&] { return api.decode_known(ctx, &seq, 1, many.data(), 300, nullptr); });
  add("known tokens of the largest number", SPARSE_OUT_OF_RANGE,
      [&] { return api.decode_known(ctx, &seq, 1, many.data(), SIZE_MAX, nullptr); });
  add("logits of NULL", invalid, [&] { return api.logits(ctx, nullptr, 1, logits.data()); });
  add("logits to NULL", invalid, [&] { return api.logits(ctx, hidden.data(), 1, nullptr); });
  add("logits without a context", invalid, [&] { return api.logits(nullptr, hidden.data(), 1, logits.data()); });

  // -- Choosing tokens.
  auto choose = [&](auto change) {
    return [&, change] {
      auto sampling = sized<sparse_sampling>();
      change(sampling);
      return api.sample(logits.data(), 48, &sampling, 0, &token);
    };
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  add("sample NULL", invalid, [&] { return api.sample(nullptr, 48, nullptr, 0, &token); });
  add("sample nothing", invalid, [&] { return api.sample(logits.data(), 0, nullptr, 0, &token); });
  add("sample to NULL", invalid, [&] { return api.sample(logits.data(), 48, nullptr, 0, nullptr); });
  add("sample: no struct_size", invalid, choose([](auto &s) { s.struct_size = 0; }));
  add("sample: temperature below zero", invalid, choose([](auto &s) { s.temperature = -1; }));
  add("sample: temperature that is no number", invalid, choose([=](auto &s) { s.temperature = nan; }));
  add("sample: top_k below zero", invalid, choose([](auto &s) { s.top_k = -1; }));
  add("sample: top_p above one", invalid, choose([](auto &s) { s.top_p = 1.5f; }));
  add("sample: top_p that is no number", invalid, choose([=](auto &s) { s.top_p = nan; }));
  add("sample what is no number", SPARSE_INTERNAL, [&] {
    std::vector<float> broken(48, nan);
    return api.sample(broken.data(), 48, nullptr, 0, &token);
  });

  // -- Generations.
  auto begin = [&](auto change) {
    return [&, change] {
      sparse_generate_row one = {};
      one.sequence = seq;
      change(one);
      return api.generate_begin(ctx, &one, 1);
    };
  };
  add("generate NULL", invalid, [&] { return api.generate_begin(ctx, nullptr, 1); });
  add("generate nothing", invalid, begin([](auto &r) { r.sequence = 0; }));
  add("generate no row", invalid, [&] {
    sparse_generate_row one = {};
    return api.generate_begin(ctx, &one, 0);
  });
  add("generate a sequence twice", invalid, [&] {
    sparse_generate_row two[2] = {};
    two[0].sequence = two[1].sequence = seq;
    return api.generate_begin(ctx, two, 2);
  });
  add("generate from a wrong token", invalid, begin([](auto &r) { r.token = 48; }));
  add("generate: stops that there are not", invalid, begin([](auto &r) { r.stop_count = 2; }));
  add("generate: too many stops", invalid, begin([&](auto &r) {
        r.stops = many.data();
        r.stop_count = SPARSE_MOST_STOPS + 1;
      }));
  sparse_sampling unsizedSampling = {};
  add("generate: sampling without struct_size", invalid, begin([&](auto &r) { r.sampling = &unsizedSampling; }));
  add("step without a generation", SPARSE_FAILED_PRECONDITION, [&] { return api.generate_step(ctx); });
  add("read without a generation", SPARSE_FAILED_PRECONDITION, [&] { return api.generate_read(ctx, &token); });
  add("read to NULL", invalid, [&] { return api.generate_read(ctx, nullptr); });
  add("end without a generation", SPARSE_OK, [&] { return api.generate_end(ctx); });

  // -- The rest.
  add("last error of no size", invalid, [&] {
    sparse_status status = api.last_error(nullptr, nullptr);
    // It does not replace the error that it could not tell.
    api.cancel(nullptr);
    return status;
  });
  add("a table of version 0", SPARSE_OK, [&] { return sparse_get_api(0) ? SPARSE_INTERNAL : SPARSE_OK; });
  add("a table that is newer", SPARSE_OK,
      [&] { return sparse_get_api(SPARSE_API_VERSION + 1) ? SPARSE_INTERNAL : SPARSE_OK; });

  std::printf("%zu wrong calls\n", cases.size());
  EXPECT_GE(cases.size(), 80u);
  sparse_usage before = context.usage();
  expectAll(cases, [&](const std::string &what) {
    EXPECT_EQ(noModel, nullptr) << what;
    EXPECT_EQ(noContext, nullptr) << what;
    EXPECT_EQ(noSequence, 0u) << what;
    EXPECT_EQ(token, 7) << what;
    EXPECT_EQ(text, nullptr) << what;
    sparse_usage now = context.usage();
    EXPECT_EQ(std::memcmp(&now, &before, sizeof(now)), 0) << what;
  });
  // The sequence goes on as if nothing had been.
  for (int step = 0; step < 20; ++step) {
    row.token = step;
    ASSERT_EQ(api.decode(ctx, &row, 1, logits.data()), SPARSE_OK);
    EXPECT_EQ(std::vector<float>(logits.begin(), logits.begin() + config.vocab), oracle.decode(step));
  }
}

// What a generation that runs forbids.
TEST_F(MisuseTest, DuringAGeneration) {
  sparse::Model model(dir.path());
  sparse::Context context(model, smallOptions());
  sparse_context *ctx = context.get();
  sparse_sequence seq = 0, forked = 0;
  int32_t token = 1, read = -7;
  ASSERT_EQ(api.sequence_create(ctx, &seq), SPARSE_OK);
  ASSERT_EQ(api.prefill(ctx, seq, &token, 1, nullptr, nullptr), SPARSE_OK);
  sparse_generate_row row = {};
  row.sequence = seq;
  ASSERT_EQ(api.generate_begin(ctx, &row, 1), SPARSE_OK);
  for (int i = 0; i < 8; ++i)
    ASSERT_EQ(api.generate_step(ctx), SPARSE_OK);
  sparse_decode_row decoded = {seq, 1};
  const sparse_status refused = SPARSE_FAILED_PRECONDITION;
  expectAll({{"begin another", refused, [&] { return api.generate_begin(ctx, &row, 1); }},
             {"a ninth step", refused, [&] { return api.generate_step(ctx); }},
             {"fork", refused, [&] { return api.sequence_fork(ctx, seq, &forked); }},
             {"trim", refused, [&] { return api.sequence_trim(ctx, seq, 0); }},
             {"clear", refused, [&] { return api.sequence_clear(ctx, seq); }},
             {"reserve", refused, [&] { return api.sequence_reserve(ctx, seq, 1, SPARSE_APPEND_DECODE); }},
             {"fill", refused, [&] { return api.sequence_fill_random(ctx, seq, 1, 1); }},
             {"prefill", refused, [&] { return api.prefill(ctx, seq, &token, 1, nullptr, nullptr); }},
             {"decode", refused, [&] { return api.decode(ctx, &decoded, 1, nullptr); }},
             {"known tokens", refused, [&] { return api.decode_known(ctx, &seq, 1, &token, 1, nullptr); }}},
            [&](const std::string &) { EXPECT_EQ(forked, 0u); });
  for (int i = 0; i < 8; ++i)
    ASSERT_EQ(api.generate_read(ctx, &read), SPARSE_OK);
  expectAll({{"read a ninth", refused, [&] { return api.generate_read(ctx, &read); }}}, [](const std::string &) {});
  ASSERT_EQ(api.generate_end(ctx), SPARSE_OK);
  uint64_t length = 0;
  ASSERT_EQ(api.sequence_length(ctx, seq, &length), SPARSE_OK);
  EXPECT_EQ(length, 9u);
}

// A context whose kernel failed refuses steps, and can still be looked at and
// taken apart; other contexts of the model work.
TEST_F(MisuseTest, AfterAFailureInAKernel) {
  toy::Artifact artifact = toy::makeArtifact(config);
  artifact.plans["decode_b1"]["steps"][0]["kernel"] = "set_status";
  toy::TempDir broken;
  artifact.write(broken.path());
  sparse::Model model(broken.path());
  sparse::Context context(model, smallOptions()), other(model, smallOptions());
  sparse_context *ctx = context.get();
  sparse_sequence seq = 0, forked = 0, next = 0;
  int32_t token = 1;
  ASSERT_EQ(api.sequence_create(ctx, &seq), SPARSE_OK);
  ASSERT_EQ(api.prefill(ctx, seq, &token, 1, nullptr, nullptr), SPARSE_OK);
  sparse_decode_row row = {seq, 1};
  ASSERT_EQ(api.decode(ctx, &row, 1, nullptr), SPARSE_INTERNAL);
  std::vector<float> hidden(config.hidden()), logits(config.vocab);
  sparse_generate_row generated = {};
  generated.sequence = seq;
  auto usage = sized<sparse_usage>();
  uint64_t length = 0;
  size_t count = 0;
  const sparse_status refused = SPARSE_FAILED_PRECONDITION;
  expectAll({{"prefill", refused, [&] { return api.prefill(ctx, seq, &token, 1, nullptr, nullptr); }},
             {"decode", refused, [&] { return api.decode(ctx, &row, 1, nullptr); }},
             {"known tokens", refused, [&] { return api.decode_known(ctx, &seq, 1, &token, 1, nullptr); }},
             {"logits", refused, [&] { return api.logits(ctx, hidden.data(), 1, logits.data()); }},
             {"trim", refused, [&] { return api.sequence_trim(ctx, seq, 0); }},
             {"generate", refused, [&] { return api.generate_begin(ctx, &generated, 1); }},
             {"length", SPARSE_OK, [&] { return api.sequence_length(ctx, seq, &length); }},
             {"usage", SPARSE_OK, [&] { return api.context_usage(ctx, &usage); }},
             {"counters", SPARSE_OK, [&] { return api.sequence_counters(ctx, seq, 0, nullptr, &count); }},
             {"cancel", SPARSE_OK, [&] { return api.cancel(ctx); }},
             {"fork", SPARSE_OK, [&] { return api.sequence_fork(ctx, seq, &forked); }},
             {"clear", SPARSE_OK, [&] { return api.sequence_clear(ctx, seq); }},
             {"create", SPARSE_OK, [&] { return api.sequence_create(ctx, &next); }},
             {"destroy", SPARSE_OK, [&] { return api.sequence_destroy(ctx, seq); }},
             {"a step after it", refused, [&] { return api.prefill(ctx, next, &token, 1, nullptr, nullptr); }}},
            [](const std::string &) {});
  ASSERT_EQ(api.sequence_create(other.get(), &seq), SPARSE_OK);
  EXPECT_EQ(api.prefill(other.get(), seq, &token, 1, nullptr, nullptr), SPARSE_OK);
}

} // namespace
