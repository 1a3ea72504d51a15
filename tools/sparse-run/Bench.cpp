//===- Bench.cpp - sparse-run bench ---------------------------------------===//

#include "Common.h"
#include "Progress.h"
#include "Verbs.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>

using namespace sparse;
using namespace sparse::run;

namespace {

struct BenchOptions {
  CommonOptions common;
  std::string prompt = "512", generate = "128", depth = "0", output = "md";
  uint64_t repetitions = 5;
  bool noWarmup = false, fill = false, wait = false;
};

struct Result {
  std::string label;
  uint64_t prompt, generate, depth;
  std::vector<double> seconds; ///< one per repetition
  std::vector<double> queued;  ///< the same without a wait between the steps
  Json cache;                  ///< after the last repetition

  uint64_t tokens() const { return prompt + generate; }
  double rate(double s) const { return static_cast<double>(tokens()) / s; }
};

} // namespace

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half]
                           : (values[half - 1] + values[half]) / 2;
}

/// Ids that do not repeat in a short cycle, the same in every run.
static std::vector<int32_t> makeIds(uint64_t n, uint64_t vocab,
                                    uint64_t start) {
  std::vector<int32_t> ids;
  uint64_t state = start * 0x9e3779b97f4a7c15u + 1;
  for (uint64_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<int32_t>((state >> 33) % vocab));
  }
  return ids;
}

/// The sequence to measure on: `depth` tokens are in it already.
static Sequence startAt(Context &context, const Sequence &base,
                        uint64_t depth) {
  return depth ? base.fork() : context.create();
}

/// A greedy generation that starts with `first`, one step ahead of the tokens
/// that are read.
static void generateAhead(Context &context, const Sequence &sequence,
                          int32_t first, uint64_t steps) {
  sparse_generate_row row = {};
  row.sequence = sequence.get();
  row.token = first;
  Generation generation(context, {row});
  for (uint64_t i = 0; i <= steps; ++i) {
    if (i < steps)
      generation.step();
    if (i > 0)
      generation.read();
  }
}

/// With `ahead` the model generates its own tokens, as `generate` does; else
/// known ones are appended, and the host reads the logits after each.
static double measure(Context &context, Sequence &sequence,
                      const sparse_model_info &info, const Result &test,
                      bool ahead) {
  std::vector<int32_t> ids = makeIds(test.tokens(), info.vocab, test.depth + 1);
  std::vector<float> logits(info.vocab);
  Timer timer;
  if (test.prompt)
    context.prefill(sequence, ids.data(), test.prompt, nullptr, logits.data());
  if (ahead && test.generate)
    generateAhead(context, sequence, ids[test.prompt], test.generate);
  for (uint64_t i = 0; !ahead && i < test.generate; ++i)
    context.decode({{sequence.get(), ids[test.prompt + i]}}, logits.data());
  return timer.seconds();
}

/// The tokens of a generation, known beforehand: what a step takes when the
/// host is not in its way.
static double measureQueued(Context &context, Sequence &sequence,
                            const sparse_model_info &info, const Result &test) {
  std::vector<int32_t> ids = makeIds(test.generate, info.vocab, test.depth + 1);
  std::vector<float> logits(info.vocab);
  Timer timer;
  context.decodeKnown(sequence, ids.data(), ids.size(), logits.data());
  return timer.seconds();
}

static std::vector<double> ratesOf(const Result &result,
                                   const std::vector<double> &seconds) {
  std::vector<double> rates;
  for (double s : seconds)
    rates.push_back(result.rate(s));
  return rates;
}

static Json toJson(const Model &model, uint32_t threads, bool filled,
                   bool waits, const Result &result) {
  Json samples = Json::array(), rates = Json::array();
  std::vector<double> perSecond;
  for (double s : result.seconds) {
    samples.push_back(static_cast<uint64_t>(s * 1e9));
    perSecond.push_back(result.rate(s));
  }
  for (double r : perSecond)
    rates.push_back(r);
  Json json = describe(model);
  json["test"] = result.label;
  json["n_prompt"] = result.prompt;
  json["n_gen"] = result.generate;
  json["n_depth"] = result.depth;
  json["depth_filled"] = filled && result.depth > 0;
  json["waits"] = waits;
  json["threads"] = threads;
  json["median_ts"] = median(perSecond);
  json["min_ts"] = *std::min_element(perSecond.begin(), perSecond.end());
  json["max_ts"] = *std::max_element(perSecond.begin(), perSecond.end());
  json["samples_ns"] = samples;
  json["samples_ts"] = rates;
  if (!result.queued.empty()) {
    json["queued_ts"] = ratesOf(result, result.queued);
    json["queued_median_ts"] = median(ratesOf(result, result.queued));
  }
  json["cache"] = result.cache;
  return json;
}

/// Beside the host there is a device to name, and steps can queue up.
static bool hasDevice(const Model &model) {
  return std::string(model.info().device) != "cpu";
}

static void printHeader(const Model &model) {
  bool device = hasDevice(model);
  if (device)
    std::cout << "device: " << model.info().device << "\n\n";
  std::cout
      << "| model | dtype | policy | target | threads | test | t/s median "
         "| min | max | KV MB | dense MB |"
      << (device ? " t/s queued |" : "")
      << "\n|---|---|---|---|---:|---|---:|---:|---:|---:|---:|"
      << (device ? "---:|" : "") << std::endl;
}

static void printRow(const Model &model, uint32_t threads,
                     const Result &result) {
  sparse_model_info info = model.info();
  std::vector<double> rates;
  for (double s : result.seconds)
    rates.push_back(result.rate(s));
  std::cout << "| " << info.source << " | " << info.weights_dtype << " | "
            << policyOnOneLine(info.policy) << " | " << info.target << " | "
            << threads << " | " << result.label
            << format(" | %.2f | %.2f | %.2f | %.1f | %.1f |", median(rates),
                      *std::min_element(rates.begin(), rates.end()),
                      *std::max_element(rates.begin(), rates.end()),
                      result.cache["kv_bytes"].get<double>() / 1e6,
                      result.cache["dense_bytes"].get<double>() / 1e6);
  if (hasDevice(model))
    std::cout << (result.queued.empty()
                      ? std::string(" |")
                      : format(" %.2f |",
                               median(ratesOf(result, result.queued))));
  std::cout << std::endl;
}

static int bench(const BenchOptions &options) {
  std::vector<uint64_t> prompts = parseList(options.prompt);
  std::vector<uint64_t> generates = parseList(options.generate);
  std::vector<uint64_t> depths = parseList(options.depth);
  std::string output = options.common.json ? "json" : options.output;

  Model model = loadModel(options.common);
  sparse_model_info info = model.info();
  std::vector<Result> results;
  for (uint64_t depth : depths) {
    auto add = [&](uint64_t prompt, uint64_t generate, std::string label) {
      if (depth)
        label += format(" @ d%llu%s", static_cast<unsigned long long>(depth),
                        options.fill ? " filled" : "");
      results.push_back({label, prompt, generate, depth, {}, {}, {}});
    };
    for (uint64_t n : prompts)
      if (n)
        add(n, 0, format("pp%llu", static_cast<unsigned long long>(n)));
    for (uint64_t n : generates)
      if (n)
        add(0, n, format("tg%llu", static_cast<unsigned long long>(n)));
  }
  if (results.empty())
    throw UsageError("there is nothing to measure: -p and -n are all zero");

  Context context = createContext(model, options.common, 2);
  Progress progress("run", results.size() * (options.repetitions + 1),
                    options.common.quiet);
  uint64_t runs = 0;
  // On the CPU a step is over before the next can start.
  const bool ahead = hasDevice(model) && !options.wait;
  if (output == "md")
    printHeader(model);
  Sequence base;
  uint64_t baseDepth = 0;
  for (Result &result : results) {
    // The depth is computed once and forked: forking is not measured.
    if (result.depth && result.depth != baseDepth) {
      base = context.create();
      if (options.fill) {
        base.fillRandom(result.depth, 0);
      } else {
        std::vector<int32_t> ids = makeIds(result.depth, info.vocab, 0);
        context.prefill(base, ids.data(), ids.size(), nullptr, nullptr);
      }
      baseDepth = result.depth;
    }
    if (!options.noWarmup) {
      Sequence sequence = startAt(context, base, result.depth);
      Result warm = result;
      warm.generate = std::min<uint64_t>(warm.generate, 2);
      warm.prompt = std::min<uint64_t>(warm.prompt, info.prefill_chunk);
      measure(context, sequence, info, warm, ahead);
    }
    progress.update(++runs);
    for (uint64_t i = 0; i < options.repetitions; ++i) {
      Sequence sequence = startAt(context, base, result.depth);
      result.seconds.push_back(measure(context, sequence, info, result, ahead));
      if (i + 1 == options.repetitions)
        result.cache = describe(sequence, info.layers);
      progress.update(++runs);
    }
    if (std::string(info.device) != "cpu" && result.generate)
      for (uint64_t i = 0; i <= options.repetitions; ++i) {
        Sequence sequence = startAt(context, base, result.depth);
        double seconds = measureQueued(context, sequence, info, result);
        // The first makes the graph.
        if (i > 0)
          result.queued.push_back(seconds);
      }
    // Whoever waits for a long table, or interrupts it, has what is measured.
    if (output == "md") {
      progress.clear();
      printRow(model, context.threads(), result);
    }
  }

  if (output == "json") {
    Json all = Json::array();
    for (const Result &result : results)
      all.push_back(
          toJson(model, context.threads(), options.fill, !ahead, result));
    writeJson("-", all);
  }
  return exitOk;
}

std::function<int()> sparse::run::addBench(CLI::App &app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App &verb =
      *app.add_subcommand("bench", "Measure prompt and generation speed");
  addCommonOptions(verb, options->common);
  verb.add_option("-p,--n-prompt", options->prompt,
                  "Prompt lengths (default 512; 0 = none)");
  verb.add_option("-n,--n-gen", options->generate,
                  "Generation lengths (default 128; 0 = none)");
  verb.add_option("-d,--n-depth", options->depth,
                  "Tokens in the cache before the measurement (default 0)");
  verb.add_option("-r,--repetitions", options->repetitions,
                  "Repetitions of each test (default 5)")
      ->check(CLI::Range(1, 1000));
  verb.add_option("-o,--output", options->output, "md or json (default md)")
      ->check(CLI::IsMember({"md", "json"}));
  verb.add_flag("--fill", options->fill,
                "Fill the depth with random keys and values instead of "
                "computing it (speed only; not for models that evict)");
  verb.add_option("--weights", options->common.weights,
                  "random:SEED for a model that was compiled without weights "
                  "(device cuda)");
  verb.add_flag("--wait", options->wait,
                "On a device: wait for each step and read its logits, instead "
                "of generating one step ahead");
  verb.add_flag("--no-warmup", options->noWarmup,
                "Skip the unmeasured run before each test");
  verb.footer("Every test runs at every depth. Lists are `512,1024` or ranges "
              "`512-4096*2`, `1-4+1`.\nJSON has every sample in "
              "samples_ns.\n\n"
              "  sparse-run bench model.spx -p 512 -n 128\n"
              "  sparse-run bench model.spx -p 0 -n 32 -d 512,4096,8192 -r 7 "
              "-o json");
  return [options] { return bench(*options); };
}
