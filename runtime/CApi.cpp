//===- CApi.cpp - The C API -----------------------------------------------===//
//
// The only place where errors become codes and handles become objects.
//
//===----------------------------------------------------------------------===//

#include "sparse-opt/runtime.h"

#include "Context.h"
#include "Sampler.h"
#include "Session.h"
#include "Status.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>

using namespace sparse::runtime;

// A handle of another kind is told apart by its first word.
static constexpr uint64_t modelMagic = 0x6c65646f6d787073;
static constexpr uint64_t contextMagic = 0x747865746e787073;
static constexpr uint64_t sessionMagic = 0x6e6f697373737073;

struct sparse_model {
  uint64_t magic = modelMagic;
  std::shared_ptr<const Model> model;
  std::string device;
};

struct sparse_context {
  uint64_t magic = contextMagic;
  std::mutex mutex;
  std::unique_ptr<Context> context;
  std::vector<uint32_t> generations; ///< per sequence index
};

struct sparse_session {
  uint64_t magic = sessionMagic;
  std::unique_ptr<const SessionFile> file;
};

static thread_local std::string lastError;

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

static sparse_status setError(Code code, const char *message) noexcept {
  try {
    lastError = std::string(codeName(code)) + ": " + message;
  } catch (...) {
    lastError.clear();
  }
  return static_cast<sparse_status>(code);
}

template <typename Fn> static sparse_status guarded(Fn fn) noexcept {
  try {
    fn();
    return SPARSE_OK;
  } catch (const Error &error) {
    return setError(error.code, error.what());
  } catch (const std::bad_alloc &) {
    return setError(Code::ResourceExhausted, "out of memory");
  } catch (const std::exception &error) {
    return setError(Code::Internal, error.what());
  } catch (...) {
    return setError(Code::Internal, "unknown exception");
  }
}

static const char *statusName(sparse_status status) {
  return codeName(static_cast<Code>(status));
}

static sparse_status lastErrorText(char *buffer, size_t *size) {
  if (!size)
    return SPARSE_INVALID_ARGUMENT;
  size_t needed = lastError.size() + 1;
  size_t room = *size;
  *size = needed;
  if (!buffer)
    return SPARSE_OK;
  if (room < needed)
    return SPARSE_INVALID_ARGUMENT;
  std::memcpy(buffer, lastError.c_str(), needed);
  return SPARSE_OK;
}

static void need(const void *pointer, const char *name) {
  if (!pointer)
    fail(Code::InvalidArgument, "%s is NULL", name);
}

//===----------------------------------------------------------------------===//
// Structs that grow
//===----------------------------------------------------------------------===//

/// A full copy of an options struct of an older or newer caller.
template <typename T> static T readOptions(const T *options) {
  T copy = {};
  if (!options)
    return copy;
  size_t size = options->struct_size;
  if (size < sizeof(size_t) || size > (size_t(1) << 16))
    fail(Code::InvalidArgument, "struct_size of an options struct is not set");
  // A newer caller may ask for what this library does not know.
  const uint8_t *bytes = reinterpret_cast<const uint8_t *>(options);
  for (size_t i = sizeof(T); i < size; ++i)
    if (bytes[i])
      fail(Code::Incompatible, "an option is newer than this library");
  std::memcpy(&copy, options, std::min(sizeof(T), size));
  return copy;
}

template <typename T> static void writeResult(const T &full, T *out) {
  need(out, "the result struct");
  size_t size = out->struct_size;
  if (size < sizeof(size_t) || size > (size_t(1) << 16))
    fail(Code::InvalidArgument, "struct_size of a result struct is not set");
  std::memcpy(reinterpret_cast<uint8_t *>(out) + sizeof(size_t),
              reinterpret_cast<const uint8_t *>(&full) + sizeof(size_t),
              std::min(sizeof(T), size) - sizeof(size_t));
}

static LogFn makeLog(sparse_log_fn log, void *user) {
  if (!log)
    return nullptr;
  return [=](LogLevel level, const std::string &message) {
    log(user, static_cast<int32_t>(level), message.c_str());
  };
}

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

static const Model &get(const sparse_model *model) {
  need(model, "model");
  if (model->magic != modelMagic)
    fail(Code::InvalidArgument, "the handle is not a model");
  return *model->model;
}

/// "random:SEED"
static void readWeights(const std::string &text, LoadOptions &load) {
  const std::string prefix = "random:";
  std::string digits = text.substr(std::min(prefix.size(), text.size()));
  if (text.compare(0, prefix.size(), prefix) != 0 || digits.empty() ||
      digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    fail(Code::InvalidArgument, "'%s' are no weights: expected random:SEED",
         text.c_str());
  load.randomWeights = true;
  load.weightsSeed = std::stoull(digits);
}

static sparse_status modelLoad(const char *path,
                               const sparse_load_options *options,
                               sparse_model **out) {
  return guarded([&] {
    need(path, "path");
    need(out, "model");
    sparse_load_options given = readOptions(options);
    LoadOptions load;
    load.verify = !given.skip_verify;
    load.mapWeights = given.map_weights != 0;
    load.target = given.target ? given.target : "";
    load.device = given.device ? given.device : "cpu";
    if (given.weights)
      readWeights(given.weights, load);
    load.log = makeLog(given.log, given.log_user);
    auto handle = std::make_unique<sparse_model>();
    handle->model = std::make_shared<Model>(path, load);
    handle->device = handle->model->device().name();
    *out = handle.release();
  });
}

static void modelDestroy(sparse_model *model) {
  if (!model || model->magic != modelMagic)
    return;
  model->magic = 0;
  delete model;
}

static sparse_status modelInfo(const sparse_model *handle,
                               sparse_model_info *out) {
  return guarded([&] {
    const Model &model = get(handle);
    const Manifest &manifest = model.manifest();
    sparse_model_info info = {};
    info.layers = manifest.model.layers;
    info.hidden = manifest.model.hidden;
    info.vocab = manifest.model.vocab;
    info.heads = manifest.model.heads;
    info.kv_heads = manifest.model.kvHeads;
    info.head_dim = manifest.model.headDim;
    info.max_context = manifest.model.maxContext;
    info.prefill_chunk = model.prefill() ? model.prefill()->rows : 0;
    info.max_bucket =
        model.decodeBuckets().empty() ? 0 : model.decodeBuckets().back()->rows;
    info.weights_dtype = manifest.model.weightsDType.c_str();
    info.kv_dtype = manifest.model.kvDType.c_str();
    info.policy = manifest.policy.c_str();
    info.target = model.target().name.c_str();
    info.created_by = manifest.createdBy.c_str();
    info.source = manifest.sourceName.c_str();
    for (const Section &section : manifest.sections)
      if (section.kind == "weights")
        info.weights_bytes += section.bytes;
    info.device = handle->device.c_str();
    writeResult(info, out);
  });
}

static sparse_status modelTokenizer(const sparse_model *handle,
                                    const char **text, size_t *size) {
  return guarded([&] {
    const Model &model = get(handle);
    need(text, "text");
    need(size, "size");
    if (model.tokenizer().empty())
      fail(Code::NotFound, "%s has no tokenizer.json", model.path().c_str());
    *text = model.tokenizer().c_str();
    *size = model.tokenizer().size();
  });
}

//===----------------------------------------------------------------------===//
// Contexts
//===----------------------------------------------------------------------===//

namespace {

/// The memory of the application.
class InjectedMemory : public Memory {
public:
  explicit InjectedMemory(const sparse_memory &memory) : memory(memory) {
    if (!memory.reserve || !memory.commit || !memory.decommit ||
        !memory.release)
      fail(Code::InvalidArgument, "sparse_memory lacks a function");
  }
  void *reserve(size_t bytes, bool) override {
    return memory.reserve(memory.user, bytes);
  }
  bool commit(void *address, size_t bytes) override {
    return memory.commit(memory.user, address, bytes) != 0;
  }
  void decommit(void *address, size_t bytes) override {
    memory.decommit(memory.user, address, bytes);
  }
  void release(void *address, size_t bytes) override {
    memory.release(memory.user, address, bytes);
  }

private:
  sparse_memory memory;
};

/// The threads of the application.
class InjectedParallel : public Parallel {
public:
  explicit InjectedParallel(const sparse_parallel &parallel)
      : parallel(parallel) {
    if (!parallel.run)
      fail(Code::InvalidArgument, "sparse_parallel lacks its function");
  }
  void run(int64_t tasks, Body body, void *context) override {
    if (tasks > 0)
      parallel.run(parallel.user, tasks, body, context);
  }
  unsigned threads() const override { return parallel.threads; }

private:
  sparse_parallel parallel;
};

} // namespace

static sparse_context &get(sparse_context *context) {
  need(context, "context");
  if (context->magic != contextMagic)
    fail(Code::InvalidArgument, "the handle is not a context");
  return *context;
}

static std::string saltOf(const void *salt, size_t bytes) {
  if (bytes == 0)
    return "";
  need(salt, "salt");
  if (bytes > 4096)
    fail(Code::InvalidArgument, "a salt of %zu bytes, at most 4096 can be",
         bytes);
  return std::string(static_cast<const char *>(salt), bytes);
}

static sparse_status contextCreate(const sparse_model *model,
                                   const sparse_context_options *options,
                                   sparse_context **out) {
  return guarded([&] {
    get(model);
    need(out, "context");
    sparse_context_options given = readOptions(options);
    if (given.max_sequences > (1u << 20) || given.threads > 4096)
      fail(Code::InvalidArgument, "max_sequences or threads is out of bounds");
    ContextOptions create;
    if (given.max_sequences)
      create.maxSequences = given.max_sequences;
    create.limitBytes = given.kv_limit_bytes;
    create.threads = given.threads;
    create.checkCounts = given.check != 0;
    create.prefixBytes = given.prefix_cache_bytes;
    create.prefixSalt = saltOf(given.prefix_salt, given.prefix_salt_bytes);
    if (given.memory)
      create.memory = std::make_shared<InjectedMemory>(*given.memory);
    if (given.parallel)
      create.parallel = std::make_shared<InjectedParallel>(*given.parallel);
    auto handle = std::make_unique<sparse_context>();
    handle->context = std::make_unique<Context>(model->model, create);
    handle->generations.assign(create.maxSequences, 0);
    *out = handle.release();
  });
}

static void contextDestroy(sparse_context *context) {
  if (!context || context->magic != contextMagic)
    return;
  context->magic = 0;
  delete context;
}

/// Runs `fn(Context &, sparse_context &)` under the lock of the context.
template <typename Fn>
static sparse_status locked(sparse_context *handle, Fn fn) {
  return guarded([&] {
    sparse_context &context = get(handle);
    std::lock_guard<std::mutex> lock(context.mutex);
    fn(*context.context, context);
  });
}

/// The index behind a sequence handle: index in the low half, generation in
/// the high half.
static uint32_t indexOf(sparse_context &context, sparse_sequence sequence) {
  uint32_t index = static_cast<uint32_t>(sequence);
  uint32_t generation = static_cast<uint32_t>(sequence >> 32);
  if (generation == 0 || index >= context.generations.size() ||
      context.generations[index] != generation ||
      !context.context->cache().exists(index))
    fail(Code::InvalidArgument, "the sequence does not exist (any more)");
  return index;
}

static sparse_sequence makeHandle(sparse_context &context, uint32_t index) {
  uint32_t &generation = context.generations[index];
  if (++generation == 0)
    generation = 1;
  return static_cast<uint64_t>(generation) << 32 | index;
}

static sparse_status cancelStep(sparse_context *handle) {
  return guarded([&] { get(handle).context->cancel(); });
}

static sparse_status contextThreads(sparse_context *handle, uint32_t *threads) {
  return guarded([&] {
    need(threads, "threads");
    *threads = get(handle).context->threads();
  });
}

static uint64_t denseBytes(const Context &context, uint32_t seq) {
  uint64_t bytes = 0;
  for (const LayerLayout &layout : context.cache().layouts()) {
    uint64_t pages =
        (context.cache().length(seq) + layout.page - 1) / layout.page;
    bytes += pages * layout.page * layout.kvHeads *
             context.model().denseSlotBytes(layout);
  }
  return bytes;
}

static void fillUsage(sparse_usage &usage, const CacheUsage &from) {
  usage.pages = from.pages;
  usage.dense_pages = from.densePages;
  usage.kv_bytes = from.bytes;
  usage.page_bytes = from.pageBytes;
}

static sparse_status contextUsage(sparse_context *handle, sparse_usage *out) {
  return locked(handle, [&](Context &context, sparse_context &) {
    const Cache &cache = context.cache();
    sparse_usage usage = {};
    fillUsage(usage, cache.usage());
    for (uint32_t seq = 0; seq < cache.options().maxSequences; ++seq)
      if (cache.exists(seq)) {
        usage.tokens += cache.length(seq);
        usage.dense_bytes += denseBytes(context, seq);
      }
    usage.peak_page_bytes = cache.peakPageBytes();
    PrefixUsage prefix = context.prefixUsage();
    usage.prefix_tokens = prefix.tokens;
    usage.prefix_lookups = prefix.lookups;
    usage.prefix_hits = prefix.hits;
    usage.prefix_pages = prefix.pages;
    usage.prefix_bytes = prefix.bytes;
    writeResult(usage, out);
  });
}

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

static sparse_status sequenceCreate(sparse_context *handle,
                                    sparse_sequence *out) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(out, "sequence");
    *out = makeHandle(owner, context.cache().create());
  });
}

static void destroy(Context &context, uint32_t index) {
  if (context.generates(index))
    try {
      context.endGeneration();
    } catch (const Error &) {
      // The context is poisoned and says so at its next step.
    }
  context.cache().destroy(index);
}

static sparse_status sequenceDestroy(sparse_context *handle,
                                     sparse_sequence sequence) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    destroy(context, indexOf(owner, sequence));
  });
}

static sparse_status sequenceKeep(sparse_context *handle,
                                  sparse_sequence sequence) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    uint32_t kept = indexOf(owner, sequence);
    for (uint32_t i = 0; i < owner.generations.size(); ++i)
      if (i != kept && context.cache().exists(i))
        destroy(context, i);
  });
}

static sparse_status sequenceFork(sparse_context *handle,
                                  sparse_sequence sequence,
                                  sparse_sequence *out) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(out, "forked");
    context.requireFree(indexOf(owner, sequence));
    uint32_t index = context.cache().fork(indexOf(owner, sequence));
    *out = makeHandle(owner, index);
  });
}

static sparse_status sequenceTrim(sparse_context *handle,
                                  sparse_sequence sequence, uint64_t length) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    context.trim(indexOf(owner, sequence), length);
  });
}

static sparse_status sequenceClear(sparse_context *handle,
                                   sparse_sequence sequence) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    context.requireFree(indexOf(owner, sequence));
    context.cache().clear(indexOf(owner, sequence));
  });
}

static sparse_status sequenceSalt(sparse_context *handle,
                                  sparse_sequence sequence, const void *salt,
                                  size_t bytes) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    uint32_t index = indexOf(owner, sequence);
    std::string text = saltOf(salt, bytes);
    context.requireFree(index);
    if (context.cache().length(index) != 0)
      fail(Code::FailedPrecondition, "the sequence is not empty");
    context.cache().setSalt(index, text);
  });
}

static sparse_status sequenceLength(sparse_context *handle,
                                    sparse_sequence sequence,
                                    uint64_t *length) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(length, "length");
    *length = context.cache().length(indexOf(owner, sequence));
  });
}

static sparse_status sequenceReserve(sparse_context *handle,
                                     sparse_sequence sequence, uint64_t tokens,
                                     sparse_append how) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    if (how != SPARSE_APPEND_PREFILL && how != SPARSE_APPEND_DECODE)
      fail(Code::InvalidArgument, "unknown way to append");
    context.requireFree(indexOf(owner, sequence));
    context.cache().reserve(indexOf(owner, sequence), tokens,
                            how == SPARSE_APPEND_PREFILL ? Append::Prefill
                                                         : Append::Decode);
  });
}

static sparse_status sequenceFillRandom(sparse_context *handle,
                                        sparse_sequence sequence,
                                        uint64_t tokens, uint64_t seed) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    context.fillRandom(indexOf(owner, sequence), tokens, seed);
  });
}

static sparse_status sequenceUsage(sparse_context *handle,
                                   sparse_sequence sequence,
                                   sparse_usage *out) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    uint32_t index = indexOf(owner, sequence);
    sparse_usage usage = {};
    fillUsage(usage, context.cache().usage(index));
    usage.tokens = context.cache().length(index);
    usage.dense_bytes = denseBytes(context, index);
    usage.prefix_tokens = context.cache().adopted(index);
    usage.peak_page_bytes = context.cache().peakPageBytes();
    writeResult(usage, out);
  });
}

static sparse_status sequenceCounters(sparse_context *handle,
                                      sparse_sequence sequence, uint64_t layer,
                                      sparse_counter *counters, size_t *count) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    uint32_t index = indexOf(owner, sequence);
    need(count, "count");
    const Cache &cache = context.cache();
    if (layer >= cache.layouts().size())
      fail(Code::InvalidArgument, "there is no layer %llu",
           static_cast<unsigned long long>(layer));
    const LayerLayout &layout = cache.layouts()[layer];
    uint32_t l = static_cast<uint32_t>(layer);
    int64_t slots = 0, pages = 0;
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      slots += static_cast<int64_t>(cache.extent(index, l, head));
      pages += static_cast<int64_t>(cache.pages(index, l, head));
    }
    std::vector<sparse_counter> all = {
        {"slots", slots},
        {"pages", pages},
        {"page_bytes", pages * static_cast<int64_t>(layout.pageBytes)}};
    // The names come from the model, which outlives the context.
    const LayerLayout &named = context.model().layers()[layer];
    for (size_t i = 0; i < named.components.size(); ++i)
      if (named.components[i].counter)
        all.push_back(
            {named.components[i].name.c_str(), cache.counter(index, l, i)});
    size_t room = *count;
    *count = all.size();
    if (!counters)
      return;
    if (room < all.size())
      fail(Code::InvalidArgument, "there are %zu counters", all.size());
    std::copy(all.begin(), all.end(), counters);
  });
}

//===----------------------------------------------------------------------===//
// Sessions
//===----------------------------------------------------------------------===//

static const SessionFile &get(const sparse_session *session) {
  need(session, "session");
  if (session->magic != sessionMagic)
    fail(Code::InvalidArgument, "the handle is not a session");
  return *session->file;
}

static sparse_status sequenceSave(sparse_context *handle,
                                  sparse_sequence sequence, const char *path,
                                  const void *note, size_t noteBytes) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(path, "path");
    if (noteBytes)
      need(note, "note");
    std::string text(noteBytes ? static_cast<const char *>(note) : "", noteBytes);
    saveSequence(context, indexOf(owner, sequence), path, text);
  });
}

static sparse_status sequenceRestore(sparse_context *handle,
                                     const sparse_session *session,
                                     sparse_sequence *out) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(out, "restored");
    *out = makeHandle(owner, restoreSequence(context, get(session)));
  });
}

static sparse_status sessionOpen(const char *path, sparse_session **out) {
  return guarded([&] {
    need(path, "path");
    need(out, "session");
    auto handle = std::make_unique<sparse_session>();
    handle->file = std::make_unique<SessionFile>(path);
    *out = handle.release();
  });
}

static void sessionClose(sparse_session *session) {
  if (!session || session->magic != sessionMagic)
    return;
  session->magic = 0;
  delete session;
}

static sparse_status sessionHeader(const sparse_session *session,
                                   const char **text, size_t *size) {
  return guarded([&] {
    const SessionFile &file = get(session);
    need(text, "text");
    need(size, "size");
    *text = file.text().c_str();
    *size = file.text().size();
  });
}

static sparse_status sessionTokens(const sparse_session *session,
                                   const int32_t **tokens, size_t *count) {
  return guarded([&] {
    const std::vector<int32_t> &all = get(session).header().state.tokens;
    need(tokens, "tokens");
    need(count, "count");
    *tokens = all.data();
    *count = all.size();
  });
}

static sparse_status sessionNote(const sparse_session *session,
                                 const void **note, size_t *size) {
  return guarded([&] {
    const std::string &bytes = get(session).note();
    need(note, "note");
    need(size, "size");
    *note = bytes.data();
    *size = bytes.size();
  });
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

static sparse_status prefill(sparse_context *handle, sparse_sequence sequence,
                             const int32_t *ids, size_t n, float *hidden,
                             float *logits) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(ids, "ids");
    context.prefill(indexOf(owner, sequence), ids, n, hidden, logits);
  });
}

static sparse_status decode(sparse_context *handle,
                            const sparse_decode_row *rows, size_t n,
                            float *logits) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(rows, "rows");
    if (n > owner.generations.size())
      fail(Code::InvalidArgument, "more rows than sequences");
    std::vector<DecodeRow> inner;
    for (size_t i = 0; i < n; ++i)
      inner.push_back({indexOf(owner, rows[i].sequence), rows[i].token});
    context.decode(inner.data(), n, logits);
  });
}

static sparse_status decodeKnown(sparse_context *handle,
                                 const sparse_sequence *sequences, size_t n,
                                 const int32_t *tokens, size_t steps,
                                 float *logits) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(sequences, "sequences");
    need(tokens, "tokens");
    if (n > owner.generations.size())
      fail(Code::InvalidArgument, "more rows than sequences");
    std::vector<uint32_t> inner;
    for (size_t i = 0; i < n; ++i)
      inner.push_back(indexOf(owner, sequences[i]));
    context.decodeKnown(inner.data(), n, tokens, steps, logits);
  });
}

static sparse_status logitsOf(sparse_context *handle, const float *hidden,
                              size_t n, float *logits) {
  return locked(handle, [&](Context &context, sparse_context &) {
    need(hidden, "hidden");
    need(logits, "logits");
    context.logits(hidden, n, logits);
  });
}

static Sampling samplingOf(const sparse_sampling *from) {
  sparse_sampling given = readOptions(from);
  Sampling sampling;
  sampling.temperature = given.temperature;
  sampling.seed = given.seed;
  sampling.topK = given.top_k;
  sampling.topP = given.top_p == 0 ? 1 : given.top_p;
  return sampling;
}

static sparse_status sample(const float *logits, size_t vocab,
                            const sparse_sampling *sampling, uint64_t index,
                            int32_t *token) {
  return guarded([&] {
    need(logits, "logits");
    need(token, "token");
    *token = sampleToken(logits, vocab, samplingOf(sampling), index);
  });
}

static sparse_status generateBegin(sparse_context *handle,
                                   const sparse_generate_row *rows, size_t n) {
  return locked(handle, [&](Context &context, sparse_context &owner) {
    need(rows, "rows");
    if (n > owner.generations.size())
      fail(Code::InvalidArgument, "more rows than sequences");
    std::vector<GenerateRow> inner;
    for (size_t i = 0; i < n; ++i) {
      GenerateRow row;
      row.seq = indexOf(owner, rows[i].sequence);
      row.token = rows[i].token;
      row.sampling = samplingOf(rows[i].sampling);
      row.index = rows[i].index;
      if (rows[i].stop_count) {
        need(rows[i].stops, "stops");
        row.stops.assign(rows[i].stops, rows[i].stops + rows[i].stop_count);
      }
      inner.push_back(std::move(row));
    }
    context.beginGeneration(inner.data(), n);
  });
}

static sparse_status generateStep(sparse_context *handle) {
  return locked(
      handle, [&](Context &context, sparse_context &) { context.queueStep(); });
}

static sparse_status generateRead(sparse_context *handle, int32_t *tokens) {
  return locked(handle, [&](Context &context, sparse_context &) {
    need(tokens, "tokens");
    context.readStep(tokens);
  });
}

static sparse_status generateEnd(sparse_context *handle) {
  return locked(handle, [&](Context &context, sparse_context &) {
    context.endGeneration();
  });
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

static const sparse_api table = {
    SPARSE_API_VERSION, statusName,       lastErrorText,   modelLoad,
    modelDestroy,       modelInfo,        modelTokenizer,  contextCreate,
    contextDestroy,     cancelStep,       contextThreads,  contextUsage,
    sequenceCreate,     sequenceDestroy,  sequenceFork,    sequenceTrim,
    sequenceClear,      sequenceLength,   sequenceReserve, sequenceFillRandom,
    sequenceUsage,      sequenceCounters, prefill,         decode,
    logitsOf,           sample,           decodeKnown,     generateBegin,
    generateStep,       generateRead,     generateEnd,     sequenceSave,
    sequenceRestore,    sessionOpen,      sessionClose,    sessionHeader,
    sessionTokens,      sessionNote,      sequenceSalt,
    sequenceKeep,
};

// The place of a function in the table cannot change.
static_assert(offsetof(sparse_api, status_name) == 1 * sizeof(void *), "");
static_assert(offsetof(sparse_api, context_create) == 7 * sizeof(void *), "");
static_assert(offsetof(sparse_api, prefill) == 22 * sizeof(void *), "");
static_assert(offsetof(sparse_api, sample) == 25 * sizeof(void *), "");
static_assert(offsetof(sparse_api, decode_known) == 26 * sizeof(void *), "");
static_assert(offsetof(sparse_api, generate_begin) == 27 * sizeof(void *), "");
static_assert(offsetof(sparse_api, sequence_save) == 31 * sizeof(void *), "");
static_assert(sizeof(sparse_api) == 40 * sizeof(void *), "");

const sparse_api *sparse_get_api(uint32_t version) {
  if (version == 0 || version > SPARSE_API_VERSION) {
    setError(Code::Incompatible, "the caller needs a newer runtime library");
    return nullptr;
  }
  return &table;
}
