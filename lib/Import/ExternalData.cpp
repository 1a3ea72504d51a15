//===-- ExternalData.cpp - Files beside the model -----------------------------------------------------------------===//
#include "lib/Import/ExternalData.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace mlir;
using namespace sparse::import;

// O_NONBLOCK: opening a FIFO must not wait for a writer.
static constexpr int openFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

ExternalData::ExternalData(StringRef modelPath, const ImportOptions &options)
    : directory(llvm::sys::path::parent_path(modelPath)), rootDirectory(options.externalDataRoot),
      allowLinks(options.allowLinks || !options.externalDataRoot.empty()), absentData(options.absentData) {}

ExternalData::~ExternalData() {
  for (auto &entry : files)
    close(entry.second.fd);
  if (root >= 0)
    close(root);
}

/// Why `location` may not be opened, or null. Only the text is looked at.
static const char *forbidden(StringRef location) {
  if (location.empty())
    return "is empty";
  if (location.contains('\0'))
    return "contains a NUL byte";
  if (location.contains('\\'))
    return "contains a backslash";
  if (location.starts_with("/"))
    return "is absolute; it must be relative to the model's directory";
  if (location.size() >= 2 && location[1] == ':')
    return "starts with a drive letter";
  SmallVector<StringRef> parts;
  location.split(parts, '/');
  if (llvm::is_contained(parts, ".."))
    return "contains '..', which would leave the model's directory";
  if (parts.back().empty() || parts.back() == ".")
    return "names a directory";
  return nullptr;
}

LogicalResult ExternalData::openRoot(Location loc) {
  if (root >= 0)
    return success();
  std::string modelDirectory = directory.empty() ? "." : directory;
  std::string top = rootDirectory.empty() ? modelDirectory : rootDirectory;
  if (!rootDirectory.empty()) {
    SmallString<256> realTop, realDirectory;
    if (llvm::sys::fs::real_path(top, realTop) || llvm::sys::fs::real_path(modelDirectory, realDirectory))
      return emitError(loc) << "the external data root '" << top << "' or the model's directory can't be resolved";
    StringRef rest = realDirectory;
    if (!rest.consume_front(realTop) || !(rest.empty() || rest.starts_with("/") || realTop == "/"))
      return emitError(loc) << "the model's directory is not inside the external data root '" << top << "'";
    prefix = rest.ltrim('/').str();
  }
  root = open(top.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (root < 0)
    return emitError(loc) << "the directory '" << top << "' can't be opened: " << strerror(errno);
  return success();
}

int ExternalData::openBeneath(const std::string &path) const {
  struct open_how how = {};
  how.flags = openFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (allowLinks ? 0 : RESOLVE_NO_SYMLINKS);
  return static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how)));
}

/// For kernels without openat2: one component at a time, none of them a link.
int ExternalData::openWithoutLinks(const std::string &path) const {
  SmallVector<StringRef> parts;
  StringRef(path).split(parts, '/', -1, /*KeepEmpty=*/false);
  int at = root;
  for (size_t i = 0; i < parts.size(); ++i) {
    int flags = openFlags | O_NOFOLLOW | (i + 1 < parts.size() ? O_DIRECTORY : 0);
    int next = openat(at, parts[i].str().c_str(), flags);
    int saved = errno;
    if (at != root)
      close(at);
    errno = saved;
    if (next < 0)
      return -1;
    at = next;
  }
  return at;
}

/// For kernels without openat2, links allowed: the resolved path must lie inside the resolved root.
int ExternalData::openInsideRoot(const std::string &path) const {
  std::string base = "/proc/self/fd/" + std::to_string(root);
  SmallString<256> realTop, realPath;
  if (llvm::sys::fs::real_path(base, realTop))
    return -1;
  if (std::error_code error = llvm::sys::fs::real_path(realTop + "/" + path, realPath)) {
    errno = error.value();
    return -1;
  }
  if (!StringRef(realPath).starts_with((realTop + "/").str())) {
    errno = EXDEV;
    return -1;
  }
  return open(realPath.c_str(), openFlags | O_NOFOLLOW);
}

FailureOr<ExternalData::File> ExternalData::openFile(StringRef location, Location loc) {
  if (auto found = files.find(location); found != files.end())
    return found->second;
  if (failed(openRoot(loc)))
    return failure();
  std::string path = (prefix.empty() ? Twine(location) : Twine(prefix) + "/" + location).str();
  int fd = openBeneath(path);
  if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
    fd = allowLinks ? openInsideRoot(path) : openWithoutLinks(path);
  if (fd < 0) {
    if (errno == EXDEV)
      return emitError(loc) << "external data '" << location << "' leads outside "
                            << (rootDirectory.empty() ? "the model's directory" : "the external data root")
                            << "; if that is intended, name the directory with --external-data-root";
    if (errno == ELOOP)
      return emitError(loc) << "external data '" << location
                            << "' is reached through a symbolic link; allow links inside the model's directory with "
                               "--allow-links, or name a directory that they may lead to with --external-data-root";
    return emitError(loc) << "external data '" << location << "' can't be opened: " << strerror(errno);
  }
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    return emitError(loc) << "external data '" << location << "' is not a regular file";
  }
  if (status.st_nlink > 1 && !allowLinks) {
    close(fd);
    return emitError(loc) << "external data '" << location
                          << "' has several hard links; if that is intended, pass --allow-links";
  }
  File file{fd, static_cast<uint64_t>(status.st_size)};
  files.try_emplace(location, file);
  return file;
}

FailureOr<ExternalPiece> ExternalData::resolve(const proto::TensorProto &tensor, uint64_t bytes, Location loc) {
  StringRef location;
  uint64_t offset = 0, length = bytes;
  unsigned seen = 0;
  for (const proto::StringStringEntryProto &entry : tensor.external_data()) {
    unsigned bit = entry.key() == "location" ? 1 : entry.key() == "offset" ? 2 : entry.key() == "length" ? 4 : 0;
    if (seen & bit)
      return emitError(loc) << "gives the " << entry.key() << " of its external data twice";
    seen |= bit;
    if (bit == 1)
      location = entry.value();
    else if (bit && StringRef(entry.value()).getAsInteger(10, bit == 2 ? offset : length))
      return emitError(loc) << "has the external data " << entry.key() << " '" << entry.value()
                            << "', which is no unsigned decimal number of 64 bits";
  }
  if (!(seen & 1))
    return emitError(loc) << "is external but names no location";
  if (const char *why = forbidden(location))
    return emitError(loc) << "has an external data location '" << location.take_front(200) << "' that " << why;
  if (length != bytes)
    return emitError(loc) << "names " << length << " bytes of external data but its type needs " << bytes;
  SmallString<256> path(directory);
  llvm::sys::path::append(path, location);
  if (absentData && !llvm::sys::fs::exists(path))
    return ExternalPiece{path.str().str(), offset, bytes};
  FailureOr<File> file = openFile(location, loc);
  if (failed(file))
    return failure();
  if (offset > file->size || bytes > file->size - offset)
    return emitError(loc) << "needs " << bytes << " bytes at offset " << offset << " of '" << location
                          << "', which has " << file->size;
  return ExternalPiece{path.str().str(), offset, bytes};
}

FailureOr<std::string> ExternalData::read(const ExternalPiece &piece, Location loc) {
  StringRef location = piece.path;
  if (!directory.empty()) {
    location.consume_front(directory);
    location = location.ltrim('/');
  }
  FailureOr<File> file = openFile(location, loc);
  if (failed(file))
    return failure();
  std::string bytes(piece.length, '\0');
  for (size_t done = 0; done < bytes.size();) {
    ssize_t got = pread(file->fd, bytes.data() + done, bytes.size() - done, piece.offset + done);
    if (got <= 0)
      return emitError(loc) << "external data '" << piece.path << "' can't be read";
    done += got;
  }
  return bytes;
}
