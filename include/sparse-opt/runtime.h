/*===- sparse-opt/runtime.h - C API of the runtime -------------------------===*\
|*                                                                            *|
|* Loads a compiled model (`model.spx/`) and runs it over a paged KV cache.   *|
|*                                                                            *|
|* The library exports one function, `sparse_get_api`. It returns a table     *|
|* whose entries are only ever appended, so that a program built against this *|
|* version runs with every later library.                                     *|
|*                                                                            *|
|* Rules that hold everywhere:                                                *|
|*  - A function that can fail returns a status; `last_error` has the text.   *|
|*    After a failure the out parameters are untouched and, unless said       *|
|*    otherwise, no state has changed.                                        *|
|*  - Arrays are row-major and belong to the caller. f32 is IEEE single.      *|
|*  - Strings are UTF-8. Strings that are returned belong to the object they  *|
|*    were asked of and live as long as it.                                   *|
|*  - A struct whose first member is `struct_size` takes sizeof of it there;  *|
|*    zero in any other member of an options struct means the default.        *|
|*  - A model may be used by any number of threads. Calls on one context are  *|
|*    serialised by a lock inside it; `cancel` never waits for that lock.     *|
|*    Different contexts are independent. Destroying an object while another  *|
|*    call uses it is an error of the caller.                                 *|
|*  - There is no global state, no signal handler, no exit. The text of the   *|
|*    last error is kept per thread.                                          *|
|*                                                                            *|
\*===----------------------------------------------------------------------===*/
#ifndef SPARSE_OPT_RUNTIME_H
#define SPARSE_OPT_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define SPARSE_EXPORT __declspec(dllexport)
#else
#define SPARSE_EXPORT __attribute__((visibility("default")))
#endif

/** The version of the table that this header describes. */
#define SPARSE_API_VERSION 4u

/** Result of a call. The values never change. */
typedef int32_t sparse_status;
enum {
  SPARSE_OK = 0,
  /** `cancel` was called. */
  SPARSE_CANCELLED = 1,
  /** A malformed argument or a malformed artifact. */
  SPARSE_INVALID_ARGUMENT = 3,
  /** A file, target or counter that does not exist. */
  SPARSE_NOT_FOUND = 5,
  /** No pages, memory, sequences or file descriptors. Nothing was written. */
  SPARSE_RESOURCE_EXHAUSTED = 8,
  /** Use of a poisoned context, or a trim into evicted history. */
  SPARSE_FAILED_PRECONDITION = 9,
  /** More tokens than the model's context holds. */
  SPARSE_OUT_OF_RANGE = 11,
  /** The artifact has no entry for this. */
  SPARSE_UNIMPLEMENTED = 12,
  /** A bug in a kernel or in the runtime. The context is poisoned. */
  SPARSE_INTERNAL = 13,
  /** The device that was asked for, or its driver, is not there. */
  SPARSE_UNAVAILABLE = 14,
  /** The bytes of an artifact or a session do not match their digests, or
      cannot be read or written. */
  SPARSE_DATA_LOSS = 15,
  /** Reserved for signatures. */
  SPARSE_UNAUTHENTICATED = 16,
  /** Another schema or ABI, or no code for this device. */
  SPARSE_INCOMPATIBLE = 18
};

/** A loaded model: immutable. */
typedef struct sparse_model sparse_model;
/** A KV cache, its buffers and its threads. */
typedef struct sparse_context sparse_context;
/** A sequence of a context. 0 is never valid; a destroyed one stays invalid. */
typedef uint64_t sparse_sequence;
/** A saved sequence, opened and verified: immutable. */
typedef struct sparse_session sparse_session;

typedef enum sparse_log_level {
  SPARSE_LOG_DEBUG = 0,
  SPARSE_LOG_INFO = 1,
  SPARSE_LOG_WARNING = 2,
  SPARSE_LOG_ERROR = 3
} sparse_log_level;

/** Receives messages. Called from the thread of the call that logs. */
typedef void (*sparse_log_fn)(void *user, int32_t level, const char *message);

typedef struct sparse_load_options {
  size_t struct_size;
  /** Non-zero: do not hash the sections (the manifest always is). Logs a
      warning. */
  int32_t skip_verify;
  /** Name of the target to load; NULL: the best that the device supports. */
  const char *target;
  sparse_log_fn log;
  void *log_user;
  /** Non-zero: map the weights instead of reading them into huge pages.
      Processes then share their memory, and decoding is slower. */
  int32_t map_weights;
  /** Where to run: "cpu", "cuda" or "cuda:N". Several with commas between: the
      first that is there and that the model has code for. NULL: "cpu". */
  const char *device;
  /** "random:SEED": for an artifact that was compiled without weights, to
      measure its speed. NULL: the weights of the artifact; one without is
      refused (FAILED_PRECONDITION). */
  const char *weights;
} sparse_load_options;

/** Facts about a model. Numbers are those of the source model. */
typedef struct sparse_model_info {
  size_t struct_size;
  uint64_t layers, hidden, vocab, heads, kv_heads, head_dim;
  /** Most tokens of one sequence. */
  uint64_t max_context;
  /** Tokens of a prefill chunk. */
  uint64_t prefill_chunk;
  /** Rows of the largest decode entry. Larger steps are split. */
  uint64_t max_bucket;
  /** Element types, "f32" or "bf16". */
  const char *weights_dtype, *kv_dtype;
  /** The policy as compiled; empty for dense. */
  const char *policy;
  /** The chosen target, the compiler and the source model's name. */
  const char *target, *created_by, *source;
  /** Total bytes of the weights section. */
  uint64_t weights_bytes;
  /** Where it runs: "cpu", or "cuda:0" and the name of the card. */
  const char *device;
} sparse_model_info;

/** Where pages, slabs and buffers come from. Addresses and sizes are multiples
    of the page size of the operating system. */
typedef struct sparse_memory {
  void *user;
  /** Reserves addresses without memory; NULL on failure. */
  void *(*reserve)(void *user, size_t bytes);
  /** Makes a part usable, zero-filled on first touch. Idempotent. Non-zero on
      success; a failure must change nothing. */
  int32_t (*commit)(void *user, void *address, size_t bytes);
  /** Gives memory back; it stays usable and reads as zero. */
  void (*decommit)(void *user, void *address, size_t bytes);
  /** Ends a reservation. */
  void (*release)(void *user, void *address, size_t bytes);
} sparse_memory;

/** Threads of the application. */
typedef struct sparse_parallel {
  void *user;
  /** How many tasks run at the same time, for reports. */
  uint32_t threads;
  /** Calls `body(context, task)` once for each task in [0, tasks), on any
      threads in any order, and returns when all have returned. */
  void (*run)(void *user, int64_t tasks, void (*body)(void *, int64_t),
              void *context);
} sparse_parallel;

typedef struct sparse_context_options {
  size_t struct_size;
  /** Most sequences at a time; default 64. */
  uint32_t max_sequences;
  /** Threads including the caller; default: all usable processors. Ignored
      with `parallel`. */
  uint32_t threads;
  /** Most bytes of KV pages; default: 3/4 of the physical memory, or of what
      is free on another device. */
  uint64_t kv_limit_bytes;
  /** Non-zero: after each step compare the kernels' slot counts with the
      host's. A difference is INTERNAL. */
  int32_t check;
  /** NULL: the operating system, own threads. `memory` is for models that run
      on the CPU. The structs are copied; their
      functions must work until the context is destroyed. */
  const sparse_memory *memory;
  const sparse_parallel *parallel;
  sparse_log_fn log;
  void *log_user;
  /** Most bytes of beginnings of prompts that are kept when their sequences go
      on or end, so that later prompts need not compute them again; the results
      are the same bits. They are part of `kv_limit_bytes`, and are given up
      before anything is refused for want of memory. 0: none are kept. */
  uint64_t prefix_cache_bytes;
  /** The salt of new sequences, see `sequence_salt`; copied. NULL with 0. */
  const void *prefix_salt;
  size_t prefix_salt_bytes;
} sparse_context_options;

/** One row of a decode step. */
typedef struct sparse_decode_row {
  sparse_sequence sequence;
  int32_t token;
} sparse_decode_row;

/** How tokens are appended: the slots that they need differ. */
typedef int32_t sparse_append;
enum { SPARSE_APPEND_PREFILL = 0, SPARSE_APPEND_DECODE = 1 };

typedef struct sparse_sampling {
  size_t struct_size;
  /** 0: greedy. */
  float temperature;
  uint64_t seed;
  /** Draw among the `top_k` best tokens. 0: among all. */
  int32_t top_k;
  /** Of those, draw among the best that together have this share of the
      probability, in (0, 1]. 0: all of them, as 1. */
  float top_p;
} sparse_sampling;

/** Most tokens that can end a row of a generation. */
#define SPARSE_MOST_STOPS 8u

/** One row of a generation. What it points to is copied. */
typedef struct sparse_generate_row {
  sparse_sequence sequence;
  /** How its tokens are chosen; NULL: greedy. */
  const sparse_sampling *sampling;
  /** The number, in its text, of the token that the first step chooses. */
  uint64_t index;
  /** At most SPARSE_MOST_STOPS tokens that end the row; NULL with 0. */
  const int32_t *stops;
  size_t stop_count;
  /** The token that the first step appends. */
  int32_t token;
} sparse_generate_row;

/** Memory of the cache. `dense_*` is what the same tokens would take if every
    head kept every token in the same element type. */
typedef struct sparse_usage {
  size_t struct_size;
  uint64_t tokens;
  /** Pages in use. Of a context: shared pages count once. */
  uint64_t pages, dense_pages;
  /** Bytes of pages in use and of their fields. */
  uint64_t kv_bytes;
  /** Bytes of pages alone. */
  uint64_t page_bytes;
  uint64_t dense_bytes;
  /** Largest page_bytes so far (of the context). */
  uint64_t peak_page_bytes;
  /** Tokens of prompts that were not computed again: of the sequence, or of all
      so far. The rest is of the context: prompts of empty sequences, how many of
      them took a beginning that was kept, and what is kept now. `pages` counts
      what is kept, too. */
  uint64_t prefix_tokens, prefix_lookups, prefix_hits, prefix_pages,
      prefix_bytes;
} sparse_usage;

/** A named number. The name belongs to the model. */
typedef struct sparse_counter {
  const char *name;
  int64_t value;
} sparse_counter;

/** The functions. New ones are appended; the order never changes. */
typedef struct sparse_api {
  /** The version of the table: SPARSE_API_VERSION or later. */
  uint32_t version;

  /** "OK", "DATA_LOSS", ...; "UNKNOWN" for a value of a later version. */
  const char *(*status_name)(sparse_status status);

  /** Copies the message of the last failed call on this thread, with a final
      zero. `*size` is the room of `buffer` in bytes and becomes the needed
      size. NULL buffer: only asks. INVALID_ARGUMENT when the room is too
      small (nothing is copied). */
  sparse_status (*last_error)(char *buffer, size_t *size);

  /** Loads the directory `path`: verifies, maps, checks every plan. `options`
      may be NULL. Destroy `*model` with `model_destroy`.
      NOT_FOUND, INVALID_ARGUMENT, DATA_LOSS, INCOMPATIBLE, UNAVAILABLE,
      RESOURCE_EXHAUSTED. */
  sparse_status (*model_load)(const char *path,
                              const sparse_load_options *options,
                              sparse_model **model);

  /** Contexts keep what they need, so their order does not matter. NULL is
      allowed. */
  void (*model_destroy)(sparse_model *model);

  /** Fills `info` up to its struct_size. */
  sparse_status (*model_info)(const sparse_model *model,
                              sparse_model_info *info);

  /** The text of tokenizer.json, zero-terminated; `*size` without the zero.
      NOT_FOUND when the artifact has none. */
  sparse_status (*model_tokenizer)(const sparse_model *model,
                                   const char **text, size_t *size);

  /** Creates a cache with its buffers and threads. `options` may be NULL.
      RESOURCE_EXHAUSTED, INVALID_ARGUMENT. */
  sparse_status (*context_create)(const sparse_model *model,
                                  const sparse_context_options *options,
                                  sparse_context **context);

  /** Frees the context and all its sequences. NULL is allowed. */
  void (*context_destroy)(sparse_context *context);

  /** Makes the step that is running or the next one fail with CANCELLED,
      once. A prefill stops between two chunks and keeps the chunks before. The
      only function that does not wait for a running call. */
  sparse_status (*cancel)(sparse_context *context);

  /** How many tasks run at the same time: the threads of the context. */
  sparse_status (*context_threads)(sparse_context *context,
                                   uint32_t *threads);

  /** Usage of all sequences together. */
  sparse_status (*context_usage)(sparse_context *context, sparse_usage *usage);

  /** A new empty sequence. RESOURCE_EXHAUSTED. */
  sparse_status (*sequence_create)(sparse_context *context,
                                   sparse_sequence *sequence);

  /** Frees its pages; the memory goes back to the operating system. */
  sparse_status (*sequence_destroy)(sparse_context *context,
                                    sparse_sequence sequence);

  /** A new sequence with the same content. Full pages that never change are
      shared, others copied. RESOURCE_EXHAUSTED. */
  sparse_status (*sequence_fork)(sparse_context *context,
                                 sparse_sequence sequence,
                                 sparse_sequence *forked);

  /** Drops the tokens from `length` on. FAILED_PRECONDITION when a head has
      evicted tokens already; OUT_OF_RANGE when `length` is more than there
      is. */
  sparse_status (*sequence_trim)(sparse_context *context,
                                 sparse_sequence sequence, uint64_t length);

  /** Drops all tokens. */
  sparse_status (*sequence_clear)(sparse_context *context,
                                  sparse_sequence sequence);

  /** Tokens appended so far. */
  sparse_status (*sequence_length)(sparse_context *context,
                                   sparse_sequence sequence, uint64_t *length);

  /** Makes pages for the next `tokens` tokens, so that appending them cannot
      fail for want of memory. Steps do this for themselves. Can be repeated.
      OUT_OF_RANGE, RESOURCE_EXHAUSTED. */
  sparse_status (*sequence_reserve)(sparse_context *context,
                                    sparse_sequence sequence, uint64_t tokens,
                                    sparse_append how);

  /** For measurements: makes an empty sequence look like one of `tokens`
      tokens, with random keys and values in [-1, 1) that depend on `seed`
      alone. FAILED_PRECONDITION when it is not empty; UNIMPLEMENTED for models
      that evict or quantize; OUT_OF_RANGE, RESOURCE_EXHAUSTED. */
  sparse_status (*sequence_fill_random)(sparse_context *context,
                                        sparse_sequence sequence,
                                        uint64_t tokens, uint64_t seed);

  /** Usage of one sequence. Shared pages count for every sequence. */
  sparse_status (*sequence_usage)(sparse_context *context,
                                  sparse_sequence sequence,
                                  sparse_usage *usage);

  /** Named numbers of one layer of a sequence: first those of the runtime
      ("slots": slots in use over all heads, "pages", "page_bytes"), then those
      that the artifact's kernels keep, summed over the KV heads. `*count` is
      the room of `counters` and becomes the number there is; NULL only asks.
      INVALID_ARGUMENT when the room is too small. */
  sparse_status (*sequence_counters)(sparse_context *context,
                                     sparse_sequence sequence, uint64_t layer,
                                     sparse_counter *counters, size_t *count);

  /** Appends `n` >= 1 tokens of a prompt. `hidden`: NULL or f32 [n, hidden],
      receives the rows before the final norm. `logits`: NULL or f32 [vocab],
      receives the logits after the last token.
      INVALID_ARGUMENT, OUT_OF_RANGE, RESOURCE_EXHAUSTED: nothing was
      appended. CANCELLED: whole chunks may have been appended, see
      `sequence_length`. INTERNAL: the context is poisoned. */
  sparse_status (*prefill)(sparse_context *context, sparse_sequence sequence,
                           const int32_t *ids, size_t n, float *hidden,
                           float *logits);

  /** Appends one token to each of `n` >= 1 different sequences. `logits`: NULL
      or f32 [n, vocab]. All rows are reserved before any is appended. Errors as
      `prefill`. */
  sparse_status (*decode)(sparse_context *context,
                          const sparse_decode_row *rows, size_t n,
                          float *logits);

  /** Final norm and head: `hidden` f32 [n, hidden] to `logits`
      f32 [n, vocab]. */
  sparse_status (*logits)(sparse_context *context, const float *hidden,
                          size_t n, float *logits);

  /** Chooses a token from `logits` f32 [vocab]. Greedy takes the lowest id of
      the largest. `index` is the number of the token in its text: the choice
      is a function of logits, sampling and index alone. Needs no context.
      `sampling` NULL: greedy. INTERNAL when a logit is not a number. */
  sparse_status (*sample)(const float *logits, size_t vocab,
                          const sparse_sampling *sampling, uint64_t index,
                          int32_t *token);

  /* Version 2. */

  /** Appends `steps` >= 1 known tokens to each of `n` sequences, as that many
      decode steps. On a device they follow each other without a wait between.
      `tokens` is [steps, n]; `n` at most the rows of the largest bucket.
      `logits`: NULL or f32 [n, vocab], of the last step. All is reserved before
      anything is appended. Errors as `decode`. */
  sparse_status (*decode_known)(sparse_context *context,
                                const sparse_sequence *sequences, size_t n,
                                const int32_t *tokens, size_t steps,
                                float *logits);

  /* Version 3. A generation is a number of decode steps that choose their
     tokens themselves, as `sample` does: a step appends to each row the token
     that the step before has chosen. So the next step can be queued before the
     tokens of the last are known to the host; on a device it then starts
     without a wait. A context has one generation at a time. While it runs, all
     that would change its sequences is refused (FAILED_PRECONDITION), but
     `sequence_destroy`, which ends it; their length may be that of an earlier
     step. Other sequences can be worked on: `decode` waits for the steps that
     are queued, which can be read afterwards. */

  /** Begins a generation on `n` >= 1 different sequences, at most the rows of
      the largest bucket. Appends nothing.
      INVALID_ARGUMENT, RESOURCE_EXHAUSTED, FAILED_PRECONDITION. */
  sparse_status (*generate_begin)(sparse_context *context,
                                  const sparse_generate_row *rows, size_t n);

  /** Queues the next step. OUT_OF_RANGE and RESOURCE_EXHAUSTED as `decode`:
      nothing was queued, and steps that were are not touched; such an error can
      be that of a step past a row's end, so read what is queued before giving
      up. FAILED_PRECONDITION: all rows have ended, or 8 steps wait to be read. */
  sparse_status (*generate_step)(sparse_context *context);

  /** Waits for the oldest step that was not read. `tokens` [n]: the token that
      each row has chosen, -1 for a row that had ended. A row ends with one of
      its stops, which is chosen but never appended; a step that was queued
      meanwhile does nothing for it. INTERNAL: a fault of the device, or a logit
      that is not a number; the context is poisoned. */
  sparse_status (*generate_read)(sparse_context *context, int32_t *tokens);

  /** Ends the generation, if there is one: waits for the steps that were
      queued. What they appended stays, tokens that were not read are lost. */
  sparse_status (*generate_end)(sparse_context *context);

  /* Version 4. A session is a sequence in a file: with the same model on the
     same device it goes on as if it had never left, bit for bit. All its bytes
     are covered by a digest, which tells damage, not who wrote it. */

  /** Writes the sequence to a file that takes the place of `path` as a whole:
      when anything fails, what was there before is unchanged. `note`: bytes for
      the application, at most 16 MiB; NULL with 0.
      RESOURCE_EXHAUSTED: no room. DATA_LOSS: the disk failed. NOT_FOUND,
      INVALID_ARGUMENT: such a file cannot be made. FAILED_PRECONDITION: a
      generation works on the sequence, or the context is poisoned. */
  sparse_status (*sequence_save)(sparse_context *context,
                                 sparse_sequence sequence, const char *path,
                                 const void *note, size_t note_bytes);

  /** A new sequence that goes on where the saved one was. What is refused has
      changed nothing.
      INCOMPATIBLE: another model or device. INVALID_ARGUMENT: a state that the
      model cannot reach. DATA_LOSS: the file changed since it was opened.
      RESOURCE_EXHAUSTED. */
  sparse_status (*sequence_restore)(sparse_context *context,
                                    const sparse_session *session,
                                    sparse_sequence *restored);

  /** Opens a session and verifies all of it; needs no model. Close `*session`
      with `session_close`.
      NOT_FOUND, INVALID_ARGUMENT, DATA_LOSS, INCOMPATIBLE: another version. */
  sparse_status (*session_open)(const char *path, sparse_session **session);

  /** NULL is allowed. */
  void (*session_close)(sparse_session *session);

  /** What the session says about itself: JSON with the members `model` (its
      `digest`, `source` and `policy`), `device`, `target`, `length`, `evicted`,
      `tokens` (how many are known), `note_bytes`, `heads` (extent and whether a
      slot is to be reused) and `layers`. Zero-terminated; `*size` without the
      zero. */
  sparse_status (*session_header)(const sparse_session *session,
                                  const char **text, size_t *size);

  /** The tokens of the sequence. `*count` is its length, or 0 when they are not
      known. */
  sparse_status (*session_tokens)(const sparse_session *session,
                                  const int32_t **tokens, size_t *count);

  /** The bytes given to `sequence_save`. */
  sparse_status (*session_note)(const sparse_session *session,
                                const void **note, size_t *size);

  /** Keeps the beginnings of an empty sequence's prompts apart from those of
      other salts, as different tenants need: equal tokens then share nothing. At
      most 4096 bytes; NULL with 0. FAILED_PRECONDITION when it is not empty. */
  sparse_status (*sequence_salt)(sparse_context *context,
                                 sparse_sequence sequence, const void *salt,
                                 size_t bytes);

  /** Destroys all other sequences of the context. */
  sparse_status (*sequence_keep)(sparse_context *context,
                                 sparse_sequence sequence);
} sparse_api;

/** The table for `version` (SPARSE_API_VERSION of the caller), or NULL when
    this library is older. Static memory; thread-safe. */
SPARSE_EXPORT const sparse_api *sparse_get_api(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif /* SPARSE_OPT_RUNTIME_H */
