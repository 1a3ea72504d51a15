//===- Progress.cpp - Progress on a terminal ------------------------------===//

#include "Progress.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

using namespace sparse::run;

Progress::Progress(const std::string &what, uint64_t total, bool quiet)
    : what(what), total(total),
      enabled(!quiet && ::isatty(STDERR_FILENO) && !std::getenv("NO_COLOR")) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (shown)
    std::fprintf(stderr, "\r\033[K");
  shown = false;
}

void Progress::update(uint64_t done) {
  double now = timer.seconds();
  if (!enabled || now < 2 || now - last < 0.2 || done == 0)
    return;
  last = now;
  shown = true;
  double left = now / static_cast<double>(done) *
                static_cast<double>(total > done ? total - done : 0);
  std::fprintf(stderr, "\r\033[K%s %llu/%llu, %.0f s left", what.c_str(),
               static_cast<unsigned long long>(done),
               static_cast<unsigned long long>(total), left);
  std::fflush(stderr);
}
