//===-- Budget.cpp - An amount of tokens as people write it -------------------------------------------------------===//
#include "lib/Policy/Budget.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;

/// More digits than any budget needs; below, no product leaves 64 bits.
static constexpr size_t kMaxDigits = 9;

static std::optional<int64_t> readDigits(StringRef text) {
  int64_t value = 0;
  if (text.empty() || text.size() > kMaxDigits || !llvm::all_of(text, llvm::isDigit) || text.getAsInteger(10, value))
    return std::nullopt;
  return value;
}

/// `12.5` as 125 of 10, with a digit on either side of the point.
static std::optional<Budget> readShare(StringRef percent) {
  auto [whole, fraction] = percent.split('.');
  bool hasPoint = whole.size() != percent.size();
  std::optional<int64_t> number = readDigits(whole.str() + fraction.str());
  if (!number || whole.empty() || (hasPoint && fraction.empty()))
    return std::nullopt;
  Budget budget{Budget::Unit::Share, *number, 100};
  for (size_t digit = 0; digit < fraction.size(); ++digit)
    budget.divisor *= 10;
  return budget.amount <= budget.divisor ? std::optional(budget) : std::nullopt;
}

std::optional<Budget> Budget::read(StringRef text) {
  if (text.consume_back("%"))
    return readShare(text);
  int64_t factor = 1024;
  for (StringRef unit : {"KiB", "MiB", "GiB"}) {
    StringRef number = text;
    if (number.consume_back(unit)) {
      std::optional<int64_t> amount = readDigits(number);
      return amount ? std::optional(Budget{Unit::Bytes, *amount * factor}) : std::nullopt;
    }
    factor *= 1024;
  }
  return std::nullopt;
}

int64_t Budget::tokensOf(const sparsity::LayerFacts &facts, int64_t heads, Type stored) const {
  if (unit == Unit::Share)
    return amount * facts.maxContext / divisor;
  int64_t slotBytes = (facts.keyDim + facts.valueDim) * stored.getIntOrFloatBitWidth() / 8;
  return amount / (slotBytes * heads);
}
