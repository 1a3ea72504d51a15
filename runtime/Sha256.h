//===- Sha256.h - Digests of sections ---------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SHA256_H
#define SPARSE_RUNTIME_SHA256_H

#include <cstddef>
#include <string>

namespace sparse::runtime {

/// An incremental SHA-256 (libcrypto).
class Sha256 {
public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256 &) = delete;
  Sha256 &operator=(const Sha256 &) = delete;

  void update(const void *data, size_t bytes);

  /// Finishes and returns 64 lower-case hex digits. Call once.
  std::string hex();

private:
  void *context;
};

/// The digest of one block of memory, as 64 lower-case hex digits.
std::string sha256(const void *data, size_t bytes);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SHA256_H
