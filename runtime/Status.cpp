//===- Status.cpp - Error codes of the runtime ----------------------------===//

#include "Status.h"

#include <cstdarg>
#include <cstdio>

using namespace sparse::runtime;

const char *sparse::runtime::codeName(Code code) {
  switch (code) {
  case Code::Ok:
    return "OK";
  case Code::Cancelled:
    return "CANCELLED";
  case Code::InvalidArgument:
    return "INVALID_ARGUMENT";
  case Code::NotFound:
    return "NOT_FOUND";
  case Code::ResourceExhausted:
    return "RESOURCE_EXHAUSTED";
  case Code::FailedPrecondition:
    return "FAILED_PRECONDITION";
  case Code::OutOfRange:
    return "OUT_OF_RANGE";
  case Code::Unimplemented:
    return "UNIMPLEMENTED";
  case Code::Internal:
    return "INTERNAL";
  case Code::Unavailable:
    return "UNAVAILABLE";
  case Code::DataLoss:
    return "DATA_LOSS";
  case Code::Unauthenticated:
    return "UNAUTHENTICATED";
  case Code::Incompatible:
    return "INCOMPATIBLE";
  }
  return "UNKNOWN";
}

void sparse::runtime::fail(Code code, const char *format, ...) {
  // Long enough for a path and a reason; longer texts are cut, not refused.
  char buffer[1024];
  va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  throw Error(code, buffer);
}
