//===-- WireScan.cpp - A look at the bytes before protobuf parses them --------------------------------------------===//
#include "lib/Import/WireScan.h"
#include "lib/Import/WireReader.h"

#include "llvm/Support/ConvertUTF.h"

#include <array>

using namespace mlir;
using namespace sparse::import;

namespace {
enum class Msg : uint8_t {
  Opaque, Model, Graph, Node, Attribute, Tensor, Sparse, Function, ValueInfo, Type, TensorType, ElemType, MapType,
  Shape, Dimension, Entry, Opset, Count
};
constexpr const char *messageNames[] = {"message", "ModelProto", "GraphProto", "NodeProto", "AttributeProto",
  "TensorProto", "SparseTensorProto", "FunctionProto", "ValueInfoProto", "TypeProto", "TypeProto.Tensor", "TypeProto",
  "TypeProto.Map", "TensorShapeProto", "Dimension", "StringStringEntryProto", "OperatorSetIdProto"};

enum class Kind : uint8_t {
  Number,    ///< varint
  Float,     ///< 4 bytes
  Bytes,     ///< any bytes
  Name,      ///< UTF-8 of bounded length
  Numbers,   ///< varints, packed or one by one
  Floats,    ///< 4 bytes each, packed or one by one
  Doubles,   ///< 8 bytes each, packed or one by one
  Message,   ///< any number of times
  OneMessage ///< at most once: protobuf would merge two, and a payload would have two places
};

struct FieldRule {
  Msg parent;
  uint8_t number;
  Kind kind;
  Msg child = Msg::Opaque;
};

// Field numbers of the ONNX schema. A field that is missing here is skipped, whatever it holds.
constexpr FieldRule rules[] = {
    {Msg::Model, 1, Kind::Number}, {Msg::Model, 7, Kind::OneMessage, Msg::Graph},
    {Msg::Model, 8, Kind::Message, Msg::Opset}, {Msg::Model, 14, Kind::Message, Msg::Entry},
    {Msg::Model, 25, Kind::Message, Msg::Function},
    {Msg::Graph, 1, Kind::Message, Msg::Node}, {Msg::Graph, 2, Kind::Name},
    {Msg::Graph, 5, Kind::Message, Msg::Tensor}, {Msg::Graph, 11, Kind::Message, Msg::ValueInfo},
    {Msg::Graph, 12, Kind::Message, Msg::ValueInfo}, {Msg::Graph, 13, Kind::Message, Msg::ValueInfo},
    {Msg::Graph, 15, Kind::Message, Msg::Sparse}, {Msg::Graph, 16, Kind::Message, Msg::Entry},
    {Msg::Node, 1, Kind::Name}, {Msg::Node, 2, Kind::Name}, {Msg::Node, 3, Kind::Name}, {Msg::Node, 4, Kind::Name},
    {Msg::Node, 5, Kind::Message, Msg::Attribute}, {Msg::Node, 6, Kind::Bytes}, {Msg::Node, 7, Kind::Name},
    {Msg::Node, 8, Kind::Name}, {Msg::Node, 9, Kind::Message, Msg::Entry},
    {Msg::Attribute, 1, Kind::Name}, {Msg::Attribute, 2, Kind::Float}, {Msg::Attribute, 3, Kind::Number},
    {Msg::Attribute, 4, Kind::Bytes}, {Msg::Attribute, 5, Kind::OneMessage, Msg::Tensor},
    {Msg::Attribute, 6, Kind::OneMessage, Msg::Graph}, {Msg::Attribute, 7, Kind::Floats},
    {Msg::Attribute, 8, Kind::Numbers}, {Msg::Attribute, 9, Kind::Bytes},
    {Msg::Attribute, 10, Kind::Message, Msg::Tensor}, {Msg::Attribute, 11, Kind::Message, Msg::Graph},
    {Msg::Attribute, 14, Kind::OneMessage, Msg::Type}, {Msg::Attribute, 15, Kind::Message, Msg::Type},
    {Msg::Attribute, 20, Kind::Number}, {Msg::Attribute, 21, Kind::Name},
    {Msg::Attribute, 22, Kind::OneMessage, Msg::Sparse}, {Msg::Attribute, 23, Kind::Message, Msg::Sparse},
    {Msg::Tensor, 1, Kind::Numbers}, {Msg::Tensor, 2, Kind::Number}, {Msg::Tensor, 4, Kind::Floats},
    {Msg::Tensor, 5, Kind::Numbers}, {Msg::Tensor, 6, Kind::Bytes}, {Msg::Tensor, 7, Kind::Numbers},
    {Msg::Tensor, 8, Kind::Name}, {Msg::Tensor, 9, Kind::Bytes}, {Msg::Tensor, 10, Kind::Doubles},
    {Msg::Tensor, 11, Kind::Numbers}, {Msg::Tensor, 13, Kind::Message, Msg::Entry}, {Msg::Tensor, 14, Kind::Number},
    {Msg::Tensor, 16, Kind::Message, Msg::Entry},
    {Msg::Sparse, 1, Kind::OneMessage, Msg::Tensor}, {Msg::Sparse, 2, Kind::OneMessage, Msg::Tensor},
    {Msg::Sparse, 3, Kind::Numbers},
    {Msg::Function, 1, Kind::Name}, {Msg::Function, 4, Kind::Name}, {Msg::Function, 5, Kind::Name},
    {Msg::Function, 6, Kind::Name}, {Msg::Function, 7, Kind::Message, Msg::Node},
    {Msg::Function, 9, Kind::Message, Msg::Opset}, {Msg::Function, 10, Kind::Name},
    {Msg::Function, 11, Kind::Message, Msg::Attribute}, {Msg::Function, 12, Kind::Message, Msg::ValueInfo},
    {Msg::Function, 13, Kind::Name},
    {Msg::ValueInfo, 1, Kind::Name}, {Msg::ValueInfo, 2, Kind::OneMessage, Msg::Type},
    {Msg::Type, 1, Kind::OneMessage, Msg::TensorType}, {Msg::Type, 4, Kind::OneMessage, Msg::ElemType},
    {Msg::Type, 5, Kind::OneMessage, Msg::MapType}, {Msg::Type, 8, Kind::OneMessage, Msg::TensorType},
    {Msg::Type, 9, Kind::OneMessage, Msg::ElemType},
    {Msg::TensorType, 1, Kind::Number}, {Msg::TensorType, 2, Kind::OneMessage, Msg::Shape},
    {Msg::ElemType, 1, Kind::OneMessage, Msg::Type}, {Msg::MapType, 2, Kind::OneMessage, Msg::Type},
    {Msg::Shape, 1, Kind::Message, Msg::Dimension},
    {Msg::Dimension, 1, Kind::Number}, {Msg::Dimension, 2, Kind::Name},
    {Msg::Entry, 1, Kind::Name}, {Msg::Entry, 2, Kind::Bytes},
    {Msg::Opset, 1, Kind::Name}, {Msg::Opset, 2, Kind::Number},
};

constexpr unsigned maxField = 32;
using RuleTable = std::array<std::array<const FieldRule *, maxField>, static_cast<size_t>(Msg::Count)>;

const RuleTable &ruleTable() {
  static const RuleTable table = [] {
    RuleTable t{};
    for (const FieldRule &rule : rules)
      t[static_cast<size_t>(rule.parent)][rule.number] = &rule;
    return t;
  }();
  return table;
}

/// A little below what protobuf's parser accepts. The scan stops there too, so it cannot overflow the stack.
constexpr unsigned maxMessageDepth = 96;

class Scanner {
public:
  Scanner(StringRef data, const Source &source, const ImportLimits &limits)
      : base(data.begin()), source(source), limits(limits) {}

  LogicalResult scan(StringRef bytes, Msg message, unsigned depth, unsigned graphs);

private:
  InFlightDiagnostic error(const char *at) { return emitError(source.item("byte " + Twine(uint64_t(at - base)))); }
  bool fits(Kind kind, const WireField &field);
  LogicalResult count(Msg child, const WireField &field);

  const char *base;
  const Source &source;
  const ImportLimits &limits;
  uint64_t nodes = 0, tensors = 0, messages = 0;
};

bool Scanner::fits(Kind kind, const WireField &field) {
  switch (kind) {
  case Kind::Number: return field.wire == Wire::Varint;
  case Kind::Float: return field.wire == Wire::Fixed32;
  case Kind::Numbers: return field.wire == Wire::Varint || field.wire == Wire::Bytes;
  case Kind::Floats:
    return field.wire == Wire::Fixed32 || (field.wire == Wire::Bytes && field.bytes.size() % 4 == 0);
  case Kind::Doubles:
    return field.wire == Wire::Fixed64 || (field.wire == Wire::Bytes && field.bytes.size() % 8 == 0);
  default: return field.wire == Wire::Bytes;
  }
}

LogicalResult Scanner::count(Msg child, const WireField &field) {
  if (child == Msg::Node && ++nodes > limits.nodes)
    return error(field.start) << "more than " << limits.nodes << " nodes";
  if (child == Msg::Tensor && ++tensors > limits.tensors)
    return error(field.start) << "more than " << limits.tensors << " tensors";
  if (++messages > limits.messages)
    return error(field.start) << "more than " << limits.messages << " messages and strings";
  return success();
}

LogicalResult Scanner::scan(StringRef bytes, Msg message, unsigned depth, unsigned graphs) {
  if (message == Msg::Graph && graphs > limits.subgraphDepth)
    return error(bytes.begin()) << "subgraphs nest deeper than " << limits.subgraphDepth << " levels";
  if (depth > maxMessageDepth)
    return error(bytes.begin()) << "messages nest deeper than " << maxMessageDepth << " levels";
  if (message == Msg::Graph)
    ++graphs;
  const auto &table = ruleTable()[static_cast<size_t>(message)];
  uint32_t seen = 0;
  WireReader reader(bytes);
  WireField field;
  while (reader.next(field)) {
    const FieldRule *rule = field.number < maxField ? table[field.number] : nullptr;
    if (!rule) {
      // What isn't scanned may still hold messages that protobuf will build.
      messages += field.wire == Wire::Bytes ? field.bytes.size() / 4 : 0;
      continue;
    }
    const char *name = messageNames[static_cast<size_t>(message)];
    if (!fits(rule->kind, field))
      return error(field.start) << "field " << field.number << " of a " << name << " has the wrong wire type "
                                << static_cast<unsigned>(field.wire);
    if (rule->kind == Kind::OneMessage && (seen & (1u << field.number)))
      return error(field.start) << "field " << field.number << " of a " << name << " occurs twice";
    seen |= 1u << field.number;
    if (field.wire == Wire::Bytes && failed(count(rule->child, field)))
      return failure();
    if (rule->kind == Kind::Name) {
      if (field.bytes.size() > limits.nameBytes)
        return error(field.start) << "a name of " << field.bytes.size() << " bytes; at most " << limits.nameBytes
                                  << " are accepted";
      auto *first = reinterpret_cast<const llvm::UTF8 *>(field.bytes.begin());
      if (!llvm::isLegalUTF8String(&first, reinterpret_cast<const llvm::UTF8 *>(field.bytes.end())) ||
          field.bytes.contains('\0'))
        return error(field.start) << "field " << field.number << " of a " << name << " is not UTF-8 text";
    }
    if (rule->kind == Kind::Message || rule->kind == Kind::OneMessage)
      if (failed(scan(field.bytes, rule->child, depth + 1, graphs)))
        return failure();
  }
  if (const char *what = reader.error())
    return error(std::min(reader.position(), bytes.end())) << what;
  return success();
}
} // namespace

LogicalResult sparse::import::scanModel(StringRef data, const Source &source, const ImportLimits &limits) {
  return Scanner(data, source, limits).scan(data, Msg::Model, 0, 0);
}
