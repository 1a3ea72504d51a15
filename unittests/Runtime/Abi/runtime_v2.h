/*===- runtime_v2.h - The declarations of version 2 of the C API -----------===
 *
 * Frozen: what programs were compiled against that were built with it. Comments
 * are left out.
 *===----------------------------------------------------------------------===*/
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

#define SPARSE_API_VERSION 2u

typedef int32_t sparse_status;
enum {
  SPARSE_OK = 0,

  SPARSE_CANCELLED = 1,

  SPARSE_INVALID_ARGUMENT = 3,

  SPARSE_NOT_FOUND = 5,

  SPARSE_RESOURCE_EXHAUSTED = 8,

  SPARSE_FAILED_PRECONDITION = 9,

  SPARSE_OUT_OF_RANGE = 11,

  SPARSE_UNIMPLEMENTED = 12,

  SPARSE_INTERNAL = 13,

  SPARSE_UNAVAILABLE = 14,

  SPARSE_DATA_LOSS = 15,

  SPARSE_UNAUTHENTICATED = 16,

  SPARSE_INCOMPATIBLE = 18
};

typedef struct sparse_model sparse_model;

typedef struct sparse_context sparse_context;

typedef uint64_t sparse_sequence;

typedef enum sparse_log_level {
  SPARSE_LOG_DEBUG = 0,
  SPARSE_LOG_INFO = 1,
  SPARSE_LOG_WARNING = 2,
  SPARSE_LOG_ERROR = 3
} sparse_log_level;

typedef void (*sparse_log_fn)(void *user, int32_t level, const char *message);

typedef struct sparse_load_options {
  size_t struct_size;

  int32_t skip_verify;

  const char *target;
  sparse_log_fn log;
  void *log_user;

  int32_t map_weights;

  const char *device;

  const char *weights;
} sparse_load_options;

typedef struct sparse_model_info {
  size_t struct_size;
  uint64_t layers, hidden, vocab, heads, kv_heads, head_dim;

  uint64_t max_context;

  uint64_t prefill_chunk;

  uint64_t max_bucket;

  const char *weights_dtype, *kv_dtype;

  const char *policy;

  const char *target, *created_by, *source;

  uint64_t weights_bytes;

  const char *device;
} sparse_model_info;

typedef struct sparse_memory {
  void *user;

  void *(*reserve)(void *user, size_t bytes);

  int32_t (*commit)(void *user, void *address, size_t bytes);

  void (*decommit)(void *user, void *address, size_t bytes);

  void (*release)(void *user, void *address, size_t bytes);
} sparse_memory;

typedef struct sparse_parallel {
  void *user;

  uint32_t threads;

  void (*run)(void *user, int64_t tasks, void (*body)(void *, int64_t),
              void *context);
} sparse_parallel;

typedef struct sparse_context_options {
  size_t struct_size;

  uint32_t max_sequences;

  uint32_t threads;

  uint64_t kv_limit_bytes;

  int32_t check;

  const sparse_memory *memory;
  const sparse_parallel *parallel;
  sparse_log_fn log;
  void *log_user;
} sparse_context_options;

typedef struct sparse_decode_row {
  sparse_sequence sequence;
  int32_t token;
} sparse_decode_row;

typedef int32_t sparse_append;
enum { SPARSE_APPEND_PREFILL = 0, SPARSE_APPEND_DECODE = 1 };

typedef struct sparse_sampling {
  size_t struct_size;

  float temperature;
  uint64_t seed;
} sparse_sampling;

typedef struct sparse_usage {
  size_t struct_size;
  uint64_t tokens;

  uint64_t pages, dense_pages;

  uint64_t kv_bytes;

  uint64_t page_bytes;
  uint64_t dense_bytes;

  uint64_t peak_page_bytes;
} sparse_usage;

typedef struct sparse_counter {
  const char *name;
  int64_t value;
} sparse_counter;

typedef struct sparse_api {
  uint32_t version;

  const char *(*status_name)(sparse_status status);

  sparse_status (*last_error)(char *buffer, size_t *size);

  sparse_status (*model_load)(const char *path,
                              const sparse_load_options *options,
                              sparse_model **model);

  void (*model_destroy)(sparse_model *model);

  sparse_status (*model_info)(const sparse_model *model,
                              sparse_model_info *info);

  sparse_status (*model_tokenizer)(const sparse_model *model,
                                   const char **text, size_t *size);

  sparse_status (*context_create)(const sparse_model *model,
                                  const sparse_context_options *options,
                                  sparse_context **context);

  void (*context_destroy)(sparse_context *context);

  sparse_status (*cancel)(sparse_context *context);

  sparse_status (*context_threads)(sparse_context *context,
                                   uint32_t *threads);

  sparse_status (*context_usage)(sparse_context *context, sparse_usage *usage);

  sparse_status (*sequence_create)(sparse_context *context,
                                   sparse_sequence *sequence);

  sparse_status (*sequence_destroy)(sparse_context *context,
                                    sparse_sequence sequence);

  sparse_status (*sequence_fork)(sparse_context *context,
                                 sparse_sequence sequence,
                                 sparse_sequence *forked);

  sparse_status (*sequence_trim)(sparse_context *context,
                                 sparse_sequence sequence, uint64_t length);

  sparse_status (*sequence_clear)(sparse_context *context,
                                  sparse_sequence sequence);

  sparse_status (*sequence_length)(sparse_context *context,
                                   sparse_sequence sequence, uint64_t *length);

  sparse_status (*sequence_reserve)(sparse_context *context,
                                    sparse_sequence sequence, uint64_t tokens,
                                    sparse_append how);

  sparse_status (*sequence_fill_random)(sparse_context *context,
                                        sparse_sequence sequence,
                                        uint64_t tokens, uint64_t seed);

  sparse_status (*sequence_usage)(sparse_context *context,
                                  sparse_sequence sequence,
                                  sparse_usage *usage);

  sparse_status (*sequence_counters)(sparse_context *context,
                                     sparse_sequence sequence, uint64_t layer,
                                     sparse_counter *counters, size_t *count);

  sparse_status (*prefill)(sparse_context *context, sparse_sequence sequence,
                           const int32_t *ids, size_t n, float *hidden,
                           float *logits);

  sparse_status (*decode)(sparse_context *context,
                          const sparse_decode_row *rows, size_t n,
                          float *logits);

  sparse_status (*logits)(sparse_context *context, const float *hidden,
                          size_t n, float *logits);

  sparse_status (*sample)(const float *logits, size_t vocab,
                          const sparse_sampling *sampling, uint64_t index,
                          int32_t *token);

  sparse_status (*decode_known)(sparse_context *context,
                                const sparse_sequence *sequences, size_t n,
                                const int32_t *tokens, size_t steps,
                                float *logits);
} sparse_api;

SPARSE_EXPORT const sparse_api *sparse_get_api(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif
