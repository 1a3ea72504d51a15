//===- CudaDevice.cpp - A card as a device --------------------------------===//

#include "cuda/CudaDevice.h"
#include "Checked.h"
#include "Synthetic.h"
#include "cuda/CudaExecutor.h"
#include "cuda/Upload.h"

#include <algorithm>

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

static constexpr uint64_t maxCode = 1 << 30;

CudaDevice::CudaDevice(const Platform &platform, int ordinal)
    : platform(platform),
      card(std::make_shared<Card>(*platform.driver, ordinal)) {}

CudaDevice::~CudaDevice() {
  Card::Use use(*card);
  if (module)
    card->driver.moduleUnload(module);
  if (weights)
    card->driver.memFree(weights);
}

std::string CudaDevice::name() const {
  return "cuda:" + std::to_string(card->ordinal) + " " + card->name;
}

//===----------------------------------------------------------------------===//
// Code
//===----------------------------------------------------------------------===//

/// 90 of "sm_90" or "sm_90a"; 0 for another text.
static int versionOf(const std::string &name) {
  if (name.compare(0, 3, "sm_") != 0 || name.size() < 5 || name.size() > 7)
    return 0;
  int version = 0;
  for (size_t i = 3; i < name.size() && name[i] >= '0' && name[i] <= '9'; ++i)
    version = version * 10 + (name[i] - '0');
  return version;
}

static bool isExact(const Target &target) { return target.name.back() == 'a'; }

std::string CudaDevice::lacks(const Target &target) const {
  int have = card->major * 10 + card->minor;
  for (const std::string &need : target.requires_) {
    int version = versionOf(need);
    bool same = version / 10 == card->major && version <= have;
    bool newer = version != 0 && version < have && !target.ptx.empty();
    if (isExact(target) ? version != have : !same && !newer)
      return "compute capability " + std::to_string(version / 10) + "." +
             std::to_string(version % 10) + (isExact(target) ? "" : " or newer") +
             ", the card has " + std::to_string(card->major) + "." +
             std::to_string(card->minor);
  }
  return "";
}

void CudaDevice::load(const Target &target,
                      std::map<std::string, File> &files) {
  // A cubin serves its major version; later cards compile the PTX.
  const std::string *path = &target.code;
  for (const std::string &need : target.requires_)
    if (!isExact(target) && versionOf(need) / 10 != card->major)
      path = &target.ptx;
  const File &file = files.at(*path);
  // PTX is text that ends with a zero.
  std::string image = readFile(file, maxCode);
  Card::Use use(*card);
  Result result = card->driver.moduleLoad(&module, image.c_str());
  if (result == errorNoBinaryForGpu || result == errorUnsupportedPtx)
    fail(Code::Incompatible,
         "%s does not run on %s: %s; use a newer driver, or compile with "
         "another --target",
         file.path.c_str(), name().c_str(), errorText(card->driver, result));
  if (result == errorOutOfMemory)
    check(card->driver, result, "cannot load the kernels");
  if (result != success)
    fail(Code::InvalidArgument, "cannot load %s: %s (%s)", file.path.c_str(),
         errorText(card->driver, result), errorName(card->driver, result));
}

KernelRef CudaDevice::find(const char *name) const {
  Card::Use use(*card);
  FunctionRef function = nullptr;
  if (card->driver.moduleFunction(&function, module, name) != success)
    return nullptr;
  return reinterpret_cast<KernelRef>(function);
}

/// What a kernel may use has to be said before it is launched.
void CudaDevice::prepareKernels(const std::vector<Plan> &plans) {
  constexpr uint32_t usualShared = 48 << 10, usualCluster = 8;
  struct Most {
    std::string name;
    uint32_t shared = 0, cluster = 1;
  };
  std::map<KernelRef, Most> kernels;
  for (const Plan &plan : plans)
    for (const PlanStep &step : plan.steps)
      if (!step.isGemm) {
        Most &most = kernels[step.launch.kernel];
        most.name = step.launch.name;
        most.shared = std::max(most.shared, step.launch.shared);
        most.cluster = std::max(most.cluster, step.launch.cluster);
      }
  Card::Use use(*card);
  auto set = [&](KernelRef kernel, const std::string &name, int attribute,
                 uint32_t value, const char *what) {
    Result result = card->driver.functionSet(
        reinterpret_cast<FunctionRef>(kernel), attribute,
        static_cast<int>(value));
    if (result != success)
      fail(Code::Incompatible,
           "kernel %s: %s does not give %s of %u (%s); compile with another "
           "--target",
           name.c_str(), card->name.c_str(), what, value,
           errorName(card->driver, result));
  };
  for (const auto &[kernel, most] : kernels) {
    if (most.shared > usualShared)
      set(kernel, most.name, functionMaxDynamicShared, most.shared,
          "shared memory");
    if (most.cluster > usualCluster)
      set(kernel, most.name, functionNonPortableCluster, 1, "clusters");
  }
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// One weight: where its bytes are and where they go in the allocation.
struct CudaDevice::Piece {
  const uint8_t *host = nullptr;
  DType dtype = DType::U8;
  uint64_t bytes = 0, offset = 0;
};

/// Makes room for what the plans name, and nothing else, in one allocation, and
/// gives the buffers their addresses.
CudaDevice::Pieces CudaDevice::allocateWeights(std::vector<Plan> &plans) {
  Pieces pieces;
  for (const Plan &plan : plans)
    for (const PlanBuffer &buffer : plan.buffers)
      if (buffer.kind == BufferKind::Weight) {
        Piece &piece = pieces[buffer.name];
        piece.host = buffer.weight;
        piece.dtype = buffer.dtype;
        piece.bytes = std::max(piece.bytes, buffer.bytes);
      }
  uint64_t total = 0;
  for (auto &[name, piece] : pieces) {
    piece.offset = total;
    total = checkedAdd(total, alignTo(piece.bytes, 256));
  }
  if (total == 0)
    return pieces;
  Card::Use use(*card);
  Result result = card->driver.memAlloc(&weights, total);
  if (result != success)
    fail(Code::ResourceExhausted,
         "the weights need %llu bytes on %s, %llu are free (%s)",
         static_cast<unsigned long long>(total), card->name.c_str(),
         static_cast<unsigned long long>(card->freeBytes()),
         errorName(card->driver, result));
  for (Plan &plan : plans)
    for (PlanBuffer &buffer : plan.buffers)
      if (buffer.kind == BufferKind::Weight)
        buffer.weight = reinterpret_cast<const uint8_t *>(
            static_cast<uintptr_t>(weights + pieces[buffer.name].offset));
  return pieces;
}

void CudaDevice::place(std::vector<Plan> &plans) {
  prepareKernels(plans);
  Pieces pieces = allocateWeights(plans);
  if (pieces.empty())
    return;
  Upload upload(card);
  for (const auto &[name, piece] : pieces)
    upload.add(weights + piece.offset, piece.host, piece.bytes);
  upload.finish();
}

void CudaDevice::placeRandom(std::vector<Plan> &plans, uint64_t seed) {
  prepareKernels(plans);
  Pieces pieces = allocateWeights(plans);
  if (pieces.empty())
    return;
  std::map<DType, std::vector<uint8_t>> blocks;
  Upload upload(card);
  for (const auto &[name, piece] : pieces) {
    std::vector<uint8_t> &block = blocks[piece.dtype];
    if (block.empty())
      block = randomBlock(piece.dtype, seed);
    for (uint64_t done = 0; done < piece.bytes;) {
      uint64_t now = std::min<uint64_t>(block.size(), piece.bytes - done);
      upload.add(weights + piece.offset + done, block.data(), now);
      done += now;
    }
  }
  upload.finish();
}

//===----------------------------------------------------------------------===//
// Contexts
//===----------------------------------------------------------------------===//

uint64_t CudaDevice::defaultCacheBytes() const {
  return card->freeBytes() / 4 * 3;
}

std::shared_ptr<Memory> CudaDevice::createMemory() const {
  return std::make_shared<CudaMemory>(card);
}

std::unique_ptr<Executor>
CudaDevice::createExecutor(const Model &model, Cache &cache,
                           std::shared_ptr<Memory> memory, Parallel &) const {
  return std::make_unique<CudaExecutor>(
      model, cache, std::static_pointer_cast<CudaMemory>(memory), platform);
}

std::shared_ptr<Device> cuda::openCudaDevice(int ordinal,
                                             const Platform *platform) {
  Platform system;
  if (!platform) {
    system.driver = &systemDriver();
    system.createProducts = createBlasProducts;
    platform = &system;
  }
  return std::make_shared<CudaDevice>(*platform, ordinal);
}
