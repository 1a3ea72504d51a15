//===-- NearestName.cpp - Did you mean …? -------------------------------------------------------------------------===//
#include "lib/Support/NearestName.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

StringRef sparse::nearestName(StringRef name, ArrayRef<StringRef> candidates) {
  StringRef best;
  unsigned bestDistance = std::max<size_t>(1, name.size() / 3) + 1;
  for (StringRef candidate : candidates) {
    unsigned distance = name.edit_distance(candidate, /*AllowReplacements=*/true, bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

std::string sparse::quotedNames(ArrayRef<StringRef> names) {
  std::string text;
  raw_string_ostream os(text);
  interleaveComma(names, os, [&](StringRef name) { os << "'" << name << "'"; });
  return text;
}
