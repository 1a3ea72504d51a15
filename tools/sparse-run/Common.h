//===- Common.h - What the verbs of sparse-run share ------------*- C++ -*-===//
#ifndef SPARSE_RUN_COMMON_H
#define SPARSE_RUN_COMMON_H

#include "sparse-opt/runtime.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sparse::run {

using Json = nlohmann::ordered_json;

/// The exit codes of all tools of the project.
enum ExitCode {
  exitOk = 0,
  exitCheckFailed = 1,
  exitUsage = 2,
  exitBadInput = 3,
  exitResources = 4,
  exitInternal = 5
};

/// The exit code for a status of the runtime.
int exitCodeFor(sparse_status status);

/// A wrong command line that the parser cannot see. Exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A wrong file. Exit code 3.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Options that every verb has.
struct CommonOptions {
  std::string model;
  std::string device = "cpu";
  std::string weights;     ///< bench alone
  std::string prefixCache; ///< generate alone
  std::string target;
  unsigned threads = 0;
  std::string kvLimit;
  bool json = false;
  bool quiet = false;
  bool noVerify = false;
  bool mapWeights = false;
  bool check = false;
};

/// Declares them on a verb.
void addCommonOptions(CLI::App &verb, CommonOptions &options);

Model loadModel(const CommonOptions &options);
Context createContext(const Model &model, const CommonOptions &options,
                      uint32_t sequences);

/// Token ids from a file, from `-` (standard input) or from a list such as
/// `1,15,7`. Numbers separated by white space or commas.
std::vector<int32_t> parseIds(const std::string &text);

/// Bytes from `512M`, `4G`, `1000000`.
uint64_t parseBytes(const std::string &text);

/// Numbers of a llama-bench list: `512,1024` or `512-4096*2` or `1-4+1`.
std::vector<uint64_t> parseList(const std::string &text);

/// Writes JSON to a file, or to standard output for `-`.
void writeJson(const std::string &path, const Json &json);

/// Seconds since construction.
class Timer {
public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         start)
        .count();
  }

private:
  std::chrono::steady_clock::time_point start =
      std::chrono::steady_clock::now();
};

/// Facts that every report starts with.
Json describe(const Model &model);

/// What prompts have shared.
Json describePrefixes(const Context &context);

/// Usage of a sequence and its counters per layer.
Json describe(const Sequence &sequence, uint64_t layers);

/// Printf to a string.
std::string format(const char *text, ...) __attribute__((format(printf, 1, 2)));

/// Most resident bytes of this process, and those of now.
uint64_t peakResidentBytes();
uint64_t residentBytes();

/// The text of a policy on one line: its rules without the frame of the file; "dense" when there is none.
std::string policyOnOneLine(const std::string &policy);

} // namespace sparse::run

#endif // SPARSE_RUN_COMMON_H
