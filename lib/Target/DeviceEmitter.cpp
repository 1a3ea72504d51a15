//===-- DeviceEmitter.cpp - Kernels in a gpu.module to PTX and a cubin --------------------------------------------===//
#include "lib/Target/DeviceEmitter.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace sparse;

/// PTX of CUDA 13.0: bulk copies need at least 8.6.
static constexpr llvm::StringLiteral kPtxVersion = "+ptx90";

static std::unique_ptr<llvm::TargetMachine> createMachine(StringRef arch, std::string &error) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  llvm::Triple triple("nvptx64-nvidia-cuda");
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return nullptr;
  llvm::TargetOptions options;
  // Which product joins which sum is written in the IR: two kernels of one template must give the same bits.
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(
      triple, arch, kPtxVersion, options, std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

/// convert-gpu-to-nvvm makes calls of the vendor's library of all math ops. Those that are one instruction are intrinsics.
static void useIntrinsics(llvm::Module &module) {
  static const std::pair<llvm::StringLiteral, llvm::Intrinsic::ID> table[] = {
      {"__nv_fmaf", llvm::Intrinsic::fma},           {"__nv_fabsf", llvm::Intrinsic::fabs},
      {"__nv_copysignf", llvm::Intrinsic::copysign}, {"__nv_sqrtf", llvm::Intrinsic::sqrt},
      {"__nv_fmaxf", llvm::Intrinsic::maxnum},       {"__nv_fminf", llvm::Intrinsic::minnum},
      {"__nv_floorf", llvm::Intrinsic::floor},       {"__nv_ceilf", llvm::Intrinsic::ceil}};
  for (auto [name, id] : table) {
    llvm::Function *called = module.getFunction(name);
    if (!called)
      continue;
    called->replaceAllUsesWith(llvm::Intrinsic::getOrInsertDeclaration(&module, id, {called->getReturnType()}));
    called->eraseFromParent();
  }
}

static std::optional<std::string> findAssembler() {
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (std::optional<std::string> root = llvm::sys::Process::GetEnv(variable))
      if (std::string path = *root + "/bin/ptxas"; llvm::sys::fs::can_execute(path))
        return path;
  if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName("ptxas"))
    return *path;
  if (llvm::sys::fs::can_execute("/usr/local/cuda/bin/ptxas"))
    return "/usr/local/cuda/bin/ptxas";
  return std::nullopt;
}

/// Runs ptxas; returns what it said when it failed.
static std::string assemble(StringRef assembler, StringRef arch, StringRef ptx, StringRef cubin) {
  llvm::SmallString<128> log;
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("sparse-ptxas", "log", log))
    return "no temporary file: " + code.message();
  std::string archOption = "-arch=" + arch.str();
  StringRef args[] = {assembler, archOption, "-O3", ptx, "-o", cubin};
  std::optional<StringRef> redirects[] = {std::nullopt, StringRef(log), StringRef(log)};
  std::string message;
  int exit = llvm::sys::ExecuteAndWait(assembler, args, std::nullopt, redirects, 0, 0, &message);
  std::string said;
  if (exit != 0) {
    if (auto text = llvm::MemoryBuffer::getFile(log))
      said = (*text)->getBuffer().rtrim().str();
    said = said.empty() ? "ptxas failed: " + message : said;
  }
  llvm::sys::fs::remove(log);
  return said;
}

LogicalResult sparse::target::emitDeviceCode(ModuleOp module, const std::string &cubinPath, const std::string &ptxPath) {
  auto target = module->getAttrOfType<sparsity::TargetAttr>("sparsity.target");
  auto modules = module.getOps<gpu::GPUModuleOp>();
  if (!target || modules.empty())
    return module.emitError("has no sparsity.target or no gpu.module to compile for it");
  std::string error;
  StringRef arch = target.getArch().getValue();
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(arch, error);
  if (!machine)
    return module.emitError() << "no code generator for " << arch << ": " << error;
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> ir = translateModuleToLLVMIR(*modules.begin(), context, "device");
  if (!ir)
    return module.emitError("the kernels can't be translated to LLVM IR");
  ir->setTargetTriple(machine->getTargetTriple());
  ir->setDataLayout(machine->createDataLayout());
  for (llvm::Function &function : *ir)
    if (!function.isDeclaration() && function.hasInternalLinkage() && function.hasOneUse())
      function.addFnAttr(llvm::Attribute::AlwaysInline);
  useIntrinsics(*ir);
  optimize(*ir, *machine);
  for (const llvm::Function &function : *ir)
    if (function.isDeclaration() && !function.isIntrinsic() && !function.use_empty())
      return module.emitError() << "a kernel calls '" << function.getName() << "', which no GPU has";

  std::error_code code;
  llvm::raw_fd_ostream stream(ptxPath, code);
  if (code)
    return module.emitError() << "can't write '" << ptxPath << "': " << code.message();
  {
    llvm::legacy::PassManager codegen; // it holds back text until it goes
    if (machine->addPassesToEmitFile(codegen, stream, nullptr, llvm::CodeGenFileType::AssemblyFile))
      return module.emitError("the code generator can't write PTX");
    codegen.run(*ir);
  }
  stream.close();
  if (stream.has_error()) {
    std::string message = stream.error().message();
    stream.clear_error();
    return module.emitError() << "writing '" << ptxPath << "' failed: " << message;
  }

  std::optional<std::string> assembler = findAssembler();
  if (!assembler)
    return module.emitError("there is no ptxas; install the CUDA toolkit or set CUDA_HOME");
  std::string said = assemble(*assembler, arch, ptxPath, cubinPath);
  if (!said.empty())
    return module.emitError() << "ptxas for " << arch << ": " << said;
  return success();
}
