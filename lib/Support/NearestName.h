//===-- NearestName.h - Did you mean …? -----------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_SUPPORT_NEARESTNAME_H
#define SPARSE_LIB_SUPPORT_NEARESTNAME_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <string>

namespace sparse {
/// The one of `candidates` that `name` was most likely meant to be; empty when none is near.
llvm::StringRef nearestName(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> candidates);
/// `'a', 'b'`: names for the part of a diagnostic that says what would be legal.
std::string quotedNames(llvm::ArrayRef<llvm::StringRef> names);
} // namespace sparse

#endif
