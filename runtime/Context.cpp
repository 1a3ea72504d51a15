//===- Context.cpp - Steps over a model and a cache -----------------------===//

#include "Context.h"
#include "Status.h"
#include "Synthetic.h"

#include <algorithm>
#include <cstring>
#include <sched.h>
#include <unistd.h>

using namespace sparse::runtime;

static unsigned usableProcessors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0)
    return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

Context::Context(std::shared_ptr<const Model> model,
                 const ContextOptions &options)
    : artifact(std::move(model)), memory(options.memory),
      parallel(options.parallel), checkCounts(options.checkCounts) {
  if (memory && !artifact->device().onHost())
    fail(Code::InvalidArgument,
         "the memory of an application is the host's, the model runs on %s",
         artifact->device().name().c_str());
  if (!memory)
    memory = artifact->device().createMemory();
  if (!parallel)
    parallel = std::make_shared<ThreadPool>(
        options.threads ? options.threads : usableProcessors());
  const Manifest &manifest = artifact->manifest();
  CacheOptions cacheOptions;
  cacheOptions.maxSequences = options.maxSequences;
  cacheOptions.limitBytes =
      options.limitBytes ? options.limitBytes
                         : artifact->device().defaultCacheBytes();
  cacheOptions.maxContext = manifest.model.maxContext;
  cacheOptions.chunk = artifact->prefill() ? artifact->prefill()->rows : 1;
  cacheOptions.salt = options.prefixSalt;
  kv = std::make_unique<Cache>(*memory, artifact->layers(), cacheOptions);
  if (options.prefixBytes) {
    prefixes = std::make_unique<PrefixIndex>(
        *kv, artifact->identity(), manifest.policy, options.prefixBytes);
    kv->setReclaim([this] { return prefixes->forgetOne(); });
  }
  executor =
      artifact->device().createExecutor(*artifact, *kv, memory, *parallel);
  for (const LayerLayout &layout : artifact->layers()) {
    compactChunks |= layout.prefillCap == PrefillCap::Chunk;
    compactEnd |= layout.prefillCap == PrefillCap::End;
  }
}

void Context::checkSequence(uint32_t seq) const {
  if (!kv->exists(seq))
    fail(Code::InvalidArgument, "there is no sequence %u", seq);
}

void Context::checkToken(int32_t token) const {
  if (token < 0 ||
      static_cast<uint64_t>(token) >= artifact->manifest().model.vocab)
    fail(Code::InvalidArgument, "token %d is outside the vocabulary of %llu",
         token,
         static_cast<unsigned long long>(artifact->manifest().model.vocab));
}

/// More than any sequence can hold is not even looked at.
void Context::checkTokens(const int32_t *tokens, uint64_t n) const {
  uint64_t most = artifact->manifest().model.maxContext;
  if (n > most)
    fail(Code::OutOfRange, "%llu tokens exceed the context of %llu",
         static_cast<unsigned long long>(n),
         static_cast<unsigned long long>(most));
  for (uint64_t i = 0; i < n; ++i)
    checkToken(tokens[i]);
}

void Context::beginStep() {
  if (broken)
    fail(Code::FailedPrecondition,
         "an earlier step failed inside a kernel; create a new context");
  if (cancelled.exchange(false))
    fail(Code::Cancelled, "the step was cancelled");
}

/// Runs steps; what fails inside one poisons the context.
template <typename Fn> void Context::guarded(Fn fn) {
  try {
    fn();
  } catch (const Error &error) {
    // Without memory nothing ran.
    broken = error.code != Code::ResourceExhausted;
    throw;
  } catch (...) {
    broken = true;
    throw;
  }
}

/// Before a step of several runs begins: none of them must be refused when
/// others have been. Does nothing for an entry that there is not.
void Context::prepare(const Plan *plan) {
  if (BoundPlan *bound = executor->find(plan))
    guarded([&] { executor->prepare(*bound); });
}

void Context::runStep(BoundPlan &bound) {
  guarded([&] { executor->run(bound); });
}

void Context::verifyCounts(uint32_t seq) {
  if (!checkCounts)
    return;
  try {
    kv->checkCounts(seq);
  } catch (...) {
    broken = true;
    throw;
  }
}

//===----------------------------------------------------------------------===//
// Prefill
//===----------------------------------------------------------------------===//

void Context::prefillChunk(uint32_t seq, const int32_t *ids, size_t n) {
  BoundPlan &bound = *executor->find(artifact->prefill());
  uint64_t rows = bound.plan->rows;
  uint64_t start = kv->length(seq);
  uint64_t last = artifact->manifest().model.maxContext - 1;
  for (uint64_t i = 0; i < rows; ++i) {
    if (bound.ids)
      bound.ids[i] = i < n ? ids[i] : 0;
    // Padding reads tables by position too and must stay inside them.
    if (bound.positions)
      bound.positions[i] = static_cast<int32_t>(std::min(start + i, last));
    if (bound.sequences)
      bound.sequences[i] = static_cast<int32_t>(seq);
    if (bound.active)
      bound.active[i] = i < n;
  }
  runStep(bound);
  kv->advance(seq, n, Append::Prefill, ids);
}

/// After the first prompt of a sequence: what its layers keep from now on.
void Context::setBudgets(uint32_t seq) {
  if (!kv->needsBudgets(seq))
    return;
  BoundPlan *bound = executor->find(artifact->findPlan("maintain_budgets"));
  if (!bound)
    fail(Code::Internal, "there is no entry maintain_budgets");
  if (bound->sequences)
    bound->sequences[0] = static_cast<int32_t>(seq);
  runStep(*bound);
  guarded([&] { kv->takeBudgets(seq); });
}

/// `goesOn`: more chunks of the prompt follow.
void Context::compact(uint32_t seq, Compact which, bool goesOn) {
  if (!kv->needsCompaction(seq, which))
    return;
  const Plan *plan = nullptr;
  if (which == Compact::Chunk)
    plan = artifact->findPlan("maintain_compact_chunk");
  if (!plan)
    plan = artifact->findPlan("maintain_compact");
  BoundPlan *bound = executor->find(plan);
  if (!bound)
    fail(Code::Internal, "there is no entry maintain_compact");
  if (bound->sequences)
    bound->sequences[0] = static_cast<int32_t>(seq);
  runStep(*bound);
  kv->compacted(seq, which, goesOn);
}

void Context::prefill(uint32_t seq, const int32_t *ids, size_t n, float *hidden,
                      float *logitsOut) {
  checkSequence(seq);
  if (n == 0)
    fail(Code::InvalidArgument, "the prompt is empty");
  checkTokens(ids, n);
  const Plan *plan = artifact->prefill();
  if (!plan)
    fail(Code::Unimplemented, "the model has no entry of kind prefill");
  if (logitsOut && !artifact->findPlan("logits"))
    fail(Code::Unimplemented, "the model has no entry logits");
  requireFree(seq);
  beginStep();
  // A prompt that cannot fit is refused before its first chunk.
  const bool fresh = kv->length(seq) == 0;
  size_t known = prefixes && fresh && !hidden ? prefixes->adopt(seq, ids, n) : 0;
  try {
    kv->reserve(seq, n - known, Append::Prefill);
    prepare(plan);
    if (compactChunks || compactEnd)
      for (const char *name :
           {"maintain_budgets", "maintain_compact_chunk", "maintain_compact"})
        prepare(artifact->findPlan(name));
    if (logitsOut)
      prepare(artifact->findPlan("logits"));
  } catch (...) {
    if (known)
      kv->clear(seq);
    throw;
  }
  PrefixIndex::Cursor cursor;
  uint64_t lastBlock = 0;
  if (prefixes) {
    cursor = prefixes->cursorOf(seq);
    // The same prompt once more needs a token to compute.
    uint64_t total = kv->length(seq) + n - known;
    lastBlock = (total - 1) / prefixes->blockTokens() * prefixes->blockTokens();
  }

  uint64_t width = artifact->manifest().model.hidden;
  BoundPlan &bound = *executor->find(plan);
  for (size_t done = known; done < n;) {
    if (done > known) {
      beginStep();
      kv->reserve(seq, std::min<size_t>(plan->rows, n - done), Append::Prefill);
    }
    size_t rows = std::min<size_t>(plan->rows, n - done);
    prefillChunk(seq, ids + done, rows);
    if (hidden)
      std::memcpy(hidden + done * width, bound.hiddenOut,
                  rows * width * sizeof(float));
    done += rows;
    if (compactChunks)
      compact(seq, Compact::Chunk, done < n);
    if (prefixes)
      prefixes->keep(seq, cursor, kv->length(seq) == lastBlock);
    if (done == n)
      setBudgets(seq);
    if (done == n && compactEnd)
      compact(seq, Compact::Capped, false);
    verifyCounts(seq);
    if (done == n && logitsOut)
      logits(bound.hiddenOut + (rows - 1) * width, 1, logitsOut);
  }
}

void Context::logits(const float *hidden, size_t n, float *out) {
  BoundPlan *bound = executor->find(artifact->findPlan("logits"));
  if (!bound)
    fail(Code::Unimplemented, "the model has no entry logits");
  if (broken)
    beginStep();
  uint64_t width = artifact->manifest().model.hidden;
  uint64_t vocab = artifact->manifest().model.vocab;
  for (size_t done = 0; done < n;) {
    size_t rows = std::min<size_t>(bound->plan->rows, n - done);
    std::memcpy(bound->hiddenIn, hidden + done * width,
                rows * width * sizeof(float));
    std::memset(bound->hiddenIn + rows * width, 0,
                (bound->plan->rows - rows) * width * sizeof(float));
    runStep(*bound);
    std::memcpy(out + done * vocab, bound->logits,
                rows * vocab * sizeof(float));
    done += rows;
  }
}

//===----------------------------------------------------------------------===//
// Decode
//===----------------------------------------------------------------------===//

/// The smallest decode entry for `n` rows.
BoundPlan &Context::bucketFor(size_t n) {
  const auto &buckets = artifact->decodeBuckets();
  auto it = std::find_if(buckets.begin(), buckets.end(),
                         [&](const Plan *plan) { return plan->rows >= n; });
  return *executor->find(*it);
}

/// Writes the inputs of a step; `ahead` steps come before it.
void Context::setDecodeRows(BoundPlan &bound, const DecodeRow *rows, size_t n,
                            uint64_t ahead) {
  for (uint64_t i = 0; i < bound.plan->rows; ++i) {
    // Padding repeats the first row: it writes nothing, and reads what exists.
    const DecodeRow &row = rows[i < n ? i : 0];
    if (bound.ids)
      bound.ids[i] = row.token;
    if (bound.positions)
      bound.positions[i] = static_cast<int32_t>(kv->length(row.seq) + ahead);
    if (bound.sequences)
      bound.sequences[i] = static_cast<int32_t>(row.seq);
    if (bound.active)
      bound.active[i] = i < n;
  }
}

void Context::decodeBucket(const DecodeRow *rows, size_t n, float *logitsOut) {
  BoundPlan &bound = bucketFor(n);
  setDecodeRows(bound, rows, n, 0);
  runStep(bound);
  for (size_t i = 0; i < n; ++i)
    kv->advance(rows[i].seq, 1, Append::Decode, &rows[i].token);
  for (size_t i = 0; i < n; ++i)
    verifyCounts(rows[i].seq);
  uint64_t vocab = artifact->manifest().model.vocab;
  if (logitsOut)
    std::memcpy(logitsOut, bound.logits, n * vocab * sizeof(float));
}

/// Refuses rows that no decode step can take.
void Context::checkRows(const DecodeRow *rows, size_t n) const {
  if (n == 0)
    fail(Code::InvalidArgument, "a decode step needs a row");
  std::vector<uint32_t> sorted;
  for (size_t i = 0; i < n; ++i) {
    checkSequence(rows[i].seq);
    checkToken(rows[i].token);
    sorted.push_back(rows[i].seq);
  }
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    fail(Code::InvalidArgument, "two rows of a step have the same sequence");
  if (artifact->decodeBuckets().empty())
    fail(Code::Unimplemented, "the model has no entry of kind decode");
}

void Context::decode(const DecodeRow *rows, size_t n, float *logitsOut) {
  checkRows(rows, n);
  for (size_t i = 0; i < n; ++i)
    requireFree(rows[i].seq);
  beginStep();
  std::vector<uint32_t> seqs;
  for (size_t i = 0; i < n; ++i)
    seqs.push_back(rows[i].seq);
  kv->reserve(seqs.data(), n, 1, Append::Decode);
  pauseGeneration();

  uint64_t vocab = artifact->manifest().model.vocab;
  uint64_t largest = artifact->decodeBuckets().back()->rows;
  for (size_t done = 0; done < n; done += largest)
    prepare(bucketFor(std::min<size_t>(largest, n - done)).plan);
  for (size_t done = 0; done < n;) {
    size_t now = std::min<size_t>(largest, n - done);
    decodeBucket(rows + done, now,
                 logitsOut ? logitsOut + done * vocab : nullptr);
    done += now;
  }
}

void Context::decodeKnown(const uint32_t *seqs, size_t n, const int32_t *tokens,
                          size_t steps, float *logitsOut) {
  if (steps == 0)
    fail(Code::InvalidArgument, "there are no tokens to append");
  checkTokens(tokens, steps);
  std::vector<DecodeRow> rows(n);
  auto setTokens = [&](size_t step) {
    for (size_t i = 0; i < n; ++i)
      rows[i] = {seqs[i], tokens[step * n + i]};
  };
  for (size_t step = 0; step < steps; ++step) {
    setTokens(step);
    checkRows(rows.data(), n);
  }
  if (n > artifact->decodeBuckets().back()->rows)
    fail(Code::InvalidArgument, "more rows than the largest decode entry has");
  for (size_t i = 0; i < n; ++i)
    requireFree(seqs[i]);
  beginStep();
  kv->reserve(seqs, n, steps, Append::Decode);
  pauseGeneration();
  BoundPlan &bound = bucketFor(n);
  guarded([&] {
    executor->runMany(bound, steps, [&](size_t step) {
      setTokens(step);
      setDecodeRows(bound, rows.data(), n, step);
    });
  });
  for (size_t i = 0; i < n; ++i) {
    for (size_t step = 0; step < steps; ++step)
      kv->advance(seqs[i], 1, Append::Decode, &tokens[step * n + i]);
    verifyCounts(seqs[i]);
  }
  if (logitsOut)
    std::memcpy(logitsOut, bound.logits,
                n * artifact->manifest().model.vocab * sizeof(float));
}

//===----------------------------------------------------------------------===//
// Generations
//===----------------------------------------------------------------------===//

bool Context::generates(uint32_t seq) const {
  return generation &&
         std::any_of(generation->rows.begin(), generation->rows.end(),
                     [&](const GenerateRow &row) { return row.seq == seq; });
}

void Context::requireFree(uint32_t seq) const {
  if (generates(seq))
    fail(Code::FailedPrecondition,
         "a generation works on the sequence; end it first");
}

size_t Context::stepsAhead() const {
  return generation ? generation->ahead + generation->arrived.size() : 0;
}

void Context::beginGeneration(const GenerateRow *rows, size_t n) {
  if (generation)
    fail(Code::FailedPrecondition, "a generation runs; end it first");
  std::vector<DecodeRow> first;
  for (size_t i = 0; i < n; ++i) {
    first.push_back({rows[i].seq, rows[i].token});
    checkSampling(rows[i].sampling);
    if (rows[i].stops.size() > mostStops)
      fail(Code::InvalidArgument,
           "%zu tokens are to end a row, at most %zu can", rows[i].stops.size(),
           static_cast<size_t>(mostStops));
  }
  checkRows(first.data(), n);
  if (n > artifact->decodeBuckets().back()->rows)
    fail(Code::InvalidArgument, "more rows than the largest decode entry has");
  beginStep();
  auto fresh = std::make_unique<Generation>();
  fresh->rows.assign(rows, rows + n);
  fresh->goesOn.assign(n, 1);
  fresh->ended.assign(n, 0);
  fresh->decode = &bucketFor(n);
  generation = std::move(fresh);
  if (!generation->decode->sampler)
    return;
  try {
    placeGeneration();
  } catch (...) {
    generation.reset();
    throw;
  }
}

/// Gives the device the rows as they are.
void Context::placeGeneration() {
  Generation &run = *generation;
  BoundPlan &decode = *run.decode, &sampler = *decode.sampler;
  std::vector<DecodeRow> rows;
  for (const GenerateRow &row : run.rows)
    rows.push_back({row.seq, row.token});
  setDecodeRows(decode, rows.data(), rows.size(), 0);
  for (uint64_t i = 0; i < decode.plan->rows; ++i) {
    // Padding rows have no token, whatever they repeat.
    const GenerateRow &row = run.rows[i < run.rows.size() ? i : 0];
    sampler.temperature[i] = row.sampling.temperature;
    sampler.topK[i] = row.sampling.topK;
    sampler.topP[i] = row.sampling.topP;
    sampler.seeds[i] = row.sampling.seed;
    sampler.counters[i] = row.index;
    int32_t *stops = sampler.stops + i * mostStops;
    std::fill_n(stops, mostStops, -1);
    std::copy(row.stops.begin(), row.stops.end(), stops);
    if (i < run.rows.size())
      decode.active[i] = run.goesOn[i];
  }
  guarded([&] { executor->beginSteps(decode); });
  run.placed = true;
}

/// The step of a model without a sampler: the host waits for the logits.
void Context::queueOnHost() {
  Generation &run = *generation;
  std::vector<int32_t> tokens(run.rows.size(), -1);
  std::vector<DecodeRow> rows;
  std::vector<uint32_t> seqs;
  for (size_t i = 0; i < run.rows.size(); ++i)
    if (run.goesOn[i]) {
      rows.push_back({run.rows[i].seq, run.rows[i].token});
      seqs.push_back(run.rows[i].seq);
    }
  if (!rows.empty()) {
    uint64_t vocab = artifact->manifest().model.vocab;
    std::vector<float> logits(rows.size() * vocab);
    kv->reserve(seqs.data(), seqs.size(), 1, Append::Decode);
    decodeBucket(rows.data(), rows.size(), logits.data());
    guarded([&] {
      const float *own = logits.data();
      for (size_t i = 0; i < run.rows.size(); ++i)
        if (run.goesOn[i]) {
          const GenerateRow &row = run.rows[i];
          tokens[i] = sampleToken(own, vocab, row.sampling, row.index);
          own += vocab;
        }
    });
  }
  run.arrived.push_back(std::move(tokens));
}

/// Whether a token ends the row that has chosen it.
static bool isStop(const GenerateRow &row, int32_t token) {
  return std::count(row.stops.begin(), row.stops.end(), token) != 0;
}

void Context::queueStep() {
  if (!generation)
    fail(Code::FailedPrecondition, "there is no generation");
  Generation &run = *generation;
  std::vector<uint32_t> seqs;
  for (size_t i = 0; i < run.rows.size(); ++i)
    if (run.goesOn[i])
      seqs.push_back(run.rows[i].seq);
  // What the caller can know: rows may have ended in steps it has not read.
  if (std::count(run.ended.begin(), run.ended.end(), 0) == 0)
    fail(Code::FailedPrecondition, "all rows of the generation have ended");
  if (stepsAhead() == Executor::mostQueued)
    fail(Code::FailedPrecondition, "%zu steps wait to be read", stepsAhead());
  beginStep();
  if (!run.decode->sampler) {
    queueOnHost();
    takeTokens(run.arrived.back());
    return;
  }
  // Lengths are those of the steps that were waited for.
  kv->reserve(seqs.data(), seqs.size(), run.ahead + 1, Append::Decode);
  if (!run.placed)
    placeGeneration();
  guarded([&] { executor->queueStep(*run.decode); });
  ++run.ahead;
}

/// Brings the rows behind a step that has chosen `tokens`.
void Context::takeTokens(std::vector<int32_t> &tokens) {
  Generation &run = *generation;
  for (size_t i = 0; i < run.rows.size(); ++i) {
    if (!run.goesOn[i]) {
      tokens[i] = -1;
      continue;
    }
    GenerateRow &row = run.rows[i];
    row.token = tokens[i];
    ++row.index;
    run.goesOn[i] = !isStop(row, row.token);
  }
}

/// Waits for the oldest step that is on its way.
void Context::awaitStep() {
  Generation &run = *generation;
  std::vector<int32_t> tokens(run.rows.size());
  guarded([&] {
    const int32_t *arrived = executor->readStep(*run.decode);
    std::copy_n(arrived, tokens.size(), tokens.begin());
  });
  --run.ahead;
  for (size_t i = 0; i < run.rows.size(); ++i) {
    if (!run.goesOn[i])
      continue;
    kv->advance(run.rows[i].seq, 1, Append::Decode, &run.rows[i].token);
    if (tokens[i] < 0)
      guarded([&] {
        fail(Code::Internal, "the logits of row %zu are not all numbers", i);
      });
  }
  takeTokens(tokens);
  run.arrived.push_back(std::move(tokens));
  if (run.ahead == 0)
    for (const GenerateRow &row : run.rows)
      verifyCounts(row.seq);
}

void Context::readStep(int32_t *tokens) {
  if (stepsAhead() == 0)
    fail(Code::FailedPrecondition, "no step was queued");
  if (broken)
    beginStep();
  Generation &run = *generation;
  if (run.arrived.empty())
    awaitStep();
  std::copy(run.arrived.front().begin(), run.arrived.front().end(), tokens);
  run.arrived.pop_front();
  for (size_t i = 0; i < run.rows.size(); ++i)
    run.ended[i] = tokens[i] < 0 || isStop(run.rows[i], tokens[i]);
}

/// Before another step uses the buffers of decode entries: waits for what is on
/// its way. The generation goes on with its next step.
void Context::pauseGeneration() {
  if (!generation)
    return;
  while (generation->ahead > 0)
    awaitStep();
  generation->placed = false;
}

void Context::endGeneration() {
  if (!generation)
    return;
  try {
    while (generation->ahead > 0 && !broken)
      awaitStep();
  } catch (...) {
    generation.reset();
    throw;
  }
  generation.reset();
}

void Context::trim(uint32_t seq, uint64_t n) {
  checkSequence(seq);
  requireFree(seq);
  if (broken)
    beginStep();
  if (n == kv->length(seq))
    return;
  prepare(artifact->findPlan("maintain_rebuild"));
  kv->trim(seq, n);
  rebuild(seq);
}

/// Recomputes the page fields that follow from keys and values.
void Context::rebuild(uint32_t seq) {
  BoundPlan *bound = executor->find(artifact->findPlan("maintain_rebuild"));
  if (!bound)
    return;
  if (bound->sequences)
    bound->sequences[0] = static_cast<int32_t>(seq);
  runStep(*bound);
}

//===----------------------------------------------------------------------===//
// Synthetic content
//===----------------------------------------------------------------------===//

void Context::fillRandom(uint32_t seq, uint64_t n, uint64_t seed) {
  checkSequence(seq);
  requireFree(seq);
  if (kv->length(seq) != 0)
    fail(Code::FailedPrecondition, "the sequence is not empty");
  bool content = false;
  for (const LayerLayout &layout : kv->layouts()) {
    if (layout.slotted || std::any_of(layout.caps.begin(), layout.caps.end(),
                                      [](int64_t cap) { return cap >= 0; }))
      fail(Code::Unimplemented, "cannot make up a cache that evicts");
    for (const Component &component : layout.components)
      content |= component.content;
  }
  if (content && !artifact->findPlan("maintain_rebuild"))
    fail(Code::Unimplemented, "the model has no entry maintain_rebuild");
  beginStep();
  prepare(artifact->findPlan("maintain_rebuild"));
  kv->reserve(seq, n, Append::Prefill);
  kv->advance(seq, n, Append::Prefill);
  fillPages(*kv, seq, seed, *parallel);
  kv->storeCounts(seq);
  rebuild(seq);
}
