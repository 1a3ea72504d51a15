//===- DType.cpp - Element types ------------------------------------------===//

#include "DType.h"

#include <cmath>
#include <cstring>

using namespace sparse::runtime;

size_t sparse::runtime::dtypeBytes(DType type) {
  switch (type) {
  case DType::F64:
  case DType::I64:
    return 8;
  case DType::F32:
  case DType::I32:
    return 4;
  case DType::F16:
  case DType::BF16:
  case DType::I16:
    return 2;
  case DType::I8:
  case DType::U8:
  case DType::F8E4M3:
  case DType::Bool:
    return 1;
  }
  return 0;
}

bool sparse::runtime::parseDType(const std::string &name, DType &type) {
  static const struct {
    const char *lower, *upper;
    DType type;
  } names[] = {{"f64", "F64", DType::F64}, {"f32", "F32", DType::F32},
               {"f16", "F16", DType::F16}, {"bf16", "BF16", DType::BF16},
               {"i64", "I64", DType::I64}, {"i32", "I32", DType::I32},
               {"i16", "I16", DType::I16}, {"i8", "I8", DType::I8},
               {"u8", "U8", DType::U8},    {"bool", "BOOL", DType::Bool},
               {"f8e4m3fn", "F8_E4M3", DType::F8E4M3}};
  for (const auto &entry : names) {
    if (name == entry.lower || name == entry.upper) {
      type = entry.type;
      return true;
    }
  }
  return false;
}

uint16_t sparse::runtime::floatToBF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isnan(value))
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  bits += 0x7fff + ((bits >> 16) & 1);
  return static_cast<uint16_t>(bits >> 16);
}

uint16_t sparse::runtime::floatToF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  if (std::isnan(value))
    return sign | 0x7e00;
  float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f)
    return sign | 0x7c00;
  // Below the smallest normal the unit in the last place is constant.
  if (magnitude < 6.103515625e-05f)
    return sign |
           static_cast<uint16_t>(std::nearbyint(magnitude * 16777216.0f));
  int exponent = static_cast<int>((bits >> 23) & 0xff) - 127 + 15;
  uint32_t rounded = (bits & 0x7fffff) + 0xfff + ((bits >> 13) & 1);
  return static_cast<uint16_t>(
      sign | ((static_cast<uint32_t>(exponent) << 10) + (rounded >> 13)));
}

template <typename T> static bool encodeInteger(double value, void *out) {
  // 2^63 is exact in a double, so the comparisons are exact too.
  if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0))
    return false;
  int64_t wide = static_cast<int64_t>(value);
  T narrow = static_cast<T>(wide);
  if (static_cast<double>(wide) != value ||
      static_cast<int64_t>(narrow) != wide)
    return false;
  std::memcpy(out, &narrow, sizeof(T));
  return true;
}

bool sparse::runtime::encodeElement(DType type, double value, void *out) {
  switch (type) {
  case DType::F64:
    std::memcpy(out, &value, 8);
    return true;
  case DType::F32: {
    float narrow = static_cast<float>(value);
    std::memcpy(out, &narrow, 4);
    return true;
  }
  case DType::F16: {
    uint16_t half = floatToF16(static_cast<float>(value));
    std::memcpy(out, &half, 2);
    return true;
  }
  case DType::BF16: {
    uint16_t brain = floatToBF16(static_cast<float>(value));
    std::memcpy(out, &brain, 2);
    return true;
  }
  case DType::I64:
    return encodeInteger<int64_t>(value, out);
  case DType::I32:
    return encodeInteger<int32_t>(value, out);
  case DType::I16:
    return encodeInteger<int16_t>(value, out);
  case DType::I8:
    return encodeInteger<int8_t>(value, out);
  case DType::U8:
    return encodeInteger<uint8_t>(value, out);
  case DType::Bool:
    return encodeInteger<bool>(value, out);
  case DType::F8E4M3:
    return false;
  }
  return false;
}
