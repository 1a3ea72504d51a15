//===- sparse-run.cpp - Run compiled models -------------------------------===//

#include "Common.h"
#include "Status.h"
#include "Verbs.h"

#include <CLI/CLI.hpp>

#include <cstring>
#include <iostream>

using namespace sparse;
using namespace sparse::run;

/// One line on stderr; the same as an object on stdout with --json.
static int report(int code, const char *name, const std::string &message,
                  bool json) {
  std::cerr << "error[" << name << "]: " << message << std::endl;
  if (json)
    writeJson("-", {{"error", {{"code", name}, {"message", message}}}});
  return code;
}

int main(int argc, char **argv) {
  CLI::App app("Runs models that sparse-opt has compiled.\nResults go to "
               "stdout, everything else to stderr.",
               "sparse-run");
  app.require_subcommand(1);
  app.set_version_flag("--version", "sparse-run 0.1.0");
  app.footer("Exit codes: 0 ok, 1 check failed, 2 usage, 3 bad input, 4 out of "
             "resources, 5 internal.\n\n"
             "  sparse-run generate model.spx -p ids.txt -n 64\n"
             "  sparse-run bench model.spx -p 512 -n 128 -d 0,4096\n"
             "  sparse-run verify model.spx -r ref.safetensors\n"
             "  sparse-run session save model.spx -p ids.txt -o "
             "chat.session\n\n"
             "sparse-run VERB --help tells the rest.");
  std::pair<CLI::App *, std::function<int()>> verbs[4];
  std::function<int()> (*const add[])(CLI::App &) = {addGenerate, addBench,
                                                     addVerify, addSession};
  const char *const names[] = {"generate", "bench", "verify", "session"};
  for (int i = 0; i < 4; ++i) {
    verbs[i].second = add[i](app);
    verbs[i].first = app.get_subcommand(names[i]);
  }

  bool json = false;
  for (int i = 1; i < argc; ++i)
    json |= std::strcmp(argv[i], "--json") == 0;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &success) {
    return app.exit(success);
  } catch (const CLI::ParseError &error) {
    return report(exitUsage, "USAGE",
                  std::string(error.what()) + "; see sparse-run --help", json);
  }

  try {
    for (auto &verb : verbs)
      if (verb.first->parsed())
        return verb.second();
  } catch (const RuntimeError &error) {
    // The message starts with the name of the code.
    std::string message = error.what();
    size_t colon = message.find(": ");
    return report(
        exitCodeFor(error.status), api().status_name(error.status),
        colon == std::string::npos ? message : message.substr(colon + 2), json);
  } catch (const runtime::Error &error) {
    return report(exitCodeFor(static_cast<sparse_status>(error.code)),
                  runtime::codeName(error.code), error.what(), json);
  } catch (const UsageError &error) {
    return report(exitUsage, "USAGE", error.what(), json);
  } catch (const InputError &error) {
    return report(exitBadInput, "INVALID_ARGUMENT", error.what(), json);
  } catch (const std::bad_alloc &) {
    return report(exitResources, "RESOURCE_EXHAUSTED", "out of memory", json);
  } catch (const std::exception &error) {
    return report(exitInternal, "INTERNAL", error.what(), json);
  }
  return exitInternal;
}
