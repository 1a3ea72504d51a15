//===- DType.h - Element types ----------------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_DTYPE_H
#define SPARSE_RUNTIME_DTYPE_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace sparse::runtime {

enum class DType { F64, F32, F16, BF16, I64, I32, I16, I8, U8, F8E4M3, Bool };

/// Bytes of one element.
size_t dtypeBytes(DType type);

/// The name in manifests and plans ("f32") or in safetensors files ("F32").
bool parseDType(const std::string &name, DType &type);

/// Writes the bytes of `value` converted to `type` (round to nearest) to `out`
/// (8 bytes of room). False when an integer type cannot hold the value.
bool encodeElement(DType type, double value, void *out);

/// bfloat16 from float, round to nearest even; NaN stays NaN.
uint16_t floatToBF16(float value);

/// float from bfloat16, exact.
inline float bf16ToFloat(uint16_t value) {
  uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  __builtin_memcpy(&result, &bits, sizeof(result));
  return result;
}

/// IEEE half from float, round to nearest even.
uint16_t floatToF16(float value);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_DTYPE_H
