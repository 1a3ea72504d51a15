//===- TextRun.cpp - Continuing a text, and what it took ------------------===//

#include "TextRun.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <map>

using namespace sparse;
using namespace sparse::run;

void sparse::run::addTextOptions(CLI::App &verb, TextOptions &options) {
  verb.add_option("-n,--max-new-tokens", options.maxNewTokens,
                  "Most tokens to generate (default 128)")
      ->check(CLI::Range(uint64_t(1), uint64_t(1) << 30));
  verb.add_option("--temperature", options.temperature,
                  "Sample at this temperature (default 0: greedy)")
      ->check(CLI::Range(0.0f, 1000.0f));
  verb.add_option("--top-k", options.topK,
                  "Draw among this many best tokens (default 0: all)")
      ->check(CLI::Range(0, 1 << 30));
  verb.add_option("--top-p", options.topP,
                  "Draw among the best tokens that together have this share "
                  "(default 1: all)")
      ->check(CLI::Range(0.0f, 1.0f));
  verb.add_option("--seed", options.seed, "Seed of sampling (default 0)");
  verb.add_flag("--greedy", options.greedy,
                "Always take the most likely token (the default)");
  verb.add_option("--eos", options.eos, "Stop after one of these ids")
      ->delimiter(',');
}

sparse_sampling sparse::run::samplingOf(const TextOptions &options) {
  if (options.greedy && options.temperature > 0)
    throw UsageError("--greedy and --temperature exclude each other");
  return makeSampling(options.temperature, options.seed, options.topK,
                      options.topP);
}

bool sparse::run::isEnd(const TextOptions &options, int32_t token) {
  return std::count(options.eos.begin(), options.eos.end(), token) != 0;
}

void sparse::run::continueText(const Model &model, Context &context,
                               const Sequence &sequence,
                               const TextOptions &options, uint64_t index,
                               int32_t token, uint64_t count,
                               const std::function<void(int32_t)> &take) {
  sparse_sampling sampling = samplingOf(options);
  if (options.eos.size() > SPARSE_MOST_STOPS) {
    std::vector<float> logits(model.info().vocab);
    for (uint64_t i = 0; i < count && (i == 0 || !isEnd(options, token)); ++i) {
      context.decode({{sequence.get(), token}}, logits.data());
      token = sample(logits, sampling, index + i);
      take(token);
    }
    return;
  }
  if (count == 0)
    return;
  sparse_generate_row row = {};
  row.sequence = sequence.get();
  row.sampling = &sampling;
  row.index = index;
  row.stops = options.eos.data();
  row.stop_count = options.eos.size();
  row.token = token;
  Generation generation(context, {row});
  // With two the host reads one while the next runs. On the CPU a step is over
  // when it is queued: another would only come before the token.
  uint64_t most = std::string(model.info().device) == "cpu" ? 1 : 2;
  uint64_t queued = 0;
  for (uint64_t done = 0; done < count; ++done) {
    // A step past the end of the text may be refused for what it would need.
    bool refused = false;
    while (!refused && queued < most && done + queued < count) {
      try {
        generation.step();
        ++queued;
      } catch (const RuntimeError &) {
        if (queued == 0)
          throw;
        refused = true;
      }
    }
    token = generation.read()[0];
    --queued;
    take(token);
    if (isEnd(options, token))
      return;
  }
}

void sparse::run::noteCache(TextRun &run, const Model &model,
                            const Sequence &sequence) {
  run.cache = describe(sequence, model.info().layers);
  run.residentBytes = residentBytes();
}

static double rate(uint64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

/// The counters of the artifact's own, averaged over the layers that have
/// them: "256/layer attended".
static std::string ownCounters(const Json &cache) {
  std::map<std::string, std::pair<double, int>> sums;
  for (const Json &layer : cache["layers"])
    for (auto it = layer.begin(); it != layer.end(); ++it)
      if (it.key() != "slots" && it.key() != "pages" &&
          it.key() != "page_bytes") {
        sums[it.key()].first += it.value().get<double>();
        sums[it.key()].second += 1;
      }
  std::string text;
  for (const auto &entry : sums)
    text += format(", %.0f/layer %s", entry.second.first / entry.second.second,
                   entry.first.c_str());
  return text;
}

/// How much of the prompt an earlier one had computed.
static std::string known(const Json &cache) {
  auto tokens = cache["prefix_tokens"].get<unsigned long long>();
  return tokens ? format(" | %llu tok known", tokens) : "";
}

std::string sparse::run::summary(const Model &model, const TextRun &run) {
  double kv = run.cache["kv_bytes"].get<double>() / 1e6;
  double dense = run.cache["dense_bytes"].get<double>() / 1e6;
  std::string policy = model.info().policy;
  return format("prompt %zu tok %.2f s (%.1f tok/s) | gen %zu tok %.2f s "
                "(%.1f tok/s) | KV %.1f/%.1f MB (%.0f%%) | pages %llu/%llu "
                "kept",
                run.prompt.size(), run.promptSeconds,
                rate(run.prompt.size(), run.promptSeconds), run.tokens.size(),
                run.decodeSeconds, rate(run.decodeSteps, run.decodeSeconds), kv,
                dense, dense > 0 ? 100 * kv / dense : 0,
                run.cache["pages"].get<unsigned long long>(),
                run.cache["dense_pages"].get<unsigned long long>()) +
         ownCounters(run.cache) + known(run.cache) + " | policy " +
         policyOnOneLine(policy);
}

Json sparse::run::toJson(const Model &model, const TextOptions &options,
                         const TextRun &run) {
  return {
      {"model", describe(model)},
      {"prompt_tokens", run.prompt.size()},
      {"prompt_seconds", run.promptSeconds},
      {"prompt_tokens_per_second", rate(run.prompt.size(), run.promptSeconds)},
      {"generated_tokens", run.tokens.size()},
      {"decode_steps", run.decodeSteps},
      {"decode_seconds", run.decodeSeconds},
      {"decode_tokens_per_second", rate(run.decodeSteps, run.decodeSeconds)},
      {"threads", run.threads},
      {"temperature", options.temperature},
      {"top_k", options.topK},
      {"top_p", options.topP},
      {"seed", options.seed},
      {"ids", run.tokens},
      {"cache", run.cache},
      {"peak_rss_bytes", peakResidentBytes()},
      {"rss_bytes", run.residentBytes}};
}
