//===- CudaCardTest.cpp - What only a real card can show ------------------===//
//
// Skipped without one. Steps on a card are in ContextTest.
//
//===----------------------------------------------------------------------===//

#include "Context.h"
#include "CudaCard.h"
#include "CudaMemoryCheck.h"
#include "TestUtil.h"
#include "Checked.h"
#include "cuda/Products.h"

#include <cmath>
#include <cstring>

using namespace sparse::runtime;

namespace {

class CudaCardTest : public testing::Test {
protected:
  void SetUp() override {
    if (!toy::hasCard())
      GTEST_SKIP() << "there is no card, or no code for it";
    card = std::make_shared<cuda::Card>(cuda::systemDriver(), 0);
  }
  LoadOptions options = [] {
    LoadOptions options;
    options.device = "cuda";
    return options;
  }();
  std::shared_ptr<cuda::Card> card;
};

TEST_F(CudaCardTest, OperationsEqualTheHosts) {
  compareOperations(card->driver);
}

TEST_F(CudaCardTest, MemoryComesAndGoes) {
  cuda::CudaMemory memory(card);
  uint64_t granule = memory.granularity();
  uint64_t bytes = 256 * granule;
  Region region(memory, bytes, Backing::Explicit, false);
  uint64_t free = card->freeBytes();
  ASSERT_TRUE(region.commit(0, bytes));
  EXPECT_LE(card->freeBytes(), free - bytes);
  uint8_t one = 1;
  memory.fill(region.data(), bytes, &one, 1);
  region.decommit(granule, bytes - granule);
  EXPECT_GE(card->freeBytes() + 3 * granule, free);
  ASSERT_TRUE(region.commit(0, bytes));
  std::vector<uint8_t> back(4 * granule);
  memory.download(back.data(), region.data(), back.size());
  EXPECT_EQ(back[granule - 1], 1);
  EXPECT_EQ(std::vector<uint8_t>(back.begin() + granule, back.end()),
            std::vector<uint8_t>(3 * granule, 0));
  memory.stream.throwIfFailed();
}

TEST_F(CudaCardTest, AFullCardRefusesAndGoesOn) {
  cuda::CudaMemory memory(card);
  Region region(memory, uint64_t(1) << 30, Backing::Explicit, false);
  cuda::Address hog = 0;
  {
    cuda::Card::Use use(*card);
    ASSERT_EQ(card->driver.memAlloc(&hog, card->freeBytes() - (256 << 20)), 0);
  }
  EXPECT_FALSE(region.commit(0, region.size()));
  EXPECT_FALSE(memory.stream.failed());
  cuda::Card::Use use(*card);
  card->driver.memFree(hog);
  EXPECT_TRUE(region.commit(0, region.size()));
  memory.stream.synchronize();
  memory.stream.throwIfFailed();
}

/// A product against sums in double precision, twice.
void checkProduct(cuda::CudaMemory &memory, cuda::Products &products,
                  GemmStep step) {
  uint64_t element = dtypeBytes(step.dtype);
  uint64_t aBytes = step.m * step.k * element, bBytes = step.n * step.k * element,
           cBytes = step.m * step.n * 4;
  Region region(memory, alignTo(aBytes, 256) + alignTo(bBytes, 256) + cBytes,
                Backing::Whole, false);
  uint8_t *a = region.data(), *b = a + alignTo(aBytes, 256),
          *c = b + alignTo(bBytes, 256);
  std::mt19937 random(static_cast<unsigned>(step.m + step.n));
  std::uniform_real_distribution<float> uniform(-1, 1);
  auto make = [&](uint64_t count, void *to) {
    std::vector<uint8_t> bytes(count * element);
    std::vector<double> values;
    for (uint64_t i = 0; i < count; ++i) {
      // Few bits: exact in every type.
      float value = std::round(uniform(random) * 64) / 64;
      encodeElement(step.dtype, value, bytes.data() + i * element);
      values.push_back(value);
    }
    memory.upload(to, bytes.data(), bytes.size());
    return values;
  };
  std::vector<double> x = make(step.m * step.k, a), y = make(step.n * step.k, b);
  float start = 2;
  auto product = products.plan(step, a, b, c);
  std::vector<float> first(step.m * step.n), second(step.m * step.n);
  for (std::vector<float> *out : {&first, &second}) {
    memory.fill(c, cBytes, &start, 4);
    {
      cuda::Card::Use use(*memory.stream.card);
      product->enqueue(memory.stream);
    }
    memory.download(out->data(), c, cBytes);
  }
  EXPECT_EQ(first, second);
  double worst = 0;
  for (int64_t i = 0; i < step.m; ++i)
    for (int64_t j = 0; j < step.n; ++j) {
      double sum = step.accumulate ? start : 0;
      for (int64_t p = 0; p < step.k; ++p)
        sum += x[i * step.k + p] * y[j * step.k + p];
      worst = std::max(worst, std::abs(sum - first[i * step.n + j]));
    }
  // TF32 would be off by more than a thousand times this.
  EXPECT_LT(worst, 1e-5 * std::sqrt(static_cast<double>(step.k)));
  memory.stream.throwIfFailed();
}

TEST_F(CudaCardTest, ProductsAreRightAndRepeatable) {
  cuda::CudaMemory memory(card);
  std::unique_ptr<cuda::Products> products;
  try {
    products = cuda::createBlasProducts(*card, memory);
  } catch (const Error &error) {
    GTEST_SKIP() << error.what();
  }
  for (DType type : {DType::F32, DType::BF16, DType::F16})
    for (auto shape : {std::array<int64_t, 3>{128, 1536, 576},
                       {4, 48, 8},
                       {1, 320, 64},
                       {128, 576, 1536}})
      for (bool accumulate : {false, true}) {
        GemmStep step;
        step.m = shape[0];
        step.n = shape[1];
        step.k = shape[2];
        step.dtype = type;
        step.accumulate = accumulate;
        SCOPED_TRACE(testing::Message()
                     << static_cast<int>(type) << " " << shape[0] << "x"
                     << shape[1] << "x" << shape[2]);
        checkProduct(memory, *products, step);
      }
}

// A product inside a graph.
TEST_F(CudaCardTest, StepsWithProducts) {
  toy::Config config;
  config.cuda = true;
  config.cudaCode = toy::cardCode();
  config.gemm = "f32";
  std::unique_ptr<toy::LoadedModel> loaded;
  ContextOptions create;
  create.limitBytes = 64 << 20;
  try {
    loaded = toy::load(config, options);
    Context probe(loaded->model, create);
  } catch (const Error &error) {
    ASSERT_EQ(error.code, Code::Unavailable) << error.what();
    GTEST_SKIP() << error.what();
  }
  Context context(loaded->model, create);
  std::vector<float> hidden(7 * config.hidden());
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = static_cast<float>(i % 11) - 4;
  std::vector<float> logits(7 * config.vocab);
  context.logits(hidden.data(), 7, logits.data());
  toy::Oracle oracle(config);
  for (int row = 0; row < 7; ++row)
    EXPECT_EQ(std::vector<float>(logits.begin() + row * config.vocab,
                                 logits.begin() + (row + 1) * config.vocab),
              oracle.logits(std::vector<float>(
                  hidden.begin() + row * config.hidden(),
                  hidden.begin() + (row + 1) * config.hidden())));
}

TEST_F(CudaCardTest, BadCodeIsRefused) {
  toy::Config config;
  config.cuda = true;
  config.cudaCode = "this is no code";
  std::string message;
  EXPECT_EQ(codeOf([&] { toy::load(config, options); }, &message),
            Code::InvalidArgument);
  EXPECT_NE(message.find("code/toy.cubin"), std::string::npos) << message;
}

} // namespace
