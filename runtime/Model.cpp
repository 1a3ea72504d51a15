//===- Model.cpp - A loaded artifact --------------------------------------===//

#include "Model.h"
#include "Checked.h"
#include "Sha256.h"

#include <algorithm>
#include <map>
#include <unistd.h>

using namespace sparse::runtime;

static constexpr uint64_t maxManifest = 64 << 20;
static constexpr uint64_t maxPlan = 256 << 20;
static constexpr uint64_t maxTokenizer = 256 << 20;

static void verifySize(const File &file, const Section &section) {
  if (file.size != section.bytes)
    fail(Code::DataLoss, "%s has %llu bytes, the manifest says %llu",
         file.path.c_str(), static_cast<unsigned long long>(file.size),
         static_cast<unsigned long long>(section.bytes));
}

static void verifyDigest(const File &file, const Section &section,
                         const Mapping &bytes) {
  if (sha256(bytes.data(), bytes.size()) != section.sha256)
    fail(Code::DataLoss,
         "%s does not match its digest; the file was altered or damaged, "
         "compile or copy the model again",
         file.path.c_str());
}

static bool shouldMap(const File &file, const LoadOptions &options,
                      const Device &device) {
  uint64_t physical = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  // Weights that move to a device are read once.
  return options.mapWeights || !device.onHost() || file.size > physical / 2;
}

/// Takes one device: what the artifact has for it, and the best target that
/// runs there.
void Model::choose(const std::string &name, const LoadOptions &options) {
  chosenPart = info.findDevice(deviceKind(name));
  if (!chosenPart) {
    std::string have;
    for (const DeviceInfo &device : info.devices)
      have += " " + device.name;
    fail(Code::Incompatible,
         "%s: the model is not compiled for device '%s', only for%s; run it "
         "there, or compile it with another --target",
         directory.c_str(), name.c_str(), have.c_str());
  }
  place = openDevice(name, options);
  std::string reasons;
  for (const Target &target : chosenPart->targets) {
    if (!options.target.empty() && target.name != options.target)
      continue;
    std::string missing = place->lacks(target);
    if (missing.empty()) {
      chosen = &target;
      return;
    }
    reasons += "; " + target.name + " needs " + missing;
  }
  if (reasons.empty())
    fail(options.target.empty() ? Code::Incompatible : Code::NotFound,
         "%s: there is no code for target '%s'; compile with that --target",
         directory.c_str(), options.target.c_str());
  fail(Code::Incompatible, "%s: no target runs on %s%s; compile with another --target",
       directory.c_str(), place->name().c_str(), reasons.c_str());
}

void Model::open(const LoadOptions &options) {
  std::string names = options.device;
  while (true) {
    size_t comma = names.find(',');
    try {
      return choose(names.substr(0, comma), options);
    } catch (const Error &error) {
      if (comma == std::string::npos || (error.code != Code::Unavailable &&
                                         error.code != Code::Incompatible))
        throw;
      if (options.log)
        options.log(LogLevel::Warning,
                    std::string(error.what()) + "; trying the next device");
    }
    names = names.substr(comma + 1);
  }
}

Model::Model(const std::string &path, const LoadOptions &options)
    : directory(path) {
  ModelDir dir(path);
  File manifestFile = dir.open("manifest.json");
  info = parseManifest(readFile(manifestFile, maxManifest), manifestFile.path);
  identityText = info.digest;
  if (options.randomWeights)
    identityText += ":random:" + std::to_string(options.weightsSeed);
  open(options);
  if (info.weightless && !options.randomWeights)
    fail(Code::FailedPrecondition,
         "%s was compiled without weights: only its speed can be measured, "
         "with random ones (sparse-run bench --weights=random:SEED)",
         path.c_str());
  if (!info.weightless && options.randomWeights)
    fail(Code::FailedPrecondition,
         "%s has weights; random ones are for artifacts without", path.c_str());
  if (!options.verify && options.log)
    options.log(LogLevel::Warning,
                path + ": digests of sections are not checked");

  // Everything is opened and verified before anything is used; what is used
  // are the same descriptors.
  std::map<std::string, File> files;
  Mapping weightsBytes;
  const Section *weightsSection = nullptr, *tokenizerSection = nullptr;
  for (const Section &section : info.sections) {
    File file = dir.open(section.path);
    verifySize(file, section);
    Mapping bytes;
    if (section.kind == "weights" && !shouldMap(file, options, *place))
      bytes = Mapping::copy(file);
    else
      bytes = Mapping(file);
    if (options.verify)
      verifyDigest(file, section, bytes);
    files.emplace(section.path, std::move(file));
    if (section.kind == "weights") {
      if (weightsSection)
        fail(Code::InvalidArgument, "%s: two sections of kind weights",
             path.c_str());
      weightsSection = &section;
      weightsBytes = std::move(bytes);
    } else if (section.kind == "tokenizer") {
      tokenizerSection = &section;
    }
  }
  if (weightsSection)
    weights = SafeTensors(std::move(weightsBytes),
                          files.at(weightsSection->path).path);
  if (tokenizerSection)
    tokenizerText = readFile(files.at(tokenizerSection->path), maxTokenizer);
  place->load(*chosen, files);
  for (const EntryInfo &entry : chosenPart->entries) {
    const File &file = files.at(entry.plan);
    entries.push_back(parsePlan(readFile(file, maxPlan), file.path, entry,
                                info.model, *chosenPart,
                                info.weightless ? nullptr : &weights, *place));
  }
  if (info.weightless)
    place->placeRandom(entries, options.weightsSeed);
  else
    place->place(entries);
  // What has moved to a device is not needed here.
  if (!place->onHost())
    weights = SafeTensors();
  indexPlans();
}

void Model::indexPlans() {
  for (const Plan &plan : entries) {
    auto need = [&](BufferKind kind, const char *name) {
      if (plan.find(kind, name) < 0)
        fail(Code::InvalidArgument, "%s: entry %s has no buffer '%s'",
             directory.c_str(), plan.name.c_str(), name);
    };
    if (plan.kind == "prefill") {
      need(BufferKind::Output, "hidden");
      // With several chunk lengths the one that the model states is used.
      if (!prefillPlan || plan.rows == info.model.prefillChunk)
        prefillPlan = &plan;
    } else if (plan.kind == "decode") {
      need(BufferKind::Output, "logits");
      buckets.push_back(&plan);
    } else if (plan.kind == "logits") {
      need(BufferKind::Input, "hidden");
      need(BufferKind::Output, "logits");
    } else if (plan.kind == "sample") {
      for (const char *name :
           {"logits", "ids", "positions", "active", "temperature", "top_k",
            "top_p", "seeds", "counters", "stops"})
        need(BufferKind::Input, name);
      need(BufferKind::Output, "tokens");
    }
  }
  std::sort(buckets.begin(), buckets.end(),
            [](const Plan *a, const Plan *b) { return a->rows < b->rows; });

  bool capped = false, chunk = false, other = false;
  for (const LayerLayout &layout : chosenPart->layers) {
    bool has = std::any_of(layout.caps.begin(), layout.caps.end(),
                           [](int64_t cap) { return cap >= 0; });
    if (!has)
      continue;
    capped |= layout.prefillCap != PrefillCap::None;
    chunk |= layout.prefillCap == PrefillCap::Chunk;
    other |= layout.prefillCap != PrefillCap::Chunk;
  }
  if (capped && !findPlan("maintain_compact"))
    fail(Code::InvalidArgument,
         "%s: layers have a cap but there is no entry "
         "maintain_compact",
         directory.c_str());
  for (const LayerLayout &layout : chosenPart->layers)
    if (layout.budget && !findPlan("maintain_budgets"))
      fail(Code::InvalidArgument,
           "%s: layers have a component budget but there is no entry "
           "maintain_budgets",
           directory.c_str());
  // maintain_compact works on every capped layer, so it cannot run between
  // the chunks when some of them wait for the end of the prompt.
  if (chunk && other && !findPlan("maintain_compact_chunk"))
    fail(Code::InvalidArgument,
         "%s: layers differ in prefill_cap but there is no entry "
         "maintain_compact_chunk",
         directory.c_str());
}

const Plan *Model::findPlan(const char *name) const {
  for (const Plan &plan : entries)
    if (plan.name == name)
      return &plan;
  return nullptr;
}

const Plan *Model::samplerOf(const Plan &decode) const {
  for (const Plan &plan : entries)
    if (plan.kind == "sample" && plan.rows == decode.rows)
      return &plan;
  return nullptr;
}

uint64_t Model::denseSlotBytes(const LayerLayout &layout) const {
  DType type;
  if (!parseDType(info.model.kvDType, type))
    return layout.slotBytes;
  return 2 * info.model.headDim * dtypeBytes(type);
}
