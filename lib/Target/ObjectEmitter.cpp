//===-- ObjectEmitter.cpp - Kernels in the llvm dialect to a shared object ----------------------------------------===//
#include "lib/Target/ObjectEmitter.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

#include <thread>

using namespace mlir;
using namespace sparse::target;

static std::unique_ptr<llvm::TargetMachine> createMachine(const CPUTarget &target, std::string &error) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return nullptr;
  llvm::TargetOptions options;
  // Products and sums fuse only where the kernels say so: what else is fused depends on unrolling, and the same expression
  // would round differently from entry to entry.
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(
      triple, target.name, "", options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

/// The kernels alone, as LLVM IR with the target's attributes.
static std::unique_ptr<llvm::Module> translate(ModuleOp module, const CPUTarget &target, llvm::TargetMachine &machine,
                                               llvm::LLVMContext &context) {
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(module.getLoc());
  OpBuilder b = OpBuilder::atBlockEnd(kernels->getBody());
  for (Operation &op : *module.getBody())
    if (isa<LLVM::LLVMFuncOp, LLVM::GlobalOp>(op))
      b.clone(op);
  std::unique_ptr<llvm::Module> result = translateModuleToLLVMIR(*kernels, context);
  if (!result)
    return nullptr;
  result->setTargetTriple(machine.getTargetTriple());
  result->setDataLayout(machine.createDataLayout());
  for (llvm::Function &function : *result) {
    function.addFnAttr("target-cpu", target.name);
    function.addFnAttr("prefer-vector-width", std::to_string(target.vectorBits));
    if (!function.isDeclaration() && function.hasInternalLinkage() && function.hasOneUse())
      function.addFnAttr(llvm::Attribute::AlwaysInline);
  }
  llvm::Type *i64 = llvm::Type::getInt64Ty(context);
  auto *abi = llvm::Function::Create(llvm::FunctionType::get(i64, false), llvm::Function::ExternalLinkage,
                                     "sparse_kernel_abi", *result);
  llvm::IRBuilder<> builder(llvm::BasicBlock::Create(context, "", abi));
  builder.CreateRet(llvm::ConstantInt::get(i64, 1));
  return result;
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

/// Links `object`; returns what is wrong, or nothing.
static std::string link(llvm::StringRef object, llvm::StringRef path) {
  llvm::ErrorOr<std::string> linker = llvm::sys::findProgramByName("ld.lld-22");
  for (llvm::StringRef name : {"ld.lld", "ld"})
    if (!linker)
      linker = llvm::sys::findProgramByName(name);
  if (!linker)
    return "no linker on the PATH; install lld-22 (ld.lld-22), or any ld";
  llvm::SmallVector<llvm::StringRef> args{*linker, "-shared", "--gc-sections", "-s", "-o", path, object};
  // The kernels may call libm; the loader finds it by its SONAME.
  for (llvm::StringRef libm : {"/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/usr/lib/libm.so.6"})
    if (llvm::sys::fs::exists(libm)) {
      args.append({"--as-needed", libm});
      break;
    }
  std::string message;
  if (llvm::sys::ExecuteAndWait(*linker, args, std::nullopt, {}, 0, 0, &message) != 0)
    return "linking '" + path.str() + "' failed" + (message.empty() ? "" : ": " + message);
  return "";
}

/// Optimizes, generates code and links; returns what is wrong, or nothing. Touches nothing of MLIR.
static std::string finish(llvm::Module &ir, llvm::TargetMachine &machine, llvm::StringRef path) {
  optimize(ir, machine);
  llvm::SmallString<128> object;
  int fd = -1;
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("sparse-kernels", "o", fd, object))
    return "no temporary file: " + code.message();
  llvm::raw_fd_ostream stream(fd, /*shouldClose=*/true);
  llvm::legacy::PassManager codegen;
  if (machine.addPassesToEmitFile(codegen, stream, nullptr, llvm::CodeGenFileType::ObjectFile))
    return "the code generator can't write objects";
  codegen.run(ir);
  stream.close();
  std::string error = link(object, path);
  llvm::sys::fs::remove(object);
  return error;
}

LogicalResult sparse::target::emitSharedObjects(ModuleOp module, ArrayRef<CodeOutput> outputs) {
  struct Job {
    std::unique_ptr<llvm::LLVMContext> context;
    std::unique_ptr<llvm::TargetMachine> machine;
    std::unique_ptr<llvm::Module> ir;
    std::string error;
  };
  std::vector<Job> jobs(outputs.size());
  for (auto [job, output] : llvm::zip(jobs, outputs)) {
    std::string error;
    job.context = std::make_unique<llvm::LLVMContext>();
    job.machine = createMachine(*output.target, error);
    if (!job.machine)
      return module.emitError() << "no code generator for " << output.target->name << ": " << error;
    job.ir = translate(module, *output.target, *job.machine, *job.context);
    if (!job.ir)
      return module.emitError("the kernels can't be translated to LLVM IR");
  }
  std::vector<std::thread> threads;
  for (auto [job, output] : llvm::zip(jobs, outputs))
    threads.emplace_back([&job = job, &output = output] { job.error = finish(*job.ir, *job.machine, output.path); });
  for (std::thread &thread : threads)
    thread.join();
  for (Job &job : jobs)
    if (!job.error.empty())
      return module.emitError() << job.error;
  return success();
}
