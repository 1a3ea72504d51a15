//===- Slab.cpp - One component of a layer's cache ------------------------===//

#include "Slab.h"
#include "Checked.h"

#include <cstring>

using namespace sparse::runtime;

// Rows from this size on lie in huge pages: smaller ones would take much more
// memory than they use.
static constexpr uint64_t hugeRow = 512 << 10;

Slab::Slab(Memory &memory, const Component &component,
           const LayerLayout &layout, uint64_t sequences)
    : region(memory, checkedMul(component.rowBytes(), sequences),
             /*committed=*/true, component.rowBytes() >= hugeRow),
      rowBytes(component.rowBytes()), element(dtypeBytes(component.dtype)) {
  std::memcpy(init, component.init, sizeof(init));
  slots = component.scope == Scope::Slot;
  paged =
      (slots || component.scope == Scope::Page) && component.name != "table";
  if (!paged)
    return;
  for (size_t i = 1; i < component.axis; ++i)
    outer *= component.shape[i];
  extent = component.shape[component.axis];
  for (size_t i = component.axis + 1; i < component.shape.size(); ++i)
    inner *= component.shape[i];
  entriesPerPage = slots ? layout.page : 1;
}

static void fillElements(uint8_t *out, uint64_t bytes, const uint8_t *init,
                         uint64_t element) {
  if (bytes == 0)
    return;
  std::memcpy(out, init, element);
  uint64_t done = element;
  while (done < bytes) {
    uint64_t chunk = done < bytes - done ? done : bytes - done;
    std::memcpy(out + done, out, chunk);
    done += chunk;
  }
}

template <typename Fn>
void Slab::forRanges(uint64_t head, uint64_t begin, uint64_t end, Fn fn) const {
  for (uint64_t i = 0; i < outer; ++i) {
    uint64_t start = ((head * outer + i) * extent + begin) * inner * element;
    fn(start, (end - begin) * inner * element);
  }
}

void Slab::initRow(uint64_t sequence) const {
  fillElements(row(sequence), rowBytes, init, element);
}

void Slab::initPages(uint64_t sequence, uint64_t head, uint64_t begin,
                     uint64_t end) const {
  forRanges(head, begin * entriesPerPage, end * entriesPerPage,
            [&](uint64_t offset, uint64_t bytes) {
              fillElements(row(sequence) + offset, bytes, init, element);
            });
}

void Slab::initSlots(uint64_t sequence, uint64_t head, uint64_t begin,
                     uint64_t end) const {
  if (!slots || begin >= end)
    return;
  forRanges(head, begin, end, [&](uint64_t offset, uint64_t bytes) {
    fillElements(row(sequence) + offset, bytes, init, element);
  });
}

void Slab::copyPages(uint64_t from, uint64_t to, uint64_t head,
                     uint64_t pages) const {
  forRanges(head, 0, pages * entriesPerPage,
            [&](uint64_t offset, uint64_t bytes) {
              std::memcpy(row(to) + offset, row(from) + offset, bytes);
            });
}

void Slab::copyRow(uint64_t from, uint64_t to) const {
  std::memcpy(row(to), row(from), rowBytes);
}

void Slab::dropRow(uint64_t sequence) const {
  region.decommit(sequence * rowBytes, (sequence + 1) * rowBytes);
}
