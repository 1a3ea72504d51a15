//===-- CPUTargets.cpp - ISA levels that an artifact carries code for ---------------------------------------------===//
#include "lib/Target/CPUTargets.h"

using namespace sparse::target;

llvm::ArrayRef<CPUTarget> sparse::target::cpuTargets() {
  static const llvm::StringRef v4[] = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl",
                                       "avx2",    "bmi1",     "bmi2",     "f16c",     "fma"};
  static const CPUTarget targets[] = {{"x86-64-v4", v4, 512}, {"x86-64", {}, 128}};
  return targets;
}
