//===- Stream.h - The work of one context on a card -------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_STREAM_H
#define SPARSE_RUNTIME_CUDA_STREAM_H

#include "cuda/Card.h"

#include <memory>
#include <string>

namespace sparse::runtime::cuda {

/// A stream: all memory operations and steps of a context run in it, in their
/// order. The first failure is kept and reported at the next step, because what
/// fails may have been enqueued long before.
class Stream {
public:
  explicit Stream(std::shared_ptr<const Card> card);
  Stream(const Stream &) = delete;
  ~Stream();

  StreamRef get() const { return stream; }

  /// Keeps the first failure. Returns whether `result` is a success.
  bool note(Result result, const char *what);

  bool failed() const { return !failure.empty(); }

  /// Throws INTERNAL when something has failed.
  void throwIfFailed() const;

  /// Something was enqueued.
  void enqueued() { pending = true; }

  /// Waits until all that was enqueued has run.
  void synchronize();

  const std::shared_ptr<const Card> card;
  const Driver &driver;

private:
  StreamRef stream = nullptr;
  std::string failure;
  bool pending = false;
};

/// A point in the work of a stream, to wait for.
class Event {
public:
  explicit Event(Stream &stream);
  Event(const Event &) = delete;
  ~Event();

  /// Marks the end of what is enqueued now.
  void record();

  /// Waits for what was marked last; returns at once when nothing was.
  void wait();

private:
  Stream &stream;
  EventRef event = nullptr;
  bool recorded = false;
};

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_STREAM_H
