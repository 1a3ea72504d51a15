//===- FakeCuda.cpp - A CUDA driver in host memory ------------------------===//

#include "FakeCuda.h"
#include "Gemm.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <memory>
#include <mutex>
#include <sys/mman.h>
#include <utility>
#include <vector>

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

namespace {

using Work = std::function<void()>;

struct FakeStream {
  std::deque<Work> queue;
  uint64_t done = 0; ///< works that have run
  std::vector<Work> *capture = nullptr;
  bool broken = false;
};
struct FakeEvent {
  FakeStream *stream = nullptr;
  uint64_t mark = 0;
};
struct FakeGraph {
  std::vector<Work> work;
};
struct FakeFunction {
  Kernel kernel = nullptr;
  uint32_t sharedLimit = 48 << 10;
  bool largeClusters = false;
};
struct FakeModule {
  void *library = nullptr;
  std::map<std::string, std::unique_ptr<FakeFunction>> functions;
};

fake::Card theCard;
std::recursive_mutex mutex;
int pushed = 0;

constexpr uint64_t granule = 64 << 10;
// An address with this bit is no address of the host.
constexpr Address mark = Address(1) << 62;

uint8_t *hostOf(Address address) {
  // A host pointer where one of the device belongs, or the other way round.
  if (!(address & mark)) {
    std::fprintf(stderr, "fake device: %llx is a host address\n", address);
    std::abort();
  }
  return reinterpret_cast<uint8_t *>(address & ~mark);
}

struct Block {
  uint64_t bytes;
};
std::map<void *, Block> reservations, allocations, pinned;
struct Allocation {
  uint64_t bytes;
  int users;
};
std::map<Handle, Allocation> handles;
std::map<Address, Handle> mappings;
Handle lastHandle = 0;

#define ENTER(name)                                                            \
  std::lock_guard<std::recursive_mutex> lock(mutex);                           \
  if (int error = enter(#name))                                                \
    return error;

int enter(const char *name) {
  ++theCard.calls[name];
  theCard.order.push_back(name);
  if (theCard.failing != name)
    return 0;
  if (theCard.failAfter-- > 0)
    return 0;
  if (theCard.once)
    theCard.failing.clear();
  return theCard.error;
}

bool take(uint64_t bytes) {
  if (theCard.bytesInUse + bytes > theCard.memory)
    return false;
  theCard.bytesInUse += bytes;
  theCard.mostBytes = std::max(theCard.mostBytes, theCard.bytesInUse);
  return true;
}

FakeStream *streamOf(StreamRef stream) {
  return reinterpret_cast<FakeStream *>(stream);
}

Result enqueue(StreamRef ref, Work work) {
  // Every use of the driver needs a current context.
  if (pushed <= 0)
    return 201;
  FakeStream *stream = streamOf(ref);
  if (stream->broken)
    return errorIllegalAddress;
  if (stream->capture)
    stream->capture->push_back(std::move(work));
  else
    stream->queue.push_back(std::move(work));
  return success;
}

template <typename T>
Result set(Address to, uint64_t pitch, T value, uint64_t width, uint64_t height,
           StreamRef stream) {
  if (to % sizeof(T) || (height > 1 && pitch < width * sizeof(T)))
    return errorInvalidValue;
  return enqueue(stream, [=] {
    for (uint64_t y = 0; y < height; ++y) {
      uint8_t *row = hostOf(to) + y * pitch;
      for (uint64_t x = 0; x < width; ++x)
        std::memcpy(row + x * sizeof(T), &value, sizeof(T));
    }
  });
}

int fakeInit(unsigned) { return success; }
int fakeVersion(int *version) {
  *version = 13000;
  return success;
}
int fakeErrorName(Result result, const char **text) {
  *text = result == errorOutOfMemory      ? "CUDA_ERROR_OUT_OF_MEMORY"
          : result == errorIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                          : "CUDA_ERROR_OTHER";
  return success;
}
int fakeErrorString(Result, const char **text) {
  *text = "an error of the test";
  return success;
}
int fakeDeviceCount(int *count) {
  ENTER(deviceCount);
  *count = theCard.count;
  return success;
}
int fakeDeviceGet(DeviceId *id, int ordinal) {
  *id = ordinal;
  return success;
}
int fakeDeviceName(char *text, int room, DeviceId) {
  std::snprintf(text, room, "Fake H100");
  return success;
}
int fakeAttribute(int *value, int attribute, DeviceId) {
  *value = attribute == attributeMajor ? theCard.major : theCard.minor;
  return success;
}
int fakeRetain(ContextRef *context, DeviceId) {
  ENTER(contextRetain);
  ++theCard.contexts;
  *context = reinterpret_cast<ContextRef>(&theCard);
  return success;
}
int fakeRelease(DeviceId) {
  --theCard.contexts;
  return success;
}
int fakePush(ContextRef) {
  ++pushed;
  return success;
}
int fakePop(ContextRef *) {
  --pushed;
  return success;
}
int fakeMemInfo(size_t *free, size_t *total) {
  *free = std::min<uint64_t>(theCard.memory - theCard.bytesInUse, 64 << 20);
  *total = 64 << 20;
  return success;
}
int fakeAlloc(Address *address, size_t bytes) {
  ENTER(memAlloc);
  if (!take(bytes))
    return errorOutOfMemory;
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0xcd, bytes);
  allocations[memory] = {bytes};
  *address = reinterpret_cast<Address>(memory) | mark;
  return success;
}
int fakeFree(Address address) {
  void *memory = hostOf(address);
  theCard.bytesInUse -= allocations.at(memory).bytes;
  allocations.erase(memory);
  std::free(memory);
  return success;
}
int fakeHostAlloc(void **memory, size_t bytes, unsigned) {
  ENTER(hostAlloc);
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  ++theCard.pinned;
  pinned[*memory] = {bytes};
  return success;
}
int fakeHostFree(void *memory) {
  pinned.erase(memory);
  std::free(memory);
  --theCard.pinned;
  return success;
}
int fakeGranularity(size_t *bytes, const AllocationProperties *, int) {
  *bytes = granule;
  return success;
}
int fakeReserve(Address *address, size_t bytes, size_t, Address,
                unsigned long long) {
  ENTER(addressReserve);
  if (bytes % granule)
    return errorInvalidValue;
  uint8_t *wide = static_cast<uint8_t *>(
      ::mmap(nullptr, bytes + granule, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (wide == MAP_FAILED)
    return errorOutOfMemory;
  uint64_t skip = granule - reinterpret_cast<uintptr_t>(wide) % granule;
  uint8_t *memory = wide + skip;
  ::munmap(wide, skip);
  ::munmap(memory + bytes, granule - skip);
  reservations[memory] = {bytes};
  ++theCard.reservations;
  *address = reinterpret_cast<Address>(memory) | mark;
  return success;
}
int fakeAddressFree(Address address, size_t bytes) {
  if (reservations.at(hostOf(address)).bytes != bytes)
    return errorInvalidValue;
  reservations.erase(hostOf(address));
  ::munmap(hostOf(address), bytes);
  --theCard.reservations;
  return success;
}
int fakeCreate(Handle *handle, size_t bytes, const AllocationProperties *,
               unsigned long long) {
  ENTER(memCreate);
  if (bytes % granule || !take(bytes))
    return errorOutOfMemory;
  *handle = ++lastHandle;
  handles[*handle] = {bytes, 1};
  return success;
}
/// Memory lives as long as its handle or its mapping.
void dropHandle(Handle handle) {
  Allocation &allocation = handles.at(handle);
  if (--allocation.users > 0)
    return;
  theCard.bytesInUse -= allocation.bytes;
  handles.erase(handle);
}
int fakeMemRelease(Handle handle) {
  dropHandle(handle);
  return success;
}
int fakeMap(Address address, size_t bytes, size_t, Handle handle,
            unsigned long long) {
  ENTER(memMap);
  if (address % granule || mappings.count(address) ||
      bytes != handles.at(handle).bytes)
    return errorInvalidValue;
  ++handles.at(handle).users;
  mappings[address] = handle;
  return success;
}
int fakeUnmap(Address address, size_t bytes) {
  ++theCard.calls["memUnmap"];
  auto it = mappings.find(address);
  if (it == mappings.end() || handles.at(it->second).bytes != bytes)
    return errorInvalidValue;
  dropHandle(it->second);
  mappings.erase(it);
  // The memory is gone, and an access faults.
  ::madvise(hostOf(address), bytes, MADV_DONTNEED);
  ::mprotect(hostOf(address), bytes, PROT_NONE);
  return success;
}
int fakeAccess(Address address, size_t bytes, const AccessDescriptor *, size_t) {
  ENTER(memSetAccess);
  for (uint64_t i = 0; i < bytes; i += granule)
    if (!mappings.count(address + i))
      return errorInvalidValue;
  ::mprotect(hostOf(address), bytes, PROT_READ | PROT_WRITE);
  std::memset(hostOf(address), 0xcd, bytes);
  return success;
}
bool isPinned(const void *memory) {
  auto range = pinned.upper_bound(const_cast<void *>(memory));
  return range != pinned.begin() &&
         static_cast<const uint8_t *>(memory) <
             static_cast<uint8_t *>(std::prev(range)->first) +
                 std::prev(range)->second.bytes;
}
int fakeToDevice(Address to, const void *from, size_t bytes, StreamRef stream) {
  ENTER(copyToDevice);
  // Pageable memory is copied at once; pinned memory, and anything that is
  // recorded, is read when it runs.
  if (streamOf(stream)->capture || isPinned(from))
    return enqueue(stream, [=] { std::memcpy(hostOf(to), from, bytes); });
  ++theCard.pageableCopies;
  auto copy = std::make_shared<std::vector<uint8_t>>(
      static_cast<const uint8_t *>(from),
      static_cast<const uint8_t *>(from) + bytes);
  return enqueue(stream, [=] { std::memcpy(hostOf(to), copy->data(), bytes); });
}
int fakeToHost(void *to, Address from, size_t bytes, StreamRef stream) {
  ENTER(copyToHost);
  theCard.pageableCopies += !isPinned(to);
  return enqueue(stream, [=] { std::memcpy(to, hostOf(from), bytes); });
}
int fakeOnDevice(Address to, Address from, size_t bytes, StreamRef stream) {
  ENTER(copyOnDevice);
  return enqueue(stream,
                 [=] { std::memcpy(hostOf(to), hostOf(from), bytes); });
}
int fakeCopy2D(const Copy2D *copy, StreamRef stream) {
  ENTER(copy2D);
  if (copy->srcPitch < copy->width || copy->dstPitch < copy->width)
    return errorInvalidValue;
  Copy2D c = *copy;
  if (c.srcType == memoryDevice)
    return enqueue(stream, [=] {
      for (size_t y = 0; y < c.height; ++y)
        std::memcpy(hostOf(c.dstDevice) + y * c.dstPitch,
                    hostOf(c.srcDevice) + y * c.srcPitch, c.width);
    });
  if (isPinned(c.srcHost))
    return enqueue(stream, [=] {
      for (size_t y = 0; y < c.height; ++y)
        std::memcpy(hostOf(c.dstDevice) + y * c.dstPitch,
                    static_cast<const uint8_t *>(c.srcHost) + y * c.srcPitch,
                    c.width);
    });
  ++theCard.pageableCopies;
  auto rows = std::make_shared<std::vector<uint8_t>>(c.width * c.height);
  for (size_t y = 0; y < c.height; ++y)
    std::memcpy(rows->data() + y * c.width,
                static_cast<const uint8_t *>(c.srcHost) + y * c.srcPitch,
                c.width);
  return enqueue(stream, [=] {
    for (size_t y = 0; y < c.height; ++y)
      std::memcpy(hostOf(c.dstDevice) + y * c.dstPitch,
                  rows->data() + y * c.width, c.width);
  });
}
int fakeSet2D8(Address to, size_t pitch, unsigned char value, size_t width,
               size_t height, StreamRef stream) {
  ENTER(set2D8);
  return set(to, pitch, value, width, height, stream);
}
int fakeSet2D16(Address to, size_t pitch, unsigned short value, size_t width,
                size_t height, StreamRef stream) {
  ENTER(set2D16);
  return set(to, pitch, value, width, height, stream);
}
int fakeSet2D32(Address to, size_t pitch, unsigned value, size_t width,
                size_t height, StreamRef stream) {
  ENTER(set2D32);
  return set(to, pitch, value, width, height, stream);
}
int fakeSet8(Address to, unsigned char value, size_t count, StreamRef stream) {
  ENTER(set8);
  return set(to, 0, value, count, 1, stream);
}
int fakeSet16(Address to, unsigned short value, size_t count,
              StreamRef stream) {
  ENTER(set16);
  return set(to, 0, value, count, 1, stream);
}
int fakeSet32(Address to, unsigned value, size_t count, StreamRef stream) {
  ENTER(set32);
  return set(to, 0, value, count, 1, stream);
}
int fakeStreamCreate(StreamRef *stream, unsigned) {
  ENTER(streamCreate);
  *stream = reinterpret_cast<StreamRef>(new FakeStream);
  ++theCard.streams;
  return success;
}
int fakeStreamDestroy(StreamRef stream) {
  delete streamOf(stream);
  --theCard.streams;
  return success;
}
/// Runs what was enqueued before `mark`.
int runUntil(FakeStream *stream, uint64_t mark) {
  if (theCard.fault) {
    stream->broken = true;
    theCard.fault = 0;
  }
  if (stream->broken) {
    stream->queue.clear();
    return errorIllegalAddress;
  }
  for (; stream->done < mark; ++stream->done) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    work();
  }
  return success;
}
int fakeSynchronize(StreamRef ref) {
  ENTER(streamSynchronize);
  FakeStream *stream = streamOf(ref);
  return runUntil(stream, stream->done + stream->queue.size());
}
int fakeEventCreate(EventRef *event, unsigned) {
  ENTER(eventCreate);
  *event = reinterpret_cast<EventRef>(new FakeEvent);
  ++theCard.events;
  return success;
}
int fakeEventDestroy(EventRef event) {
  delete reinterpret_cast<FakeEvent *>(event);
  --theCard.events;
  return success;
}
int fakeEventRecord(EventRef ref, StreamRef stream) {
  ENTER(eventRecord);
  FakeEvent *event = reinterpret_cast<FakeEvent *>(ref);
  event->stream = streamOf(stream);
  if (event->stream->broken)
    return errorIllegalAddress;
  event->mark = event->stream->done + event->stream->queue.size();
  return success;
}
int fakeEventSynchronize(EventRef ref) {
  ENTER(eventSynchronize);
  FakeEvent *event = reinterpret_cast<FakeEvent *>(ref);
  return event->stream ? runUntil(event->stream, event->mark) : 0;
}
int fakeCaptureBegin(StreamRef stream, int) {
  ENTER(captureBegin);
  streamOf(stream)->capture = new std::vector<Work>;
  return success;
}
int fakeCaptureEnd(StreamRef stream, GraphRef *graph) {
  auto *capture = std::exchange(streamOf(stream)->capture, nullptr);
  *graph = reinterpret_cast<GraphRef>(new FakeGraph{std::move(*capture)});
  delete capture;
  ++theCard.graphs;
  ENTER(captureEnd);
  return success;
}
int fakeGraphDestroy(GraphRef graph) {
  delete reinterpret_cast<FakeGraph *>(graph);
  --theCard.graphs;
  return success;
}
int fakeInstantiate(GraphExecRef *exec, GraphRef graph, unsigned long long) {
  ENTER(graphInstantiate);
  *exec = reinterpret_cast<GraphExecRef>(
      new FakeGraph(*reinterpret_cast<FakeGraph *>(graph)));
  ++theCard.graphs;
  return success;
}
int fakeGraphLaunch(GraphExecRef exec, StreamRef stream) {
  ENTER(graphLaunch);
  FakeGraph *graph = reinterpret_cast<FakeGraph *>(exec);
  for (const Work &work : graph->work)
    if (Result result = enqueue(stream, work))
      return result;
  return success;
}
int fakeExecDestroy(GraphExecRef exec) {
  delete reinterpret_cast<FakeGraph *>(exec);
  --theCard.graphs;
  return success;
}
int fakeModuleLoad(ModuleRef *module, const void *image) {
  ENTER(moduleLoad);
  // The image is the path of a shared object.
  theCard.module = static_cast<const char *>(image);
  auto loaded = std::make_unique<FakeModule>();
  loaded->library = ::dlopen(theCard.module.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!loaded->library)
    return errorInvalidPtx;
  *module = reinterpret_cast<ModuleRef>(loaded.release());
  ++theCard.modules;
  return success;
}
int fakeModuleUnload(ModuleRef ref) {
  FakeModule *module = reinterpret_cast<FakeModule *>(ref);
  ::dlclose(module->library);
  delete module;
  --theCard.modules;
  return success;
}
int fakeFunctionGet(FunctionRef *function, ModuleRef ref, const char *name) {
  FakeModule *module = reinterpret_cast<FakeModule *>(ref);
  auto &entry = module->functions[name];
  if (!entry) {
    void *symbol = ::dlsym(module->library, name);
    if (!symbol)
      return errorNotFound;
    entry = std::make_unique<FakeFunction>();
    entry->kernel = reinterpret_cast<Kernel>(symbol);
  }
  *function = reinterpret_cast<FunctionRef>(entry.get());
  return success;
}
int fakeFunctionSet(FunctionRef ref, int attribute, int value) {
  FakeFunction *function = reinterpret_cast<FakeFunction *>(ref);
  if (attribute == functionMaxDynamicShared) {
    if (value > 227 << 10)
      return errorInvalidValue;
    function->sharedLimit = static_cast<uint32_t>(value);
  } else if (attribute == functionNonPortableCluster) {
    function->largeClusters = value != 0;
  }
  return success;
}
int fakeLaunch(const LaunchConfig *config, FunctionRef ref, void **parameters,
               void **) {
  ENTER(launch);
  FakeFunction *function = reinterpret_cast<FakeFunction *>(ref);
  if (config->sharedBytes > function->sharedLimit || config->block[0] == 0 ||
      config->grid[0] == 0)
    return errorInvalidValue;
  theCard.mostShared = std::max(theCard.mostShared, config->sharedBytes);
  for (unsigned i = 0; i < config->attributeCount; ++i) {
    const LaunchAttribute &attribute = config->attributes[i];
    theCard.dependentLaunches += attribute.id == launchDependent;
    theCard.clusterLaunches += attribute.id == launchCluster;
    if (attribute.id == launchCluster && attribute.cluster[0] > 8 &&
        !function->largeClusters)
      return errorInvalidValue;
  }
  std::vector<void *> args;
  int64_t blocks = static_cast<int64_t>(config->grid[0]) * config->grid[1] *
                   config->grid[2];
  Kernel kernel = function->kernel;
  for (void **p = parameters; *p; ++p)
    args.push_back(hostOf(*static_cast<Address *>(*p)));
  return enqueue(config->stream, [=] {
    for (int64_t block = 0; block < blocks; ++block)
      kernel(args.data(), block);
  });
}

/// Products in plain loops.
class FakeProducts : public Products {
public:
  std::unique_ptr<Product> plan(const GemmStep &step, const void *a,
                                const void *b, void *c) override;
};

class FakeProduct : public Product {
public:
  FakeProduct(const GemmStep &step, const void *a, const void *b, void *c)
      : step(step), a(a), b(b), c(c) {}
  void enqueue(Stream &stream) override {
    GemmStep s = step;
    auto address = [](const void *p) {
      return hostOf(static_cast<Address>(reinterpret_cast<uintptr_t>(p)));
    };
    uint8_t *x = address(a), *y = address(b);
    float *z = reinterpret_cast<float *>(address(c));
    ::enqueue(stream.get(), [=] {
      auto load = [&](const uint8_t *from, int64_t i) {
        if (s.dtype == DType::F32)
          return reinterpret_cast<const float *>(from)[i];
        return bf16ToFloat(reinterpret_cast<const uint16_t *>(from)[i]);
      };
      for (int64_t i = 0; i < s.m; ++i)
        for (int64_t j = 0; j < s.n; ++j) {
          float sum = s.accumulate ? z[i * s.n + j] : 0;
          for (int64_t p = 0; p < s.k; ++p)
            sum += load(x, i * s.k + p) * load(y, j * s.k + p);
          z[i * s.n + j] = sum;
        }
    });
  }

private:
  GemmStep step;
  const void *a, *b;
  void *c;
};

std::unique_ptr<Product> FakeProducts::plan(const GemmStep &step, const void *a,
                                            const void *b, void *c) {
  return std::make_unique<FakeProduct>(step, a, b, c);
}

std::unique_ptr<Products> createFakeProducts(const cuda::Card &, Memory &) {
  return std::make_unique<FakeProducts>();
}

} // namespace

const Platform *fake::platform() {
  static const Driver driver = [] {
    Driver d;
    d.init = fakeInit;
    d.driverVersion = fakeVersion;
    d.errorName = fakeErrorName;
    d.errorString = fakeErrorString;
    d.deviceCount = fakeDeviceCount;
    d.deviceGet = fakeDeviceGet;
    d.deviceName = fakeDeviceName;
    d.deviceAttribute = fakeAttribute;
    d.contextRetain = fakeRetain;
    d.contextRelease = fakeRelease;
    d.contextPush = fakePush;
    d.contextPop = fakePop;
    d.memInfo = fakeMemInfo;
    d.memAlloc = fakeAlloc;
    d.memFree = fakeFree;
    d.hostAlloc = fakeHostAlloc;
    d.hostFree = fakeHostFree;
    d.granularity = fakeGranularity;
    d.addressReserve = fakeReserve;
    d.addressFree = fakeAddressFree;
    d.memCreate = fakeCreate;
    d.memRelease = fakeMemRelease;
    d.memMap = fakeMap;
    d.memUnmap = fakeUnmap;
    d.memSetAccess = fakeAccess;
    d.copyToDevice = fakeToDevice;
    d.copyToHost = fakeToHost;
    d.copy2D = fakeCopy2D;
    d.set2D8 = fakeSet2D8;
    d.set2D16 = fakeSet2D16;
    d.set2D32 = fakeSet2D32;
    d.set8 = fakeSet8;
    d.set16 = fakeSet16;
    d.set32 = fakeSet32;
    d.copyOnDevice = fakeOnDevice;
    d.streamCreate = fakeStreamCreate;
    d.streamDestroy = fakeStreamDestroy;
    d.streamSynchronize = fakeSynchronize;
    d.eventCreate = fakeEventCreate;
    d.eventDestroy = fakeEventDestroy;
    d.eventRecord = fakeEventRecord;
    d.eventSynchronize = fakeEventSynchronize;
    d.captureBegin = fakeCaptureBegin;
    d.captureEnd = fakeCaptureEnd;
    d.graphDestroy = fakeGraphDestroy;
    d.graphInstantiate = fakeInstantiate;
    d.graphLaunch = fakeGraphLaunch;
    d.graphExecDestroy = fakeExecDestroy;
    d.moduleLoad = fakeModuleLoad;
    d.moduleUnload = fakeModuleUnload;
    d.moduleFunction = fakeFunctionGet;
    d.functionSet = fakeFunctionSet;
    d.launch = fakeLaunch;
    return d;
  }();
  static const Platform platform = {&driver, createFakeProducts};
  return &platform;
}

fake::Card &fake::card() { return theCard; }

void fake::reset() { theCard = fake::Card(); }

bool fake::isClean() {
  return theCard.bytesInUse == 0 && theCard.reservations == 0 &&
         theCard.contexts == 0 && theCard.streams == 0 && theCard.events == 0 &&
         theCard.modules == 0 && theCard.graphs == 0 && theCard.pinned == 0 &&
         pushed == 0;
}
