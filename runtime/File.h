//===- File.h - Files beneath a model directory -----------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_FILE_H
#define SPARSE_RUNTIME_FILE_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace sparse::runtime {

/// An owned file descriptor.
class Fd {
public:
  Fd() = default;
  explicit Fd(int fd) : fd(fd) {}
  Fd(Fd &&other) noexcept : fd(other.fd) { other.fd = -1; }
  Fd &operator=(Fd &&other) noexcept;
  ~Fd();

  int get() const { return fd; }
  explicit operator bool() const { return fd >= 0; }

private:
  int fd = -1;
};

/// A regular file that was opened for reading; `size` is its size then.
struct File {
  Fd fd;
  uint64_t size = 0;
  std::string path;
};

/// A read-only view of a whole file: mapped, or copied into memory of its own.
/// Nobody can change a copy behind our back, and it lies in huge pages, from
/// which a processor reads large weights measurably faster.
class Mapping {
public:
  Mapping() = default;
  explicit Mapping(const File &file);
  static Mapping copy(const File &file);
  Mapping(Mapping &&other) noexcept;
  Mapping &operator=(Mapping &&other) noexcept;
  ~Mapping();

  const uint8_t *data() const { return base; }
  uint64_t size() const { return bytes; }

private:
  const uint8_t *base = nullptr;
  uint64_t bytes = 0;
};

/// Anonymous memory aligned to a huge page, which is asked for when `bytes` are
/// worth one. Null on failure; ends with munmap of `bytes`.
void *mapAnonymous(uint64_t bytes, int protection);

/// Opens any regular file for reading.
File openFile(const std::string &path);

/// Reads a whole file that is not longer than `limit`.
std::string readFile(const File &file, uint64_t limit);

/// A directory that is opened once; its files are found beneath it and
/// nowhere else: no absolute path, no `..`, no link on the way.
class ModelDir {
public:
  explicit ModelDir(const std::string &path);

  /// `relative` comes from the manifest and is not trusted.
  File open(const std::string &relative) const;

  /// The same, but with one open per component: what `open` does where the
  /// kernel has no openat2. Public for tests.
  File openByComponents(const std::string &relative) const;

private:
  Fd fd;
  std::string path;
};

/// True for a relative path of plain components.
bool isPlainRelativePath(const std::string &path);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_FILE_H
