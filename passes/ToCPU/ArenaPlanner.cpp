//===-- ArenaPlanner.cpp - Offsets of values in an entry's arena --------------------------------------------------===//
#include "passes/ToCPU/ArenaPlanner.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace sparse;

int64_t sparse::planArena(llvm::MutableArrayRef<ArenaValue> values) {
  llvm::SmallVector<ArenaValue *> bySize;
  for (ArenaValue &value : values)
    bySize.push_back(&value);
  llvm::stable_sort(bySize, [](ArenaValue *a, ArenaValue *b) { return a->bytes > b->bytes; });
  llvm::SmallVector<ArenaValue *> placed;
  int64_t size = 0;
  for (ArenaValue *value : bySize) {
    llvm::SmallVector<ArenaValue *> alive;
    for (ArenaValue *other : placed)
      if (other->first <= value->last && value->first <= other->last)
        alive.push_back(other);
    llvm::sort(alive, [](ArenaValue *a, ArenaValue *b) { return a->offset < b->offset; });
    int64_t offset = 0;
    for (ArenaValue *other : alive) {
      if (offset + value->bytes <= other->offset)
        break;
      offset = std::max<int64_t>(offset, llvm::alignTo(other->offset + other->bytes, 64));
    }
    value->offset = offset;
    placed.push_back(value);
    size = std::max<int64_t>(size, llvm::alignTo(offset + value->bytes, 64));
  }
  return size;
}
