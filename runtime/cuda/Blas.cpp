//===- Blas.cpp - Matrix products by cuBLASLt -----------------------------===//
//
// Opened at run time like the driver; the few declarations of its ABI are here.
//
//===----------------------------------------------------------------------===//

#include "Memory.h"
#include "Status.h"
#include "cuda/Products.h"

#include <dlfcn.h>
#include <mutex>

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

namespace {

// cublasLt.h and library_types.h
enum : int { computeF32 = 68 };
enum : int { typeF32 = 0, typeF16 = 2, typeBF16 = 14 };
enum : int { descTransA = 3, descTransB = 4, transposed = 1 };
enum : int { preferWorkspace = 1, preferAlignA = 5 };

struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96, "cublasLtMatmulHeuristicResult_t");

#define SPARSE_BLAS_FUNCTIONS(X)                                               \
  X(create, cublasLtCreate, (void **))                                         \
  X(destroy, cublasLtDestroy, (void *))                                        \
  X(descCreate, cublasLtMatmulDescCreate, (void **, int, int))                 \
  X(descDestroy, cublasLtMatmulDescDestroy, (void *))                          \
  X(descSet, cublasLtMatmulDescSetAttribute,                                   \
    (void *, int, const void *, size_t))                                       \
  X(layoutCreate, cublasLtMatrixLayoutCreate,                                  \
    (void **, int, uint64_t, uint64_t, int64_t))                               \
  X(layoutDestroy, cublasLtMatrixLayoutDestroy, (void *))                      \
  X(preferCreate, cublasLtMatmulPreferenceCreate, (void **))                   \
  X(preferDestroy, cublasLtMatmulPreferenceDestroy, (void *))                  \
  X(preferSet, cublasLtMatmulPreferenceSetAttribute,                           \
    (void *, int, const void *, size_t))                                       \
  X(heuristic, cublasLtMatmulAlgoGetHeuristic,                                 \
    (void *, void *, void *, void *, void *, void *, void *, int, Heuristic *, \
     int *))                                                                   \
  X(matmul, cublasLtMatmul,                                                    \
    (void *, void *, const void *, const void *, void *, const void *, void *, \
     const void *, const void *, void *, void *, void *, const void *, void *, \
     size_t, StreamRef))

struct Library {
#define SPARSE_BLAS_MEMBER(name, symbol, parameters) int(*name) parameters;
  SPARSE_BLAS_FUNCTIONS(SPARSE_BLAS_MEMBER)
#undef SPARSE_BLAS_MEMBER
};

/// A handle of the library that ends with the scope.
struct Owned {
  explicit Owned(int (*destroy)(void *)) : destroy(destroy) {}
  Owned(const Owned &) = delete;
  ~Owned() {
    if (handle)
      destroy(handle);
  }
  int (*destroy)(void *);
  void *handle = nullptr;
};

class BlasProducts;

class BlasProduct : public Product {
public:
  BlasProduct(BlasProducts &owner, const GemmStep &step, const void *a,
              const void *b, void *c);
  void enqueue(Stream &stream) override;

private:
  BlasProducts &owner;
  const void *a, *b;
  void *c;
  float beta;
  Owned desc, weights, input, output;
  Heuristic chosen = {};
};

class BlasProducts : public Products {
public:
  BlasProducts(const Library &library, const Card &card, Memory &memory)
      : library(library), card(card), handle(library.destroy),
        workspace(memory, workspaceBytes, Backing::Whole, /*huge=*/false) {
    Card::Use use(card);
    check(library.create(&handle.handle), "cannot start cuBLASLt");
  }
  std::unique_ptr<Product> plan(const GemmStep &step, const void *a,
                                const void *b, void *c) override {
    return std::make_unique<BlasProduct>(*this, step, a, b, c);
  }
  static void check(int status, const char *what) {
    if (status != 0)
      fail(Code::Internal, "%s (cuBLAS status %d)", what, status);
  }

  static constexpr uint64_t workspaceBytes = 32 << 20;
  const Library &library;
  const Card &card;
  Owned handle;
  Region workspace;
};

} // namespace

static const Library &openLibrary() {
  static std::mutex mutex;
  static bool opened = false;
  static Library library;
  std::lock_guard<std::mutex> lock(mutex);
  if (opened)
    return library;
  void *file = nullptr;
  for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12"})
    if (!file)
      file = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!file)
    fail(Code::Unavailable,
         "the model's prompts need cuBLASLt (libcublasLt.so.13 or .12); "
         "install the CUDA libraries or add their folder to LD_LIBRARY_PATH");
  Library found;
#define SPARSE_BLAS_LOAD(name, symbol, parameters)                             \
  found.name =                                                                 \
      reinterpret_cast<int(*) parameters>(::dlsym(file, #symbol));             \
  if (!found.name)                                                             \
    fail(Code::Unavailable, "cuBLASLt has no %s", #symbol);
  SPARSE_BLAS_FUNCTIONS(SPARSE_BLAS_LOAD)
#undef SPARSE_BLAS_LOAD
  library = found;
  opened = true;
  return library;
}

/// The largest power of two up to 256 that divides an address.
static uint32_t alignmentOf(const void *pointer) {
  uint32_t alignment = 256;
  while (reinterpret_cast<uintptr_t>(pointer) % alignment)
    alignment /= 2;
  return alignment;
}

BlasProduct::BlasProduct(BlasProducts &owner, const GemmStep &step,
                         const void *a, const void *b, void *c)
    : owner(owner), a(a), b(b), c(c), beta(step.accumulate ? 1 : 0),
      desc(owner.library.descDestroy), weights(owner.library.layoutDestroy),
      input(owner.library.layoutDestroy), output(owner.library.layoutDestroy) {
  // The library's matrices are column-major: it computes the transpose,
  // C'[n,m] = B[n,k] A'[k,m], whose bytes are those of C in rows.
  const Library &library = owner.library;
  Card::Use use(owner.card);
  int type = step.dtype == DType::F32   ? typeF32
             : step.dtype == DType::F16 ? typeF16
                                        : typeBF16;
  auto ok = [](int status) {
    BlasProducts::check(status, "cannot describe a matrix product");
  };
  ok(library.descCreate(&desc.handle, computeF32, typeF32));
  int trans = transposed;
  ok(library.descSet(desc.handle, descTransA, &trans, sizeof(trans)));
  ok(library.layoutCreate(&weights.handle, type, step.k, step.n, step.k));
  ok(library.layoutCreate(&input.handle, type, step.k, step.m, step.k));
  ok(library.layoutCreate(&output.handle, typeF32, step.n, step.m, step.n));
  Owned prefer(library.preferDestroy);
  ok(library.preferCreate(&prefer.handle));
  size_t workspace = BlasProducts::workspaceBytes;
  ok(library.preferSet(prefer.handle, preferWorkspace, &workspace,
                       sizeof(workspace)));
  const void *const operands[] = {b, a, c, c};
  for (int i = 0; i < 4; ++i) {
    uint32_t alignment = alignmentOf(operands[i]);
    ok(library.preferSet(prefer.handle, preferAlignA + i, &alignment,
                         sizeof(alignment)));
  }
  int found = 0;
  int status = library.heuristic(owner.handle.handle, desc.handle,
                                 weights.handle, input.handle, output.handle,
                                 output.handle, prefer.handle, 1, &chosen,
                                 &found);
  if (status != 0 || found == 0)
    fail(Code::Internal, "cuBLASLt has no way to multiply %lldx%lldx%lld",
         static_cast<long long>(step.m), static_cast<long long>(step.n),
         static_cast<long long>(step.k));
}

void BlasProduct::enqueue(Stream &stream) {
  const float alpha = 1;
  int status = owner.library.matmul(
      owner.handle.handle, desc.handle, &alpha, b, weights.handle, a,
      input.handle, &beta, c, output.handle, c, output.handle,
      chosen.algorithm, owner.workspace.data(), BlasProducts::workspaceBytes,
      stream.get());
  BlasProducts::check(status, "a matrix product does not start");
}

std::unique_ptr<Products> cuda::createBlasProducts(const Card &card,
                                                   Memory &memory) {
  return std::make_unique<BlasProducts>(openLibrary(), card, memory);
}
