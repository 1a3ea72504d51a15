//===- Card.h - One CUDA device ---------------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_CARD_H
#define SPARSE_RUNTIME_CUDA_CARD_H

#include "cuda/Driver.h"

#include <string>

namespace sparse::runtime::cuda {

/// A device and its primary context, which other users of CUDA in the process
/// share. Nothing of theirs is changed: each use pushes the context and pops it.
class Card {
public:
  /// Throws UNAVAILABLE when there is no device `ordinal`.
  Card(const Driver &driver, int ordinal);
  Card(const Card &) = delete;
  ~Card();

  /// Makes the context current for a scope.
  class Use {
  public:
    explicit Use(const Card &card) : card(card) {
      card.driver.contextPush(card.context);
    }
    Use(const Use &) = delete;
    ~Use() {
      ContextRef previous;
      card.driver.contextPop(&previous);
    }

  private:
    const Card &card;
  };

  /// Bytes of device memory that are free now.
  uint64_t freeBytes() const;

  const Driver &driver;
  const int ordinal;
  std::string name; ///< "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;

private:
  DeviceId id = 0;
  ContextRef context = nullptr;
};

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_CARD_H
