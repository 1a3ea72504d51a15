//===- File.cpp - Files beneath a model directory -------------------------===//

#include "File.h"
#include "Status.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif

using namespace sparse::runtime;

// A FIFO or a device in the place of a file must not block the open.
static constexpr int openFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Fd &Fd::operator=(Fd &&other) noexcept {
  std::swap(fd, other.fd);
  return *this;
}

Fd::~Fd() {
  if (fd >= 0)
    ::close(fd);
}

Mapping::Mapping(const File &file) : bytes(file.size) {
  if (bytes == 0)
    return;
  void *address =
      ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
  if (address == MAP_FAILED)
    fail(Code::ResourceExhausted, "cannot map %s: %s", file.path.c_str(),
         std::strerror(errno));
  base = static_cast<const uint8_t *>(address);
}

void *sparse::runtime::mapAnonymous(uint64_t bytes, int protection) {
  constexpr uint64_t huge = 2 << 20;
  uint64_t slack = bytes >= huge ? huge : 0;
  if (bytes > UINT64_MAX / 2)
    return nullptr;
  void *address = ::mmap(nullptr, bytes + slack, protection,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return nullptr;
  if (!slack)
    return address;
  // Give back what lies outside the aligned part.
  uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  uintptr_t start = reinterpret_cast<uintptr_t>(address);
  uintptr_t aligned = (start + huge - 1) / huge * huge;
  uintptr_t end = (aligned + bytes + page - 1) / page * page;
  if (aligned > start)
    ::munmap(address, aligned - start);
  if (start + bytes + slack > end)
    ::munmap(reinterpret_cast<void *>(end), start + bytes + slack - end);
  ::madvise(reinterpret_cast<void *>(aligned), bytes, MADV_HUGEPAGE);
  return reinterpret_cast<void *>(aligned);
}

static void readAll(const File &file, uint8_t *out, uint64_t bytes) {
  uint64_t done = 0;
  while (done < bytes) {
    ssize_t got = ::pread(file.fd.get(), out + done, bytes - done,
                          static_cast<off_t>(done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail(Code::DataLoss, "cannot read %s: %s", file.path.c_str(),
           std::strerror(errno));
    if (got == 0)
      fail(Code::DataLoss, "%s became shorter while it was read",
           file.path.c_str());
    done += static_cast<uint64_t>(got);
  }
}

Mapping Mapping::copy(const File &file) {
  Mapping result;
  if (file.size == 0)
    return result;
  void *address = mapAnonymous(file.size, PROT_READ | PROT_WRITE);
  if (!address)
    fail(Code::ResourceExhausted, "no memory for the %llu bytes of %s",
         static_cast<unsigned long long>(file.size), file.path.c_str());
  result.base = static_cast<const uint8_t *>(address);
  result.bytes = file.size;
  readAll(file, static_cast<uint8_t *>(address), file.size);
  ::mprotect(address, file.size, PROT_READ);
  return result;
}

Mapping::Mapping(Mapping &&other) noexcept
    : base(std::exchange(other.base, nullptr)),
      bytes(std::exchange(other.bytes, 0)) {}

Mapping &Mapping::operator=(Mapping &&other) noexcept {
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  return *this;
}

Mapping::~Mapping() {
  if (base)
    ::munmap(const_cast<uint8_t *>(base), bytes);
}

static File checkRegular(Fd fd, const std::string &path) {
  struct stat info;
  if (::fstat(fd.get(), &info) != 0)
    fail(Code::Internal, "cannot stat %s: %s", path.c_str(),
         std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    fail(Code::InvalidArgument, "%s is not a regular file", path.c_str());
  File file;
  file.fd = std::move(fd);
  file.size = static_cast<uint64_t>(info.st_size);
  file.path = path;
  return file;
}

[[noreturn]] static void failOpen(int error, const std::string &path) {
  if (error == ENOENT || error == ENOTDIR)
    fail(Code::NotFound, "cannot open %s: %s", path.c_str(),
         std::strerror(error));
  if (error == ELOOP || error == EXDEV)
    fail(Code::InvalidArgument,
         "%s is a link or leaves the model directory; copy the file into it",
         path.c_str());
  if (error == EMFILE || error == ENFILE || error == ENOMEM)
    fail(Code::ResourceExhausted, "cannot open %s: %s", path.c_str(),
         std::strerror(error));
  fail(Code::InvalidArgument, "cannot open %s: %s", path.c_str(),
       std::strerror(error));
}

File sparse::runtime::openFile(const std::string &path) {
  Fd fd(::open(path.c_str(), openFlags));
  if (!fd)
    failOpen(errno, path);
  return checkRegular(std::move(fd), path);
}

std::string sparse::runtime::readFile(const File &file, uint64_t limit) {
  if (file.size > limit)
    fail(Code::InvalidArgument, "%s has %llu bytes, more than the limit %llu",
         file.path.c_str(), static_cast<unsigned long long>(file.size),
         static_cast<unsigned long long>(limit));
  std::string text(file.size, '\0');
  readAll(file, reinterpret_cast<uint8_t *>(text.data()), text.size());
  return text;
}

bool sparse::runtime::isPlainRelativePath(const std::string &path) {
  if (path.empty() || path.size() > 4096 || path.front() == '/' ||
      path.find('\0') != std::string::npos)
    return false;
  size_t begin = 0;
  while (begin <= path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string::npos)
      end = path.size();
    std::string part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      return false;
    begin = end + 1;
  }
  return true;
}

ModelDir::ModelDir(const std::string &path)
    : fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), path(path) {
  if (!fd)
    fail(errno == ENOENT ? Code::NotFound : Code::InvalidArgument,
         "cannot open model directory %s: %s", path.c_str(),
         std::strerror(errno));
}

File ModelDir::open(const std::string &relative) const {
  std::string full = path + "/" + relative;
  if (!isPlainRelativePath(relative))
    fail(Code::InvalidArgument,
         "path '%s' is not a plain path beneath the model directory",
         relative.c_str());
#if defined(SYS_openat2) && defined(RESOLVE_BENEATH)
  struct open_how how = {};
  how.flags = openFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  Fd file(static_cast<int>(::syscall(SYS_openat2, this->fd.get(),
                                     relative.c_str(), &how, sizeof(how))));
  if (file)
    return checkRegular(std::move(file), full);
  // Old kernels and some sandboxes do not have the call.
  if (errno != ENOSYS && errno != EPERM)
    failOpen(errno, full);
#endif
  return openByComponents(relative);
}

File ModelDir::openByComponents(const std::string &relative) const {
  std::string full = path + "/" + relative;
  if (!isPlainRelativePath(relative))
    fail(Code::InvalidArgument,
         "path '%s' is not a plain path beneath the model directory",
         relative.c_str());
  Fd directory;
  size_t begin = 0;
  while (true) {
    int at = directory ? directory.get() : fd.get();
    size_t end = relative.find('/', begin);
    if (end == std::string::npos) {
      Fd file(::openat(at, relative.c_str() + begin, openFlags | O_NOFOLLOW));
      if (!file)
        failOpen(errno, full);
      return checkRegular(std::move(file), full);
    }
    std::string part = relative.substr(begin, end - begin);
    Fd next(::openat(at, part.c_str(),
                     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!next)
      failOpen(errno == ENOTDIR ? ELOOP : errno, full);
    directory = std::move(next);
    begin = end + 1;
  }
}
