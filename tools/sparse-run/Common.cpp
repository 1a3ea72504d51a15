//===- Common.cpp - What the verbs of sparse-run share --------------------===//

#include "Common.h"

#include <CLI/CLI.hpp>

#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>

using namespace sparse;
using namespace sparse::run;

int sparse::run::exitCodeFor(sparse_status status) {
  switch (status) {
  case SPARSE_OK:
    return exitOk;
  case SPARSE_RESOURCE_EXHAUSTED:
  case SPARSE_UNAVAILABLE:
    return exitResources;
  case SPARSE_INVALID_ARGUMENT:
  case SPARSE_NOT_FOUND:
  case SPARSE_OUT_OF_RANGE:
  case SPARSE_FAILED_PRECONDITION:
  case SPARSE_UNIMPLEMENTED:
  case SPARSE_DATA_LOSS:
  case SPARSE_UNAUTHENTICATED:
  case SPARSE_INCOMPATIBLE:
    return exitBadInput;
  default:
    return exitInternal;
  }
}

void sparse::run::addCommonOptions(CLI::App &verb, CommonOptions &options) {
  verb.add_option("model", options.model, "Model directory (model.spx)")
      ->required();
  verb.add_option("-t,--threads", options.threads,
                  "Threads, including the main one (default: all processors)")
      ->check(CLI::Range(1u, 4096u));
  verb.add_option("--device", options.device,
                  "Where to run: cpu, cuda or cuda:N (default cpu); of a list "
                  "such as cuda,cpu the first that is there");
  verb.add_option("--target", options.target,
                  "Code to run, e.g. x86-64-v3 (default: the best that the "
                  "device supports)");
  verb.add_option("--kv-limit", options.kvLimit,
                  "Most bytes of KV pages, e.g. 512M or 4G (default: 3/4 of "
                  "the memory)");
  verb.add_flag("--check", options.check,
                "After each step compare the kernels' slot counts with the "
                "host's");
  verb.add_flag("--no-verify", options.noVerify,
                "Do not hash the sections (the manifest always is)");
  verb.add_flag("--map-weights", options.mapWeights,
                "Share the weights' memory with other processes (slower)");
  verb.add_flag("--json", options.json, "Machine-readable output");
  verb.add_flag("-q,--quiet", options.quiet, "No progress and no summary");
}

static void logToStderr(void *, int32_t level, const char *message) {
  std::fprintf(stderr, "%s: %s\n",
               level >= SPARSE_LOG_ERROR     ? "error"
               : level >= SPARSE_LOG_WARNING ? "warning"
                                             : "note",
               message);
}

Model sparse::run::loadModel(const CommonOptions &options) {
  sparse_load_options load = {};
  load.skip_verify = options.noVerify;
  load.map_weights = options.mapWeights;
  load.target = options.target.empty() ? nullptr : options.target.c_str();
  load.device = options.device.c_str();
  load.weights = options.weights.empty() ? nullptr : options.weights.c_str();
  load.log = logToStderr;
  return Model(options.model, load);
}

Context sparse::run::createContext(const Model &model,
                                   const CommonOptions &options,
                                   uint32_t sequences) {
  sparse_context_options create = {};
  create.max_sequences = sequences;
  create.threads = options.threads;
  create.check = options.check;
  if (!options.kvLimit.empty())
    create.kv_limit_bytes = parseBytes(options.kvLimit);
  if (!options.prefixCache.empty())
    create.prefix_cache_bytes = parseBytes(options.prefixCache);
  create.log = logToStderr;
  return Context(model, create);
}

std::vector<int32_t> sparse::run::parseIds(const std::string &text) {
  std::string content = text;
  std::string where = "the list of ids";
  if (text == "-") {
    std::ostringstream all;
    all << std::cin.rdbuf();
    content = all.str();
    where = "standard input";
  } else if (text.find_first_not_of("0123456789, \t\n") != std::string::npos ||
             std::ifstream(text).good()) {
    std::ifstream file(text, std::ios::binary);
    if (!file)
      throw InputError("cannot read the ids in '" + text +
                       "': expected a file, '-' or a list such as 1,15,7");
    std::ostringstream all;
    all << file.rdbuf();
    content = all.str();
    where = text;
  }
  std::vector<int32_t> ids;
  size_t pos = 0;
  while (true) {
    // Brackets too, so that a JSON array of ids works as it is.
    pos = content.find_first_not_of(", \t\r\n[]", pos);
    if (pos == std::string::npos)
      break;
    size_t end = content.find_first_of(", \t\r\n[]", pos);
    if (end == std::string::npos)
      end = content.size();
    std::string word = content.substr(pos, end - pos);
    if (word.size() > 10 ||
        word.find_first_not_of("0123456789") != std::string::npos ||
        std::stoll(word) > std::numeric_limits<int32_t>::max())
      throw InputError("'" + word + "' in " + where + " is not a token id");
    ids.push_back(static_cast<int32_t>(std::stoll(word)));
    pos = end;
  }
  if (ids.empty())
    throw InputError("there are no token ids in " + where);
  return ids;
}

uint64_t sparse::run::parseBytes(const std::string &text) {
  size_t digits = text.find_first_not_of("0123456789");
  std::string suffix = digits == std::string::npos ? "" : text.substr(digits);
  uint64_t unit = suffix.empty()                     ? 1
                  : suffix == "K" || suffix == "KiB" ? 1ull << 10
                  : suffix == "M" || suffix == "MiB" ? 1ull << 20
                  : suffix == "G" || suffix == "GiB" ? 1ull << 30
                                                     : 0;
  if (digits == 0 || unit == 0 || text.size() > 18)
    throw UsageError("'" + text + "' is not a number of bytes such as 512M");
  uint64_t bytes;
  if (__builtin_mul_overflow(std::stoull(text), unit, &bytes) || bytes == 0)
    throw UsageError("'" + text + "' bytes are out of range");
  return bytes;
}

static uint64_t parseNumber(const std::string &text) {
  if (text.empty() || text.size() > 9 ||
      text.find_first_not_of("0123456789") != std::string::npos)
    throw UsageError("'" + text +
                     "' is not a number or a range such as 512-4096*2");
  return std::stoull(text);
}

std::vector<uint64_t> sparse::run::parseList(const std::string &text) {
  std::vector<uint64_t> values;
  std::istringstream parts(text);
  std::string part;
  while (std::getline(parts, part, ',')) {
    size_t dash = part.find('-');
    if (dash == std::string::npos) {
      values.push_back(parseNumber(part));
      continue;
    }
    size_t op = part.find_first_of("+*", dash);
    uint64_t first = parseNumber(part.substr(0, dash));
    uint64_t last = parseNumber(
        part.substr(dash + 1, op == std::string::npos ? op : op - dash - 1));
    uint64_t step =
        op == std::string::npos ? 1 : parseNumber(part.substr(op + 1));
    bool multiply = op != std::string::npos && part[op] == '*';
    if (first > last || step == 0 || (multiply && (step < 2 || first == 0)))
      throw UsageError("'" + part + "' is not a range that ends");
    for (uint64_t value = first; value <= last;
         value = multiply ? value * step : value + step) {
      values.push_back(value);
      if (values.size() > 1000)
        throw UsageError("'" + part + "' has more than 1000 values");
    }
  }
  return values;
}

void sparse::run::writeJson(const std::string &path, const Json &json) {
  // Text from a manifest may be cut inside a character; replace, never throw.
  std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  if (path == "-") {
    std::cout << text << std::endl;
    return;
  }
  std::ofstream file(path, std::ios::binary);
  file << text << "\n";
  file.close();
  if (!file)
    throw InputError("cannot write '" + path + "'");
}

Json sparse::run::describe(const Model &model) {
  sparse_model_info info = model.info();
  return {{"source", info.source},
          {"created_by", info.created_by},
          {"device", info.device},
          {"target", info.target},
          {"policy", info.policy},
          {"weights_dtype", info.weights_dtype},
          {"kv_dtype", info.kv_dtype},
          {"weights_bytes", info.weights_bytes},
          {"layers", info.layers},
          {"max_context", info.max_context}};
}

Json sparse::run::describePrefixes(const Context &context) {
  sparse_usage usage = context.usage();
  return {{"lookups", usage.prefix_lookups},
          {"hits", usage.prefix_hits},
          {"tokens", usage.prefix_tokens},
          {"pages", usage.prefix_pages},
          {"bytes", usage.prefix_bytes}};
}

Json sparse::run::describe(const Sequence &sequence, uint64_t layers) {
  sparse_usage usage = sequence.usage();
  Json json = {{"tokens", usage.tokens},
               {"pages", usage.pages},
               {"dense_pages", usage.dense_pages},
               {"kv_bytes", usage.kv_bytes},
               {"page_bytes", usage.page_bytes},
               {"dense_bytes", usage.dense_bytes},
               {"peak_page_bytes", usage.peak_page_bytes},
               {"prefix_tokens", usage.prefix_tokens}};
  json["layers"] = Json::array();
  for (uint64_t layer = 0; layer < layers; ++layer) {
    Json counters = Json::object();
    for (const sparse_counter &counter : sequence.counters(layer))
      counters[counter.name] = counter.value;
    json["layers"].push_back(counters);
  }
  return json;
}

std::string sparse::run::format(const char *text, ...) {
  char buffer[512];
  va_list args;
  va_start(args, text);
  std::vsnprintf(buffer, sizeof(buffer), text, args);
  va_end(args);
  return buffer;
}

static uint64_t statusKilobytes(const char *key) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line))
    if (line.compare(0, std::strlen(key), key) == 0)
      return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10);
  return 0;
}

uint64_t sparse::run::peakResidentBytes() {
  return statusKilobytes("VmHWM:") * 1024;
}

uint64_t sparse::run::residentBytes() {
  return statusKilobytes("VmRSS:") * 1024;
}

std::string sparse::run::policyOnOneLine(const std::string &policy) {
  std::istringstream lines(policy);
  std::string line, text;
  while (std::getline(lines, line)) {
    size_t first = line.find_first_not_of(" -");
    if (first == std::string::npos || line.compare(first, 8, "version:") == 0 || line.compare(first, 6, "rules:") == 0)
      continue;
    // A dash in front starts the next rule.
    text += text.empty() ? "" : line.find('-') < first ? "; " : " ";
    text += line.substr(first);
  }
  return text.empty() ? "dense" : text;
}
