//===- GemmOneDNN.cpp - Matrix products by oneDNN -------------------------===//

#include "Checked.h"
#include "Gemm.h"

#include <oneapi/dnnl/dnnl.hpp>

#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

// oneDNN of the distributions runs on OpenMP. Our own threads call it with one
// OpenMP thread each, so that two pools never compete for the processors.
extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int);
}

using namespace sparse::runtime;

// Columns of one task where oneDNN has a kernel for our panels: enough tasks
// for many threads, few enough that reading A again for each of them does not
// matter.
static constexpr int64_t blockedColumns = 128;

namespace {

/// One OpenMP thread for oneDNN while it is called from this thread.
class OneThread {
public:
  OneThread() : before(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before); }

private:
  int before;
};

/// A matmul of one tile: A [m,k], B [k,columns], C [m,columns].
struct TileKernel {
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c;
  size_t scratch = 0;
};

/// How a step is cut: `count` tiles of `columns`, the last one of `rest`. A
/// task computes a dense tile and adds it to C afterwards: oneDNN has no fast
/// kernel for a C with gaps.
struct Tiling {
  int64_t columns = 0, count = 0, rest = 0;
  TileKernel full, last;
};

class OneDNNGemm : public Gemm {
public:
  OneDNNGemm() : engine(dnnl::engine::kind::cpu, 0) {}

  void run(Parallel &parallel, const GemmStep &step, const float *a,
           const void *b, float *c) override;

private:
  const Tiling &tiling(const GemmStep &step);
  bool makeTile(const GemmStep &step, int64_t columns, bool blocked,
                TileKernel &tile);
  void runTile(const GemmStep &step, const Tiling &tiling, int64_t task,
               const float *a, const void *b, float *c);
  std::vector<float> takeBuffer(size_t floats);

  dnnl::engine engine;
  std::map<std::tuple<int64_t, int64_t, int64_t>, Tiling> tilings; ///< m, n, k
  std::mutex mutex;
  std::vector<std::vector<float>> buffers; ///< scratch of tasks not running
};

} // namespace

/// False when oneDNN would compute this layout with its reference code.
bool OneDNNGemm::makeTile(const GemmStep &step, int64_t columns, bool blocked,
                          TileKernel &tile) {
  using desc = dnnl::memory::desc;
  using dims = dnnl::memory::dims;
  using dt = dnnl::memory::data_type;
  tile.a = desc({step.m, step.k}, dt::f32, dims{step.k, 1});
  tile.c = desc({step.m, columns}, dt::f32, dims{columns, 1});
  tile.b = blocked ? desc({step.k, columns}, dt::f32,
                          dnnl::memory::format_tag::BA16a64b)
                   : desc({step.k, columns}, dt::f32, dims{64, 1});
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(tile.a, tile.b, tile.c),
                                  attr, engine);
  if (blocked &&
      std::string(pd.impl_info_str()).find("ref") != std::string::npos)
    return false;
  tile.scratch = pd.scratchpad_desc().get_size();
  tile.primitive = dnnl::matmul(pd);
  return true;
}

const Tiling &OneDNNGemm::tiling(const GemmStep &step) {
  std::tuple<int64_t, int64_t, int64_t> key(step.m, step.n, step.k);
  auto it = tilings.find(key);
  if (it != tilings.end())
    return it->second;
  Tiling result;
  auto cut = [&](int64_t columns, bool blocked) {
    result.columns = columns;
    result.count = static_cast<int64_t>(ceilDiv(step.n, columns));
    result.rest = step.n - (result.count - 1) * columns;
    return makeTile(step, result.rest, blocked, result.last) &&
           (result.count == 1 || makeTile(step, columns, blocked, result.full));
  };
  // [panel][k][64] is oneDNN's own BA16a64b when k divides by 16, which its
  // AVX-512 kernels read. Elsewhere each panel is a plain matrix.
  if (step.k % 16 != 0 || !cut(blockedColumns, /*blocked=*/true))
    cut(64, /*blocked=*/false);
  return tilings.emplace(key, std::move(result)).first->second;
}

std::vector<float> OneDNNGemm::takeBuffer(size_t floats) {
  std::vector<float> buffer;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!buffers.empty()) {
      buffer = std::move(buffers.back());
      buffers.pop_back();
    }
  }
  if (buffer.size() < floats)
    buffer.resize(floats);
  return buffer;
}

void OneDNNGemm::runTile(const GemmStep &step, const Tiling &tiling,
                         int64_t task, const float *a, const void *b,
                         float *c) {
  OneThread one;
  bool isLast = task + 1 == tiling.count;
  const TileKernel &tile = isLast ? tiling.last : tiling.full;
  int64_t columns = isLast ? tiling.rest : tiling.columns;
  int64_t weights = static_cast<int64_t>(ceilDiv(columns, 64)) * 64 * step.k;
  int64_t first = task * tiling.columns * step.k;
  // In floats: the scratchpad, the tile of C, the widened weights. All start
  // at multiples of 64 bytes.
  size_t scratchSize = ceilDiv(tile.scratch, 64) * 16;
  size_t tileSize = ceilDiv(step.m * columns, 16) * 16;
  bool widen = step.dtype == DType::BF16;
  std::vector<float> buffer =
      takeBuffer(scratchSize + tileSize + (widen ? weights : 0) + 16);
  float *start = reinterpret_cast<float *>(
      (reinterpret_cast<uintptr_t>(buffer.data()) + 63) / 64 * 64);
  float *out = start + scratchSize;
  const float *source = static_cast<const float *>(b) + first;
  if (widen) {
    const uint16_t *narrow = static_cast<const uint16_t *>(b) + first;
    float *wide = out + tileSize;
    for (int64_t i = 0; i < weights; ++i)
      wide[i] = bf16ToFloat(narrow[i]);
    source = wide;
  }
  dnnl::stream stream(engine);
  dnnl::memory scratch({{static_cast<dnnl::memory::dim>(tile.scratch)},
                        dnnl::memory::data_type::u8,
                        dnnl::memory::format_tag::a},
                       engine, start);
  tile.primitive.execute(
      stream,
      {{DNNL_ARG_SRC, dnnl::memory(tile.a, engine, const_cast<float *>(a))},
       {DNNL_ARG_WEIGHTS,
        dnnl::memory(tile.b, engine, const_cast<float *>(source))},
       {DNNL_ARG_DST, dnnl::memory(tile.c, engine, out)},
       {DNNL_ARG_SCRATCHPAD, scratch}});
  stream.wait();
  for (int64_t i = 0; i < step.m; ++i) {
    float *target = c + i * step.n + task * tiling.columns;
    for (int64_t j = 0; j < columns; ++j)
      target[j] = step.accumulate ? target[j] + out[i * columns + j]
                                  : out[i * columns + j];
  }
  std::lock_guard<std::mutex> lock(mutex);
  buffers.push_back(std::move(buffer));
}

void OneDNNGemm::run(Parallel &parallel, const GemmStep &step, const float *a,
                     const void *b, float *c) {
  OneThread one;
  const Tiling &cut = tiling(step);
  parallel.forEach(cut.count,
                   [&](int64_t task) { runTile(step, cut, task, a, b, c); });
}

std::unique_ptr<Gemm> sparse::runtime::createGemm() {
  return std::make_unique<OneDNNGemm>();
}
