//===-- Package.cpp - Writing the artifact ------------------------------------------------------------------------===//
#include "lib/Package/Package.h"
#include "lib/Package/Digest.h"
#include "lib/Package/PlanWriter.h"
#include "lib/Package/WeightWriter.h"
#include "lib/Target/DeviceEmitter.h"
#include "lib/Target/ObjectEmitter.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::package;
using llvm::json::Array;
using llvm::json::Object;

namespace {

/// Writes one artifact into a directory.
class Writer {
public:
  Writer(ArrayRef<DeviceModule> devices, const PackageOptions &options, StringRef directory)
      : devices(devices), module(devices.front().module), options(options), directory(directory) {}
  LogicalResult write();

private:
  std::string pathOf(StringRef relative) { return (directory + "/" + relative).str(); }
  LogicalResult writeText(StringRef relative, StringRef text);
  LogicalResult addSection(StringRef relative, StringRef kind);
  FailureOr<Object> writeDevice(const DeviceModule &device);
  FailureOr<Array> writePlans(const DeviceModule &device);
  FailureOr<Array> writeCPUCode(ModuleOp module);
  FailureOr<Array> writeCUDACode(const DeviceModule &device);
  Object facts();

  ArrayRef<DeviceModule> devices;
  ModuleOp module; ///< of the first device: where diagnostics go
  const PackageOptions &options;
  StringRef directory;
  Array sections;
};

} // namespace

LogicalResult Writer::writeText(StringRef relative, StringRef text) {
  std::error_code code;
  llvm::raw_fd_ostream os(pathOf(relative), code);
  if (code)
    return module.emitError() << "can't write '" << pathOf(relative) << "': " << code.message();
  os << text;
  os.close();
  if (os.has_error()) {
    std::string message = os.error().message();
    os.clear_error();
    return module.emitError() << "writing '" << pathOf(relative) << "' failed: " << message;
  }
  return success();
}

LogicalResult Writer::addSection(StringRef relative, StringRef kind) {
  uint64_t size = 0;
  llvm::sys::fs::file_size(pathOf(relative), size);
  auto digest = fileDigest(pathOf(relative));
  if (!digest)
    return module.emitError() << "can't read back '" << relative << "': " << digest.getError().message();
  sections.push_back(Object{{"path", relative.str()}, {"kind", kind}, {"bytes", size}, {"sha256", *digest}});
  return success();
}

FailureOr<Array> Writer::writePlans(const DeviceModule &device) {
  Array entries;
  std::string folder = "plans/" + device.device;
  if (std::error_code code = llvm::sys::fs::create_directories(pathOf(folder)))
    return module.emitError() << "can't make '" << pathOf(folder) << "': " << code.message();
  ModuleOp source = device.module;
  for (auto entry : source.getOps<plan::EntryOp>()) {
    std::string path = (folder + "/" + entry.getSymName() + ".json").str();
    if (failed(writeText(path, llvm::formatv("{0:2}\n", planToJSON(entry)).str())) ||
        failed(addSection(path, "plan")))
      return failure();
    entries.push_back(Object{{"name", entry.getSymName()},
                             {"kind", entry.getKind()},
                             {"rows", int64_t(entry.getRows())},
                             {"plan", path}});
  }
  return entries;
}

FailureOr<Array> Writer::writeCPUCode(ModuleOp module) {
  std::vector<target::CodeOutput> outputs;
  for (const target::CPUTarget &target : target::cpuTargets())
    outputs.push_back({&target, pathOf(("code/" + target.name + ".so").str())});
  if (failed(target::emitSharedObjects(module, outputs)))
    return failure();
  Array targets;
  for (const target::CPUTarget &target : target::cpuTargets()) {
    std::string path = ("code/" + target.name + ".so").str();
    if (failed(addSection(path, "code")))
      return failure();
    Array flags;
    for (StringRef flag : target.requiredFlags)
      flags.push_back(flag);
    targets.push_back(Object{{"name", target.name}, {"code", path}, {"requires", std::move(flags)}});
  }
  return targets;
}

FailureOr<Array> Writer::writeCUDACode(const DeviceModule &device) {
  std::string cubin = "code/" + device.chip + ".cubin", ptx = "code/" + device.chip + ".ptx";
  if (failed(target::emitDeviceCode(device.module, pathOf(cubin), pathOf(ptx))) || failed(addSection(cubin, "code")) ||
      failed(addSection(ptx, "code")))
    return failure();
  // The features of sm_90a are those of compute capability 9.0 and of no later one.
  Array needs{StringRef(device.chip).rtrim("a")};
  Array targets;
  targets.push_back(Object{{"name", device.chip}, {"code", cubin}, {"ptx", ptx}, {"requires", std::move(needs)}});
  return targets;
}

static Array layoutsOf(ModuleOp module) {
  Array result;
  if (auto layouts = module->getAttrOfType<ArrayAttr>("sparsity.layouts"))
    for (auto layout : layouts.getAsRange<kvcache::LayoutAttr>())
      result.push_back(layoutToJSON(layout));
  return result;
}

FailureOr<Object> Writer::writeDevice(const DeviceModule &device) {
  FailureOr<Array> entries = writePlans(device);
  if (failed(entries))
    return failure();
  options.progress("generating code", 0);
  FailureOr<Array> targets = device.device == "cuda" ? writeCUDACode(device) : writeCPUCode(device.module);
  if (failed(targets))
    return failure();
  return Object{{"targets", std::move(*targets)},
                {"cache", Object{{"layers", layoutsOf(device.module)}}},
                {"entries", std::move(*entries)}};
}

Object Writer::facts() {
  Object result;
  if (auto facts = module->getAttrOfType<DictionaryAttr>("sparsity.model"))
    for (NamedAttribute fact : facts) {
      if (auto integer = dyn_cast<IntegerAttr>(fact.getValue()))
        result[fact.getName().strref()] = integer.getInt();
      else if (auto text = dyn_cast<StringAttr>(fact.getValue()))
        result[fact.getName().strref()] = text.getValue();
    }
  return result;
}

LogicalResult Writer::write() {
  if (std::error_code code = llvm::sys::fs::create_directories(pathOf("code")))
    return module.emitError() << "can't make '" << pathOf("code") << "': " << code.message();
  Object parts;
  SmallVector<ModuleOp> modules;
  for (const DeviceModule &device : devices) {
    FailureOr<Object> part = writeDevice(device);
    if (failed(part))
      return failure();
    parts[device.device] = std::move(*part);
    modules.push_back(device.module);
  }
  auto progress = [&](uint64_t done, uint64_t total) { options.progress("writing weights", double(done) / total); };
  if (!options.withoutWeights && (failed(writeWeights(modules, pathOf("weights.safetensors"), progress)) ||
                                  failed(addSection("weights.safetensors", "weights"))))
    return failure();
  if (!options.tokenizer.empty()) {
    if (std::error_code code = llvm::sys::fs::copy_file(options.tokenizer, pathOf("tokenizer.json")))
      return module.emitError() << "can't copy '" << options.tokenizer << "': " << code.message();
    if (failed(addSection("tokenizer.json", "tokenizer")))
      return failure();
  }

  auto policy = module->getAttrOfType<StringAttr>("sparsity.policy");
  Object manifest{{"schema_version", 2},
                  {"created_by", "sparse-opt 0.1.0"},
                  {"source", Object{{"name", options.sourceName}, {"sha256", options.sourceDigest}}},
                  {"model", facts()},
                  {"policy", policy ? policy.getValue() : StringRef()},
                  {"devices", std::move(parts)},
                  {"sections", std::move(sections)}};
  if (options.withoutWeights)
    manifest["weights"] = "none";
  // The digest comes first and is taken over the text with zeros in its place.
  std::string body = llvm::formatv("{0:2}", llvm::json::Value(std::move(manifest)));
  std::string zeros(64, '0');
  std::string text = "{\n  \"digest\": \"" + zeros + "\"," + body.substr(1) + "\n";
  text.replace(text.find(zeros), 64, digestOf(text));
  return writeText("manifest.json", text);
}

LogicalResult sparse::package::writeArtifact(ModuleOp module, const PackageOptions &options) {
  return writeArtifact(DeviceModule{"cpu", module}, options);
}

LogicalResult sparse::package::writeArtifact(ArrayRef<DeviceModule> devices, const PackageOptions &options) {
  ModuleOp module = devices.front().module;
  std::string output = StringRef(options.output).rtrim('/').str();
  if (llvm::sys::fs::exists(output) && !llvm::sys::fs::exists(output + "/manifest.json"))
    return module.emitError() << "'" << output << "' exists and is no artifact; it is left alone";
  llvm::SmallString<128> temporary;
  llvm::sys::fs::createUniquePath(output + ".part-%%%%%%", temporary, /*MakeAbsolute=*/false);
  Writer writer(devices, options, temporary);
  if (failed(writer.write())) {
    llvm::sys::fs::remove_directories(temporary);
    return failure();
  }
  llvm::sys::fs::remove_directories(output);
  if (std::error_code code = llvm::sys::fs::rename(temporary, output))
    return module.emitError() << "can't move the artifact to '" << output << "': " << code.message();
  return success();
}
