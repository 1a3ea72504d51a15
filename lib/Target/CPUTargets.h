//===-- CPUTargets.h - ISA levels that an artifact carries code for --------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_TARGET_CPUTARGETS_H
#define SPARSE_LIB_TARGET_CPUTARGETS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace sparse::target {

/// One level of x86-64 code.
struct CPUTarget {
  llvm::StringRef name;                         ///< also LLVM's CPU name
  llvm::ArrayRef<llvm::StringRef> requiredFlags; ///< as /proc/cpuinfo spells them; the loader checks these
  unsigned vectorBits;
};

/// All levels, best first: AVX-512, then what every x86-64 has.
llvm::ArrayRef<CPUTarget> cpuTargets();

} // namespace sparse::target

#endif
