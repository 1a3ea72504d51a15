//===- CodeObject.h - The kernels of a target -------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CODEOBJECT_H
#define SPARSE_RUNTIME_CODEOBJECT_H

#include "File.h"

#include <cstdint>

namespace sparse::runtime {

inline constexpr int64_t kernelAbi = 1;

/// `extern "C" void k(void *const *args, int64_t task)`
using Kernel = void (*)(void *const *args, int64_t task);

/// A kernel of any device: its function on the host, the driver's elsewhere.
using KernelRef = void *;

/// A shared object that was loaded from the descriptor whose bytes were
/// verified.
class CodeObject {
public:
  CodeObject() = default;

  /// Loads `file`, which it keeps. Throws INVALID_ARGUMENT when it is no
  /// loadable object and INCOMPATIBLE when its ABI is not ours.
  explicit CodeObject(File file);
  CodeObject(CodeObject &&other) noexcept;
  CodeObject &operator=(CodeObject &&other) noexcept;
  ~CodeObject();

  /// Null when there is no such symbol.
  Kernel find(const char *name) const;

private:
  // The descriptor stays open as long as the object is loaded: the loader
  // remembers objects by name, and a later /proc/self/fd/N with the same N
  // would silently be this object again.
  File file;
  void *handle = nullptr;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CODEOBJECT_H
