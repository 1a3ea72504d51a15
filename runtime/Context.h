//===- Context.h - Steps over a model and a cache ---------------*- C++ -*-===//
//
// A step either does not start or completes: everything that can be refused
// (arguments, pages, context, cancellation) is refused before a kernel runs. A
// kernel that fails all the same poisons the context.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_CONTEXT_H
#define SPARSE_RUNTIME_CONTEXT_H

#include "Cache.h"
#include "Executor.h"
#include "Model.h"
#include "Parallel.h"
#include "PrefixIndex.h"
#include "Sampler.h"

#include <atomic>
#include <deque>
#include <memory>

namespace sparse::runtime {

struct ContextOptions {
  uint32_t maxSequences = 64;
  uint64_t limitBytes = 0;        ///< of KV pages; 0 = 3/4 of the memory
  unsigned threads = 0;           ///< 0 = all processors this process may use
  bool checkCounts = false;       ///< compare the mirror after each step
  uint64_t prefixBytes = 0;       ///< most that a PrefixIndex keeps; 0 = none
  std::string prefixSalt;         ///< of sequences that have no other
  std::shared_ptr<Memory> memory; ///< of the host; null = the system's
  std::shared_ptr<Parallel> parallel; ///< null = an own pool
};

struct DecodeRow {
  uint32_t seq;
  int32_t token;
};

/// One row of a generation.
struct GenerateRow {
  uint32_t seq;
  int32_t token; ///< the first step appends it
  Sampling sampling;
  uint64_t index = 0; ///< of the token that the first step chooses
  std::vector<int32_t> stops;
};

/// One owner at a time, except `cancel`, which any thread may call.
class Context {
public:
  Context(std::shared_ptr<const Model> model, const ContextOptions &options);

  Cache &cache() { return *kv; }
  const Cache &cache() const { return *kv; }
  const Model &model() const { return *artifact; }
  unsigned threads() const { return parallel->threads(); }

  /// What was shared between prompts.
  PrefixUsage prefixUsage() const {
    return prefixes ? prefixes->usage() : PrefixUsage();
  }

  /// Appends a prompt. `hidden` (f32[n, D], may be null) receives the rows
  /// before the final norm, `logits` (f32[V], may be null) the logits after the
  /// last token. Works chunk by chunk; CANCELLED leaves the chunks before it.
  void prefill(uint32_t seq, const int32_t *ids, size_t n, float *hidden,
               float *logits);

  /// Appends one token to each of `n` different sequences. `logits` is
  /// f32[n, V] or null.
  void decode(const DecodeRow *rows, size_t n, float *logits);

  /// Appends `steps` known tokens to each of `n` sequences, as that many decode
  /// steps that follow each other without waiting where the device can do that.
  /// `tokens` is [steps, n]; `logits` f32[n, V] or null is of the last step.
  void decodeKnown(const uint32_t *seqs, size_t n, const int32_t *tokens,
                   size_t steps, float *logits);

  // -- A generation: steps that append the token that the step before has
  // chosen, so that the next can be queued before the last has been read.

  /// Chooses the rows, different sequences of at most the largest bucket. There
  /// can be one generation at a time.
  void beginGeneration(const GenerateRow *rows, size_t n);

  /// Queues a step for all rows that go on. RESOURCE_EXHAUSTED and OUT_OF_RANGE
  /// as in `decode`: nothing was queued, steps before it are untouched.
  void queueStep();

  /// Waits for the oldest step that was not read; `tokens` has one for each
  /// row, -1 for those that had ended before. A row ends after a token of its
  /// `stops`, which is not appended.
  void readStep(int32_t *tokens);

  /// Waits for all steps. Their tokens that were not read are lost.
  void endGeneration();

  /// Steps queued and not read.
  size_t stepsAhead() const;

  /// True for a sequence of the generation, which cannot be changed otherwise;
  /// its length may be that of an earlier step.
  bool generates(uint32_t seq) const;

  /// Throws FAILED_PRECONDITION for a sequence of the generation.
  void requireFree(uint32_t seq) const;

  /// Final norm and head of `n` rows: f32[n, D] to f32[n, V].
  void logits(const float *hidden, size_t n, float *out);

  void trim(uint32_t seq, uint64_t n);

  /// Makes an empty sequence look like one of `n` tokens, with random keys and
  /// values in [-1, 1): for measuring at a depth that would take long to
  /// compute. UNIMPLEMENTED for layers that store positions or have caps.
  void fillRandom(uint32_t seq, uint64_t n, uint64_t seed);

  /// Makes the running or the next step fail with CANCELLED, once.
  void cancel() { cancelled = true; }

  bool poisoned() const { return broken; }

private:
  void checkSequence(uint32_t seq) const;
  void checkToken(int32_t token) const;
  void checkTokens(const int32_t *tokens, uint64_t n) const;
  void checkRows(const DecodeRow *rows, size_t n) const;
  void beginStep();
  template <typename Fn> void guarded(Fn fn);
  void prepare(const Plan *plan);
  void runStep(BoundPlan &bound);
  BoundPlan &bucketFor(size_t n);
  void setDecodeRows(BoundPlan &bound, const DecodeRow *rows, size_t n,
                     uint64_t ahead);
  void verifyCounts(uint32_t seq);
  void prefillChunk(uint32_t seq, const int32_t *ids, size_t n);
  void setBudgets(uint32_t seq);
  void compact(uint32_t seq, Compact which, bool goesOn);
  void rebuild(uint32_t seq);
  void decodeBucket(const DecodeRow *rows, size_t n, float *logits);
  void placeGeneration();
  void queueOnHost();
  void takeTokens(std::vector<int32_t> &tokens);
  void awaitStep();
  void pauseGeneration();

  /// Rows as they are after the last step that the host waited for.
  struct Generation {
    std::vector<GenerateRow> rows;
    std::vector<char> goesOn;
    BoundPlan *decode = nullptr;
    bool placed = false; ///< the device has the inputs of the next step
    size_t ahead = 0;    ///< steps that were queued and not waited for
    std::deque<std::vector<int32_t>> arrived; ///< tokens that were not read
    std::vector<char> ended; ///< rows, as far as their tokens were read
  };

  std::shared_ptr<const Model> artifact;
  std::shared_ptr<Memory> memory;
  std::shared_ptr<Parallel> parallel;
  std::unique_ptr<Cache> kv;
  std::unique_ptr<PrefixIndex> prefixes;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<Generation> generation;
  bool checkCounts, compactChunks = false, compactEnd = false;
  std::atomic<bool> cancelled{false};
  bool broken = false;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CONTEXT_H
