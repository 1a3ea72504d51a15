//===- Status.h - Error codes of the runtime --------------------*- C++ -*-===//
//
// The runtime reports failure by throwing `Error`, which never leaves the C
// API: one function at that boundary turns it into a code and a message.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_STATUS_H
#define SPARSE_RUNTIME_STATUS_H

#include <stdexcept>
#include <string>

namespace sparse::runtime {

/// The canonical codes, with the values of the C API (`sparse_status`).
enum class Code : int {
  Ok = 0,
  Cancelled = 1,
  InvalidArgument = 3,
  NotFound = 5,
  ResourceExhausted = 8,
  FailedPrecondition = 9,
  OutOfRange = 11,
  Unimplemented = 12,
  Internal = 13,
  Unavailable = 14,
  DataLoss = 15,
  Unauthenticated = 16,
  Incompatible = 18,
};

/// The name of a code as the C header spells it, without the prefix.
const char *codeName(Code code);

class Error : public std::runtime_error {
public:
  Error(Code code, const std::string &message)
      : std::runtime_error(message), code(code) {}

  const Code code;
};

/// Throws an `Error` with a printf-style message.
[[noreturn]] void fail(Code code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_STATUS_H
