//===- Verbs.h - The verbs of sparse-run ------------------------*- C++ -*-===//
#ifndef SPARSE_RUN_VERBS_H
#define SPARSE_RUN_VERBS_H

#include <functional>

namespace CLI {
class App;
}

namespace sparse::run {

/// Each declares its options on `app` and returns what runs the verb. A verb
/// returns its exit code and throws for errors.
std::function<int()> addGenerate(CLI::App &app);
std::function<int()> addBench(CLI::App &app);
std::function<int()> addVerify(CLI::App &app);
std::function<int()> addSession(CLI::App &app);

} // namespace sparse::run

#endif // SPARSE_RUN_VERBS_H
