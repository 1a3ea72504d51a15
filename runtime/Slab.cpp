//===- Slab.cpp - One component of a layer's cache ------------------------===//

#include "Slab.h"
#include "Checked.h"

#include <cstring>

using namespace sparse::runtime;

// Rows from this size on lie in huge pages: smaller ones would take much more
// memory than they use.
static constexpr uint64_t hugeRow = 512 << 10;

uint64_t Slab::bytesOf(const Component &component, uint64_t sequences) {
  return checkedMul(component.rowBytes(), sequences);
}

Slab::Slab(Memory &memory, const Component &component,
           const LayerLayout &layout, uint64_t sequences, uint8_t *place)
    : memory(memory), data(place), rowBytes(component.rowBytes()),
      element(dtypeBytes(component.dtype)) {
  if (!place) {
    region = Region(memory, bytesOf(component, sequences), Backing::Touched,
                    rowBytes >= hugeRow);
    data = region.data();
  }
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

uint64_t Slab::bytesPerPage(const Component &component,
                            const LayerLayout &layout) {
  uint64_t bytes = dtypeBytes(component.dtype);
  for (size_t i = 1; i < component.shape.size(); ++i)
    if (i != component.axis)
      bytes = checkedMul(bytes, component.shape[i]);
  return component.scope == Scope::Slot ? checkedMul(bytes, layout.page)
                                        : bytes;
}

bool Slab::commitRow(uint64_t sequence) {
  return !region.data() ||
         region.commit(sequence * rowBytes, (sequence + 1) * rowBytes);
}

bool Slab::commitPages(uint64_t sequence, uint64_t head, uint64_t begin,
                       uint64_t end) {
  if (!region.data())
    return true;
  for (uint64_t i = 0; i < outer; ++i) {
    uint64_t start = sequence * rowBytes + i * extent * inner * element;
    if (!region.commit(start + offsetOf(head, begin * entriesPerPage),
                       start + offsetOf(head, end * entriesPerPage)))
      return false;
  }
  return true;
}

/// The same entries of all outer indices of `heads` heads.
Rows Slab::rowsOf(uint64_t entries, uint64_t heads) const {
  return Rows(entries * inner * element, heads * outer,
              extent * inner * element);
}

void Slab::initRow(uint64_t sequence) const {
  memory.fill(row(sequence), rowBytes, init, element);
}

void Slab::initPages(uint64_t sequence, uint64_t head, uint64_t begin,
                     uint64_t end, uint64_t heads) const {
  memory.fill(row(sequence) + offsetOf(head, begin * entriesPerPage),
              rowsOf((end - begin) * entriesPerPage, heads), init, element);
}

void Slab::initSlots(uint64_t sequence, uint64_t head, uint64_t begin,
                     uint64_t end) const {
  if (slots && begin < end)
    memory.fill(row(sequence) + offsetOf(head, begin), rowsOf(end - begin, 1),
                init, element);
}

void Slab::copyPages(uint64_t from, uint64_t to, uint64_t head,
                     uint64_t pages) const {
  if (pages)
    memory.copy(row(to) + offsetOf(head, 0), row(from) + offsetOf(head, 0),
                rowsOf(pages * entriesPerPage, 1));
}

void Slab::copyRow(uint64_t from, uint64_t to) const {
  memory.copy(row(to), row(from), rowBytes);
}

void Slab::storeEntries(uint64_t sequence, uint64_t head, uint64_t begin,
                        uint64_t end, const void *host) const {
  uint64_t first = begin * entriesPerPage;
  uint64_t bytes = (end - begin) * entriesPerPage * inner * element;
  const uint8_t *from = static_cast<const uint8_t *>(host);
  for (uint64_t i = 0; i < outer && bytes; ++i)
    memory.upload(row(sequence) + offsetOf(head, i * extent + first),
                  from + i * bytes, bytes);
}

void Slab::loadEntries(uint64_t sequence, uint64_t head, uint64_t begin,
                       uint64_t end, void *host) const {
  uint64_t first = begin * entriesPerPage;
  uint64_t bytes = (end - begin) * entriesPerPage * inner * element;
  uint8_t *to = static_cast<uint8_t *>(host);
  for (uint64_t i = 0; i < outer && bytes; ++i)
    memory.download(to + i * bytes,
                    row(sequence) + offsetOf(head, i * extent + first), bytes);
}

void Slab::storeRow(uint64_t sequence, const void *host) const {
  memory.upload(row(sequence), host, rowBytes);
}

void Slab::loadRow(uint64_t sequence, void *host) const {
  memory.download(host, row(sequence), rowBytes);
}

void Slab::dropRow(uint64_t sequence) {
  if (region.data())
    region.decommit(sequence * rowBytes, (sequence + 1) * rowBytes);
}
