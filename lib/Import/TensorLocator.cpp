//===-- TensorLocator.cpp - Where tensors lie in the model file ---------------------------------------------------===//
#include "lib/Import/TensorLocator.h"
#include "lib/Import/WireReader.h"

using namespace llvm;
using namespace sparse::import;

// The walk relies on what the scan of the file has established: well-formed wire data, every known field of the right
// kind, and no submessage given twice. The n-th occurrence of a repeated field is then element n of the parsed message.

TensorLocator::TensorLocator(const OnnxFile &file) : base(file.bytes().begin()) {
  int functions = 0;
  WireReader reader(file.bytes());
  for (WireField field; reader.next(field);) {
    if (field.number == 7)
      graph(field.bytes, file.model().graph());
    if (field.number == 25) {
      const proto::FunctionProto &function = file.model().functions(functions++);
      int nodes = 0;
      WireReader inner(field.bytes);
      for (WireField f; inner.next(f);)
        if (f.number == 7)
          node(f.bytes, function.node(nodes++));
    }
  }
}

std::optional<uint64_t> TensorLocator::offsetOf(const proto::TensorProto &tensor) const {
  auto found = offsets.find(&tensor);
  return found == offsets.end() ? std::nullopt : std::optional<uint64_t>(found->second);
}

void TensorLocator::graph(StringRef bytes, const proto::GraphProto &message) {
  int nodes = 0, initializers = 0;
  WireReader reader(bytes);
  for (WireField field; reader.next(field);) {
    if (field.number == 1)
      node(field.bytes, message.node(nodes++));
    if (field.number == 5)
      tensor(field.bytes, message.initializer(initializers++));
  }
}

void TensorLocator::node(StringRef bytes, const proto::NodeProto &message) {
  int attributes = 0;
  WireReader reader(bytes);
  for (WireField field; reader.next(field);)
    if (field.number == 5)
      attribute(field.bytes, message.attribute(attributes++));
}

void TensorLocator::attribute(StringRef bytes, const proto::AttributeProto &message) {
  int graphs = 0;
  WireReader reader(bytes);
  for (WireField field; reader.next(field);) {
    if (field.number == 5)
      tensor(field.bytes, message.t());
    if (field.number == 6)
      graph(field.bytes, message.g());
    if (field.number == 11)
      graph(field.bytes, message.graphs(graphs++));
  }
}

void TensorLocator::tensor(StringRef bytes, const proto::TensorProto &message) {
  unsigned pieces = 0;
  uint64_t offset = 0;
  WireReader reader(bytes);
  for (WireField field; reader.next(field);) {
    // raw_data, float_data, double_data. Unpacked or split fields have several pieces.
    if (field.number != 9 && field.number != 4 && field.number != 10)
      continue;
    pieces += field.wire == Wire::Bytes ? 1 : 2;
    offset = field.bytes.begin() - base;
  }
  if (pieces == 1)
    offsets[&message] = offset;
}
