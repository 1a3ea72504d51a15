//===- CudaCard.h - A real card for tests -----------------------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CUDACARD_H
#define SPARSE_UNITTESTS_CUDACARD_H

#include "Status.h"
#include "ToyModel.h"
#include "cuda/Card.h"

namespace toy {

/// The toy kernels for a card: PTX; empty when the build could not make it.
inline std::string cardCode() {
#ifdef TOY_PTX
  return Artifact::readFile(builtFile(TOY_PTX));
#else
  return "";
#endif
}

/// True when tests can run on a card of this machine.
inline bool hasCard() {
  using namespace sparse::runtime;
  static const bool found = [] {
    try {
      cuda::Card card(cuda::systemDriver(), 0);
      return card.major >= 9 && !cardCode().empty();
    } catch (const Error &) {
      return false;
    }
  }();
  return found;
}

} // namespace toy

#endif // SPARSE_UNITTESTS_CUDACARD_H
