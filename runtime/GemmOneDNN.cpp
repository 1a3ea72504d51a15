//===- GemmOneDNN.cpp - Matrix products by oneDNN -------------------------===//

#include "Checked.h"
#include "Gemm.h"

#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

// oneDNN of the distributions runs on OpenMP. Our own threads call it with one
// OpenMP thread each, so that two pools never compete for the processors.
extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int);
}

using namespace sparse::runtime;

// Columns of one task: enough tasks for many threads, few enough that reading
// A again for each of them does not matter.
static constexpr int64_t tileColumns = 128;

namespace {

/// One OpenMP thread for oneDNN while it is called from this thread.
class OneThread {
public:
  OneThread() : before(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before); }

private:
  int before;
};

/// A matmul of one tile: A [m,k], B `columns` wide, C with row length n.
struct TileKernel {
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c;
  size_t scratch = 0;
};

class OneDNNGemm : public Gemm {
public:
  OneDNNGemm()
      : engine(dnnl::engine::kind::cpu, 0),
        fallback(createReferenceGemm()) {}

  void run(Parallel &parallel, const GemmStep &step, const float *a,
           const void *b, float *c) override;

private:
  /// m, n, k, columns of the tile, accumulate
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, bool>;

  const TileKernel &kernel(const GemmStep &step, int64_t columns);

  dnnl::engine engine;
  std::map<Key, TileKernel> kernels;
  std::unique_ptr<Gemm> fallback;
  std::mutex mutex;
  std::vector<std::vector<float>> buffers; ///< scratch of tasks not running
};

} // namespace

const TileKernel &OneDNNGemm::kernel(const GemmStep &step, int64_t columns) {
  Key key(step.m, step.n, step.k, columns, step.accumulate);
  auto it = kernels.find(key);
  if (it != kernels.end())
    return it->second;
  using desc = dnnl::memory::desc;
  using dt = dnnl::memory::data_type;
  TileKernel tile;
  tile.a = desc({step.m, step.k}, dt::f32, dnnl::memory::dims{step.k, 1});
  // [panel][k][64] is oneDNN's own blocked layout when k divides by 16.
  tile.b =
      desc({step.k, columns}, dt::f32, dnnl::memory::format_tag::BA16a64b);
  tile.c = desc({step.m, columns}, dt::f32, dnnl::memory::dims{step.n, 1});
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (step.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
  dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(tile.a, tile.b, tile.c),
                                  attr, engine);
  tile.scratch = pd.scratchpad_desc().get_size();
  tile.primitive = dnnl::matmul(pd);
  return kernels.emplace(key, std::move(tile)).first->second;
}

void OneDNNGemm::run(Parallel &parallel, const GemmStep &step, const float *a,
                     const void *b, float *c) {
  if (step.k % 16 != 0)
    return fallback->run(parallel, step, a, b, c);
  OneThread here;
  int64_t tiles = static_cast<int64_t>(ceilDiv(step.n, tileColumns));
  int64_t rest = step.n - (tiles - 1) * tileColumns;
  const TileKernel &last = kernel(step, rest);
  const TileKernel &full = tiles > 1 ? kernel(step, tileColumns) : last;

  parallel.forEach(tiles, [&](int64_t task) {
    OneThread one;
    const TileKernel &tile = task + 1 < tiles ? full : last;
    int64_t columns = task + 1 < tiles ? tileColumns : rest;
    int64_t weights = static_cast<int64_t>(ceilDiv(columns, 64)) * 64 * step.k;
    int64_t first = task * tileColumns * step.k;
    // 64 bytes more than needed, to align the scratchpad.
    size_t widened = step.weights == DType::BF16 ? weights : 0;
    size_t room = widened + tile.scratch / 4 + 32;

    std::vector<float> buffer;
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (!buffers.empty()) {
        buffer = std::move(buffers.back());
        buffers.pop_back();
      }
    }
    if (buffer.size() < room)
      buffer.resize(room);
    float *start = reinterpret_cast<float *>(
        (reinterpret_cast<uintptr_t>(buffer.data()) + 63) / 64 * 64);
    const void *source = static_cast<const float *>(b) + first;
    if (widened) {
      const uint16_t *narrow = static_cast<const uint16_t *>(b) + first;
      for (int64_t i = 0; i < weights; ++i)
        start[i] = bf16ToFloat(narrow[i]);
      source = start;
    }
    dnnl::stream stream(engine);
    dnnl::memory scratch({{static_cast<dnnl::memory::dim>(tile.scratch)},
                          dnnl::memory::data_type::u8,
                          dnnl::memory::format_tag::a},
                         engine, start + widened);
    tile.primitive.execute(
        stream,
        {{DNNL_ARG_SRC, dnnl::memory(tile.a, engine, const_cast<float *>(a))},
         {DNNL_ARG_WEIGHTS,
          dnnl::memory(tile.b, engine, const_cast<void *>(source))},
         {DNNL_ARG_DST,
          dnnl::memory(tile.c, engine, c + task * tileColumns)},
         {DNNL_ARG_SCRATCHPAD, scratch}});
    stream.wait();
    std::lock_guard<std::mutex> lock(mutex);
    buffers.push_back(std::move(buffer));
  });
}

std::unique_ptr<Gemm> sparse::runtime::createGemm() {
  return std::make_unique<OneDNNGemm>();
}
