//===-- OnnxFile.cpp - An ONNX file, mapped and parsed ------------------------------------------------------------===//
#include "lib/Import/OnnxFile.h"
#include "lib/Import/WireScan.h"

#include "google/protobuf/io/coded_stream.h"
#include "llvm/ADT/ScopeExit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace sparse::import;

/// protobuf's default; the scan before it refuses deeper files with a better message.
static constexpr int recursionLimit = 100;

LogicalResult OnnxFile::load(const Source &source, const ImportLimits &limits) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  int fd = open(source.path().str().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return emitError(source.whole()) << "can't be opened: " << strerror(errno);
  llvm::scope_exit closer([fd] { close(fd); });
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
    return emitError(source.whole()) << "is not a regular file";
  if (status.st_size == 0)
    return emitError(source.whole()) << "is empty";
  if (static_cast<uint64_t>(status.st_size) > limits.fileBytes)
    return emitError(source.whole()) << "has " << static_cast<uint64_t>(status.st_size) << " bytes; at most "
                                     << limits.fileBytes << " can be parsed: store the weights as external data";
  auto mapped = llvm::MemoryBuffer::getOpenFile(fd, source.path(), status.st_size, /*RequiresNullTerminator=*/false);
  if (!mapped)
    return emitError(source.whole()) << "can't be read: " << mapped.getError().message();
  buffer = std::move(*mapped);

  if (failed(scanModel(bytes(), source, limits)))
    return failure();
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t *>(bytes().data()),
                                                static_cast<int>(bytes().size()));
  stream.SetRecursionLimit(recursionLimit);
  if (!parsed.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage())
    return emitError(source.whole()) << "is not a valid ONNX file (protobuf can't parse it)";
  return success();
}
