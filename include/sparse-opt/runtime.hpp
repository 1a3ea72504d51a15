//===- sparse-opt/runtime.hpp - C++ over the C API --------------*- C++ -*-===//
//
// Header only: owning handles and exceptions over runtime.h, so that only the
// C API has to be stable. Semantics and errors are described there.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_OPT_RUNTIME_HPP
#define SPARSE_OPT_RUNTIME_HPP

#include "sparse-opt/runtime.h"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace sparse {

/// A failed call: its code and its message.
class RuntimeError : public std::runtime_error {
public:
  RuntimeError(sparse_status status, const std::string &message)
      : std::runtime_error(message), status(status) {}

  const sparse_status status;
};

/// The function table. Throws when the library is older than this header.
inline const sparse_api &api() {
  const sparse_api *table = sparse_get_api(SPARSE_API_VERSION);
  if (!table)
    throw RuntimeError(SPARSE_INCOMPATIBLE,
                       "the runtime library is older than this program");
  return *table;
}

inline void check(sparse_status status) {
  if (status == SPARSE_OK)
    return;
  size_t size = 0;
  api().last_error(nullptr, &size);
  std::string text(size, '\0');
  api().last_error(text.data(), &size);
  text.resize(size ? size - 1 : 0);
  throw RuntimeError(status, text);
}

/// A loaded model.
class Model {
public:
  explicit Model(const std::string &path, sparse_load_options options = {}) {
    options.struct_size = sizeof(options);
    check(api().model_load(path.c_str(), &options, &handle));
  }
  Model(Model &&other) noexcept
      : handle(std::exchange(other.handle, nullptr)) {}
  Model &operator=(Model &&other) noexcept {
    std::swap(handle, other.handle);
    return *this;
  }
  ~Model() { api().model_destroy(handle); }

  sparse_model_info info() const {
    sparse_model_info info = {};
    info.struct_size = sizeof(info);
    check(api().model_info(handle, &info));
    return info;
  }

  /// The text of tokenizer.json; throws NOT_FOUND when there is none.
  std::string tokenizer() const {
    const char *text = nullptr;
    size_t size = 0;
    check(api().model_tokenizer(handle, &text, &size));
    return std::string(text, size);
  }

  sparse_model *get() const { return handle; }

private:
  sparse_model *handle = nullptr;
};

/// A saved sequence, opened and verified.
class Session {
public:
  explicit Session(const std::string &path) {
    check(api().session_open(path.c_str(), &handle));
  }
  Session(Session &&other) noexcept
      : handle(std::exchange(other.handle, nullptr)) {}
  Session &operator=(Session &&other) noexcept {
    std::swap(handle, other.handle);
    return *this;
  }
  ~Session() { api().session_close(handle); }

  /// JSON, see `sparse_api::session_header`.
  std::string header() const {
    const char *text = nullptr;
    size_t size = 0;
    check(api().session_header(handle, &text, &size));
    return std::string(text, size);
  }
  /// Empty when they are not known.
  std::vector<int32_t> tokens() const {
    const int32_t *tokens = nullptr;
    size_t count = 0;
    check(api().session_tokens(handle, &tokens, &count));
    return std::vector<int32_t>(tokens, tokens + count);
  }
  std::string note() const {
    const void *note = nullptr;
    size_t size = 0;
    check(api().session_note(handle, &note, &size));
    return std::string(static_cast<const char *>(note), size);
  }

  const sparse_session *get() const { return handle; }

private:
  sparse_session *handle = nullptr;
};

class Context;

/// A sequence of a context, which must outlive it.
class Sequence {
public:
  Sequence() = default;
  Sequence(sparse_context *context, sparse_sequence handle)
      : context(context), handle(handle) {}
  Sequence(Sequence &&other) noexcept
      : context(other.context), handle(std::exchange(other.handle, 0)) {}
  Sequence &operator=(Sequence &&other) noexcept {
    std::swap(context, other.context);
    std::swap(handle, other.handle);
    return *this;
  }
  ~Sequence() {
    if (handle)
      api().sequence_destroy(context, handle);
  }

  sparse_sequence get() const { return handle; }

  Sequence fork() const {
    sparse_sequence forked = 0;
    check(api().sequence_fork(context, handle, &forked));
    return Sequence(context, forked);
  }
  void trim(uint64_t length) {
    check(api().sequence_trim(context, handle, length));
  }
  void clear() { check(api().sequence_clear(context, handle)); }
  /// Destroys all other sequences of the context; their objects are empty then.
  void keep() { check(api().sequence_keep(context, handle)); }
  void setSalt(const std::string &salt) {
    check(api().sequence_salt(context, handle, salt.data(), salt.size()));
  }
  void save(const std::string &path, const std::string &note = "") const {
    check(api().sequence_save(context, handle, path.c_str(), note.data(),
                              note.size()));
  }
  void reserve(uint64_t tokens, sparse_append how) {
    check(api().sequence_reserve(context, handle, tokens, how));
  }
  void fillRandom(uint64_t tokens, uint64_t seed) {
    check(api().sequence_fill_random(context, handle, tokens, seed));
  }
  uint64_t length() const {
    uint64_t length = 0;
    check(api().sequence_length(context, handle, &length));
    return length;
  }
  sparse_usage usage() const {
    sparse_usage usage = {};
    usage.struct_size = sizeof(usage);
    check(api().sequence_usage(context, handle, &usage));
    return usage;
  }
  std::vector<sparse_counter> counters(uint64_t layer) const {
    size_t count = 0;
    check(api().sequence_counters(context, handle, layer, nullptr, &count));
    std::vector<sparse_counter> counters(count);
    check(api().sequence_counters(context, handle, layer, counters.data(),
                                  &count));
    return counters;
  }

private:
  sparse_context *context = nullptr;
  sparse_sequence handle = 0;
};

/// A cache with its buffers and threads.
class Context {
public:
  explicit Context(const Model &model, sparse_context_options options = {}) {
    options.struct_size = sizeof(options);
    check(api().context_create(model.get(), &options, &handle));
  }
  Context(Context &&other) noexcept
      : handle(std::exchange(other.handle, nullptr)) {}
  Context &operator=(Context &&other) noexcept {
    std::swap(handle, other.handle);
    return *this;
  }
  ~Context() { api().context_destroy(handle); }

  Sequence create() {
    sparse_sequence sequence = 0;
    check(api().sequence_create(handle, &sequence));
    return Sequence(handle, sequence);
  }
  Sequence restore(const Session &session) {
    sparse_sequence sequence = 0;
    check(api().sequence_restore(handle, session.get(), &sequence));
    return Sequence(handle, sequence);
  }
  void prefill(const Sequence &sequence, const int32_t *ids, size_t n,
               float *hidden, float *logits) {
    check(api().prefill(handle, sequence.get(), ids, n, hidden, logits));
  }
  void decode(const std::vector<sparse_decode_row> &rows, float *logits) {
    check(api().decode(handle, rows.data(), rows.size(), logits));
  }
  /// One sequence; the logits are of the last token.
  void decodeKnown(const Sequence &sequence, const int32_t *tokens, size_t n,
                   float *logits) {
    sparse_sequence one = sequence.get();
    check(api().decode_known(handle, &one, 1, tokens, n, logits));
  }
  void logits(const float *hidden, size_t n, float *logits) {
    check(api().logits(handle, hidden, n, logits));
  }
  uint32_t threads() const {
    uint32_t threads = 0;
    check(api().context_threads(handle, &threads));
    return threads;
  }
  void cancel() { check(api().cancel(handle)); }
  sparse_usage usage() const {
    sparse_usage usage = {};
    usage.struct_size = sizeof(usage);
    check(api().context_usage(handle, &usage));
    return usage;
  }

  sparse_context *get() const { return handle; }

private:
  sparse_context *handle = nullptr;
};

/// Steps that choose their tokens themselves, see `sparse_api::generate_begin`.
/// The context must outlive it.
class Generation {
public:
  Generation(const Context &context,
             const std::vector<sparse_generate_row> &rows)
      : context(context.get()), rows(rows.size()) {
    check(api().generate_begin(this->context, rows.data(), rows.size()));
  }
  Generation(const Generation &) = delete;
  ~Generation() { api().generate_end(context); }

  /// Queues the next step.
  void step() { check(api().generate_step(context)); }

  /// The tokens of the oldest step that was not read.
  std::vector<int32_t> read() {
    std::vector<int32_t> tokens(rows);
    check(api().generate_read(context, tokens.data()));
    return tokens;
  }

private:
  sparse_context *context;
  size_t rows;
};

/// A `sparse_sampling` with these members.
inline sparse_sampling makeSampling(float temperature, uint64_t seed,
                                    int32_t topK = 0, float topP = 1) {
  sparse_sampling sampling = {};
  sampling.struct_size = sizeof(sampling);
  sampling.temperature = temperature;
  sampling.seed = seed;
  sampling.top_k = topK;
  sampling.top_p = topP;
  return sampling;
}

/// Chooses a token, see `sparse_api::sample`.
inline int32_t sample(const std::vector<float> &logits,
                      const sparse_sampling &sampling, uint64_t index) {
  int32_t token = 0;
  check(api().sample(logits.data(), logits.size(), &sampling, index, &token));
  return token;
}
inline int32_t sample(const std::vector<float> &logits, float temperature,
                      uint64_t seed, uint64_t index) {
  return sample(logits, makeSampling(temperature, seed), index);
}

} // namespace sparse

#endif // SPARSE_OPT_RUNTIME_HPP
