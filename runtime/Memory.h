//===- Memory.h - Where the runtime's memory comes from ---------*- C++ -*-===//
//
// Pools, slabs and arenas are virtual ranges that are reserved once and backed
// by memory as far as they are used. A `Memory` knows how ranges of one device
// are made and how they are written; nothing above it asks which device it is.
// An application can bring its own for the host, and a test can make it fail.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_MEMORY_H
#define SPARSE_RUNTIME_MEMORY_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sparse::runtime {

/// `count` ranges of `bytes`, each `pitch` bytes after the one before.
struct Rows {
  Rows(uint64_t bytes, uint64_t count = 1, uint64_t pitch = 0)
      : bytes(bytes), count(count), pitch(pitch) {}
  uint64_t bytes, count, pitch;
};

class Memory {
public:
  virtual ~Memory() = default;

  // -- Ranges.

  /// Ranges are committed and given back in multiples of this.
  virtual uint64_t granularity() const;

  /// True when committed ranges take memory only where they are touched, and
  /// stay usable when they are given back.
  virtual bool overcommits() const { return true; }

  /// True when the host can read and write the addresses itself.
  virtual bool onHost() const { return true; }

  /// Reserves addresses without memory behind them. Null on failure. With
  /// `huge` the range will be read in bulk, and huge pages are worth their
  /// granularity.
  virtual void *reserve(size_t bytes, bool huge);

  /// Makes a part of a reserved range readable, writable and zero-filled.
  /// Idempotent. False on failure, which must change nothing.
  virtual bool commit(void *address, size_t bytes);

  /// Gives the memory of whole granules back. They read as zero when they are
  /// committed again.
  virtual void decommit(void *address, size_t bytes);

  /// Ends a reservation.
  virtual void release(void *address, size_t bytes);

  // -- Content. Calls take effect in their order, and before the next step.
  // Host memory may be changed when a call returns. A device that fails says so
  // at the next step, not here.

  /// Writes copies of `element` (1, 2, 4 or 8 bytes).
  virtual void fill(void *to, Rows rows, const void *element, size_t size);

  /// Copies within the device; both sides have the same pitch.
  virtual void copy(void *to, const void *from, Rows rows);

  virtual void upload(void *to, const void *host, Rows rows);

  /// Waits for the bytes.
  virtual void download(void *host, const void *from, uint64_t bytes);

  /// Throws INTERNAL when a call has failed: then what downloads gave is not
  /// what lay there.
  virtual void throwIfFailed() {}
};

/// When the memory behind a region is asked for.
enum class Backing {
  Whole,   ///< at once
  Touched, ///< by `commit`; at once where that costs nothing until it is touched
  Explicit ///< by `commit`
};

/// A reserved range of a `Memory`.
class Region {
public:
  Region() = default;
  /// Throws RESOURCE_EXHAUSTED.
  Region(Memory &memory, uint64_t bytes, Backing backing, bool huge);
  Region(Region &&other) noexcept;
  Region &operator=(Region &&other) noexcept;
  ~Region();

  uint8_t *data() const { return base; }
  uint64_t size() const { return bytes; }

  /// Makes [begin, end) usable, zero where it was not. False on failure. What
  /// was given back has to be committed again.
  bool commit(uint64_t begin, uint64_t end);

  /// Gives back the granules that lie completely in [begin, end).
  void decommit(uint64_t begin, uint64_t end);

private:
  Memory *memory = nullptr;
  uint8_t *base = nullptr;
  uint64_t bytes = 0;
  bool whole = false;       ///< everything is committed for good
  std::vector<bool> backed; ///< per granule, unless `whole`
};

/// Bytes of a page of the operating system.
size_t osPageBytes();

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_MEMORY_H
