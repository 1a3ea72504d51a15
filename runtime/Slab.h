//===- Slab.h - One component of a layer's cache ----------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SLAB_H
#define SPARSE_RUNTIME_SLAB_H

#include "Manifest.h"
#include "Memory.h"

namespace sparse::runtime {

/// The memory `[sequences, *shape]` of a component. Only addresses are spent
/// at first: a row costs memory where it was committed and written. Page and
/// slot entries get their initial value when their page is reserved, the rest
/// of a row when its sequence is created.
class Slab {
public:
  /// Without `place` the slab reserves its own range; small ones are better
  /// placed side by side in committed memory (`bytesOf` of it).
  Slab(Memory &memory, const Component &component, const LayerLayout &layout,
       uint64_t sequences, uint8_t *place = nullptr);

  static uint64_t bytesOf(const Component &component, uint64_t sequences);

  uint8_t *base() const { return data; }
  uint8_t *row(uint64_t sequence) const { return data + sequence * rowBytes; }

  /// True for components with entries per page or slot, the table excepted.
  bool perPage() const { return paged; }

  /// Bytes that one logical page of one head adds.
  uint64_t bytesPerPage() const { return paged ? pageSpan() * element : 0; }
  static uint64_t bytesPerPage(const Component &component,
                               const LayerLayout &layout);

  /// Makes sure that a whole row, or the entries of logical pages [begin, end)
  /// of one head, have memory. False on failure.
  bool commitRow(uint64_t sequence);
  bool commitPages(uint64_t sequence, uint64_t head, uint64_t begin,
                   uint64_t end);

  /// Writes the initial value to a whole row.
  void initRow(uint64_t sequence) const;

  /// Writes the initial value to the entries of logical pages [begin, end) of
  /// `heads` heads from `head` on. Only for `perPage` components.
  void initPages(uint64_t sequence, uint64_t head, uint64_t begin, uint64_t end,
                 uint64_t heads = 1) const;

  /// The same for slots [begin, end) of a head. Page-scope components have no
  /// such entries, and nothing happens.
  void initSlots(uint64_t sequence, uint64_t head, uint64_t begin,
                 uint64_t end) const;

  /// Copies the entries of logical pages [0, pages) of one head.
  void copyPages(uint64_t from, uint64_t to, uint64_t head,
                 uint64_t pages) const;

  /// Bytes of a whole row.
  uint64_t bytesPerRow() const { return rowBytes; }

  /// Copies a whole row.
  void copyRow(uint64_t from, uint64_t to) const;

  /// The entries of logical pages [begin, end) of one head as the host's bytes,
  /// outer index by outer index, and back.
  void storeEntries(uint64_t sequence, uint64_t head, uint64_t begin,
                    uint64_t end, const void *host) const;
  void loadEntries(uint64_t sequence, uint64_t head, uint64_t begin,
                   uint64_t end, void *host) const;

  /// A row as the host's values and back.
  void storeRow(uint64_t sequence, const void *host) const;
  void loadRow(uint64_t sequence, void *host) const;

  /// Gives the memory of a row back; its content is lost.
  void dropRow(uint64_t sequence);

private:
  uint64_t pageSpan() const { return outer * entriesPerPage * inner; }
  uint64_t offsetOf(uint64_t head, uint64_t entry) const {
    return (head * outer * extent + entry) * inner * element;
  }
  Rows rowsOf(uint64_t entries, uint64_t heads) const;

  Memory &memory;
  Region region;
  uint8_t *data;
  uint64_t rowBytes, element;
  uint8_t init[8];
  bool paged, slots;
  // A row is [heads][outer][extent][inner], extent = the axis of pages or
  // slots.
  uint64_t outer = 1, extent = 1, inner = 1, entriesPerPage = 1;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SLAB_H
