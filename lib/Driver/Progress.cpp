//===-- Progress.cpp - Progress of long commands ------------------------------------------------------------------===//
#include "lib/Driver/Progress.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

using namespace sparse::driver;

Progress::Progress(llvm::StringRef command)
    : command(command.str()), start(std::chrono::steady_clock::now()),
      enabled(llvm::sys::Process::StandardErrIsDisplayed() && !llvm::sys::Process::GetEnv("NO_COLOR")) {}

void Progress::step(const llvm::Twine &what, double fraction) {
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!enabled || (seconds < 2 && !shown))
    return;
  shown = true;
  llvm::errs() << "\r\033[K" << command << ": " << what << llvm::format(" (%.0f%%", fraction * 100);
  if (fraction > 0.05)
    llvm::errs() << llvm::format(", %.0f s left", seconds * (1 - fraction) / fraction);
  llvm::errs() << ')';
}

void Progress::clear() {
  if (shown)
    llvm::errs() << "\r\033[K";
  shown = false;
}
