//===- Driver.cpp - The CUDA driver as a table of functions ---------------===//

#include "cuda/Driver.h"
#include "Status.h"

#include <dlfcn.h>
#include <mutex>

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

static constexpr int oldestDriver = 12000;

static Driver openDriver() {
  void *library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    fail(Code::Unavailable,
         "there is no CUDA driver (libcuda.so.1) on this machine; install "
         "NVIDIA's driver or run on the device cpu");
  // The library is never closed: threads of the driver run in it.
  Driver driver;
#define SPARSE_CUDA_LOAD(name, symbol, parameters)                             \
  driver.name = reinterpret_cast<Result(*) parameters>(                        \
      ::dlsym(library, #symbol));                                              \
  if (!driver.name)                                                            \
    fail(Code::Unavailable,                                                    \
         "the CUDA driver is too old: it has no %s; install one of CUDA 12 "   \
         "or later",                                                           \
         #symbol);
  SPARSE_CUDA_FUNCTIONS(SPARSE_CUDA_LOAD)
#undef SPARSE_CUDA_LOAD
  Result result = driver.init(0);
  if (result != success)
    fail(Code::Unavailable,
         "the CUDA driver does not start (%s: %s); see nvidia-smi, or run on "
         "the device cpu",
         errorName(driver, result), errorText(driver, result));
  int version = 0;
  driver.driverVersion(&version);
  if (version < oldestDriver)
    fail(Code::Unavailable,
         "the CUDA driver is of CUDA %d.%d; install one of CUDA 12 or later",
         version / 1000, version % 1000 / 10);
  return driver;
}

const Driver &cuda::systemDriver() {
  // A failure is not remembered: the next model may find a driver.
  static std::mutex mutex;
  static bool opened = false;
  static Driver driver;
  std::lock_guard<std::mutex> lock(mutex);
  if (!opened) {
    driver = openDriver();
    opened = true;
  }
  return driver;
}

const char *cuda::errorName(const Driver &driver, Result result) {
  const char *text = nullptr;
  driver.errorName(result, &text);
  return text ? text : "unknown error";
}

const char *cuda::errorText(const Driver &driver, Result result) {
  const char *text = nullptr;
  driver.errorString(result, &text);
  return text ? text : "unknown error";
}

void cuda::check(const Driver &driver, Result result, const char *what) {
  if (result == success)
    return;
  fail(result == errorOutOfMemory ? Code::ResourceExhausted : Code::Internal,
       "%s: %s (%s)", what, errorText(driver, result),
       errorName(driver, result));
}
