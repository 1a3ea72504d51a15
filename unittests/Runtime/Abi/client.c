/*===- client.c - A program that was built against an older header ----------===
 *
 * abi-client MODEL: uses every function of its version and prints the greedy
 * tokens after a prompt. SPARSE_ABI_HEADER is the header of the version.
 *===----------------------------------------------------------------------===*/
#include SPARSE_ABI_HEADER

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const sparse_api *api;

static void check(int holds, int line) {
  char text[500] = "";
  size_t size = sizeof(text);
  if (holds)
    return;
  api->last_error(text, &size);
  printf("line %d: %s\n", line, text);
  exit(1);
}
#define CHECK(condition) check((condition) != 0, __LINE__)
#define DO(call) check((call) == SPARSE_OK, __LINE__)

static int32_t choose(const float *logits, size_t vocab) {
  sparse_sampling greedy;
  int32_t token = -1;
  memset(&greedy, 0, sizeof(greedy));
  greedy.struct_size = sizeof(greedy);
  DO(api->sample(logits, vocab, &greedy, 0, &token));
  return token;
}

static void print(int32_t token) { printf("%d ", token); }

int main(int argc, char **argv) {
  sparse_load_options load;
  sparse_context_options create;
  sparse_model_info info;
  sparse_usage usage;
  sparse_counter counters[16];
  sparse_model *model = NULL;
  sparse_context *context = NULL;
  sparse_sequence sequence = 0, forked = 0;
  sparse_decode_row row;
  const char *text = NULL;
  float *logits, *hidden;
  uint64_t length = 0;
  uint32_t threads = 0;
  size_t count = 16, size = 0;
  int32_t ids[11], token;
  int i;

  api = sparse_get_api(SPARSE_API_VERSION);
  if (argc != 2 || !api)
    return 2;
  if (api->version < SPARSE_API_VERSION)
    return 3;
  CHECK(!strcmp(api->status_name(SPARSE_DATA_LOSS), "DATA_LOSS"));

  memset(&load, 0, sizeof(load));
  load.struct_size = sizeof(load);
  DO(api->model_load(argv[1], &load, &model));
  memset(&info, 0, sizeof(info));
  info.struct_size = sizeof(info);
  DO(api->model_info(model, &info));
  CHECK(info.vocab == 48 && !strcmp(info.target, "any"));
  CHECK(!strcmp(info.kv_dtype, "f32") && !strcmp(info.device, "cpu"));
  CHECK(api->model_tokenizer(model, &text, &size) == SPARSE_NOT_FOUND);

  memset(&create, 0, sizeof(create));
  create.struct_size = sizeof(create);
  create.max_sequences = 2;
  create.threads = 1;
  create.kv_limit_bytes = 1 << 20;
  create.check = 1;
  DO(api->context_create(model, &create, &context));
  DO(api->context_threads(context, &threads));
  CHECK(threads == 1);
  DO(api->sequence_create(context, &sequence));
  DO(api->sequence_reserve(context, sequence, 11, SPARSE_APPEND_PREFILL));

  logits = malloc(info.vocab * sizeof(float));
  hidden = malloc(11 * info.hidden * sizeof(float));
  for (i = 0; i < 11; ++i)
    ids[i] = i + 1;
  DO(api->cancel(context));
  CHECK(api->prefill(context, sequence, ids, 11, hidden, logits) ==
        SPARSE_CANCELLED);
  DO(api->prefill(context, sequence, ids, 11, hidden, logits));
  print(choose(logits, info.vocab));
  DO(api->logits(context, hidden + 10 * info.hidden, 1, logits));
  token = choose(logits, info.vocab);
  for (i = 0; i < 6; ++i) {
    row.sequence = sequence;
    row.token = token;
    DO(api->decode(context, &row, 1, logits));
    print(token = choose(logits, info.vocab));
  }
#if SPARSE_API_VERSION >= 2
  DO(api->decode_known(context, &sequence, 1, &token, 1, logits));
  print(token = choose(logits, info.vocab));
#endif
#if SPARSE_API_VERSION >= 3
  {
    sparse_generate_row generated;
    memset(&generated, 0, sizeof(generated));
    generated.sequence = sequence;
    generated.token = token;
    DO(api->generate_begin(context, &generated, 1));
    DO(api->generate_step(context));
    DO(api->generate_read(context, &token));
    DO(api->generate_end(context));
    print(token);
  }
#endif

  DO(api->sequence_length(context, sequence, &length));
  memset(&usage, 0, sizeof(usage));
  usage.struct_size = sizeof(usage);
  DO(api->sequence_usage(context, sequence, &usage));
  CHECK(usage.tokens == length && usage.pages > 0);
  DO(api->context_usage(context, &usage));
  CHECK(usage.tokens == length && usage.peak_page_bytes >= usage.page_bytes);
  DO(api->sequence_counters(context, sequence, 0, counters, &count));
  CHECK(count == 4 && !strcmp(counters[3].name, "attended"));
  DO(api->sequence_fork(context, sequence, &forked));
  CHECK(api->sequence_create(context, &sequence) == SPARSE_RESOURCE_EXHAUSTED);
  DO(api->sequence_trim(context, forked, 3));
  DO(api->sequence_clear(context, forked));
  DO(api->sequence_fill_random(context, forked, 20, 1));
  DO(api->sequence_destroy(context, sequence));
  CHECK(api->sequence_length(context, sequence, &length) ==
        SPARSE_INVALID_ARGUMENT);
  free(logits);
  free(hidden);
  api->model_destroy(model);
  api->context_destroy(context);
  return 0;
}
