//===- Generate.cpp - sparse-run generate ---------------------------------===//

#include "Common.h"
#include "Progress.h"
#include "SafeTensors.h"
#include "TextRun.h"
#include "Verbs.h"

#include <CLI/CLI.hpp>

#include <fstream>
#include <iostream>

using namespace sparse;
using namespace sparse::run;

namespace {

struct GenerateOptions {
  CommonOptions common;
  TextOptions text;
  std::vector<std::string> promptIds;
  std::string idsOut, report, logitsOut;
};

} // namespace

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

/// Continues one prompt.
static TextRun generateOne(const Model &model, Context &context,
                           const GenerateOptions &options,
                           std::vector<int32_t> prompt) {
  sparse_sampling sampling = samplingOf(options.text);
  sparse_model_info info = model.info();
  TextRun run;
  run.prompt = std::move(prompt);
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

  Progress progress("token", options.text.maxNewTokens,
                    options.common.quiet || !options.common.json);
  auto take = [&](int32_t token) {
    run.tokens.push_back(token);
    progress.update(run.tokens.size());
    if (!options.common.json)
      std::cout << (run.tokens.size() > 1 ? " " : "") << token << std::flush;
  };
  auto takeStep = [&](int32_t token) {
    ++run.decodeSteps;
    take(token);
  };
  auto isDone = [&] {
    return run.tokens.size() == options.text.maxNewTokens ||
           isEnd(options.text, run.tokens.back());
  };
  Timer decodeTimer;
  take(sample(logits, sampling, 0));
  if (!isDone() && !wantLogits)
    continueText(model, context, sequence, options.text, 1, run.tokens.back(),
                 options.text.maxNewTokens - 1, takeStep);
  while (!isDone()) {
    context.decode({{sequence.get(), run.tokens.back()}}, logits.data());
    all.insert(all.end(), logits.begin(), logits.end());
    takeStep(sample(logits, sampling, run.tokens.size()));
  }
  run.decodeSeconds = decodeTimer.seconds();
  if (!options.common.json)
    std::cout << std::endl;
  noteCache(run, model, sequence);
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
  return run;
}

static int generate(const GenerateOptions &options) {
  samplingOf(options.text);
  const bool several = options.promptIds.size() > 1;
  if (several && !(options.idsOut.empty() && options.logitsOut.empty()))
    throw UsageError("--ids-out and --logits-out take a single prompt");
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string &ids : options.promptIds)
    prompts.push_back(parseIds(ids));
  Model model = loadModel(options.common);
  Context context = createContext(model, options.common, 1);
  Json texts = Json::array();
  for (std::vector<int32_t> &prompt : prompts) {
    TextRun run = generateOne(model, context, options, std::move(prompt));
    texts.push_back(toJson(model, options.text, run));
    if (!options.common.quiet)
      std::cerr << summary(model, run) << std::endl;
  }
  Json report = texts[0];
  if (several)
    report = {{"texts", texts}, {"prefixes", describePrefixes(context)}};
  if (!options.report.empty())
    writeJson(options.report, report);
  if (options.common.json)
    writeJson("-", report);
  return exitOk;
}

std::function<int()> sparse::run::addGenerate(CLI::App &app) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App &verb = *app.add_subcommand(
      "generate", "Continue a prompt of token ids and print the new ids");
  addCommonOptions(verb, options->common);
  verb.add_option("-p,--prompt-ids", options->promptIds,
                  "Token ids of the prompt: a file, '-' or a list (1,15,7); "
                  "several of these give as many texts")
      ->required()
      ->allow_extra_args(false);
  verb.add_option("--prefix-cache", options->common.prefixCache,
                  "Keep up to this many bytes of what prompts begin with, e.g. "
                  "1G, so that the next one computes only the rest (default: "
                  "none)");
  addTextOptions(verb, options->text);
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
              "  sparse-run generate model.spx -p a.txt -p b.txt "
              "--prefix-cache 1G\n"
              "  sparse-run generate dense.spx -p ids.txt --logits-out "
              "ref.safetensors");
  return [options] { return generate(*options); };
}
