// Reads a buffer from memory as fast as it can, and does nothing else: the time no decode step can beat.
//
//     read_rate BYTES THREADS
//
// Answers each line of standard input with {"seconds": s, "tokens": 1}: one pass of all threads over BYTES bytes. The
// buffer is larger than what is read and the passes wander through it, so that no pass finds its data in a cache.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FACTOR = 4, PASSES = 8 };

typedef int64_t Vector __attribute__((vector_size(64)));

struct Part {
  const Vector *begin, *end;
  int64_t sum;
};

static void *readPart(void *argument) {
  struct Part *part = argument;
  Vector sums[8] = {0};
  for (const Vector *v = part->begin; v + 8 <= part->end; v += 8)
    for (int i = 0; i < 8; ++i)
      sums[i] ^= v[i];
  for (int i = 1; i < 8; ++i)
    sums[0] ^= sums[i];
  for (int i = 0; i < 8; ++i)
    part->sum ^= sums[0][i];
  return NULL;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  if (argc != 3)
    return 2;
  size_t bytes = strtoull(argv[1], NULL, 10) / 64 * 64;
  int threads = atoi(argv[2]);
  if (!bytes || threads < 1 || threads > 256)
    return 2;
  char *memory = mmap(NULL, FACTOR * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return 4;
  madvise(memory, FACTOR * bytes, MADV_HUGEPAGE);
  memset(memory, 1, FACTOR * bytes);
  printf("{\"version\": \"read of %zu bytes\"}\n", bytes);
  fflush(stdout);

  char line[1024];
  int64_t sum = 0;
  while (fgets(line, sizeof(line), stdin)) {
    double best = 1e9;
    for (int pass = 0; pass < PASSES; ++pass) {
      const char *from = memory + (pass % FACTOR) * bytes;
      size_t vectors = bytes / sizeof(Vector);
      pthread_t handles[256];
      struct Part parts[256];
      double start = seconds();
      for (int t = 0; t < threads; ++t) {
        const Vector *first = (const Vector *)from;
        parts[t] = (struct Part){first + vectors * t / threads, first + vectors * (t + 1) / threads, 0};
        if (t)
          pthread_create(&handles[t], NULL, readPart, &parts[t]);
      }
      readPart(&parts[0]);
      for (int t = 1; t < threads; ++t)
        pthread_join(handles[t], NULL);
      double taken = seconds() - start;
      best = taken < best ? taken : best;
      for (int t = 0; t < threads; ++t)
        sum ^= parts[t].sum;
    }
    printf("{\"seconds\": %.9f, \"tokens\": 1}\n", best);
    fflush(stdout);
  }
  return sum == 42;
}
