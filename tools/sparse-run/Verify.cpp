//===- Verify.cpp - sparse-run verify -------------------------------------===//

#include "Common.h"
#include "Progress.h"
#include "SafeTensors.h"
#include "Verbs.h"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstring>
#include <iostream>
#include <limits>

using namespace sparse;
using namespace sparse::run;

namespace {

struct VerifyOptions {
  CommonOptions common;
  std::string reference;
  int64_t prefill = -1;
  double atol = 1e-3, rtol = 1e-3;
};

/// Differences over all positions seen so far.
struct Comparison {
  uint64_t positions = 0, top1 = 0, beyond = 0, targets = 0;
  double maxAbs = 0, maxRel = 0, klSum = 0, klMax = 0;
  double nll = 0, nllReference = 0;
  std::string worst; ///< where the largest absolute difference is
};

} // namespace

static double logSumExp(const float *logits, uint64_t n) {
  double top = logits[0];
  for (uint64_t i = 1; i < n; ++i)
    top = std::max<double>(top, logits[i]);
  double sum = 0;
  for (uint64_t i = 0; i < n; ++i)
    sum += std::exp(logits[i] - top);
  return top + std::log(sum);
}

/// Compares the logits of one position. `target` is the next id, or -1.
static void compare(Comparison &all, const VerifyOptions &options,
                    const float *ours, const float *reference, uint64_t vocab,
                    int64_t target, uint64_t row, uint64_t position) {
  uint64_t bestOurs = 0, bestReference = 0;
  bool finite = true;
  for (uint64_t i = 0; i < vocab; ++i) {
    double a = ours[i], b = reference[i];
    // A NaN fails every comparison below and must not pass for small.
    double diff = std::fabs(a - b);
    if (!std::isfinite(diff)) {
      finite = false;
      diff = std::numeric_limits<double>::infinity();
    }
    if (diff > all.maxAbs) {
      all.maxAbs = diff;
      all.worst = format("row %llu position %llu token %llu: %g, expected %g",
                         static_cast<unsigned long long>(row),
                         static_cast<unsigned long long>(position),
                         static_cast<unsigned long long>(i), a, b);
    }
    // Relative to the reference, where it is not zero.
    if (b != 0)
      all.maxRel = std::max(all.maxRel, diff / std::fabs(b));
    if (!(diff <= options.atol + options.rtol * std::fabs(b)))
      ++all.beyond;
    if (ours[i] > ours[bestOurs])
      bestOurs = i;
    if (reference[i] > reference[bestReference])
      bestReference = i;
  }
  ++all.positions;
  all.top1 += finite && bestOurs == bestReference;
  if (!finite) {
    all.klMax = all.klSum = std::numeric_limits<double>::infinity();
    return;
  }
  double zOurs = logSumExp(ours, vocab);
  double zReference = logSumExp(reference, vocab);
  double kl = 0;
  for (uint64_t i = 0; i < vocab; ++i) {
    double logP = reference[i] - zReference, logQ = ours[i] - zOurs;
    kl += std::exp(logP) * (logP - logQ);
  }
  kl = std::max(kl, 0.0);
  all.klSum += kl;
  all.klMax = std::max(all.klMax, kl);
  if (target >= 0) {
    ++all.targets;
    all.nll += zOurs - ours[target];
    all.nllReference += zReference - reference[target];
  }
}

/// The ids of the reference as I64 [B, S]; I32 is accepted too.
static std::vector<int64_t> readIds(const runtime::TensorView &view) {
  std::vector<int64_t> ids(view.shape[0] * view.shape[1]);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (view.dtype == runtime::DType::I64) {
      std::memcpy(&ids[i], view.data + i * 8, 8);
    } else {
      int32_t id;
      std::memcpy(&id, view.data + i * 4, 4);
      ids[i] = id;
    }
  }
  return ids;
}

static int verify(const VerifyOptions &options) {
  runtime::SafeTensors file(runtime::openFile(options.reference));
  const runtime::TensorView *idsView = file.find("ids");
  const runtime::TensorView *logitsView = file.find("logits");
  if (!idsView || idsView->shape.size() != 2 ||
      (idsView->dtype != runtime::DType::I64 &&
       idsView->dtype != runtime::DType::I32))
    throw InputError(options.reference + " has no tensor ids, I64 [B, S]");
  if (!logitsView || logitsView->shape.size() != 3 ||
      logitsView->dtype != runtime::DType::F32)
    throw InputError(options.reference +
                     " has no tensor logits, F32 [B, S, V]");
  uint64_t rows = idsView->shape[0], length = idsView->shape[1];
  Model model = loadModel(options.common);
  sparse_model_info info = model.info();
  uint64_t vocab = info.vocab;
  if (logitsView->shape != std::vector<uint64_t>{rows, length, vocab})
    throw InputError(
        format("%s: logits must be [%llu, %llu, %llu] for these ids and this "
               "model",
               options.reference.c_str(), static_cast<unsigned long long>(rows),
               static_cast<unsigned long long>(length),
               static_cast<unsigned long long>(vocab)));
  if (rows == 0 || length == 0)
    throw InputError(options.reference + " holds no positions");
  std::vector<int64_t> ids = readIds(*idsView);
  for (int64_t id : ids)
    if (id < 0 || id >= static_cast<int64_t>(vocab))
      throw InputError(format("%s: id %lld is outside the vocabulary of %llu",
                              options.reference.c_str(),
                              static_cast<long long>(id),
                              static_cast<unsigned long long>(vocab)));
  uint64_t prefill = options.prefill >= 0
                         ? static_cast<uint64_t>(options.prefill)
                         : (length > 4 ? length - 4 : 1);
  if (prefill == 0 || prefill > length)
    throw UsageError(format("--prefill must be in 1..%llu",
                            static_cast<unsigned long long>(length)));

  CommonOptions common = options.common;
  common.check = true;
  Context context = createContext(model, common, 1);
  Comparison all;
  Progress progress("position", rows * length, options.common.quiet);
  std::vector<float> hidden(prefill * info.hidden);
  // The rows of a prefill go through the head a block at a time: all logits at
  // once would be larger than the model.
  const uint64_t block = 64;
  std::vector<float> logits(std::min(prefill, block) * vocab);
  std::vector<float> step(vocab), expected(vocab);
  auto target = [&](uint64_t row, uint64_t position) {
    return position + 1 < length ? ids[row * length + position + 1] : -1;
  };
  auto compareAt = [&](uint64_t row, uint64_t position, const float *ours) {
    // The file's data need not be aligned.
    std::memcpy(expected.data(),
                logitsView->data + (row * length + position) * vocab * 4,
                vocab * 4);
    compare(all, options, ours, expected.data(), vocab, target(row, position),
            row, position);
    progress.update(all.positions);
  };
  for (uint64_t row = 0; row < rows; ++row) {
    Sequence sequence = context.create();
    std::vector<int32_t> tokens(ids.begin() + row * length,
                                ids.begin() + (row + 1) * length);
    context.prefill(sequence, tokens.data(), prefill, hidden.data(), nullptr);
    for (uint64_t at = 0; at < prefill; at += block) {
      uint64_t count = std::min(block, prefill - at);
      context.logits(hidden.data() + at * info.hidden, count, logits.data());
      for (uint64_t i = 0; i < count; ++i)
        compareAt(row, at + i, logits.data() + i * vocab);
    }
    for (uint64_t at = prefill; at < length; ++at) {
      context.decode({{sequence.get(), tokens[at]}}, step.data());
      compareAt(row, at, step.data());
    }
  }

  bool passed = all.beyond == 0;
  double n = static_cast<double>(all.positions);
  double perplexity =
      all.targets ? std::exp(all.nll / static_cast<double>(all.targets)) : 0;
  double perplexityReference =
      all.targets
          ? std::exp(all.nllReference / static_cast<double>(all.targets))
          : 0;
  if (options.common.json) {
    // Infinity is not JSON; null says that it was no number.
    writeJson("-", {{"model", describe(model)},
                    {"reference", options.reference},
                    {"rows", rows},
                    {"positions", all.positions},
                    {"prefill", prefill},
                    {"decode", length - prefill},
                    {"atol", options.atol},
                    {"rtol", options.rtol},
                    {"max_abs", all.maxAbs},
                    {"max_rel", all.maxRel},
                    {"kl_mean", all.klSum / n},
                    {"kl_max", all.klMax},
                    {"top1_agreement", static_cast<double>(all.top1) / n},
                    {"perplexity", perplexity},
                    {"perplexity_reference", perplexityReference},
                    {"beyond_tolerance", all.beyond},
                    {"worst", all.worst},
                    {"passed", passed}});
  } else {
    std::cout << format("positions      %llu (%llu rows, %llu prefill + %llu "
                        "decode each)\n",
                        static_cast<unsigned long long>(all.positions),
                        static_cast<unsigned long long>(rows),
                        static_cast<unsigned long long>(prefill),
                        static_cast<unsigned long long>(length - prefill))
              << format("max abs        %.6g\n", all.maxAbs)
              << format("max rel        %.6g\n", all.maxRel)
              << format("KL divergence  %.6g mean, %.6g max\n", all.klSum / n,
                        all.klMax)
              << format("top-1 agree    %llu/%llu (%.2f%%)\n",
                        static_cast<unsigned long long>(all.top1),
                        static_cast<unsigned long long>(all.positions),
                        100.0 * static_cast<double>(all.top1) / n);
    if (all.targets)
      std::cout << format("perplexity     %.4f, reference %.4f\n", perplexity,
                          perplexityReference);
    if (passed)
      std::cout << format("PASS within atol %g, rtol %g", options.atol,
                          options.rtol)
                << std::endl;
    else
      std::cout << format("FAIL %llu logits beyond atol %g, rtol %g; worst ",
                          static_cast<unsigned long long>(all.beyond),
                          options.atol, options.rtol)
                << all.worst << std::endl;
  }
  return passed ? exitOk : exitCheckFailed;
}

/// CLI::NonNegativeNumber stops at the largest finite number; a tolerance may be inf.
static const CLI::Validator notNegative(
    [](const std::string &text) {
      char *end = nullptr;
      double value = std::strtod(text.c_str(), &end);
      bool legal = end != text.c_str() && *end == 0 && value >= 0;
      return legal ? std::string() : "'" + text + "' is no number of at least 0";
    },
    "NUMBER");

std::function<int()> sparse::run::addVerify(CLI::App &app) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App &verb = *app.add_subcommand(
      "verify", "Compare logits with those of a reference file");
  addCommonOptions(verb, options->common);
  verb.add_option("-r,--reference", options->reference,
                  "safetensors file with ids I64 [B, S] and logits "
                  "F32 [B, S, V]")
      ->required();
  verb.add_option("--prefill", options->prefill,
                  "Tokens of each row that go through prefill; the rest are "
                  "decode steps (default S-4)")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30));
  verb.add_option("--atol", options->atol, "Absolute tolerance (default 1e-3)")
      ->check(notNegative);
  verb.add_option("--rtol", options->rtol, "Relative tolerance (default 1e-3)")
      ->check(notNegative);
  verb.footer("Passes when every logit is within atol + rtol * |reference|; "
              "exits with 1 otherwise.\n\n"
              "  sparse-run verify model.spx --reference ref.safetensors\n"
              "  sparse-run verify sparse.spx -r dense.safetensors --prefill "
              "1000 --atol inf --json");
  return [options] { return verify(*options); };
}
