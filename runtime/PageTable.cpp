//===- PageTable.cpp - The page tables of one layer -----------------------===//

#include "PageTable.h"

#include <algorithm>

using namespace sparse::runtime;

PageTable::PageTable(Memory &memory, const Slab &slab,
                     const LayerLayout &layout, uint64_t sequences)
    : memory(memory), slab(slab), heads(layout.kvHeads),
      width(layout.maxPages) {
  if (!memory.onHost())
    shadow.reset(new int32_t[sequences * heads * width]);
  host = shadow ? shadow.get() : reinterpret_cast<int32_t *>(slab.base());
}

void PageTable::initRow(uint64_t sequence) {
  slab.initRow(sequence);
  if (!shadow)
    return;
  std::fill_n(row(sequence, 0), heads * width, -1);
  // What was written before must not come after this.
  uint64_t first = sequence * heads;
  changes.erase(std::remove_if(changes.begin(), changes.end(),
                               [&](const Change &change) {
                                 return change.row >= first &&
                                        change.row < first + heads;
                               }),
                changes.end());
}

void PageTable::changed(uint64_t sequence, uint64_t head, uint64_t begin,
                        uint64_t end) {
  if (!shadow || begin >= end)
    return;
  uint64_t row = sequence * heads + head;
  // The heads of a layer mostly get the same pages: one copy for all.
  if (!changes.empty()) {
    Change &last = changes.back();
    if (head != 0 && last.row + last.count == row && last.begin == begin &&
        last.end == end) {
      ++last.count;
      return;
    }
  }
  changes.push_back({row, 1, begin, end});
}

void PageTable::flush() {
  for (const Change &change : changes) {
    uint64_t at = change.row * width + change.begin;
    memory.upload(reinterpret_cast<int32_t *>(slab.base()) + at, host + at,
                  Rows((change.end - change.begin) * 4, change.count,
                       width * 4));
  }
  changes.clear();
}
