//===-- Digest.h - SHA-256 -------------------------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_PACKAGE_DIGEST_H
#define SPARSE_LIB_PACKAGE_DIGEST_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/ErrorOr.h"
#include <string>

namespace sparse::package {
// OpenSSL's, not llvm::SHA256: that one counts bits in 32 bits and is wrong from 512 MiB on.

/// SHA-256 of `bytes` as 64 hex digits.
std::string digestOf(llvm::StringRef bytes);
/// SHA-256 of a file as 64 hex digits.
llvm::ErrorOr<std::string> fileDigest(llvm::StringRef path);
} // namespace sparse::package

#endif
