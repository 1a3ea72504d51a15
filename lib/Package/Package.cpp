//===-- Package.cpp - Writing the artifact ------------------------------------------------------------------------===//
#include "lib/Package/Package.h"
#include "lib/Package/Digest.h"
#include "lib/Package/PlanWriter.h"
#include "lib/Package/WeightWriter.h"
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
  Writer(ModuleOp module, const PackageOptions &options, StringRef directory)
      : module(module), options(options), directory(directory) {}
  LogicalResult write();

private:
  std::string pathOf(StringRef relative) { return (directory + "/" + relative).str(); }
  LogicalResult writeText(StringRef relative, StringRef text);
  LogicalResult addSection(StringRef relative, StringRef kind);
  LogicalResult writePlans();
  LogicalResult writeCode();
  Array layouts();
  Object facts();

  ModuleOp module;
  const PackageOptions &options;
  StringRef directory;
  Array sections, entries, targets;
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

LogicalResult Writer::writePlans() {
  for (auto entry : module.getOps<plan::EntryOp>()) {
    std::string path = ("plans/" + entry.getSymName() + ".json").str();
    if (failed(writeText(path, llvm::formatv("{0:2}\n", planToJSON(entry)).str())) ||
        failed(addSection(path, "plan")))
      return failure();
    entries.push_back(Object{{"name", entry.getSymName()},
                             {"kind", entry.getKind()},
                             {"rows", int64_t(entry.getRows())},
                             {"plan", path}});
  }
  return success();
}

LogicalResult Writer::writeCode() {
  options.progress("generating code", 0);
  std::vector<target::CodeOutput> outputs;
  for (const target::CPUTarget &target : target::cpuTargets())
    outputs.push_back({&target, pathOf(("code/" + target.name + ".so").str())});
  if (failed(target::emitSharedObjects(module, outputs)))
    return failure();
  for (const target::CPUTarget &target : target::cpuTargets()) {
    std::string path = ("code/" + target.name + ".so").str();
    if (failed(addSection(path, "code")))
      return failure();
    Array flags;
    for (StringRef flag : target.requiredFlags)
      flags.push_back(flag);
    targets.push_back(Object{{"name", target.name}, {"code", path}, {"requires", std::move(flags)}});
  }
  return success();
}

Array Writer::layouts() {
  Array result;
  if (auto layouts = module->getAttrOfType<ArrayAttr>("sparsity.layouts"))
    for (auto layout : layouts.getAsRange<kvcache::LayoutAttr>())
      result.push_back(layoutToJSON(layout));
  return result;
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
  for (StringRef folder : {"plans", "code"})
    if (std::error_code code = llvm::sys::fs::create_directories(pathOf(folder)))
      return module.emitError() << "can't make '" << pathOf(folder) << "': " << code.message();
  if (failed(writePlans()) || failed(writeCode()))
    return failure();
  auto progress = [&](uint64_t done, uint64_t total) { options.progress("writing weights", double(done) / total); };
  if (failed(writeWeights(module, pathOf("weights.safetensors"), progress)) ||
      failed(addSection("weights.safetensors", "weights")))
    return failure();
  if (!options.tokenizer.empty()) {
    if (std::error_code code = llvm::sys::fs::copy_file(options.tokenizer, pathOf("tokenizer.json")))
      return module.emitError() << "can't copy '" << options.tokenizer << "': " << code.message();
    if (failed(addSection("tokenizer.json", "tokenizer")))
      return failure();
  }

  auto policy = module->getAttrOfType<StringAttr>("sparsity.policy");
  Object manifest{{"schema_version", 1},
                  {"created_by", "sparse-opt 0.1.0"},
                  {"source", Object{{"name", options.sourceName}, {"sha256", options.sourceDigest}}},
                  {"model", facts()},
                  {"policy", policy ? policy.getValue() : StringRef()},
                  {"targets", std::move(targets)},
                  {"cache", Object{{"layers", layouts()}}},
                  {"entries", std::move(entries)},
                  {"sections", std::move(sections)}};
  // The digest comes first and is taken over the text with zeros in its place.
  std::string body = llvm::formatv("{0:2}", llvm::json::Value(std::move(manifest)));
  std::string zeros(64, '0');
  std::string text = "{\n  \"digest\": \"" + zeros + "\"," + body.substr(1) + "\n";
  text.replace(text.find(zeros), 64, digestOf(text));
  return writeText("manifest.json", text);
}

LogicalResult sparse::package::writeArtifact(ModuleOp module, const PackageOptions &options) {
  std::string output = StringRef(options.output).rtrim('/').str();
  if (llvm::sys::fs::exists(output) && !llvm::sys::fs::exists(output + "/manifest.json"))
    return module.emitError() << "'" << output << "' exists and is no artifact; it is left alone";
  llvm::SmallString<128> temporary;
  llvm::sys::fs::createUniquePath(output + ".part-%%%%%%", temporary, /*MakeAbsolute=*/false);
  Writer writer(module, options, temporary);
  if (failed(writer.write())) {
    llvm::sys::fs::remove_directories(temporary);
    return failure();
  }
  llvm::sys::fs::remove_directories(output);
  if (std::error_code code = llvm::sys::fs::rename(temporary, output))
    return module.emitError() << "can't move the artifact to '" << output << "': " << code.message();
  return success();
}
