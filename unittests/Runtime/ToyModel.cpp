//===- ToyModel.cpp - An artifact and its oracle --------------------------===//

#include "ToyModel.h"
#include "Context.h"
#include "Sha256.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace toy;

sparse::runtime::ContextOptions toy::smallOptions() {
  sparse::runtime::ContextOptions options;
  options.maxSequences = 8;
  options.threads = 2;
  options.limitBytes = 16 << 20;
  options.checkCounts = true;
  return options;
}

toy::TempDir::TempDir() {
  std::string name =
      (std::filesystem::temp_directory_path() / "sparse-runtime-test-XXXXXX")
          .string();
  if (!::mkdtemp(name.data()))
    throw std::runtime_error("cannot create a temporary directory");
  directory = name;
}

toy::TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

Config toy::cappedConfig(const std::string &prefillCap) {
  Config config;
  config.layers[1].caps = {10, -1};
  config.layers[1].prefillCap = prefillCap;
  config.layers[1].writesInPlace = true;
  Layer both = config.layers[1];
  both.caps = {6, 9};
  both.page = 8;
  config.layers.push_back(both);
  return config;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

void toy::Artifact::writeFile(const std::string &path,
                              const std::string &text) {
  std::filesystem::create_directories(
      std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    throw std::runtime_error("cannot write " + path);
}

std::string toy::Artifact::readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string toy::builtFile(const std::string &path) {
  const char *folder = std::getenv("SPARSE_TEST_FILES");
  if (!folder)
    return path;
  return std::filesystem::path(folder) /
         std::filesystem::path(path).filename();
}

std::string toy::sealManifest(Json manifest) {
  manifest["digest"] = std::string(64, '0');
  std::string text = manifest.dump(2);
  std::string digest = sparse::runtime::sha256(text.data(), text.size());
  text.replace(text.find(std::string(64, '0')), 64, digest);
  return text;
}

static void collect(const Json &json, Path &at, std::vector<Path> &out) {
  auto visit = [&](const std::string &key, const Json &value) {
    at.push_back(key);
    out.push_back(at);
    collect(value, at, out);
    at.pop_back();
  };
  if (json.is_object())
    for (auto it = json.begin(); it != json.end(); ++it)
      visit(it.key(), it.value());
  if (json.is_array())
    for (size_t i = 0; i < json.size(); ++i)
      visit(std::to_string(i), json[i]);
}

std::vector<Path> toy::allPaths(const Json &json) {
  std::vector<Path> out;
  Path at;
  collect(json, at, out);
  return out;
}

Json &toy::valueAt(Json &json, const Path &path) {
  Json *value = &json;
  for (const std::string &key : path)
    value = value->is_array() ? &(*value)[std::stoul(key)] : &(*value)[key];
  return *value;
}

std::string toy::str(const Path &path) {
  std::string text;
  for (const std::string &key : path)
    text += "/" + key;
  return text;
}

void toy::Artifact::write(const std::string &directory) {
  for (const auto &plan : plans)
    files["plans/cpu/" + plan.first + ".json"] = plan.second.dump();
  for (const auto &plan : cudaPlans)
    files["plans/cuda/" + plan.first + ".json"] = plan.second.dump();
  manifest["sections"] = Json::array();
  for (const auto &file : files) {
    std::string kind = file.first.rfind("plans/", 0) == 0  ? "plan"
                       : file.first.rfind("code/", 0) == 0 ? "code"
                       : file.first == "tokenizer.json"    ? "tokenizer"
                                                           : "weights";
    manifest["sections"].push_back(
        {{"path", file.first},
         {"kind", kind},
         {"bytes", file.second.size()},
         {"sha256",
          sparse::runtime::sha256(file.second.data(), file.second.size())}});
    writeFile(directory + "/" + file.first, file.second);
  }
  writeFile(directory + "/manifest.json", sealManifest(manifest));
}

namespace {

/// A safetensors file in memory.
class Weights {
public:
  void add(const std::string &name, const std::string &dtype,
           std::vector<uint64_t> shape, const void *bytes, uint64_t size) {
    if (header.contains(name))
      return;
    header[name] = {{"dtype", dtype},
                    {"shape", shape},
                    {"data_offsets", {data.size(), data.size() + size}}};
    data.append(static_cast<const char *>(bytes), size);
  }
  std::string text() const {
    std::string json = header.dump();
    json.resize((json.size() + 8 + 63) / 64 * 64 - 8, ' ');
    std::string text;
    for (int i = 0; i < 8; ++i)
      text += static_cast<char>(json.size() >> (8 * i));
    return text + json + data;
  }

private:
  Json header = Json::object();
  std::string data;
};

/// Builds one plan buffer by buffer.
class PlanBuilder {
public:
  PlanBuilder(const Config &config, Weights &weights, std::string name,
              std::string kind, int64_t rows, bool cuda)
      : config(config), weights(weights), rows(rows), cuda(cuda) {
    plan = {{"entry", name},
            {"kind", kind},
            {"rows", rows},
            {"arena_bytes", 0},
            {"buffers", Json::array()},
            {"steps", Json::array()}};
    this->name = name;
  }

  int buffer(Json json) {
    for (size_t i = 0; i < plan["buffers"].size(); ++i)
      if (plan["buffers"][i] == json)
        return static_cast<int>(i);
    plan["buffers"].push_back(json);
    return static_cast<int>(plan["buffers"].size()) - 1;
  }
  int input(const char *which) {
    int64_t bytes = rows * 4;
    if (!std::strcmp(which, "status"))
      bytes = 4;
    if (!std::strcmp(which, "hidden"))
      bytes = rows * config.hidden() * 4;
    if (!std::strcmp(which, "logits"))
      bytes = rows * config.vocab * 4;
    if (!std::strcmp(which, "seeds") || !std::strcmp(which, "counters"))
      bytes = rows * 8;
    if (!std::strcmp(which, "stops"))
      bytes = rows * 8 * 4;
    return buffer({{"kind", "input"}, {"name", which}, {"bytes", bytes}});
  }
  int output(const char *which) {
    int64_t width = !std::strcmp(which, "hidden")   ? config.hidden()
                    : !std::strcmp(which, "tokens") ? 1
                                                    : config.vocab;
    return buffer(
        {{"kind", "output"}, {"name", which}, {"bytes", rows * width * 4}});
  }
  int arena(int64_t bytes) {
    int64_t offset = plan["arena_bytes"].get<int64_t>();
    plan["arena_bytes"] = offset + (bytes + 63) / 64 * 64;
    return buffer({{"kind", "arena"}, {"offset", offset}, {"bytes", bytes}});
  }
  int params(int64_t layer, bool decode) {
    const Layer &l = config.layers[static_cast<size_t>(layer)];
    bool capped = std::any_of(l.caps.begin(), l.caps.end(),
                              [](int64_t cap) { return cap >= 0; });
    int64_t p[19] = {rows,
                     layer,
                     config.heads(),
                     config.dim,
                     l.page,
                     l.maxPages,
                     l.page * config.dim * 8,
                     config.vocab,
                     config.hidden(),
                     capped,
                     decode,
                     -1,
                     -1,
                     -1,
                     -1,
                     -1,
                     -1,
                     -1,
                     -1};
    std::copy(l.caps.begin(), l.caps.end(), p + 11);
    std::string symbol = name + "_params_" + std::to_string(layer);
    Json json = {{"kind", "weight"}, {"name", symbol}, {"bytes", sizeof(p)}};
    for (size_t i = 0; i < plan["buffers"].size(); ++i)
      if (plan["buffers"][i] == json)
        return static_cast<int>(i);
    weights.add(symbol, "I64", {19}, p, sizeof(p));
    return buffer(json);
  }
  std::vector<int> state(int64_t layer) {
    std::vector<int> all;
    for (const char *part : {"key", "value", "table", "count", "victim",
                             "position", "attended", "page_sum"})
      all.push_back(
          buffer({{"kind", "state"}, {"layer", layer}, {"name", part}}));
    return all;
  }
  void launch(const char *kernel, int64_t grid, std::vector<int> args,
              const std::vector<int> &more = {}) {
    args.insert(args.end(), more.begin(), more.end());
    Json step = {
        {"op", "launch"}, {"kernel", kernel}, {"grid", grid}, {"args", args}};
    if (cuda) {
      step["grid"] = {grid, 1, 1};
      step["block"] = {32, 1, 1};
      step["cluster"] = 1;
      step["shared"] = 0;
      step["dependent"] = true;
    }
    plan["steps"].push_back(step);
  }

  Json plan;

private:
  const Config &config;
  Weights &weights;
  int64_t rows;
  bool cuda;
  std::string name;
};

} // namespace

/// Appends and attends in all layers; hidden rows go to `hidden`.
static void addLayers(PlanBuilder &b, const Config &config, int64_t rows,
                      int hidden, bool decode) {
  int ids = b.input("ids"), positions = b.input("positions"),
      sequences = b.input("sequences"), active = b.input("active"),
      status = b.input("status");
  for (int64_t l = 0; l < static_cast<int64_t>(config.layers.size()); ++l) {
    int params = b.params(l, decode);
    std::vector<int> state = b.state(l);
    b.launch("append", config.heads(),
             {params, ids, positions, sequences, active, status}, state);
    b.launch("attend", rows, {params, positions, sequences, active, hidden},
             state);
    if (decode)
      b.launch("compress", config.heads(), {params, sequences, active}, state);
  }
}

static Json layerJson(const Config &config, const Layer &layer) {
  int64_t heads = config.heads(), slots = layer.maxPages * layer.page;
  int64_t keyBytes = layer.page * config.dim * 4;
  Json caps = Json::array();
  bool capped = false;
  for (int64_t cap : layer.caps) {
    caps.push_back(cap < 0 ? Json() : Json(cap));
    capped |= cap >= 0;
  }
  auto component = [](const char *name, const char *dtype,
                      std::vector<int64_t> shape, const char *scope,
                      Json init) -> Json {
    return {{"name", name},
            {"dtype", dtype},
            {"shape", shape},
            {"scope", scope},
            {"init", init}};
  };
  Json components = {
      component("table", "i32", {heads, layer.maxPages}, "page", -1),
      component("count", "i32", {heads}, "head", 0),
      component("victim", "i32", {heads}, "head", -1),
      component("position", "i32", {heads, slots}, "slot", -1),
      component("page_sum", "f32", {heads, layer.maxPages}, "page", -1),
      component("attended", "i32", {heads}, "head", 0)};
  components[4]["content"] = true;
  components[5]["counter"] = true;
  return {{"kv_heads", heads},
          {"page", layer.page},
          {"page_bytes", 2 * keyBytes},
          {"key_bytes", keyBytes},
          {"slot_bytes", config.dim * 8},
          {"slotted", capped},
          {"max_pages", layer.maxPages},
          {"caps", caps},
          {"prefill_cap", layer.prefillCap},
          {"writes_in_place", layer.writesInPlace},
          {"components", components}};
}

/// The weights of head_of as a matrix [hidden, vocab] in panels of 64 columns.
static void addHeadWeights(const Config &config, Weights &weights) {
  int64_t panels = (config.vocab + 63) / 64, k = config.hidden();
  std::vector<float> wide(static_cast<size_t>(panels * k * 64), 0);
  for (int64_t v = 0; v < config.vocab; ++v)
    for (int64_t j = 0; j < k; ++j)
      wide[(v / 64 * k + j) * 64 + v % 64] =
          static_cast<float>((j + v) % 5 - 2);
  if (config.gemm == "f32") {
    weights.add("head", "F32", {wide.size()}, wide.data(), wide.size() * 4);
    return;
  }
  std::vector<uint16_t> narrow;
  for (float x : wide)
    narrow.push_back(sparse::runtime::floatToBF16(x));
  weights.add("head", "BF16", {narrow.size()}, narrow.data(),
              narrow.size() * 2);
}

/// The same in rows [vocab, hidden], f32.
static void addHeadRows(const Config &config, Weights &weights) {
  int64_t k = config.hidden();
  std::vector<float> rows;
  for (int64_t v = 0; v < config.vocab; ++v)
    for (int64_t j = 0; j < k; ++j)
      rows.push_back(static_cast<float>((j + v) % 5 - 2));
  weights.add("head_rows", "F32", {rows.size()}, rows.data(), rows.size() * 4);
}

/// The plans of one device; returns the list of entries.
static Json addPlans(const Config &config, Weights &weights, bool cuda,
                     std::map<std::string, Json> &plans) {
  Json entries = Json::array();
  auto finish = [&](PlanBuilder &b) {
    std::string name = b.plan["entry"];
    entries.push_back({{"name", name},
                       {"kind", b.plan["kind"]},
                       {"rows", b.plan["rows"]},
                       {"plan", std::string(cuda ? "plans/cuda/" : "plans/cpu/") + name + ".json"}});
    plans[name] = b.plan;
  };
  {
    PlanBuilder b(config, weights, "prefill", "prefill", config.chunk,
                  cuda);
    addLayers(b, config, config.chunk, b.output("hidden"), false);
    finish(b);
  }
  for (int64_t rows : config.buckets) {
    PlanBuilder b(config, weights, "decode_b" + std::to_string(rows), "decode",
                  rows, cuda);
    int hidden = b.arena(rows * config.hidden() * 4);
    addLayers(b, config, rows, hidden, true);
    b.launch("head_of", rows, {b.params(0, true), hidden, b.output("logits")});
    finish(b);
  }
  for (int64_t rows :
       config.samplers ? config.buckets : std::vector<int64_t>()) {
    PlanBuilder b(config, weights, "sample_b" + std::to_string(rows), "sample",
                  rows, cuda);
    std::vector<int> args = {b.params(0, true)};
    for (const char *name :
         {"logits", "ids", "positions", "active", "temperature", "top_k",
          "top_p", "seeds", "counters", "stops"})
      args.push_back(b.input(name));
    args.push_back(b.output("tokens"));
    b.launch("choose", rows, args);
    finish(b);
  }
  {
    PlanBuilder b(config, weights, "logits", "logits", config.logitsRows,
                  cuda);
    if (config.gemm.empty()) {
      b.launch("head_of", config.logitsRows,
               {b.params(0, false), b.input("hidden"), b.output("logits")});
    } else {
      addHeadWeights(config, weights);
      addHeadRows(config, weights);
      int64_t columns = cuda ? config.vocab : (config.vocab + 63) / 64 * 64;
      int64_t elements = columns * config.hidden();
      b.plan["steps"].push_back(
          {{"op", "gemm"},
           {"m", config.logitsRows},
           {"n", config.vocab},
           {"k", config.hidden()},
           {"a", b.input("hidden")},
           {"b",
            b.buffer({{"kind", "weight"},
                      {"name", cuda ? "head_rows" : "head"},
                      {"bytes", elements * (config.gemm == "f32" ? 4 : 2)}})},
           {"c", b.output("logits")},
           {"format", cuda ? "rows" : "panel64"},
           {"dtype", config.gemm},
           {"accumulate", false}});
    }
    finish(b);
  }
  bool someChunk = false, someEnd = false;
  for (const Layer &layer : config.layers) {
    someChunk |= layer.prefillCap == "chunk";
    someEnd |= layer.prefillCap == "end";
  }
  auto maintain = [&](const char *name, const char *kernel, bool chunkOnly) {
    PlanBuilder b(config, weights, name, "maintain", 1, cuda);
    for (size_t l = 0; l < config.layers.size(); ++l) {
      if (chunkOnly && config.layers[l].prefillCap != "chunk")
        continue;
      int64_t layer = static_cast<int64_t>(l);
      b.launch(kernel, config.heads(),
               {b.params(layer, false), b.input("sequences")}, b.state(layer));
    }
    finish(b);
  };
  maintain("maintain_compact", "compact", false);
  if (someChunk && someEnd)
    maintain("maintain_compact_chunk", "compact", true);
  maintain("maintain_rebuild", "rebuild", false);
  return entries;
}

Artifact toy::makeArtifact(const Config &config) {
  Artifact artifact;
  Weights weights;
  Json entries = addPlans(config, weights, false, artifact.plans);
  Json layers = Json::array();
  for (const Layer &layer : config.layers)
    layers.push_back(layerJson(config, layer));
  artifact.manifest = {
      {"digest", std::string(64, '0')},
      {"schema_version", 2},
      {"created_by", "unit tests"},
      {"source", {{"name", "toy.onnx"}, {"sha256", std::string(64, 'a')}}},
      {"model",
       {{"layers", config.layers.size()},
        {"hidden", config.hidden()},
        {"vocab", config.vocab},
        {"heads", config.heads()},
        {"kv_heads", config.heads()},
        {"head_dim", config.dim},
        {"max_context", config.maxContext},
        {"weights_dtype", "f32"},
        {"kv_dtype", "f32"},
        {"prefill_chunk", config.chunk}}},
      {"policy", ""},
      {"devices",
       {{"cpu",
         {{"targets",
           {{{"name", "any"},
             {"code", "code/any.so"},
             {"requires", Json::array()}}}},
          {"cache", {{"layers", layers}}},
          {"entries", entries}}}}}};
  if (config.cuda) {
    artifact.manifest["devices"]["cuda"] = {
        {"targets",
         {{{"name", "sm_90a"},
           {"code", "code/toy.cubin"},
           {"ptx", "code/toy.ptx"},
           {"requires", {"sm_90"}}}}},
        {"cache", {{"layers", layers}}},
        {"entries", addPlans(config, weights, true, artifact.cudaPlans)}};
    artifact.files["code/toy.cubin"] = artifact.files["code/toy.ptx"] =
        config.cudaCode.empty() ? TOY_KERNELS : config.cudaCode;
  }
  artifact.files["weights.safetensors"] = weights.text();
  artifact.files["code/any.so"] = Artifact::readFile(builtFile(TOY_KERNELS));
  return artifact;
}

std::unique_ptr<LoadedModel>
toy::load(const Config &config, const sparse::runtime::LoadOptions &options) {
  auto loaded = std::make_unique<LoadedModel>();
  makeArtifact(config).write(loaded->dir.path());
  loaded->model = std::make_shared<sparse::runtime::Model>(
      loaded->dir.path(), options);
  return loaded;
}

//===----------------------------------------------------------------------===//
// Oracle
//===----------------------------------------------------------------------===//

toy::Oracle::Oracle(const Config &config) : config(config) {
  for (const Layer &layer : config.layers)
    heads.emplace_back(layer.caps.size());
}

std::vector<float> toy::Oracle::attend(int64_t queryPosition) const {
  std::vector<float> hidden(static_cast<size_t>(config.hidden()), 0);
  for (size_t l = 0; l < heads.size(); ++l)
    for (size_t h = 0; h < heads[l].size(); ++h)
      for (const Token &token : heads[l][h].live) {
        if (token.position > queryPosition)
          continue;
        for (int64_t d = 0; d < config.dim; ++d) {
          int64_t key = (token.id + d + static_cast<int64_t>(l)) % 8;
          int64_t value = (token.id * 7 + token.position * 3 + d +
                           static_cast<int64_t>(h)) %
                          32;
          hidden[h * config.dim + d] += static_cast<float>(key * value);
        }
      }
  return hidden;
}

std::vector<float> toy::Oracle::logits(const std::vector<float> &hidden) const {
  std::vector<float> logits(static_cast<size_t>(config.vocab), 0);
  for (int64_t v = 0; v < config.vocab; ++v)
    for (int64_t j = 0; j < config.hidden(); ++j)
      logits[v] += hidden[j] * static_cast<float>((j + v) % 5 - 2);
  return logits;
}

void toy::Oracle::append(Head &head, int32_t id) {
  head.live.push_back({id, position});
}

void toy::Oracle::compact(bool chunk) {
  for (size_t l = 0; l < heads.size(); ++l)
    for (size_t h = 0; h < heads[l].size(); ++h) {
      int64_t cap = config.layers[l].caps[h];
      if (cap < 0 || (chunk && config.layers[l].prefillCap != "chunk"))
        continue;
      auto &live = heads[l][h].live;
      heads[l][h].victim = false;
      if (live.size() > static_cast<size_t>(cap))
        live.erase(live.begin(), live.end() - cap);
    }
}

std::vector<std::vector<float>>
toy::Oracle::prefill(const std::vector<int32_t> &ids) {
  std::vector<std::vector<float>> rows;
  bool chunkMode = false, endMode = false;
  for (const Layer &layer : config.layers) {
    chunkMode |= layer.prefillCap == "chunk";
    endMode |= layer.prefillCap == "end";
  }
  size_t chunk = static_cast<size_t>(config.chunk);
  for (size_t at = 0; at < ids.size(); at += chunk) {
    size_t n = std::min(chunk, ids.size() - at);
    int64_t first = position;
    for (size_t i = 0; i < n; ++i, ++position)
      for (auto &layer : heads)
        for (Head &head : layer)
          append(head, ids[at + i]);
    for (size_t i = 0; i < n; ++i)
      rows.push_back(attend(first + static_cast<int64_t>(i)));
    auto over = [&](bool chunkOnly) {
      for (size_t l = 0; l < heads.size(); ++l)
        for (size_t h = 0; h < heads[l].size(); ++h)
          if (config.layers[l].caps[h] >= 0 &&
              (!chunkOnly || config.layers[l].prefillCap == "chunk") &&
              extent(l, h) > static_cast<uint64_t>(config.layers[l].caps[h]))
            return true;
      return false;
    };
    if (chunkMode && over(true))
      compact(true);
    if (endMode && at + n == ids.size() && over(false))
      compact(false);
  }
  return rows;
}

std::vector<float> toy::Oracle::decode(int32_t id) {
  for (auto &layer : heads)
    for (Head &head : layer) {
      head.victim = false;
      append(head, id);
    }
  std::vector<float> out = logits(attend(position));
  ++position;
  for (size_t l = 0; l < heads.size(); ++l)
    for (size_t h = 0; h < heads[l].size(); ++h) {
      int64_t cap = config.layers[l].caps[h];
      auto &live = heads[l][h].live;
      if (cap < 0 || live.size() <= static_cast<size_t>(cap))
        continue;
      live.erase(live.begin());
      heads[l][h].victim = true;
    }
  return out;
}

uint64_t toy::Oracle::extent(size_t layer, size_t head) const {
  const Head &state = heads[layer][head];
  return state.live.size() + state.victim;
}

void toy::Oracle::trim(uint64_t n) {
  for (auto &layer : heads)
    for (Head &head : layer)
      head.live.resize(n);
  position = static_cast<int64_t>(n);
}
