//===- Plan.h - An entry as data --------------------------------*- C++ -*-===//
//
// A plan is checked once, completely, when it is loaded: afterwards every
// index, range and size in it is valid for the model it belongs to.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_PLAN_H
#define SPARSE_RUNTIME_PLAN_H

#include "CodeObject.h"
#include "Manifest.h"
#include "SafeTensors.h"

#include <string>
#include <vector>

namespace sparse::runtime {

enum class BufferKind { Input, Output, Weight, Arena, State };

/// The parts of a layer's state that are not components.
enum class StatePart { Component, Key, Value };

struct PlanBuffer {
  BufferKind kind = BufferKind::Arena;
  std::string name;
  uint64_t bytes = 0;
  uint64_t offset = 0;             ///< arena
  const uint8_t *weight = nullptr; ///< weight
  uint32_t layer = 0;              ///< state
  StatePart part = StatePart::Component;
  size_t component = 0; ///< state, StatePart::Component
};

struct LaunchStep {
  Kernel kernel = nullptr;
  int64_t grid = 0;
  std::vector<uint32_t> args;
};

/// C[m,n] = A[m,k] B (+ C): A, C row-major f32, B in [ceil(n/64)][k][64].
struct GemmStep {
  int64_t m = 0, n = 0, k = 0;
  uint32_t a = 0, b = 0, c = 0;
  DType weights = DType::F32;
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

/// Parses and checks a plan. Throws INVALID_ARGUMENT with the place.
Plan parsePlan(const std::string &text, const std::string &where,
               const EntryInfo &entry, const ModelFacts &facts,
               const DeviceInfo &device, const SafeTensors &weights, const CodeObject &code);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_PLAN_H
