//===- SessionFile.h - A saved sequence on disk -----------------*- C++ -*-===//
//
//   magic                8 bytes
//   version              u32
//   bytes of the header  u32
//   header               JSON: model, device, layouts, extents, see Session.cpp
//   tokens               i32 each
//   note                 bytes of the application
//   parts                fields and pages, see `partsOf`
//   digest               SHA-256 of all bytes before, 64 lower-case hex digits
//
// Numbers are little-endian. The first and the last part are the same in every
// version.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_SESSIONFILE_H
#define SPARSE_RUNTIME_SESSIONFILE_H

#include "AtomicFile.h"
#include "Cache.h"
#include "Json.h"
#include "Sha256.h"

#include <functional>
#include <string>
#include <vector>

namespace sparse::runtime {

inline constexpr uint32_t sessionVersion = 1;

/// What a session says about itself.
struct SessionHeader {
  std::string model; ///< `Model::identity`
  std::string source, device, target, policy;
  std::vector<LayerLayout> layouts; ///< to write; of a file see `json`
  SequenceState state;
  uint64_t noteBytes = 0;
};

/// Writes a session. Nothing is at `path` before `commit`.
class SessionWriter {
public:
  SessionWriter(const std::string &path, const SessionHeader &header,
                const std::string &note, const FileCalls &calls);

  void write(const void *data, size_t bytes);
  void commit();

private:
  AtomicFile file;
  Sha256 hash;
};

/// A session whose bytes match their digest. What they mean is not trusted: a
/// digest can be computed by anybody.
class SessionFile {
public:
  /// Reads all of the file. INVALID_ARGUMENT, NOT_FOUND, DATA_LOSS,
  /// INCOMPATIBLE.
  explicit SessionFile(const std::string &path,
                       const FileCalls &calls = FileCalls::system());

  const std::string &path() const { return file.path; }
  const SessionHeader &header() const { return head; }
  const std::string &text() const { return headerText; }
  /// The layouts as the file has them.
  const Json &layouts() const { return layoutsJson; }
  const std::string &note() const { return noteBytes; }
  /// Bytes of all parts.
  uint64_t partBytes() const { return partsEnd - partsBegin; }
  uint64_t size() const { return file.size; }

  /// Reads the parts once more, from the first on. `next` takes as many bytes
  /// as it says, until it has all. DATA_LOSS when they are not what was
  /// verified.
  class Parts {
  public:
    explicit Parts(const SessionFile &session);
    void next(void *out, uint64_t bytes);
    /// After the last part.
    void finish();

  private:
    const SessionFile &session;
    Sha256 hash;
    uint64_t at;
  };

private:
  void read(uint64_t offset, void *out, uint64_t bytes) const;
  void parseHeader();

  File file;
  const FileCalls &calls;
  SessionHeader head;
  std::string front; ///< all bytes before the parts
  std::string headerText, noteBytes, digest;
  Json layoutsJson;
  uint64_t partsBegin = 0, partsEnd = 0;
};

/// The layouts as a header shows them: equal when the bytes of parts mean the
/// same.
Json describeLayouts(const std::vector<LayerLayout> &layouts);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SESSIONFILE_H
