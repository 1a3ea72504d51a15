//===- Manifest.cpp - What a model directory holds ------------------------===//

#include "Manifest.h"
#include "Checked.h"
#include "File.h"
#include "Json.h"
#include "Sha256.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

using namespace sparse::runtime;

// Limits that no sensible model reaches; they keep later products in range.
static constexpr int64_t maxDim = int64_t(1) << 40;
static constexpr int64_t maxHeads = 1 << 16;
static constexpr int64_t maxLayers = 1 << 16;
static constexpr int64_t maxPage = 1 << 16;
static constexpr int64_t maxRows = 1 << 20;

uint64_t Component::elements() const {
  uint64_t product = 1;
  for (uint64_t dim : shape)
    product = checkedMul(product, dim);
  return product;
}

const Component *LayerLayout::find(const std::string &name) const {
  for (const Component &component : components)
    if (component.name == name)
      return &component;
  return nullptr;
}

const Section *Manifest::findSection(const std::string &path) const {
  for (const Section &section : sections)
    if (section.path == path)
      return &section;
  return nullptr;
}

const DeviceInfo *Manifest::findDevice(const std::string &name) const {
  for (const DeviceInfo &device : devices)
    if (device.name == name)
      return &device;
  return nullptr;
}

static bool isHexDigest(const std::string &text) {
  if (text.size() != 64)
    return false;
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string sparse::runtime::manifestDigest(const std::string &text,
                                            const std::string &where,
                                            size_t &begin) {
  size_t pos = 0;
  auto expect = [&](const std::string &token) {
    pos = text.find_first_not_of(" \t\r\n", pos);
    if (pos == std::string::npos || text.compare(pos, token.size(), token) != 0)
      fail(Code::InvalidArgument,
           "%s: expected the member \"digest\" first, of 64 hex digits",
           where.c_str());
    pos += token.size();
  };
  expect("{");
  expect("\"digest\"");
  expect(":");
  expect("\"");
  begin = pos;
  if (text.size() < pos + 65 || !isHexDigest(text.substr(pos, 64)) ||
      text[pos + 64] != '"')
    fail(Code::InvalidArgument,
         "%s: expected the member \"digest\" first, of 64 hex digits",
         where.c_str());
  std::string zeros(64, '0');
  Sha256 hash;
  hash.update(text.data(), begin);
  hash.update(zeros.data(), zeros.size());
  hash.update(text.data() + begin + 64, text.size() - begin - 64);
  return hash.hex();
}

static ModelFacts parseFacts(const JsonRef &json) {
  ModelFacts facts;
  facts.layers = json.getInt("layers", 1, maxLayers);
  facts.hidden = json.getInt("hidden", 1, 1 << 30);
  facts.vocab = json.getInt("vocab", 1, std::numeric_limits<int32_t>::max());
  facts.heads = json.getInt("heads", 1, maxHeads);
  facts.kvHeads = json.getInt("kv_heads", 1, maxHeads);
  facts.headDim = json.getInt("head_dim", 1, 1 << 20);
  facts.maxContext = json.getInt("max_context", 1, 1 << 30);
  facts.prefillChunk = json.getInt("prefill_chunk", 1, maxRows);
  facts.weightsDType = json.getString("weights_dtype");
  facts.kvDType = json.getString("kv_dtype");
  return facts;
}

static Scope parseScope(const JsonRef &json) {
  const std::string &name = json.asString();
  if (name == "page")
    return Scope::Page;
  if (name == "slot")
    return Scope::Slot;
  if (name == "head")
    return Scope::Head;
  if (name == "layer")
    return Scope::Layer;
  if (name == "sequence")
    return Scope::Sequence;
  json.fail("expected page, slot, head, layer or sequence");
}

static void parseInit(const JsonRef &json, Component &component) {
  double value;
  if (json.isString()) {
    const std::string &text = json.asString();
    if (text != "inf" && text != "-inf")
      json.fail("expected a number, \"inf\" or \"-inf\"");
    value = text == "inf" ? HUGE_VAL : -HUGE_VAL;
  } else {
    value = json.asNumber();
  }
  if (!encodeElement(component.dtype, value, component.init))
    json.fail("the component's type cannot hold this value");
}

static Component parseComponent(const JsonRef &json,
                                const LayerLayout &layout) {
  Component component;
  component.name = json.getString("name");
  if (component.name.empty() || component.name == "key" ||
      component.name == "value")
    json.fail("a component needs a name other than key and value");
  if (!parseDType(json.getString("dtype"), component.dtype))
    json.at("dtype").fail("unknown element type");
  JsonRef shape = json.at("shape");
  for (size_t i = 0, e = shape.size(); i != e; ++i)
    component.shape.push_back(shape.at(i).asInt(1, maxDim));
  if (component.shape.size() > 8)
    shape.fail("more than 8 dimensions");
  component.scope = parseScope(json.at("scope"));
  parseInit(json.at("init"), component);
  if (json.has("content"))
    component.content = json.at("content").asBool();
  if (json.has("counter"))
    component.counter = json.at("counter").asBool();
  if (json.has("axis"))
    component.axis = json.getInt("axis", 1, 7);
  if (component.rowBytes() > (uint64_t(1) << 46))
    shape.fail("too large");
  if (component.scope == Scope::Page || component.scope == Scope::Slot) {
    uint64_t extent =
        component.scope == Scope::Page ? layout.maxPages : layout.maxSlots();
    if (component.axis >= component.shape.size() ||
        component.shape[component.axis] != extent ||
        component.shape[0] != layout.kvHeads)
      shape.fail("expected [kv_heads, ...] with " + std::to_string(extent) +
                 " entries in axis " + std::to_string(component.axis));
  }
  if (component.counter &&
      (component.scope != Scope::Head || component.dtype != DType::I32 ||
       component.elements() != layout.kvHeads))
    json.fail("a counter is one i32 per head");
  return component;
}

/// `table`, `count`, `victim` and `budget` are what the host itself works with.
static size_t findOwn(const JsonRef &json, const LayerLayout &layout,
                      const char *name, Scope scope,
                      const std::vector<uint64_t> &shape, int32_t init) {
  for (size_t i = 0; i < layout.components.size(); ++i) {
    const Component &component = layout.components[i];
    if (component.name != name)
      continue;
    int32_t actual;
    __builtin_memcpy(&actual, component.init, 4);
    if (component.dtype != DType::I32 || component.scope != scope ||
        component.shape != shape || actual != init)
      json.fail(std::string("component '") + name +
                "' does not have the form the runtime expects");
    return i;
  }
  json.fail(std::string("component '") + name + "' is missing");
}

int64_t LayerLayout::capAt(uint32_t head, uint64_t length,
                           uint64_t budget) const {
  if (budget)
    return static_cast<int64_t>(budget);
  int64_t cap = caps[head];
  if (cap < 0 || growth.empty() || growth[head].over == 0)
    return cap;
  const CapGrowth &grows = growth[head];
  uint64_t most = static_cast<uint64_t>(cap);
  uint64_t share = checkedMul(most, length) / grows.over;
  return static_cast<int64_t>(std::clamp(share, grows.least, most));
}

/// A number, null for none, or an object for one that grows.
static void parseCap(const JsonRef &json, uint64_t maxContext,
                     LayerLayout &layout) {
  CapGrowth growth;
  int64_t cap = -1;
  if (json.isObject()) {
    cap = static_cast<int64_t>(json.getInt("most", 1, maxContext));
    growth.over = json.getInt("over", cap, int64_t(1) << 30);
    growth.least = json.getInt("least", 1, cap);
  } else if (!json.isNull()) {
    cap = json.asInt(1, maxContext);
  }
  layout.caps.push_back(cap);
  layout.growth.push_back(growth);
}

static LayerLayout parseLayer(const JsonRef &json, const ModelFacts &facts) {
  LayerLayout layout;
  layout.kvHeads = json.getInt("kv_heads", 1, maxHeads);
  layout.page = json.getInt("page", 1, maxPage);
  layout.pageBytes = json.getInt("page_bytes", 1, int64_t(1) << 32);
  layout.keyBytes = json.getInt("key_bytes", 0, layout.pageBytes);
  layout.slotBytes = json.getInt("slot_bytes", 1, int64_t(1) << 32);
  if (checkedMul(layout.slotBytes, layout.page) > layout.pageBytes)
    json.fail("page_bytes is less than the bytes of its slots");
  layout.maxPages = json.getInt("max_pages", 1, 1 << 30);
  if (layout.maxSlots() > (uint64_t(1) << 31) - 1)
    json.fail("more slots than an i32 can count");
  // Absent in artifacts that know no codes.
  const std::string &dtype =
      json.has("dtype") ? json.getString("dtype") : facts.kvDType;
  if (!parseDType(dtype, layout.dtype))
    json.fail("'" + dtype + "' is no element type of pages");
  layout.slotted = json.at("slotted").asBool();
  layout.writesInPlace = json.at("writes_in_place").asBool();
  JsonRef caps = json.at("caps");
  if (caps.size() != layout.kvHeads)
    caps.fail("expected one cap (or null) per KV head");
  for (size_t i = 0; i < layout.kvHeads; ++i)
    parseCap(caps.at(i), facts.maxContext, layout);
  const std::string &cap = json.getString("prefill_cap");
  if (cap == "end")
    layout.prefillCap = PrefillCap::End;
  else if (cap == "chunk")
    layout.prefillCap = PrefillCap::Chunk;
  else if (cap != "none")
    json.at("prefill_cap").fail("expected none, end or chunk");

  JsonRef components = json.at("components");
  std::set<std::string> names;
  for (size_t i = 0, e = components.size(); i != e; ++i) {
    layout.components.push_back(parseComponent(components.at(i), layout));
    if (!names.insert(layout.components.back().name).second)
      components.at(i).fail("two components have this name");
  }
  layout.table = findOwn(json, layout, "table", Scope::Page,
                         {layout.kvHeads, layout.maxPages}, -1);
  layout.count =
      findOwn(json, layout, "count", Scope::Head, {layout.kvHeads}, 0);
  layout.victim =
      findOwn(json, layout, "victim", Scope::Head, {layout.kvHeads}, -1);
  if (names.count("budget")) {
    layout.budget =
        findOwn(json, layout, "budget", Scope::Head, {layout.kvHeads}, 0);
    bool capped = std::any_of(layout.caps.begin(), layout.caps.end(),
                              [](int64_t cap) { return cap >= 0; });
    if (!capped || layout.prefillCap != PrefillCap::End)
      json.fail("component 'budget' needs a cap and prefill_cap end");
  }
  return layout;
}

static Section parseSection(const JsonRef &json) {
  Section section;
  section.path = json.getString("path");
  section.kind = json.getString("kind");
  section.bytes = json.getInt("bytes", 0, std::numeric_limits<int64_t>::max());
  section.sha256 = json.getString("sha256");
  if (!isPlainRelativePath(section.path))
    json.at("path").fail("not a plain path beneath the model directory");
  if (section.kind != "weights" && section.kind != "plan" &&
      section.kind != "code" && section.kind != "tokenizer")
    json.at("kind").fail("expected weights, plan, code or tokenizer");
  if (!isHexDigest(section.sha256))
    json.at("sha256").fail("expected 64 lower-case hex digits");
  return section;
}

static void expectSection(const JsonRef &json, const Manifest &manifest,
                          const std::string &path, const char *kind) {
  const Section *section = manifest.findSection(path);
  if (!section || section->kind != kind)
    json.fail("'" + path + "' is not a section of kind " + kind);
}

static Target parseTarget(const JsonRef &json, const Manifest &manifest) {
  Target target;
  target.name = json.getString("name");
  target.code = json.getString("code");
  expectSection(json, manifest, target.code, "code");
  if (json.has("ptx")) {
    target.ptx = json.getString("ptx");
    expectSection(json, manifest, target.ptx, "code");
  }
  JsonRef features = json.at("requires");
  for (size_t i = 0, e = features.size(); i != e; ++i)
    target.requires_.push_back(features.at(i).asString());
  return target;
}

static EntryInfo parseEntry(const JsonRef &json, const Manifest &manifest) {
  EntryInfo entry;
  entry.name = json.getString("name");
  entry.kind = json.getString("kind");
  entry.rows = json.getInt("rows", 1, maxRows);
  entry.plan = json.getString("plan");
  expectSection(json, manifest, entry.plan, "plan");
  return entry;
}

static DeviceInfo parseDevice(const JsonRef &json, const std::string &name,
                              const Manifest &manifest) {
  DeviceInfo device;
  device.name = name;
  JsonRef targets = json.at("targets");
  for (size_t i = 0, e = targets.size(); i != e; ++i)
    device.targets.push_back(parseTarget(targets.at(i), manifest));

  JsonRef layers = json.at("cache").at("layers");
  if (layers.size() != manifest.model.layers)
    layers.fail("expected one layout per layer");
  for (size_t i = 0, e = layers.size(); i != e; ++i)
    device.layers.push_back(parseLayer(layers.at(i), manifest.model));

  JsonRef entries = json.at("entries");
  std::set<std::string> names;
  for (size_t i = 0, e = entries.size(); i != e; ++i) {
    device.entries.push_back(parseEntry(entries.at(i), manifest));
    if (!names.insert(device.entries.back().name).second)
      entries.at(i).fail("two entries have this name");
  }
  return device;
}

static void parseBody(const JsonRef &root, Manifest &manifest) {
  manifest.createdBy = root.getString("created_by");
  manifest.sourceName = root.at("source").getString("name");
  manifest.sourceSha256 = root.at("source").getString("sha256");
  manifest.policy = root.getString("policy");
  manifest.model = parseFacts(root.at("model"));
  if (root.has("weights")) {
    if (root.getString("weights") != "none")
      root.at("weights").fail("expected none");
    manifest.weightless = true;
  }

  JsonRef sections = root.at("sections");
  for (size_t i = 0, e = sections.size(); i != e; ++i) {
    Section section = parseSection(sections.at(i));
    if (manifest.findSection(section.path))
      sections.at(i).fail("two sections have this path");
    manifest.sections.push_back(section);
  }

  JsonRef devices = root.at("devices");
  devices.expectObject();
  for (auto it = devices.value.begin(); it != devices.value.end(); ++it) {
    if (it.key() != "cpu" && it.key() != "cuda")
      devices.fail("unknown device '" + it.key() + "'");
    manifest.devices.push_back(
        parseDevice(devices.at(it.key().c_str()), it.key(), manifest));
  }
  if (manifest.devices.empty())
    devices.fail("expected cpu, cuda or both");
}

Manifest sparse::runtime::parseManifest(const std::string &text,
                                        const std::string &where) {
  size_t begin = 0;
  std::string digest = manifestDigest(text, where, begin);
  if (text.compare(begin, 64, digest) != 0)
    fail(Code::DataLoss,
         "%s: the digest does not match the bytes; the file was altered or "
         "damaged, compile or copy the model again",
         where.c_str());
  Json json = parseJson(text, where);
  JsonRef root(json, where);
  int64_t version = root.getInt("schema_version", 1, maxDim);
  if (version > schemaVersion)
    fail(Code::Incompatible,
         "%s: schema version %lld is newer than %lld; use a newer runtime",
         where.c_str(), static_cast<long long>(version),
         static_cast<long long>(schemaVersion));
  if (version < schemaVersion)
    fail(Code::Incompatible,
         "%s: schema version %lld is older than %lld; compile the model again",
         where.c_str(), static_cast<long long>(version),
         static_cast<long long>(schemaVersion));
  Manifest manifest;
  manifest.digest = digest;
  parseBody(root, manifest);
  return manifest;
}
