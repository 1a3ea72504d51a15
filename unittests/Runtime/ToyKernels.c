/*===- ToyKernels.c - Kernels of the toy model ------------------------------===
 *
 * The kernels of a model that is easy to compute by hand: keys, values and all
 * sums are small integers, so that every result is exact in f32 and any wrong
 * slot, page or length changes it. They follow the kernel ABI and the cache
 * protocol; ToyModel.cpp writes plans that use them and has the same arithmetic
 * in plain C++.
 *
 * args[0] of every kernel is a `struct params`.
 *===----------------------------------------------------------------------===*/
#include <stdint.h>
#ifdef TOY_DEVICE
/* Compiled for a GPU there is no C library; its driver has an allocator. */
void *malloc(unsigned long);
void free(void *);
#define memset __builtin_memset
#else
#include <stdlib.h>
#include <string.h>
#endif

struct params {
  int64_t rows, layer, heads, dim, page, max_pages, page_bytes;
  int64_t vocab, hidden, slotted, decode;
  int64_t caps[8]; /* -1: none */
};

/* The state of one layer, in the order in which plans bind it. */
struct state {
  float *key, *value;
  int32_t *table, *count, *victim, *position, *attended;
  float *page_sum;
};

static struct state bind(void *const *args) {
  struct state s = {args[0], args[1], args[2], args[3],
                    args[4], args[5], args[6], args[7]};
  return s;
}

/* The build makes four objects of this file: the model, one whose logits are
   larger by TOY_BIAS, and two with another ABI. */
#ifndef TOY_BIAS
#define TOY_BIAS 0
#endif
#ifndef TOY_ABI
#define TOY_ABI 1
#endif

int64_t sparse_kernel_abi(void) { return TOY_ABI; }

static int32_t page_of(const struct params *p, const struct state *s,
                       int64_t seq, int64_t head, int64_t slot) {
  return s->table[(seq * p->heads + head) * p->max_pages + slot / p->page];
}

static float *key_at(const struct params *p, const struct state *s,
                     int32_t page, int64_t slot) {
  return (float *)((char *)s->key + page * p->page_bytes) + slot % p->page;
}

static float *value_at(const struct params *p, const struct state *s,
                       int32_t page, int64_t slot) {
  return (float *)((char *)s->value + page * p->page_bytes) +
         slot % p->page * p->dim;
}

static int32_t *position_at(const struct params *p, const struct state *s,
                            int64_t seq, int64_t head, int64_t slot) {
  return s->position +
         (seq * p->heads + head) * p->max_pages * p->page + slot;
}

static float *sum_at(const struct params *p, const struct state *s,
                     int64_t seq, int64_t head, int64_t slot) {
  return s->page_sum + (seq * p->heads + head) * p->max_pages +
         slot / p->page;
}

/* args: params, ids, positions, sequences, active, status, state...
   task: head */
void append(void *const *args, int64_t head) {
  const struct params *p = args[0];
  const int32_t *ids = args[1], *positions = args[2], *sequences = args[3],
                *active = args[4];
  int32_t *status = args[5];
  struct state s = bind(args + 6);
  for (int64_t row = 0; row < p->rows; ++row) {
    if (!active[row])
      continue;
    int64_t seq = sequences[row], at = seq * p->heads + head;
    int64_t slot = s.count[at];
    int reused = p->decode && s.victim[at] >= 0;
    if (reused)
      slot = s.victim[at];
    int32_t page =
        slot < p->max_pages * p->page ? page_of(p, &s, seq, head, slot) : -1;
    if (page < 0) {
      __atomic_store_n(status, 1, __ATOMIC_RELAXED);
      continue;
    }
    for (int64_t d = 0; d < p->dim; ++d) {
      key_at(p, &s, page, slot)[d * p->page] =
          (float)((ids[row] + d + p->layer) % 8);
      value_at(p, &s, page, slot)[d] =
          (float)((ids[row] * 7 + positions[row] * 3 + d + head) % 32);
    }
    /* The fresh value of the field is -1: "nothing yet". */
    float *sum = sum_at(p, &s, seq, head, slot);
    *sum = (*sum < 0 ? 0 : *sum) + (float)(ids[row] % 4);
    if (p->slotted)
      *position_at(p, &s, seq, head, slot) = positions[row];
    if (reused)
      s.victim[at] = -1;
    else
      s.count[at] = (int32_t)slot + 1;
  }
}

/* args: params, positions, sequences, active, hidden, state...; task: row
   hidden[row][head * dim + d] += sum over slots of K[d] * V[d] */
void attend(void *const *args, int64_t row) {
  const struct params *p = args[0];
  const int32_t *positions = args[1], *sequences = args[2], *active = args[3];
  float *hidden = (float *)args[4] + row * p->hidden;
  struct state s = bind(args + 5);
  if (p->layer == 0)
    memset(hidden, 0, p->hidden * sizeof(float));
  if (!active[row])
    return;
  int64_t seq = sequences[row];
  for (int64_t head = 0; head < p->heads; ++head) {
    int64_t at = seq * p->heads + head;
    int64_t pages = 0;
    for (int64_t slot = 0; slot < s.count[at]; ++slot) {
      int32_t pos = p->slotted ? *position_at(p, &s, seq, head, slot)
                               : (int32_t)slot;
      pages += slot % p->page == 0;
      if (pos < 0 || pos > positions[row] || slot == s.victim[at])
        continue;
      int32_t page = page_of(p, &s, seq, head, slot);
      for (int64_t d = 0; d < p->dim; ++d)
        hidden[head * p->dim + d] += key_at(p, &s, page, slot)[d * p->page] *
                                     value_at(p, &s, page, slot)[d];
    }
    if (p->decode)
      s.attended[at] = (int32_t)pages;
  }
}

/* args: params, sequences, active, state...; task: head
   The oldest slot leaves when more than the cap are live. */
void compress(void *const *args, int64_t head) {
  const struct params *p = args[0];
  const int32_t *sequences = args[1], *active = args[2];
  struct state s = bind(args + 3);
  if (p->caps[head] < 0)
    return;
  for (int64_t row = 0; row < p->rows; ++row) {
    int64_t seq = sequences[row], at = seq * p->heads + head;
    if (!active[row] || s.count[at] <= p->caps[head])
      continue;
    int64_t oldest = 0;
    for (int64_t slot = 1; slot < s.count[at]; ++slot)
      if (*position_at(p, &s, seq, head, slot) <
          *position_at(p, &s, seq, head, oldest))
        oldest = slot;
    s.victim[at] = (int32_t)oldest;
  }
}

/* args: params, hidden, logits; task: row
   logits[row][v] = sum over j of hidden[row][j] * ((j + v) % 5 - 2) */
void head_of(void *const *args, int64_t row) {
  const struct params *p = args[0];
  const float *hidden = (const float *)args[1] + row * p->hidden;
  float *logits = (float *)args[2] + row * p->vocab;
  for (int64_t v = 0; v < p->vocab; ++v) {
    logits[v] = TOY_BIAS;
    for (int64_t j = 0; j < p->hidden; ++j)
      logits[v] += hidden[j] * (float)((j + v) % 5 - 2);
  }
}

/* args: params, logits, ids, positions, active, temperature, top_k, top_p,
   seeds, counters, stops, tokens; task: row
   Greedy; with a temperature the counter is added, so that a test sees it. */
void choose(void *const *args, int64_t row) {
  const struct params *p = args[0];
  const float *logits = (const float *)args[1] + row * p->vocab;
  int32_t *ids = args[2], *positions = args[3], *active = args[4];
  const float *temperature = args[5];
  uint64_t *counters = args[9];
  const int32_t *stops = (const int32_t *)args[10] + row * 8;
  int32_t *tokens = args[11], nan = 0;
  int64_t best = 0;
  for (int64_t v = 0; v < p->vocab; ++v) {
    nan |= logits[v] != logits[v];
    if (logits[v] > logits[best])
      best = v;
  }
  if (!active[row] || nan) {
    tokens[row] = -1;
    active[row] = 0;
    return;
  }
  if (temperature[row] > 0)
    best = (best + (int64_t)counters[row]) % p->vocab;
  tokens[row] = ids[row] = (int32_t)best;
  counters[row] += 1;
  for (int i = 0; i < 8; ++i)
    if (stops[i] == tokens[row])
      active[row] = 0;
  positions[row] += active[row];
}

/* Insertion sort by the first number. */
static void sort_by_position(int64_t (*order)[2], int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    int64_t position = order[i][0], slot = order[i][1], j = i;
    for (; j > 0 && order[j - 1][0] > position; --j) {
      order[j][0] = order[j - 1][0];
      order[j][1] = order[j - 1][1];
    }
    order[j][0] = position;
    order[j][1] = slot;
  }
}

/* args: params, sequences, state...; task: head */
void rebuild(void *const *args, int64_t head) {
  const struct params *p = args[0];
  struct state s = bind(args + 2);
  int64_t seq = ((const int32_t *)args[1])[0], at = seq * p->heads + head;
  for (int64_t slot = 0; slot < s.count[at]; ++slot) {
    float *sum = sum_at(p, &s, seq, head, slot);
    if (slot % p->page == 0)
      *sum = 0;
    float token = key_at(p, &s, page_of(p, &s, seq, head, slot), slot)[0];
    /* The key knows the token modulo 8. */
    *sum += (float)((int64_t)(token + 8 - (float)(p->layer % 8)) % 4);
  }
}

/* args: params, sequences, state...; task: head */
void compact(void *const *args, int64_t head) {
  const struct params *p = args[0];
  struct state s = bind(args + 2);
  int64_t seq = ((const int32_t *)args[1])[0], at = seq * p->heads + head;
  if (p->caps[head] < 0)
    return;
  int64_t live = 0, extent = s.count[at];
  int64_t(*order)[2] = malloc(sizeof(int64_t[2]) * (unsigned long)(extent + 1));
  for (int64_t slot = 0; slot < extent; ++slot) {
    if (slot == s.victim[at])
      continue;
    order[live][0] = *position_at(p, &s, seq, head, slot);
    order[live++][1] = slot;
  }
  sort_by_position(order, live);
  int64_t keep = live < p->caps[head] ? live : p->caps[head];
  float *copy = malloc(sizeof(float) * (unsigned long)(keep + 1) * p->dim * 2);
  for (int64_t i = 0; i < keep; ++i) {
    int64_t slot = order[live - keep + i][1];
    int32_t page = page_of(p, &s, seq, head, slot);
    for (int64_t d = 0; d < p->dim; ++d) {
      copy[(i * 2) * p->dim + d] = key_at(p, &s, page, slot)[d * p->page];
      copy[(i * 2 + 1) * p->dim + d] = value_at(p, &s, page, slot)[d];
    }
  }
  for (int64_t i = 0; i < keep; ++i) {
    int32_t page = page_of(p, &s, seq, head, i);
    for (int64_t d = 0; d < p->dim; ++d) {
      key_at(p, &s, page, i)[d * p->page] = copy[(i * 2) * p->dim + d];
      value_at(p, &s, page, i)[d] = copy[(i * 2 + 1) * p->dim + d];
    }
    *position_at(p, &s, seq, head, i) = (int32_t)order[live - keep + i][0];
  }
  for (int64_t i = keep; i < extent; ++i)
    *position_at(p, &s, seq, head, i) = -1;
  s.count[at] = (int32_t)keep;
  s.victim[at] = -1;
  free(order);
  free(copy);
  rebuild(args, head);
}

/* Kernels of single tests. args: anything */
void set_status(void *const *args, int64_t task) {
  (void)task;
  *(int32_t *)args[5] = 7;
}
