//===- Plan.cpp - An entry as data ----------------------------------------===//

#include "Plan.h"
#include "Checked.h"
#include "Json.h"

#include <limits>
#include <map>
#include <set>

using namespace sparse::runtime;

static constexpr int64_t maxBytes = int64_t(1) << 46;
static constexpr int64_t maxDim = int64_t(1) << 31;

int Plan::find(BufferKind kind, const char *name) const {
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].kind == kind && buffers[i].name == name)
      return static_cast<int>(i);
  return -1;
}

namespace {

/// Checks one plan against the model it belongs to.
class PlanParser {
public:
  PlanParser(const JsonRef &root, const EntryInfo &entry,
             const ModelFacts &facts, const DeviceInfo &part,
             const SafeTensors *weights, const Device &device)
      : root(root), entry(entry), facts(facts), part(part),
        weights(weights), device(device) {}

  Plan parse();

private:
  PlanBuffer parseBuffer(const JsonRef &json);
  void parseInput(const JsonRef &json, PlanBuffer &buffer);
  void parseOutput(const JsonRef &json, PlanBuffer &buffer);
  void parseWeight(const JsonRef &json, PlanBuffer &buffer);
  void parseState(const JsonRef &json, PlanBuffer &buffer);
  PlanStep parseStep(const JsonRef &json);
  void parseLaunch(const JsonRef &json, LaunchStep &step);
  void parseGeometry(const JsonRef &json, LaunchStep &step);
  void parseGemm(const JsonRef &json, GemmStep &step);
  uint32_t bufferIndex(const JsonRef &json);
  void expectMatrix(const JsonRef &json, uint32_t index, uint64_t bytes,
                    bool written);

  const JsonRef &root;
  const EntryInfo &entry;
  const ModelFacts &facts;
  const DeviceInfo &part;
  const SafeTensors *weights;
  const Device &device;
  Plan plan;
  std::map<std::string, KernelRef> kernels;
};

} // namespace

void PlanParser::parseInput(const JsonRef &json, PlanBuffer &buffer) {
  uint64_t rowBytes = 0;
  if (buffer.name == "ids" || buffer.name == "positions" ||
      buffer.name == "sequences" || buffer.name == "active" ||
      buffer.name == "temperature" || buffer.name == "top_k" ||
      buffer.name == "top_p")
    rowBytes = checkedMul(plan.rows, 4);
  else if (buffer.name == "seeds" || buffer.name == "counters")
    rowBytes = checkedMul(plan.rows, 8);
  else if (buffer.name == "stops")
    rowBytes = checkedMul(plan.rows, mostStops * 4);
  else if (buffer.name == "logits")
    rowBytes = checkedMul(plan.rows, checkedMul(facts.vocab, 4));
  else if (buffer.name == "status")
    rowBytes = 4;
  else if (buffer.name == "hidden")
    rowBytes = checkedMul(plan.rows, checkedMul(facts.hidden, 4));
  else
    json.fail("unknown input '" + buffer.name + "'");
  if (buffer.bytes != rowBytes)
    json.fail("input '" + buffer.name + "' must have " +
              std::to_string(rowBytes) + " bytes");
}

void PlanParser::parseOutput(const JsonRef &json, PlanBuffer &buffer) {
  uint64_t width = 0;
  if (buffer.name == "tokens")
    width = 1;
  else if (buffer.name == "hidden")
    width = facts.hidden;
  else if (buffer.name == "logits")
    width = facts.vocab;
  else
    json.fail("unknown output '" + buffer.name + "'");
  uint64_t bytes = checkedMul(plan.rows, checkedMul(width, 4));
  if (buffer.bytes != bytes)
    json.fail("output '" + buffer.name + "' must have " +
              std::to_string(bytes) + " bytes");
}

void PlanParser::parseWeight(const JsonRef &json, PlanBuffer &buffer) {
  if (!weights) {
    if (!parseDType(json.getString("dtype"), buffer.dtype))
      json.at("dtype").fail("unknown type");
    return;
  }
  const TensorView *view = weights->find(buffer.name);
  if (!view)
    json.fail("there is no weight '" + buffer.name + "'");
  if (buffer.bytes > view->bytes)
    json.fail("weight '" + buffer.name + "' has only " +
              std::to_string(view->bytes) + " bytes");
  if (reinterpret_cast<uintptr_t>(view->data) % dtypeBytes(view->dtype))
    json.fail("weight '" + buffer.name + "' is not aligned to its element");
  buffer.weight = view->data;
  buffer.dtype = view->dtype;
}

void PlanParser::parseState(const JsonRef &json, PlanBuffer &buffer) {
  buffer.layer =
      json.getInt("layer", 0, static_cast<int64_t>(part.layers.size()) - 1);
  if (buffer.name == "key" || buffer.name == "value") {
    buffer.part = buffer.name == "key" ? StatePart::Key : StatePart::Value;
    return;
  }
  const LayerLayout &layout = part.layers[buffer.layer];
  const Component *component = layout.find(buffer.name);
  if (!component)
    json.fail("layer " + std::to_string(buffer.layer) + " has no component '" +
              buffer.name + "'");
  buffer.component = component - layout.components.data();
}

PlanBuffer PlanParser::parseBuffer(const JsonRef &json) {
  PlanBuffer buffer;
  const std::string &kind = json.getString("kind");
  if (kind == "arena") {
    buffer.kind = BufferKind::Arena;
    buffer.offset = json.getInt("offset", 0, maxBytes);
    buffer.bytes = json.getInt("bytes", 0, maxBytes);
    if (buffer.offset % 64 != 0)
      json.fail("the offset is not a multiple of 64");
    if (!fitsIn(buffer.offset, buffer.bytes, plan.arenaBytes))
      json.fail("the range leaves the arena");
    return buffer;
  }
  buffer.name = json.getString("name");
  if (kind == "state") {
    buffer.kind = BufferKind::State;
    parseState(json, buffer);
    return buffer;
  }
  buffer.bytes = json.getInt("bytes", 0, maxBytes);
  if (kind == "input") {
    buffer.kind = BufferKind::Input;
    parseInput(json, buffer);
  } else if (kind == "output") {
    buffer.kind = BufferKind::Output;
    parseOutput(json, buffer);
  } else if (kind == "weight") {
    buffer.kind = BufferKind::Weight;
    parseWeight(json, buffer);
  } else {
    json.fail("unknown kind of buffer '" + kind + "'");
  }
  if (buffer.kind != BufferKind::Weight &&
      plan.find(buffer.kind, buffer.name.c_str()) >= 0)
    json.fail("two buffers have this kind and name");
  return buffer;
}

uint32_t PlanParser::bufferIndex(const JsonRef &json) {
  return static_cast<uint32_t>(
      json.asInt(0, static_cast<int64_t>(plan.buffers.size()) - 1));
}

/// Three numbers, or one that stands for itself and two ones.
static std::array<uint32_t, 3> parseExtents(const JsonRef &json, int64_t min) {
  auto number = [&](const JsonRef &value, int64_t max) {
    return static_cast<uint32_t>(value.asInt(min, max));
  };
  if (!json.isArray())
    return {number(json, maxDim), 1, 1};
  if (json.size() != 3)
    json.fail("expected three numbers");
  return {number(json.at(size_t(0)), maxDim), number(json.at(1), 65535),
          number(json.at(2), 65535)};
}

void PlanParser::parseGeometry(const JsonRef &json, LaunchStep &step) {
  if (device.onHost()) {
    step.grid[0] = static_cast<uint32_t>(json.getInt("grid", 0, maxDim));
    return;
  }
  step.grid = parseExtents(json.at("grid"), 1);
  step.block = parseExtents(json.at("block"), 1);
  if (uint64_t(step.block[0]) * step.block[1] * step.block[2] > 1024)
    json.at("block").fail("more than 1024 threads");
  if (json.has("cluster"))
    step.cluster = static_cast<uint32_t>(json.getInt("cluster", 1, 16));
  if (step.grid[0] % step.cluster != 0)
    json.at("cluster").fail("the grid does not consist of whole clusters");
  if (json.has("shared"))
    step.shared = static_cast<uint32_t>(json.getInt("shared", 0, 1 << 20));
  if (json.has("dependent"))
    step.dependent = json.at("dependent").asBool();
}

void PlanParser::parseLaunch(const JsonRef &json, LaunchStep &step) {
  const std::string &name = json.getString("kernel");
  auto it = kernels.find(name);
  if (it == kernels.end()) {
    // An embedded NUL would look up another name than the one in the file.
    if (name.empty() || name.find('\0') != std::string::npos)
      json.fail("malformed kernel name");
    KernelRef kernel = device.find(name.c_str());
    if (!kernel)
      json.fail("the code has no kernel '" + name + "'");
    it = kernels.emplace(name, kernel).first;
  }
  step.name = name;
  step.kernel = it->second;
  parseGeometry(json, step);
  JsonRef args = json.at("args");
  for (size_t i = 0, e = args.size(); i != e; ++i)
    step.args.push_back(bufferIndex(args.at(i)));
}

void PlanParser::expectMatrix(const JsonRef &json, uint32_t index,
                              uint64_t bytes, bool written) {
  const PlanBuffer &buffer = plan.buffers[index];
  if (buffer.kind == BufferKind::State)
    json.fail("a gemm cannot work on the cache");
  if (written &&
      (buffer.kind == BufferKind::Weight || buffer.kind == BufferKind::Input))
    json.fail("a gemm cannot write to this buffer");
  if (buffer.bytes < bytes)
    json.fail("the buffer has " + std::to_string(buffer.bytes) +
              " bytes, the gemm needs " + std::to_string(bytes));
}

void PlanParser::parseGemm(const JsonRef &json, GemmStep &step) {
  step.m = json.getInt("m", 1, maxDim);
  step.n = json.getInt("n", 1, maxDim);
  step.k = json.getInt("k", 1, maxDim);
  step.a = bufferIndex(json.at("a"));
  step.b = bufferIndex(json.at("b"));
  step.c = bufferIndex(json.at("c"));
  step.accumulate = json.at("accumulate").asBool();
  const bool host = device.onHost();
  if (json.getString("format") != (host ? "panel64" : "rows"))
    json.at("format").fail(host ? "expected panel64" : "expected rows");
  if (!parseDType(json.getString("dtype"), step.dtype) ||
      (step.dtype != DType::F32 && step.dtype != DType::BF16 &&
       (host || step.dtype != DType::F16)))
    json.at("dtype").fail(host ? "expected f32 or bf16"
                               : "expected f32, bf16 or f16");
  uint64_t element = dtypeBytes(step.dtype);
  uint64_t columns = host ? ceilDiv(step.n, 64) * 64 : step.n;
  expectMatrix(json.at("a"), step.a,
               checkedMul(checkedMul(step.m, step.k), host ? 4 : element),
               false);
  expectMatrix(json.at("b"), step.b,
               checkedMul(checkedMul(columns, step.k), element), false);
  expectMatrix(json.at("c"), step.c, checkedMul(checkedMul(step.m, step.n), 4),
               true);
}

PlanStep PlanParser::parseStep(const JsonRef &json) {
  PlanStep step;
  const std::string &op = json.getString("op");
  if (op == "launch") {
    parseLaunch(json, step.launch);
  } else if (op == "gemm") {
    step.isGemm = true;
    parseGemm(json, step.gemm);
  } else {
    json.fail("unknown step '" + op + "'");
  }
  return step;
}

Plan PlanParser::parse() {
  plan.name = root.getString("entry");
  plan.kind = root.getString("kind");
  plan.rows = root.getInt("rows", 1, 1 << 20);
  if (plan.name != entry.name || plan.kind != entry.kind ||
      plan.rows != entry.rows)
    root.fail("entry, kind or rows differ from the manifest");
  plan.arenaBytes = root.getInt("arena_bytes", 0, maxBytes);
  JsonRef buffers = root.at("buffers");
  for (size_t i = 0, e = buffers.size(); i != e; ++i)
    plan.buffers.push_back(parseBuffer(buffers.at(i)));
  JsonRef steps = root.at("steps");
  for (size_t i = 0, e = steps.size(); i != e; ++i)
    plan.steps.push_back(parseStep(steps.at(i)));
  return std::move(plan);
}

Plan sparse::runtime::parsePlan(const std::string &text,
                                const std::string &where,
                                const EntryInfo &entry,
                                const ModelFacts &facts,
                                const DeviceInfo &part,
                                const SafeTensors *weights,
                                const Device &device) {
  Json json = parseJson(text, where);
  JsonRef root(json, where);
  return PlanParser(root, entry, facts, part, weights, device).parse();
}
