//===-- Phases.h - The phases of the road ----------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_PHASES_H
#define SPARSE_LIB_DRIVER_PHASES_H

#include "mlir/Pass/PassManager.h"
#include <optional>
#include <string>
#include <vector>

namespace sparse::driver {

/// In order (docs/architecture.md §1). `Binary` writes the artifact.
enum class Phase { Import, Raise, Mark, Stateful, Fuse, Linalg, Kernels, LLVM, Binary };
inline constexpr unsigned kPhaseCount = 9;

llvm::StringRef phaseName(Phase phase);
/// What the phase does, for `--help`.
llvm::StringRef phaseSummary(Phase phase);
std::optional<Phase> phaseNamed(llvm::StringRef name);

/// What the phases between import and binary are told.
struct RoadOptions {
  int64_t maxContext = 0;
  int64_t prefillChunk = 128;
  int64_t page = 16;
  std::vector<int64_t> buckets = {1, 2, 4, 8};
  std::string weightsType = "f32", kvType = "f32";
  std::string policyFile;
  std::string scheduleFile;
  std::vector<std::string> attention, kv;
  bool reference = false;
  bool batchInvariant = false; ///< on a GPU: a batch gives the bits of single sequences
  bool onDevice = false; ///< the module has a `sparsity.target`: kernels for a GPU
};

/// Adds the passes of one phase; nothing for Import and Binary, which are no passes.
void addPhase(mlir::OpPassManager &manager, Phase phase, const RoadOptions &options);

} // namespace sparse::driver

#endif
