//===- SafeTensorsTest.cpp - Strictness of the reader ---------------------===//

#include "SafeTensors.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <cmath>
#include <cstring>

using namespace sparse::runtime;

namespace {

class SafeTensorsTest : public testing::Test {
protected:
  /// Writes a file with this header and `bytes` bytes of data and reads it.
  Code read(const std::string &header, size_t bytes, int64_t length = -1) {
    uint64_t stated = length < 0 ? header.size() : length;
    std::string text;
    for (int i = 0; i < 8; ++i)
      text += static_cast<char>(stated >> (8 * i));
    text += header + std::string(bytes, '\1');
    return readText(text);
  }
  Code readText(const std::string &text) {
    std::string path = dir.path() + "/file";
    toy::Artifact::writeFile(path, text);
    return codeOf([&] { SafeTensors tensors(openFile(path)); });
  }
  toy::TempDir dir;
};

TEST_F(SafeTensorsTest, WritesWhatItReads) {
  std::string path = dir.path() + "/file";
  float a[6] = {1, 2, 3, 4, 5, 6};
  int64_t b[2] = {7, 8};
  writeSafeTensors(path, {{"a", "F32", {2, 3}, a, sizeof(a)},
                          {"b", "I64", {2}, b, sizeof(b)},
                          {"empty", "F32", {0, 3}, a, 0}});
  SafeTensors tensors(openFile(path));
  ASSERT_EQ(tensors.tensors().size(), 3u);
  const TensorView *view = tensors.find("a");
  EXPECT_EQ(view->shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(view->data, a, sizeof(a)), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % 64, 0u);
  EXPECT_EQ(std::memcmp(tensors.find("b")->data, b, sizeof(b)), 0);
  EXPECT_EQ(tensors.find("c"), nullptr);
}

TEST_F(SafeTensorsTest, AcceptsOnlyExactCover) {
  const char *two = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                        "b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})";
  EXPECT_EQ(read(two, 8), Code::Ok);
  EXPECT_EQ(read(two, 7), Code::InvalidArgument);
  EXPECT_EQ(read(two, 9), Code::InvalidArgument);
  EXPECT_EQ(read("{}", 0), Code::Ok);
  EXPECT_EQ(read(R"({"__metadata__":{"format":"pt"}})", 0), Code::Ok);
  EXPECT_EQ(read("{}", 1), Code::InvalidArgument);
  EXPECT_EQ(read(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
               "b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                 6),
            Code::InvalidArgument)
      << "overlap";
  EXPECT_EQ(read(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
               "b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})",
                 10),
            Code::InvalidArgument)
      << "hole";
}

TEST_F(SafeTensorsTest, RefusesWrongSizes) {
  auto one = [&](const char *shape, const char *offsets,
                 const char *dtype = "F32") {
    return read(std::string(R"({"a":{"dtype":")") + dtype + R"(","shape":)" +
                    shape + R"(,"data_offsets":)" + offsets + "}}",
                16);
  };
  EXPECT_EQ(one("[4]", "[0,16]"), Code::Ok);
  EXPECT_EQ(one("[2,2]", "[0,16]"), Code::Ok);
  EXPECT_EQ(one("[3]", "[0,16]"), Code::InvalidArgument);
  EXPECT_EQ(one("[4]", "[16,0]"), Code::InvalidArgument);
  EXPECT_EQ(one("[4]", "[0,17]"), Code::InvalidArgument);
  EXPECT_EQ(one("[-4]", "[0,16]"), Code::InvalidArgument);
  EXPECT_EQ(one("[4]", "[0,16]", "F13"), Code::InvalidArgument);
  EXPECT_EQ(one("[4]", "[0]"), Code::InvalidArgument);
  EXPECT_EQ(one("4", "[0,16]"), Code::InvalidArgument);
  // 2^32 * 2^32 elements wrap to 0.
  EXPECT_EQ(one("[4294967296,4294967296]", "[0,0]"), Code::InvalidArgument);
  EXPECT_EQ(one("[4]", "[0,18446744073709551615]"), Code::InvalidArgument);
}

TEST_F(SafeTensorsTest, RefusesBadHeaders) {
  EXPECT_EQ(readText(""), Code::InvalidArgument);
  EXPECT_EQ(readText("1234567"), Code::InvalidArgument);
  EXPECT_EQ(read("{}", 0, 3), Code::InvalidArgument);
  EXPECT_EQ(read("{}", 0, 1), Code::InvalidArgument);
  EXPECT_EQ(read("{}", 0, int64_t(1) << 62), Code::InvalidArgument);
  EXPECT_EQ(read("[]", 0), Code::InvalidArgument);
  EXPECT_EQ(read(" {}", 0), Code::InvalidArgument);
  EXPECT_EQ(read("{", 0), Code::InvalidArgument);
  EXPECT_EQ(read("{\"a\":\"\xff\"}", 0), Code::InvalidArgument);
  EXPECT_EQ(read(std::string(100000, '['), 0), Code::InvalidArgument);
  EXPECT_EQ(read("{\"a\":" + std::string(100000, '[') +
                     std::string(100000, ']') + "}",
                 0),
            Code::InvalidArgument);
  const char *twice = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                          "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  EXPECT_EQ(read(twice, 1), Code::InvalidArgument);
}

TEST(DTypeTest, RoundsToNearestEven) {
  EXPECT_EQ(floatToBF16(1.0f), 0x3f80);
  EXPECT_EQ(floatToBF16(1.00390625f), 0x3f80) << "tie to even";
  EXPECT_EQ(floatToBF16(1.01171875f), 0x3f82) << "tie to even";
  EXPECT_EQ(floatToBF16(-HUGE_VALF), 0xff80);
  EXPECT_TRUE(std::isnan(bf16ToFloat(floatToBF16(NAN))));
  EXPECT_EQ(floatToF16(1.0f), 0x3c00);
  EXPECT_EQ(floatToF16(-2.0f), 0xc000);
  EXPECT_EQ(floatToF16(65504.0f), 0x7bff);
  EXPECT_EQ(floatToF16(65520.0f), 0x7c00);
  EXPECT_EQ(floatToF16(5.9604644775390625e-08f), 0x0001);
  EXPECT_EQ(floatToF16(6.103515625e-05f), 0x0400);
  EXPECT_EQ(floatToF16(2049.0f), 0x6800) << "tie to even";
}

TEST(DTypeTest, IntegersMustHoldTheValue) {
  uint8_t bytes[8];
  EXPECT_TRUE(encodeElement(DType::I8, -128, bytes));
  EXPECT_FALSE(encodeElement(DType::I8, 128, bytes));
  EXPECT_FALSE(encodeElement(DType::I32, 0.5, bytes));
  EXPECT_FALSE(encodeElement(DType::I32, HUGE_VAL, bytes));
  EXPECT_FALSE(encodeElement(DType::I64, 1e300, bytes));
  EXPECT_FALSE(encodeElement(DType::U8, -1, bytes));
}

} // namespace
