//===- AtomicFile.cpp - A file that appears as a whole --------------------===//

#include "AtomicFile.h"
#include "Status.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using namespace sparse::runtime;

static constexpr size_t bufferBytes = 1 << 20;

const FileCalls &FileCalls::system() {
  static const FileCalls calls = {
      ::write, ::fsync,
      [](int directory, const char *from, const char *to) {
        return ::renameat(directory, from, directory, to);
      },
      ::pread};
  return calls;
}

void AtomicFile::failWrite(const char *what, int error) {
  Code code = Code::InvalidArgument;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM ||
      error == EMFILE || error == ENFILE)
    code = Code::ResourceExhausted;
  else if (error == EIO)
    code = Code::DataLoss;
  else if (error == ENOENT)
    code = Code::NotFound;
  fail(code, "cannot %s %s: %s; what was there before is unchanged", what,
       path.c_str(), std::strerror(error));
}

AtomicFile::AtomicFile(const std::string &path, const FileCalls &calls)
    : path(path), calls(calls) {
  size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos
                           ? "."
                           : path.substr(0, std::max<size_t>(slash, 1));
  name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." ||
      path.find('\0') != std::string::npos)
    fail(Code::InvalidArgument, "'%s' is not the name of a file", path.c_str());
  directory = Fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory)
    failWrite("create", errno);
  buffer.reserve(bufferBytes);
  // Of several processes, and of several files of one.
  for (unsigned i = 0; !file; ++i) {
    temporary = ".sparse-" + std::to_string(::getpid()) + "-" +
                std::to_string(i) + ".tmp";
    // A session is as private as the prompt in it.
    file = Fd(::openat(directory.get(), temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                       0600));
    if (!file && (errno != EEXIST || i == 10000)) {
      int error = errno;
      temporary.clear();
      failWrite("create", error);
    }
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary.empty())
    ::unlinkat(directory.get(), temporary.c_str(), 0);
}

void AtomicFile::flush() {
  for (size_t done = 0; done < buffer.size();) {
    ssize_t wrote =
        calls.write(file.get(), buffer.data() + done, buffer.size() - done);
    if (wrote < 0 && errno == EINTR)
      continue;
    if (wrote <= 0)
      failWrite("write", wrote < 0 ? errno : EIO);
    done += static_cast<size_t>(wrote);
  }
  buffer.clear();
}

void AtomicFile::write(const void *data, size_t bytes) {
  const uint8_t *from = static_cast<const uint8_t *>(data);
  while (bytes > 0) {
    size_t now = std::min(bytes, bufferBytes - buffer.size());
    buffer.insert(buffer.end(), from, from + now);
    from += now;
    bytes -= now;
    if (buffer.size() == bufferBytes)
      flush();
  }
}

void AtomicFile::commit() {
  flush();
  if (calls.fsync(file.get()) != 0)
    failWrite("write", errno);
  if (calls.rename(directory.get(), temporary.c_str(), name.c_str()) != 0)
    failWrite("replace", errno);
  temporary.clear();
  // The new file is complete; only whether it survives a loss of power is not
  // known when this fails.
  if (calls.fsync(directory.get()) != 0)
    fail(Code::DataLoss,
         "%s is written, but its directory cannot be synchronized: %s",
         path.c_str(), std::strerror(errno));
}
