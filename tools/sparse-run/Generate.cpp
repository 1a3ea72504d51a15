//===- Generate.cpp - sparse-run generate ---------------------------------===//

#include "Common.h"
#include "Progress.h"
#include "SafeTensors.h"
#include "Verbs.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>

using namespace sparse;
using namespace sparse::run;

namespace {

struct GenerateOptions {
  CommonOptions common;
  std::string promptIds, idsOut, report, logitsOut;
  uint64_t maxNewTokens = 128, seed = 0;
  float temperature = 0, topP = 1;
  int32_t topK = 0;
  bool greedy = false;
  std::vector<int32_t> eos;
};

/// What a run measured and produced.
struct Generated {
  std::vector<int32_t> prompt, tokens;
  double promptSeconds = 0, decodeSeconds = 0;
  uint64_t decodeSteps = 0;
  uint32_t threads = 0;
  Json cache;
};

} // namespace

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

static std::string summary(const Model &model, const Generated &run) {
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
         ownCounters(run.cache) + " | policy " +
         policyOnOneLine(policy);
}

static Json toJson(const Model &model, const GenerateOptions &options,
                   const Generated &run) {
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
      {"rss_bytes", residentBytes()}};
}

/// `ids` I64 [1, S] and `logits` F32 [1, S, V] of all tokens that were fed: the
/// form that `verify --reference` reads.
static void writeLogits(const std::string &path,
                        const std::vector<int32_t> &prompt,
                        const std::vector<int32_t> &tokens,
                        const std::vector<float> &logits, uint64_t vocab) {
  uint64_t fed = logits.size() / vocab;
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), tokens.begin(), tokens.end());
  ids.resize(fed);
  runtime::writeSafeTensors(
      path,
      {{"ids", "I64", {1, fed}, ids.data(), fed * 8},
       {"logits", "F32", {1, fed, vocab}, logits.data(), logits.size() * 4}});
}

/// Generates after the first token, `most` steps at a time: with two the host
/// reads one while the next runs.
static void generateAhead(Context &context, const Sequence &sequence,
                          const GenerateOptions &options, uint64_t most,
                          const sparse_sampling &sampling, Generated &run,
                          const std::function<void(int32_t)> &take) {
  sparse_generate_row row = {};
  row.sequence = sequence.get();
  row.sampling = &sampling;
  row.index = run.tokens.size();
  row.stops = options.eos.data();
  row.stop_count = options.eos.size();
  row.token = run.tokens.back();
  Generation generation(context, {row});
  uint64_t queued = 0;
  while (run.tokens.size() < options.maxNewTokens) {
    // A step past the end of the text may be refused for what it would need.
    bool refused = false;
    while (!refused && queued < most &&
           run.tokens.size() + queued < options.maxNewTokens) {
      try {
        generation.step();
        ++queued;
      } catch (const RuntimeError &) {
        if (queued == 0)
          throw;
        refused = true;
      }
    }
    int32_t token = generation.read()[0];
    --queued;
    ++run.decodeSteps;
    take(token);
    if (std::count(options.eos.begin(), options.eos.end(), token))
      return;
  }
}

static int generate(const GenerateOptions &options) {
  if (options.greedy && options.temperature > 0)
    throw UsageError("--greedy and --temperature exclude each other");
  Generated run;
  run.prompt = parseIds(options.promptIds);
  Model model = loadModel(options.common);
  sparse_model_info info = model.info();
  Context context = createContext(model, options.common, 1);
  Sequence sequence = context.create();

  bool wantLogits = !options.logitsOut.empty();
  std::vector<float> logits(info.vocab), hidden, all;
  if (wantLogits)
    hidden.resize(run.prompt.size() * info.hidden);
  Timer promptTimer;
  context.prefill(sequence, run.prompt.data(), run.prompt.size(),
                  wantLogits ? hidden.data() : nullptr, logits.data());
  run.promptSeconds = promptTimer.seconds();
  if (wantLogits) {
    all.resize(run.prompt.size() * info.vocab);
    context.logits(hidden.data(), run.prompt.size(), all.data());
  }

  Progress progress("token", options.maxNewTokens,
                    options.common.quiet || !options.common.json);
  sparse_sampling sampling = makeSampling(options.temperature, options.seed,
                                          options.topK, options.topP);
  auto take = [&](int32_t token) {
    run.tokens.push_back(token);
    progress.update(run.tokens.size());
    if (!options.common.json)
      std::cout << (run.tokens.size() > 1 ? " " : "") << token << std::flush;
  };
  auto isDone = [&] {
    return run.tokens.size() == options.maxNewTokens ||
           std::count(options.eos.begin(), options.eos.end(),
                      run.tokens.back());
  };
  Timer decodeTimer;
  take(sample(logits, sampling, 0));
  // On the CPU a step is over when it is queued: another would only come before
  // the token.
  uint64_t most = std::string(info.device) == "cpu" ? 1 : 2;
  if (!isDone() && !wantLogits && options.eos.size() <= SPARSE_MOST_STOPS)
    generateAhead(context, sequence, options, most, sampling, run, take);
  while (!isDone()) {
    context.decode({{sequence.get(), run.tokens.back()}}, logits.data());
    ++run.decodeSteps;
    if (wantLogits)
      all.insert(all.end(), logits.begin(), logits.end());
    take(sample(logits, sampling, run.tokens.size()));
  }
  run.decodeSeconds = decodeTimer.seconds();
  if (!options.common.json)
    std::cout << std::endl;
  run.cache = describe(sequence, info.layers);
  run.threads = context.threads();

  if (!options.idsOut.empty()) {
    std::ofstream file(options.idsOut);
    for (size_t i = 0; i < run.tokens.size(); ++i)
      file << (i ? " " : "") << run.tokens[i];
    file << "\n";
    file.close();
    if (!file)
      throw InputError("cannot write '" + options.idsOut + "'");
  }
  if (wantLogits)
    writeLogits(options.logitsOut, run.prompt, run.tokens, all, info.vocab);
  if (!options.report.empty())
    writeJson(options.report, toJson(model, options, run));
  if (options.common.json)
    writeJson("-", toJson(model, options, run));
  if (!options.common.quiet)
    std::cerr << summary(model, run) << std::endl;
  return exitOk;
}

std::function<int()> sparse::run::addGenerate(CLI::App &app) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App &verb = *app.add_subcommand(
      "generate", "Continue a prompt of token ids and print the new ids");
  addCommonOptions(verb, options->common);
  verb.add_option("-p,--prompt-ids", options->promptIds,
                  "Token ids of the prompt: a file, '-' or a list (1,15,7)")
      ->required();
  verb.add_option("-n,--max-new-tokens", options->maxNewTokens,
                  "Most tokens to generate (default 128)")
      ->check(CLI::Range(uint64_t(1), uint64_t(1) << 30));
  verb.add_option("--temperature", options->temperature,
                  "Sample at this temperature (default 0: greedy)")
      ->check(CLI::Range(0.0f, 1000.0f));
  verb.add_option("--top-k", options->topK,
                  "Draw among this many best tokens (default 0: all)")
      ->check(CLI::Range(0, 1 << 30));
  verb.add_option("--top-p", options->topP,
                  "Draw among the best tokens that together have this share "
                  "(default 1: all)")
      ->check(CLI::Range(0.0f, 1.0f));
  verb.add_option("--seed", options->seed, "Seed of sampling (default 0)");
  verb.add_flag("--greedy", options->greedy,
                "Always take the most likely token (the default)");
  verb.add_option("--eos", options->eos, "Stop after one of these ids")
      ->delimiter(',');
  verb.add_option("--ids-out", options->idsOut,
                  "Write the new ids to this file");
  verb.add_option("--logits-out", options->logitsOut,
                  "Write ids and logits of all tokens fed to this safetensors "
                  "file, as `verify --reference` reads it");
  verb.add_option("--report", options->report,
                  "Write times, memory and counters to this JSON file");
  verb.footer("The last line on stderr sums the run up: speed, KV memory now "
              "and dense, pages.\nText needs the tokenizer and is the Python "
              "package's: python -m sparse_opt.\n\n"
              "  sparse-run generate model.spx -p ids.txt -n 64\n"
              "  sparse-run generate model.spx -p 1,15,7 --temperature 0.8 "
              "--seed 7 --json\n"
              "  sparse-run generate dense.spx -p ids.txt --logits-out "
              "ref.safetensors");
  return [options] { return generate(*options); };
}
