//===-- WireReader.h - Protobuf's wire format over mapped bytes -----------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_WIREREADER_H
#define SPARSE_LIB_IMPORT_WIREREADER_H

#include "llvm/ADT/StringRef.h"

#include <cstdint>

namespace sparse::import {
enum class Wire : uint8_t { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

/// One field of a message: its number, how it is written and its payload (`bytes` of a length-delimited field, else
/// `value`).
struct WireField {
  uint32_t number = 0;
  Wire wire = Wire::Varint;
  uint64_t value = 0;
  llvm::StringRef bytes;
  const char *start = nullptr; ///< first byte of the tag
};

/// Reads the fields of one message in order, without copying. `next` returns false at the end and at an error; `error`
/// tells which (null: the end).
class WireReader {
public:
  explicit WireReader(llvm::StringRef message) : pos(message.begin()), end(message.end()) {}

  bool next(WireField &field) {
    if (pos == end)
      return false;
    field.start = pos;
    uint64_t tag;
    if (!varint(tag))
      return false;
    field.number = static_cast<uint32_t>(tag >> 3);
    if (tag >> 32 || field.number == 0)
      return fail("field number out of range");
    field.wire = static_cast<Wire>(tag & 7);
    switch (tag & 7) {
    case 0: return varint(field.value);
    case 1: return fixed(field, 8);
    case 5: return fixed(field, 4);
    case 2: {
      uint64_t length;
      if (!varint(length))
        return false;
      if (length > static_cast<uint64_t>(end - pos))
        return fail("truncated: a field is longer than what is left of its message");
      field.bytes = llvm::StringRef(pos, length);
      pos += length;
      return true;
    }
    case 3:
    case 4: return fail("a protobuf group, which ONNX does not use");
    default: return fail("an invalid protobuf wire type");
    }
  }

  const char *error() const { return message; }
  const char *position() const { return pos; }

private:
  bool fail(const char *what) {
    message = what;
    return false;
  }
  bool varint(uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (pos == end)
        return fail("truncated inside a number");
      uint8_t byte = static_cast<uint8_t>(*pos++);
      if (shift == 63 && byte > 1)
        break;
      value |= uint64_t(byte & 0x7f) << shift;
      if (!(byte & 0x80))
        return true;
    }
    return fail("a number of more than 64 bits");
  }
  bool fixed(WireField &field, size_t size) {
    if (static_cast<size_t>(end - pos) < size)
      return fail("truncated inside a number");
    field.value = 0;
    memcpy(&field.value, pos, size);
    pos += size;
    return true;
  }

  const char *pos, *end;
  const char *message = nullptr;
};
} // namespace sparse::import

#endif
