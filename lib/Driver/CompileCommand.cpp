//===-- CompileCommand.cpp - sparse-opt compile -------------------------------------------------------------------===//
#include "lib/Driver/CompileCommand.h"
#include "lib/Driver/Args.h"
#include "lib/Driver/Commands.h"
#include "lib/Driver/Diagnostics.h"
#include "lib/Driver/Driver.h"
#include "lib/Driver/Phases.h"
#include "lib/Driver/Progress.h"
#include "lib/Import/Import.h"
#include "lib/Package/Digest.h"
#include "lib/Package/Package.h"
#include "lib/Target/DeviceTargets.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using namespace sparse::driver;

namespace {

/// The command line of `compile`.
struct CompileOptions {
  std::string input, output, dumpTo, tokenizer;
  std::vector<std::string> targets = {"cpu"};
  Phase from = Phase::Import, to = Phase::Binary;
  RoadOptions road;
  sparse::import::ImportOptions import;
};

std::string parsePhase(Phase &target, llvm::StringRef text) {
  std::optional<Phase> phase = phaseNamed(text);
  if (phase) {
    target = *phase;
    return "";
  }
  std::string names;
  for (unsigned i = 0; i < kPhaseCount; ++i)
    names += (i ? ", " : "") + phaseName(static_cast<Phase>(i)).str();
  return "'" + text.str() + "' is no phase; the phases are " + names;
}

std::string parseBuckets(std::vector<int64_t> &buckets, llvm::StringRef text) {
  buckets.clear();
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, ',');
  for (llvm::StringRef part : parts) {
    int64_t size = 0;
    if (part.trim().getAsInteger(10, size) || size < 1 || size > 4096)
      return "'" + part.str() + "' is no batch size; give numbers of at least 1, separated by commas";
    buckets.push_back(size);
  }
  llvm::sort(buckets);
  buckets.erase(std::unique(buckets.begin(), buckets.end()), buckets.end());
  return "";
}

std::string parseType(std::string &target, llvm::StringRef text) {
  if (text != "f32" && text != "bf16")
    return "'" + text.str() + "' is no element type here; it is f32 or bf16";
  target = text.str();
  return "";
}

std::string parseWeights(bool &none, llvm::StringRef text) {
  none = text == "none";
  return none ? "" : "'" + text.str() + "' is no choice; the only one is none";
}

/// One target of each kind at most: layouts and plans differ between them.
std::string parseTargets(std::vector<std::string> &targets, llvm::StringRef text) {
  MLIRContext context;
  targets.clear();
  llvm::SmallVector<llvm::StringRef> names;
  text.split(names, ',');
  unsigned gpus = 0, cpus = 0;
  for (llvm::StringRef name : names) {
    llvm::StringRef arch = name;
    bool gpu = arch.consume_front("cuda:");
    if (gpu ? !sparse::target::deviceTarget(&context, arch) : name != "cpu")
      return "'" + name.str() + "' is no target; targets are cpu and cuda:ARCH with " +
             sparse::target::deviceTargetNames();
    (gpu ? gpus : cpus) += 1;
    targets.push_back(name.str());
  }
  return gpus > 1 || cpus > 1 ? "an artifact has at most one target of a kind: cpu, and one cuda:ARCH" : "";
}

void declare(Args &args, CompileOptions &options) {
  std::string phases;
  for (unsigned i = 0; i < kPhaseCount; ++i)
    phases += "\n  " + llvm::formatv("{0,-9} {1}", phaseName(Phase(i)), phaseSummary(Phase(i))).str();
  args.positional(options.input, "model.onnx", "the model, or the IR of a phase with --compile-from");
  args.option(options.output, "output", 'o', "PATH", "the artifact (a directory, model.spx), or the file of IR");
  args.option(options.road.policyFile, "policy", 0, "FILE", "policy file (YAML)");
  args.option(options.road.attention, "attention", "POLICY",
              "attention policy, inline: [LAYERS:]METHOD:key=value,...\n(see 'sparse-opt list-policies')");
  args.option(options.road.kv, "kv", "POLICY", "cache policy, inline; may be repeated");
  args.option([&](llvm::StringRef text) { return parseType(options.road.weightsType, text); }, "weights-dtype", "TYPE",
              "element type of weights in the artifact: f32 (default) or bf16");
  args.option([&](llvm::StringRef text) { return parseType(options.road.kvType, text); }, "kv-dtype", "TYPE",
              "element type of the cache: f32 (default) or bf16");
  args.option(options.road.maxContext, "max-context", "N", "longest sequence (default: the model's position table)");
  args.option(options.road.prefillChunk, "prefill-chunk", "N", "prompt tokens of one step (default 128)");
  args.option(options.road.page, "page", "N", "slots of a cache page where no policy asks otherwise (default 16)");
  args.option([&](llvm::StringRef text) { return parseBuckets(options.road.buckets, text); }, "buckets", "N,N,...",
              "batch sizes of the decode entries (default 1,2,4,8)");
  args.option([&](llvm::StringRef text) { return parseWeights(options.import.absentData, text); }, "weights", "none",
              "leave the bytes of weights out; their files may be absent. Such an\nartifact measures a shape: sparse-run bench --weights random:SEED");
  args.option(options.tokenizer, "tokenizer", 0, "FILE", "tokenizer.json to carry in the artifact");
  args.option([&](llvm::StringRef text) { return parseTargets(options.targets, text); }, "target", "TARGET,...",
              "what to generate code for: cpu (default), cuda:ARCH, or both");
  args.option(options.road.scheduleFile, "schedule", 0, "FILE",
              "strategies of kernels (YAML: version: 1, kernels: [{entry, kernel, strategy, tiles}]);\nwhat it does not name is chosen for the target");
  args.flag(options.road.reference, "reference", "keep every kernel in its reference lowering: scalar loops");
  args.flag(options.road.batchInvariant, "batch-invariant",
            "a sequence gets the same bits in a batch as alone: always so on the CPU;\non a GPU batches pay for it");
  args.option([&](llvm::StringRef text) { return parsePhase(options.from, text); }, "compile-from", "PHASE",
              "start from the IR after this phase:" + phases);
  args.option([&](llvm::StringRef text) { return parsePhase(options.to, text); }, "compile-to", "PHASE",
              "stop after this phase and write its IR");
  args.option(options.dumpTo, "dump-phases-to", 0, "DIR", "also write the IR after every phase to DIR");
  args.flag(options.import.allowLinks, "allow-links", "accept external data behind links inside the model's directory");
  args.option(options.import.externalDataRoot, "external-data-root", 0, "DIR",
              "directory that external data must not leave");
  args.example("sparse-opt compile model.onnx -o model.spx", "dense");
  args.example("sparse-opt compile model.onnx --attention 2-:page_topk:budget=1024 -o quest.spx",
               "Quest from the third layer on");
  args.example("sparse-opt compile model.onnx --target cpu,cuda:sm_90a -o model.spx", "code for both in one artifact");
  args.example("sparse-opt compile model.onnx --policy policy.yaml --dump-phases-to ir -o model.spx",
               "keep the IR of every phase");
}

int writeIR(ModuleOp module, llvm::StringRef path) {
  std::string error;
  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(path, &error);
  if (!file) {
    llvm::errs() << "sparse-opt compile: error: " << error << '\n';
    return ExitResources;
  }
  OpPrintingFlags flags;
  flags.enableDebugInfo(/*enable=*/true, /*prettyForm=*/false);
  module->print(file->os(), flags);
  file->keep();
  return ExitOk;
}

/// Runs the road. Every failure has printed its diagnostic.
int compile(CompileOptions &options) {
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  DiagnosticPrinter printer(&context);
  Progress progress("compile");

  OwningOpRef<ModuleOp> module;
  std::string digest;
  if (options.from == Phase::Import && !llvm::StringRef(options.input).ends_with(".mlir")) {
    progress.step("reading " + options.input, 0);
    module = sparse::import::importOnnx(options.input, options.import, &context);
    if (module) {
      auto source = sparse::package::fileDigest(options.input);
      module.get()->setAttr("sparsity.source", StringAttr::get(&context, source ? *source : ""));
    }
  } else {
    module = parseSourceFile<ModuleOp>(options.input, &context);
  }
  if (!module)
    return ExitBadInput;

  // With several targets the files of a GPU say so.
  auto dump = [&](ModuleOp target, Phase phase) -> int {
    if (options.dumpTo.empty())
      return ExitOk;
    bool marked = options.targets.size() > 1 && target->hasAttr("sparsity.target");
    std::string name = llvm::formatv("{0}/{1}-{2}{3}.mlir", options.dumpTo, unsigned(phase), phaseName(phase),
                                     marked ? ".cuda" : "").str();
    return writeIR(target, name);
  };
  if (!options.dumpTo.empty())
    if (std::error_code code = llvm::sys::fs::create_directories(options.dumpTo)) {
      llvm::errs() << "sparse-opt compile: error: can't make '" << options.dumpTo << "': " << code.message() << '\n';
      return ExitResources;
    }
  if (options.from == Phase::Import)
    if (int exit = dump(*module, Phase::Import))
      return exit;

  auto runPhases = [&](ModuleOp target, Phase after, Phase last, RoadOptions road) -> int {
    for (unsigned index = unsigned(after) + 1; index <= unsigned(last) && index < unsigned(Phase::Binary); ++index) {
      Phase phase = static_cast<Phase>(index);
      progress.step(phaseSummary(phase), double(index) / kPhaseCount / 2);
      PassManager manager(&context);
      manager.enableVerifier(true);
      addPhase(manager, phase, road);
      if (failed(manager.run(target)))
        return ExitBadInput;
      if (int exit = dump(target, phase))
        return exit;
    }
    return ExitOk;
  };
  // What comes before `stateful` is the same for all devices.
  Phase common = std::max(options.from, Phase::Mark);
  if (int exit = runPhases(*module, options.from, std::min(common, options.to), options.road))
    return exit;
  std::vector<OwningOpRef<ModuleOp>> modules;
  for (llvm::StringRef target : options.targets) {
    modules.push_back(options.targets.size() == 1 ? std::move(module) : OwningOpRef<ModuleOp>(module->clone()));
    ModuleOp own = *modules.back();
    if (target.consume_front("cuda:") && unsigned(options.from) < unsigned(Phase::Stateful))
      own->setAttr("sparsity.target", sparse::target::deviceTarget(&context, target));
    RoadOptions road = options.road;
    road.onDevice = own->hasAttr("sparsity.target");
    if (int exit = runPhases(own, common, options.to, road))
      return exit;
  }
  if (options.to != Phase::Binary)
    return writeIR(*modules.front(), options.output.empty() ? "-" : options.output);

  sparse::package::PackageOptions package;
  package.output = options.output;
  package.tokenizer = options.tokenizer;
  package.withoutWeights = options.import.absentData;
  package.sourceName = llvm::sys::path::filename(options.input).str();
  if (auto source = (*modules.front())->getAttrOfType<StringAttr>("sparsity.source"))
    package.sourceDigest = source.str();
  package.progress = [&](llvm::StringRef what, double fraction) { progress.step(what, 0.5 + fraction / 2); };
  std::vector<sparse::package::DeviceModule> devices;
  for (OwningOpRef<ModuleOp> &own : modules) {
    auto target = (*own)->getAttrOfType<sparse::sparsity::TargetAttr>("sparsity.target");
    devices.push_back({target ? "cuda" : "cpu", *own, target ? target.getArch().str() : ""});
  }
  if (failed(sparse::package::writeArtifact(devices, package)))
    return ExitResources;
  progress.done();
  return ExitOk;
}

} // namespace

int sparse::driver::compileCommand(int argc, char **argv) {
  CompileOptions options;
  Args args("sparse-opt compile", "Compiles an ONNX decoder into an artifact that sparse-run runs.");
  declare(args, options);
  if (std::optional<int> exitCode = args.parse(argc, argv))
    return *exitCode;
  if (options.targets.size() > 1 && (options.to != Phase::Binary || unsigned(options.from) > unsigned(Phase::Mark)))
    return args.usageError("after mark the IR is one target's; give one with --compile-from and --compile-to");
  if (options.to == Phase::Binary && options.output.empty())
    return args.usageError("where should the artifact go? give -o model.spx");
  if (unsigned(options.from) > unsigned(options.to))
    return args.usageError("--compile-from is behind --compile-to");
  if (options.road.prefillChunk < 1 || options.road.page < 1 || options.road.maxContext < 0)
    return args.usageError("--prefill-chunk and --page are at least 1, --max-context at least 0");
  return compile(options);
}
