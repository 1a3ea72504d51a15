//===- AtomicFile.h - A file that appears as a whole ------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_ATOMICFILE_H
#define SPARSE_RUNTIME_ATOMICFILE_H

#include "File.h"

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sparse::runtime {

/// The calls by which sessions are written and read. A test makes them fail.
struct FileCalls {
  std::function<ssize_t(int, const void *, size_t)> write;
  std::function<int(int)> fsync;
  /// Within one directory.
  std::function<int(int, const char *, const char *)> rename;
  std::function<ssize_t(int, void *, size_t, off_t)> pread;

  static const FileCalls &system();
};

/// Writes a file beside `path` that takes its place at `commit`, or goes
/// without a trace. Whatever happens, the power included, `path` is what it was
/// before or what was written, as a whole.
class AtomicFile {
public:
  AtomicFile(const std::string &path, const FileCalls &calls);
  AtomicFile(const AtomicFile &) = delete;
  ~AtomicFile();

  /// Both throw RESOURCE_EXHAUSTED without room and DATA_LOSS when the device
  /// fails.
  void write(const void *data, size_t bytes);
  void commit();

private:
  void flush();
  [[noreturn]] void failWrite(const char *what, int error);

  std::string path, name, temporary;
  const FileCalls &calls;
  Fd directory, file;
  std::vector<uint8_t> buffer;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_ATOMICFILE_H
