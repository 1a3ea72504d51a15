//===-- HostWeight.cpp - Bytes of a weight, and the steps of its recipe -------------------------------------------===//
#include "lib/Package/HostWeight.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <cstring>

using namespace mlir;
using namespace sparse;
using namespace sparse::package;

int64_t HostWeight::elementBytes() const {
  return element.isInteger(1) ? 1 : (element.getIntOrFloatBitWidth() + 7) / 8;
}

int64_t HostWeight::count() const {
  int64_t n = 1;
  for (int64_t size : shape)
    n *= size;
  return n;
}

HostWeight HostWeight::make(Type element, ArrayRef<int64_t> shape) {
  HostWeight weight;
  weight.element = element;
  weight.shape.assign(shape.begin(), shape.end());
  auto storage = std::make_shared<std::vector<uint8_t>>(weight.bytes());
  weight.data = storage->data();
  weight.owner = storage;
  return weight;
}

//===-- Steps -----------------------------------------------------------------------------------------------------===//

/// Copies elements of `size` bytes: out[i] = in[source(i)]. A weight inside an ONNX file begins at any byte.
template <int64_t size, typename Fn>
static void fill(HostWeight &out, const HostWeight &in, Fn source) {
  uint8_t *to = out.mutableData();
  const uint8_t *from = in.data;
  source([&](int64_t i, int64_t j) { std::memcpy(to + i * size, from + j * size, size); });
}

template <typename Fn>
static void copyElements(HostWeight &out, const HostWeight &in, Fn source) {
  switch (in.elementBytes()) {
  case 1: return fill<1>(out, in, source);
  case 2: return fill<2>(out, in, source);
  case 4: return fill<4>(out, in, source);
  default: return fill<8>(out, in, source);
  }
}

static HostWeight transpose(const HostWeight &in, ArrayRef<int64_t> perm) {
  SmallVector<int64_t> shape, strides(in.shape.size(), 1);
  for (int64_t dim = in.shape.size() - 2; dim >= 0; --dim)
    strides[dim] = strides[dim + 1] * in.shape[dim + 1];
  SmallVector<int64_t> sourceStrides;
  for (int64_t from : perm) {
    shape.push_back(in.shape[from]);
    sourceStrides.push_back(strides[from]);
  }
  HostWeight out = HostWeight::make(in.element, shape);
  if (perm.size() == 2 && perm[0] == 1) {
    // Blocks, so that both sides stay in cache.
    int64_t rows = in.shape[0], columns = in.shape[1], block = 32;
    copyElements(out, in, [&](auto copy) {
      for (int64_t r0 = 0; r0 < rows; r0 += block)
        for (int64_t c0 = 0; c0 < columns; c0 += block)
          for (int64_t c = c0; c < std::min(columns, c0 + block); ++c)
            for (int64_t r = r0; r < std::min(rows, r0 + block); ++r)
              copy(c * rows + r, r * columns + c);
    });
    return out;
  }
  copyElements(out, in, [&](auto copy) {
    SmallVector<int64_t> index(shape.size(), 0);
    for (int64_t i = 0, n = out.count(), at = 0; i < n; ++i) {
      copy(i, at);
      for (int64_t dim = shape.size() - 1; dim >= 0; --dim) {
        at += sourceStrides[dim];
        if (++index[dim] < shape[dim])
          break;
        at -= sourceStrides[dim] * shape[dim];
        index[dim] = 0;
      }
    }
  });
  return out;
}

/// Splits a shape at `axis`: entries before it, of it, and behind it.
static std::array<int64_t, 3> around(ArrayRef<int64_t> shape, int64_t axis) {
  std::array<int64_t, 3> parts{1, shape[axis], 1};
  for (auto [dim, size] : llvm::enumerate(shape))
    if (static_cast<int64_t>(dim) != axis)
      parts[static_cast<int64_t>(dim) < axis ? 0 : 2] *= size;
  return parts;
}

static HostWeight slice(const HostWeight &in, onnx::SliceStepAttr step) {
  SmallVector<int64_t> shape = in.shape;
  shape[step.getAxis()] = step.getSize();
  HostWeight out = HostWeight::make(in.element, shape);
  auto [outer, extent, inner] = around(in.shape, step.getAxis());
  int64_t run = inner * in.elementBytes();
  for (int64_t o = 0; o < outer; ++o)
    std::memcpy(out.mutableData() + o * step.getSize() * run, in.data + (o * extent + step.getOffset()) * run,
                step.getSize() * run);
  return out;
}

static HostWeight concat(ArrayRef<HostWeight> parts, int64_t axis) {
  SmallVector<int64_t> shape = parts[0].shape;
  shape[axis] = 0;
  for (const HostWeight &part : parts)
    shape[axis] += part.shape[axis];
  HostWeight out = HostWeight::make(parts[0].element, shape);
  auto [outer, extent, inner] = around(shape, axis);
  int64_t run = inner * out.elementBytes(), before = 0;
  for (const HostWeight &part : parts) {
    int64_t size = part.shape[axis] * run;
    for (int64_t o = 0; o < outer; ++o)
      std::memcpy(out.mutableData() + (o * extent + before) * run, part.data + o * size, size);
    before += part.shape[axis];
  }
  return out;
}

static float asFloat(const HostWeight &weight, int64_t i) {
  auto at = [&](auto example) {
    decltype(example) value;
    std::memcpy(&value, weight.data + i * sizeof(value), sizeof(value));
    return value;
  };
  if (weight.element.isF32())
    return at(float());
  if (weight.element.isF64())
    return static_cast<float>(at(double()));
  uint16_t bits = at(uint16_t());
  const llvm::fltSemantics &semantics = cast<FloatType>(weight.element).getFloatSemantics();
  APFloat value(semantics, APInt(16, bits));
  return value.convertToFloat();
}

/// Round to nearest, ties to even.
static uint16_t toBF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (std::isnan(value))
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static HostWeight castTo(const HostWeight &in, Type element) {
  HostWeight out = HostWeight::make(element, in.shape);
  for (int64_t i = 0, n = in.count(); i < n; ++i) {
    float value = asFloat(in, i);
    if (element.isF32()) {
      std::memcpy(out.mutableData() + 4 * i, &value, 4);
    } else {
      uint16_t bits = toBF16(value);
      std::memcpy(out.mutableData() + 2 * i, &bits, 2);
    }
  }
  return out;
}

static HostWeight pack(const HostWeight &in, int64_t panel) {
  int64_t k = in.shape[0], n = in.shape[1], blocks = (n + panel - 1) / panel;
  HostWeight out = HostWeight::make(in.element, {blocks, k, panel});
  int64_t size = in.elementBytes();
  for (int64_t block = 0; block < blocks; ++block) {
    int64_t width = std::min(panel, n - block * panel);
    for (int64_t row = 0; row < k; ++row)
      std::memcpy(out.mutableData() + (block * k + row) * panel * size, in.data + (row * n + block * panel) * size,
                  width * size);
  }
  return out;
}

static HostWeight ropeTable(onnx::RopeTableStepAttr step, RankedTensorType type) {
  HostWeight out = HostWeight::make(type.getElementType(), type.getShape());
  ArrayRef<float> frequencies = step.getInvFreq().asArrayRef();
  double scale = step.getScale().getValueAsDouble();
  auto *values = reinterpret_cast<float *>(out.mutableData());
  for (int64_t position = 0; position < type.getDimSize(0); ++position)
    for (float frequency : frequencies) {
      // The angle is rounded to f32, as graphs compute it.
      double angle = static_cast<float>(position) * frequency;
      *values++ = static_cast<float>(scale * (step.getFn() == onnx::RopeFn::Cos ? std::cos(angle) : std::sin(angle)));
    }
  return out;
}

//===-- Symbols ---------------------------------------------------------------------------------------------------===//

FailureOr<HostWeight> WeightLoader::load(StringAttr symbol) {
  Operation *op = symbols.lookup(symbol);
  if (auto initializer = dyn_cast_or_null<onnx::InitializerOp>(op))
    return read(initializer);
  if (auto derived = dyn_cast_or_null<onnx::DerivedOp>(op))
    return apply(derived);
  return module.emitError() << "no weight is called @" << symbol.getValue();
}

FailureOr<HostWeight> WeightLoader::read(onnx::InitializerOp op) {
  auto type = cast<RankedTensorType>(op.getType());
  if (auto value = op.getValue()) {
    auto elements = dyn_cast<DenseElementsAttr>(*value);
    if (!elements)
      return op.emitError("has a value that is no dense tensor");
    HostWeight weight = HostWeight::make(type.getElementType(), type.getShape());
    ArrayRef<char> raw = elements.getRawData();
    int64_t size = weight.elementBytes();
    for (int64_t i = 0, n = weight.count(); i < n; ++i)
      std::memcpy(weight.mutableData() + i * size, raw.data() + (elements.isSplat() ? 0 : i * size), size);
    return weight;
  }
  std::shared_ptr<llvm::MemoryBuffer> &file = files[*op.getFile()];
  if (!file) {
    auto opened = llvm::MemoryBuffer::getFile(*op.getFile(), /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!opened)
      return op.emitError() << "can't read '" << *op.getFile() << "': " << opened.getError().message();
    file = std::move(*opened);
  }
  uint64_t size = file->getBufferSize(), offset = *op.getOffset(), length = *op.getLength();
  if (length > size || offset > size - length)
    return op.emitError() << "names bytes " << offset << " to " << offset << " + " << length << " of '"
                          << *op.getFile() << "', which has " << size;
  HostWeight weight;
  weight.element = type.getElementType();
  weight.shape.assign(type.getShape().begin(), type.getShape().end());
  weight.data = reinterpret_cast<const uint8_t *>(file->getBufferStart()) + offset;
  weight.owner = file;
  return weight;
}

FailureOr<HostWeight> WeightLoader::apply(onnx::DerivedOp op) {
  SmallVector<HostWeight> sources;
  for (Attribute source : op.getSources()) {
    FailureOr<HostWeight> loaded = load(cast<FlatSymbolRefAttr>(source).getAttr());
    if (failed(loaded))
      return failure();
    sources.push_back(*loaded);
  }
  HostWeight weight = sources.empty() ? HostWeight() : sources[0];
  auto type = cast<RankedTensorType>(op.getType());
  for (Attribute step : op.getSteps()) {
    bool known = llvm::TypeSwitch<Attribute, bool>(step)
                     .Case([&](onnx::TransposeStepAttr s) {
                       weight = transpose(weight, s.getPerm().asArrayRef());
                       return true;
                     })
                     .Case([&](onnx::ReshapeStepAttr s) {
                       weight.shape.assign(s.getShape().asArrayRef().begin(), s.getShape().asArrayRef().end());
                       return true;
                     })
                     .Case([&](onnx::SliceStepAttr s) { return weight = slice(weight, s), true; })
                     .Case([&](onnx::ConcatStepAttr s) { return weight = concat(sources, s.getAxis()), true; })
                     .Case([&](onnx::CastStepAttr s) { return weight = castTo(weight, s.getTo()), true; })
                     .Case([&](onnx::PackStepAttr s) { return weight = pack(weight, s.getPanel()), true; })
                     .Case([&](onnx::RopeTableStepAttr s) { return weight = ropeTable(s, type), true; })
                     .Default([](Attribute) { return false; });
    if (!known)
      return op.emitError() << "has an unknown step " << step;
  }
  if (ArrayRef<int64_t>(weight.shape) != type.getShape() || weight.element != type.getElementType())
    return op.emitError() << "has a recipe that does not give " << type;
  return weight;
}
