//===- TextRun.h - Continuing a text, and what it took ----------*- C++ -*-===//
#ifndef SPARSE_RUN_TEXTRUN_H
#define SPARSE_RUN_TEXTRUN_H

#include "Common.h"

#include <functional>

namespace sparse::run {

/// How tokens are chosen and when a text ends.
struct TextOptions {
  uint64_t maxNewTokens = 128, seed = 0;
  float temperature = 0, topP = 1;
  int32_t topK = 0;
  bool greedy = false;
  std::vector<int32_t> eos;
};

/// Declares them on a verb.
void addTextOptions(CLI::App &verb, TextOptions &options);

/// Throws UsageError where they contradict each other.
sparse_sampling samplingOf(const TextOptions &options);

/// True for a token that ends the text.
bool isEnd(const TextOptions &options, int32_t token);

/// Appends `token`, chooses the next, which is number `index` of its text, and
/// so on: `take` gets `count` tokens, or fewer when one of them ends the text.
/// The last one is not appended.
void continueText(const Model &model, Context &context,
                  const Sequence &sequence, const TextOptions &options,
                  uint64_t index, int32_t token, uint64_t count,
                  const std::function<void(int32_t)> &take);

/// What a run measured and produced.
struct TextRun {
  std::vector<int32_t> prompt, tokens;
  double promptSeconds = 0, decodeSeconds = 0;
  uint64_t decodeSteps = 0;
  uint32_t threads = 0;
  Json cache;
  uint64_t residentBytes = 0; // of the process, while the cache is there
};

/// What the cache of the text holds, before the sequence goes.
void noteCache(TextRun &run, const Model &model, const Sequence &sequence);

/// The line that sums a run up: speed, KV memory now and dense, pages.
std::string summary(const Model &model, const TextRun &run);

Json toJson(const Model &model, const TextOptions &options, const TextRun &run);

} // namespace sparse::run

#endif // SPARSE_RUN_TEXTRUN_H
