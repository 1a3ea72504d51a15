//===- Memory.h - Where the runtime's memory comes from ---------*- C++ -*-===//
//
// Pools, slabs and arenas are virtual ranges that are reserved once and backed
// by memory as far as they are used. The four calls are virtual so that an
// application can account for them and a test can make them fail.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_MEMORY_H
#define SPARSE_RUNTIME_MEMORY_H

#include <cstddef>
#include <cstdint>

namespace sparse::runtime {

class Memory {
public:
  virtual ~Memory() = default;

  /// Reserves addresses without memory behind them, aligned to the OS page.
  /// Null on failure. With `huge` the range will be read in bulk, and huge
  /// pages are worth their granularity.
  virtual void *reserve(size_t bytes, bool huge);

  /// Makes a part of a reserved range readable, writable and zero-filled on
  /// first touch. Idempotent. False on failure, which must change nothing.
  virtual bool commit(void *address, size_t bytes);

  /// Gives the memory of whole OS pages back; they read as zero afterwards and
  /// stay committed.
  virtual void decommit(void *address, size_t bytes);

  /// Ends a reservation.
  virtual void release(void *address, size_t bytes);
};

/// A reserved range of a `Memory`.
class Region {
public:
  Region() = default;
  /// Throws RESOURCE_EXHAUSTED. With `committed` all of it is usable at once
  /// (and costs nothing until it is touched).
  Region(Memory &memory, uint64_t bytes, bool committed, bool huge);
  Region(Region &&other) noexcept;
  Region &operator=(Region &&other) noexcept;
  ~Region();

  uint8_t *data() const { return base; }
  uint64_t size() const { return bytes; }

  /// Gives back the OS pages that lie completely in [begin, end).
  void decommit(uint64_t begin, uint64_t end) const;

private:
  Memory *memory = nullptr;
  uint8_t *base = nullptr;
  uint64_t bytes = 0;
};

/// Bytes of a page of the operating system.
size_t osPageBytes();

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_MEMORY_H
