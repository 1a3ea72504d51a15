//===- Plan.h - An entry as data --------------------------------*- C++ -*-===//
//
// A plan is checked once, completely, when it is loaded: afterwards every
// index, range and size in it is valid for the model it belongs to.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_PLAN_H
#define SPARSE_RUNTIME_PLAN_H

#include "Device.h"
#include "Manifest.h"
#include "SafeTensors.h"

#include <array>
#include <string>
#include <vector>

namespace sparse::runtime {

/// Tokens that can end a row of a sampling entry.
inline constexpr uint64_t mostStops = 8;

enum class BufferKind { Input, Output, Weight, Arena, State };

/// The parts of a layer's state that are not components.
enum class StatePart { Component, Key, Value };

struct PlanBuffer {
  BufferKind kind = BufferKind::Arena;
  std::string name;
  uint64_t bytes = 0;
  uint64_t offset = 0;             ///< arena
  const uint8_t *weight = nullptr; ///< weight, see `Device::place`
  DType dtype = DType::U8;         ///< weight: what its elements are
  uint32_t layer = 0;              ///< state
  StatePart part = StatePart::Component;
  size_t component = 0; ///< state, StatePart::Component
};

struct LaunchStep {
  std::string name;
  KernelRef kernel = nullptr;
  std::array<uint32_t, 3> grid = {1, 1, 1};
  // The rest belongs to devices with blocks of threads.
  std::array<uint32_t, 3> block = {1, 1, 1};
  uint32_t cluster = 1;   ///< blocks of a cluster, along x
  uint32_t shared = 0;    ///< bytes of dynamic shared memory
  bool dependent = false; ///< may start while the launch before it ends
  std::vector<uint32_t> args;
};

/// C[m,n] = A[m,k] B (+ C), C row-major f32. On the host A is f32 and B lies in
/// panels [ceil(n/64)][k][64] of `dtype`; elsewhere A and B are of `dtype`, B
/// in rows [n][k].
struct GemmStep {
  int64_t m = 0, n = 0, k = 0;
  uint32_t a = 0, b = 0, c = 0;
  DType dtype = DType::F32;
  bool accumulate = false;
};

struct PlanStep {
  bool isGemm = false;
  LaunchStep launch;
  GemmStep gemm;
};

struct Plan {
  std::string name, kind;
  uint64_t rows = 0;
  uint64_t arenaBytes = 0;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanStep> steps;

  /// Index of the buffer with this kind and name, or -1.
  int find(BufferKind kind, const char *name) const;
};

/// Parses and checks a plan; `weights` null: the artifact has none, and buffers
/// of kind weight have no bytes. Throws INVALID_ARGUMENT with the place.
Plan parsePlan(const std::string &text, const std::string &where,
               const EntryInfo &entry, const ModelFacts &facts,
               const DeviceInfo &part, const SafeTensors *weights,
               const Device &device);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_PLAN_H
