//===- FakeCuda.h - A CUDA driver in host memory ----------------*- C++ -*-===//
//
// The entry points that the runtime uses, so that the whole CUDA backend can be
// tested without a card. Kernels are functions of a shared object, called once
// for each block. Work in a stream runs late, when somebody waits for it, as on
// a card that is slower than the host. Addresses of the device are not valid on
// the host, memory is garbage until it is written, and any call can be made to
// fail.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_UNITTESTS_FAKECUDA_H
#define SPARSE_UNITTESTS_FAKECUDA_H

#include "cuda/Products.h"

#include <map>
#include <string>
#include <vector>

namespace fake {

/// The platform to put into `LoadOptions::cuda`.
const sparse::runtime::cuda::Platform *platform();

/// What the card is and what goes wrong. Reset by `reset`.
struct Card {
  int count = 1, major = 9, minor = 0;
  uint64_t memory = uint64_t(1) << 40; ///< bytes that can be in use

  /// Name of a function of the driver, and how many calls of it succeed before
  /// one fails with `error`.
  std::string failing;
  int64_t failAfter = 0;
  int error = 0;
  /// Only that call fails, and `failing` is empty afterwards.
  bool once = false;
  /// The error of the stream at the next synchronize: what a kernel did.
  int fault = 0;

  // What happened.
  uint64_t bytesInUse = 0, mostBytes = 0;
  int64_t reservations = 0, contexts = 0, streams = 0, modules = 0, graphs = 0,
          pinned = 0, events = 0;
  /// Copies to or from memory that is not pinned: the driver may wait in them.
  uint64_t pageableCopies = 0;
  /// The calls that put work into a stream or wait for it, in their order.
  std::vector<std::string> order;
  std::map<std::string, uint64_t> calls;
  uint64_t dependentLaunches = 0, clusterLaunches = 0;
  uint32_t mostShared = 0;
  std::string module; ///< the bytes of the last module
};
Card &card();

/// A new card; the objects of the old one must be gone.
void reset();

/// True when every object that was made is gone.
bool isClean();

} // namespace fake

#endif // SPARSE_UNITTESTS_FAKECUDA_H
