//===- Progress.h - Progress on a terminal ----------------------*- C++ -*-===//
#ifndef SPARSE_RUN_PROGRESS_H
#define SPARSE_RUN_PROGRESS_H

#include "Common.h"

namespace sparse::run {

/// One line on stderr with the time left, once two seconds have passed and
/// only where stderr is a terminal.
class Progress {
public:
  Progress(const std::string &what, uint64_t total, bool quiet);
  ~Progress();

  void update(uint64_t done);
  /// Takes the line away, so that output can follow; the next update shows it
  /// again.
  void clear();

private:
  std::string what;
  uint64_t total;
  bool enabled, shown = false;
  Timer timer;
  double last = 0;
};

} // namespace sparse::run

#endif // SPARSE_RUN_PROGRESS_H
