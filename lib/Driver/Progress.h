//===-- Progress.h - Progress of long commands -----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_PROGRESS_H
#define SPARSE_LIB_DRIVER_PROGRESS_H

#include "llvm/ADT/Twine.h"
#include <chrono>
#include <string>

namespace sparse::driver {

/// One line on stderr that says what is being done, how far it is and how long it may still take. Only on a terminal,
/// not when NO_COLOR is set, and only after two seconds.
class Progress {
public:
  explicit Progress(llvm::StringRef command);
  ~Progress() { clear(); }
  /// `fraction` of the whole is done (0..1); `what` comes next.
  void step(const llvm::Twine &what, double fraction);
  void done() { clear(); }

private:
  void clear();

  std::string command;
  std::chrono::steady_clock::time_point start;
  bool enabled, shown = false;
};

} // namespace sparse::driver

#endif
