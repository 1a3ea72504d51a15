//===-- IndexRange.cpp - Sets of layers and heads as text ---------------------------------------------------------===//
#include "lib/Policy/IndexRange.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace sparse::policy;

/// No model has more layers or heads; above, sums would need care.
static constexpr int64_t kMaxIndex = 1 << 20;

static bool readIndex(StringRef text, int64_t &value) {
  return !text.empty() && llvm::all_of(text, llvm::isDigit) && !text.getAsInteger(10, value) && value <= kMaxIndex;
}

bool IndexRange::add(StringRef text) {
  text = text.trim();
  if (text == "all") {
    parts.push_back({0, -1});
    return true;
  }
  Part part{0, -1};
  auto [first, last] = text.split('-');
  if (!readIndex(first, part.first))
    return false;
  if (first.size() == text.size())
    part.last = part.first;
  else if (!last.empty() && (!readIndex(last, part.last) || part.last < part.first))
    return false;
  parts.push_back(part);
  return true;
}

IndexRange IndexRange::all(Location loc) {
  IndexRange range(loc);
  range.parts.push_back({0, -1});
  return range;
}

std::optional<IndexRange> IndexRange::read(const Node &node, StringRef what) {
  IndexRange range(node.loc);
  auto readScalar = [&](const Node &scalar) {
    SmallVector<StringRef> texts;
    StringRef(scalar.text).split(texts, ',');
    if (scalar.kind == Node::Kind::Scalar && llvm::all_of(texts, [&](StringRef text) { return range.add(text); }))
      return true;
    emitError(scalar.loc) << (scalar.kind == Node::Kind::Scalar ? "'" + scalar.text + "'" : "this value")
                          << " is no range of " << what << "s; legal: all, 3, 2-, 0-4, or several of them: '1,4-6'";
    return false;
  };
  if (node.kind != Node::Kind::List)
    return readScalar(node) ? std::optional(range) : std::nullopt;
  for (const Node &item : node.items)
    if (!readScalar(item))
      return std::nullopt;
  return range;
}

std::optional<SmallVector<int64_t>> IndexRange::resolve(int64_t count, StringRef what, std::string &error) const {
  SmallVector<int64_t> indices;
  for (Part part : parts) {
    int64_t last = part.last == -1 ? std::max(part.first, count - 1) : part.last;
    if (last >= count) {
      error = llvm::formatv("there is no {0} {1}; legal: {2}", what, std::max(part.first, count),
                            count == 0 ? "none" : formatRange(llvm::to_vector(llvm::seq<int64_t>(0, count))));
      return std::nullopt;
    }
    for (int64_t index = part.first; index <= last; ++index)
      indices.push_back(index);
  }
  llvm::sort(indices);
  indices.erase(llvm::unique(indices), indices.end());
  return indices;
}

std::string sparse::policy::formatRange(ArrayRef<int64_t> indices) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (size_t i = 0; i < indices.size(); ++i) {
    size_t end = i;
    while (end + 1 < indices.size() && indices[end + 1] == indices[end] + 1)
      ++end;
    os << (i == 0 ? "" : ",") << indices[i];
    if (end != i)
      os << '-' << indices[end];
    i = end;
  }
  return text;
}
