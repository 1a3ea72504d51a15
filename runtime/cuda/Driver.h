//===- Driver.h - The CUDA driver as a table of functions -------*- C++ -*-===//
//
// The runtime is built without CUDA and runs without it: the driver's library
// is opened when the first model asks for a device. The few types and values of
// its ABI that are used are declared here; they have not changed since
// CUDA 12.0. A test puts its own functions into the table.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_CUDA_DRIVER_H
#define SPARSE_RUNTIME_CUDA_DRIVER_H

#include <cstddef>
#include <cstdint>

namespace sparse::runtime::cuda {

using Result = int;
using DeviceId = int;
using Address = unsigned long long; ///< CUdeviceptr
using Handle = unsigned long long;  ///< CUmemGenericAllocationHandle
using ContextRef = struct ContextOpaque *;
using StreamRef = struct StreamOpaque *;
using EventRef = struct EventOpaque *;
using ModuleRef = struct ModuleOpaque *;
using FunctionRef = struct FunctionOpaque *;
using GraphRef = struct GraphOpaque *;
using GraphExecRef = struct GraphExecOpaque *;

enum : Result {
  success = 0,
  errorInvalidValue = 1,
  errorOutOfMemory = 2,
  errorNoDevice = 100,
  errorInvalidDevice = 101,
  errorNoBinaryForGpu = 209,
  errorInvalidPtx = 218,
  errorUnsupportedPtx = 222,
  errorNotFound = 500,
  errorIllegalAddress = 700,
  errorLaunchFailed = 719,
};

enum : int { // CUdevice_attribute
  attributeMultiprocessors = 16,
  attributeMajor = 75,
  attributeMinor = 76,
};

enum : int { // CUfunction_attribute
  functionMaxDynamicShared = 8,
  functionNonPortableCluster = 14,
};

enum : unsigned { // CUlaunchAttributeID
  launchCluster = 4,
  launchDependent = 6, ///< programmatic stream serialization
};

struct LaunchAttribute {
  unsigned id;
  unsigned padding;
  union {
    unsigned cluster[3];
    int enabled;
    char bytes[64];
  };
};
static_assert(sizeof(LaunchAttribute) == 72, "CUlaunchAttribute");

struct LaunchConfig {
  unsigned grid[3], block[3];
  unsigned sharedBytes;
  StreamRef stream;
  LaunchAttribute *attributes;
  unsigned attributeCount;
};
static_assert(sizeof(LaunchConfig) == 56, "CUlaunchConfig");

struct Location {
  int type; ///< 1 = device
  int id;
};

struct AllocationProperties {
  int type;        ///< 1 = pinned
  int handleTypes; ///< 0 = none
  Location location;
  void *win32;
  unsigned char flags[8];
};
static_assert(sizeof(AllocationProperties) == 32, "CUmemAllocationProp");

struct AccessDescriptor {
  Location location;
  int flags; ///< 3 = read and write
};
static_assert(sizeof(AccessDescriptor) == 12, "CUmemAccessDesc");

enum : int { memoryHost = 1, memoryDevice = 2 };

struct Copy2D {
  size_t srcX, srcY;
  int srcType;
  const void *srcHost;
  Address srcDevice;
  void *srcArray;
  size_t srcPitch;
  size_t dstX, dstY;
  int dstType;
  void *dstHost;
  Address dstDevice;
  void *dstArray;
  size_t dstPitch;
  size_t width, height;
};
static_assert(sizeof(Copy2D) == 128, "CUDA_MEMCPY2D");

/// X(name of the member, name in the library, parameters)
#define SPARSE_CUDA_FUNCTIONS(X)                                               \
  X(init, cuInit, (unsigned))                                                  \
  X(driverVersion, cuDriverGetVersion, (int *))                                \
  X(errorName, cuGetErrorName, (Result, const char **))                        \
  X(errorString, cuGetErrorString, (Result, const char **))                    \
  X(deviceCount, cuDeviceGetCount, (int *))                                    \
  X(deviceGet, cuDeviceGet, (DeviceId *, int))                                 \
  X(deviceName, cuDeviceGetName, (char *, int, DeviceId))                      \
  X(deviceAttribute, cuDeviceGetAttribute, (int *, int, DeviceId))             \
  X(contextRetain, cuDevicePrimaryCtxRetain, (ContextRef *, DeviceId))         \
  X(contextRelease, cuDevicePrimaryCtxRelease_v2, (DeviceId))                  \
  X(contextPush, cuCtxPushCurrent_v2, (ContextRef))                            \
  X(contextPop, cuCtxPopCurrent_v2, (ContextRef *))                            \
  X(memInfo, cuMemGetInfo_v2, (size_t *, size_t *))                            \
  X(memAlloc, cuMemAlloc_v2, (Address *, size_t))                              \
  X(memFree, cuMemFree_v2, (Address))                                          \
  X(hostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                    \
  X(hostFree, cuMemFreeHost, (void *))                                         \
  X(granularity, cuMemGetAllocationGranularity,                                \
    (size_t *, const AllocationProperties *, int))                             \
  X(addressReserve, cuMemAddressReserve,                                       \
    (Address *, size_t, size_t, Address, unsigned long long))                  \
  X(addressFree, cuMemAddressFree, (Address, size_t))                          \
  X(memCreate, cuMemCreate,                                                    \
    (Handle *, size_t, const AllocationProperties *, unsigned long long))      \
  X(memRelease, cuMemRelease, (Handle))                                        \
  X(memMap, cuMemMap, (Address, size_t, size_t, Handle, unsigned long long))   \
  X(memUnmap, cuMemUnmap, (Address, size_t))                                   \
  X(memSetAccess, cuMemSetAccess,                                              \
    (Address, size_t, const AccessDescriptor *, size_t))                       \
  X(copyToDevice, cuMemcpyHtoDAsync_v2,                                        \
    (Address, const void *, size_t, StreamRef))                                \
  X(copyToHost, cuMemcpyDtoHAsync_v2, (void *, Address, size_t, StreamRef))    \
  X(copy2D, cuMemcpy2DAsync_v2, (const Copy2D *, StreamRef))                   \
  X(set2D8, cuMemsetD2D8Async,                                                 \
    (Address, size_t, unsigned char, size_t, size_t, StreamRef))               \
  X(set2D16, cuMemsetD2D16Async,                                               \
    (Address, size_t, unsigned short, size_t, size_t, StreamRef))              \
  X(set2D32, cuMemsetD2D32Async,                                               \
    (Address, size_t, unsigned, size_t, size_t, StreamRef))                    \
  X(set8, cuMemsetD8Async, (Address, unsigned char, size_t, StreamRef))        \
  X(set16, cuMemsetD16Async, (Address, unsigned short, size_t, StreamRef))     \
  X(set32, cuMemsetD32Async, (Address, unsigned, size_t, StreamRef))           \
  X(copyOnDevice, cuMemcpyDtoDAsync_v2, (Address, Address, size_t, StreamRef)) \
  X(streamCreate, cuStreamCreate, (StreamRef *, unsigned))                     \
  X(streamDestroy, cuStreamDestroy_v2, (StreamRef))                            \
  X(streamSynchronize, cuStreamSynchronize, (StreamRef))                       \
  X(eventCreate, cuEventCreate, (EventRef *, unsigned))                        \
  X(eventDestroy, cuEventDestroy_v2, (EventRef))                               \
  X(eventRecord, cuEventRecord, (EventRef, StreamRef))                         \
  X(eventSynchronize, cuEventSynchronize, (EventRef))                          \
  X(captureBegin, cuStreamBeginCapture_v2, (StreamRef, int))                   \
  X(captureEnd, cuStreamEndCapture, (StreamRef, GraphRef *))                   \
  X(graphDestroy, cuGraphDestroy, (GraphRef))                                  \
  X(graphInstantiate, cuGraphInstantiateWithFlags,                             \
    (GraphExecRef *, GraphRef, unsigned long long))                            \
  X(graphLaunch, cuGraphLaunch, (GraphExecRef, StreamRef))                     \
  X(graphExecDestroy, cuGraphExecDestroy, (GraphExecRef))                      \
  X(moduleLoad, cuModuleLoadData, (ModuleRef *, const void *))                 \
  X(moduleUnload, cuModuleUnload, (ModuleRef))                                 \
  X(moduleFunction, cuModuleGetFunction,                                       \
    (FunctionRef *, ModuleRef, const char *))                                  \
  X(functionSet, cuFuncSetAttribute, (FunctionRef, int, int))                  \
  X(launch, cuLaunchKernelEx,                                                  \
    (const LaunchConfig *, FunctionRef, void **, void **))

struct Driver {
#define SPARSE_CUDA_MEMBER(name, symbol, parameters) Result(*name) parameters;
  SPARSE_CUDA_FUNCTIONS(SPARSE_CUDA_MEMBER)
#undef SPARSE_CUDA_MEMBER
};

/// The driver of this machine, opened at the first call. Throws UNAVAILABLE
/// when there is none, when it is too old or when it finds no device.
const Driver &systemDriver();

/// Throws when `result` is an error: RESOURCE_EXHAUSTED without memory, else
/// INTERNAL. `what` says what was tried.
void check(const Driver &driver, Result result, const char *what);

/// "CUDA_ERROR_...: what it means".
const char *errorName(const Driver &driver, Result result);
const char *errorText(const Driver &driver, Result result);

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_DRIVER_H
