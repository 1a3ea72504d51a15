//===-- MaskPredicate.cpp - Masks as predicates -------------------------------------------------------------------===//
#include "passes/Raise/MaskPredicate.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace sparse::raise;

namespace {
/// A score this much lower has no weight after the softmax.
constexpr double kHidden = -1e4;

enum class Sight { Seen, Hidden, Biased };

Sight sightOf(const MaskTerm &term, double element) {
  switch (term.kind) {
  case MaskTerm::Attend:
    return element != 0 ? Sight::Seen : Sight::Hidden;
  case MaskTerm::Hide:
    return element != 0 ? Sight::Hidden : Sight::Seen;
  case MaskTerm::Additive:
    return element == 0 ? Sight::Seen : element <= kHidden ? Sight::Hidden : Sight::Biased;
  }
  return Sight::Biased;
}

/// Which keys are seen in one run: [batch, heads, queries, keys].
class Seen {
public:
  Seen(const Evaluation &evaluation, const MaskTerms &mask, unsigned run)
      : mask(mask), assignment(evaluation.assignments()[run]) {
    for (const MaskTerm &term : mask.terms) {
      const HostTensor *tensor = evaluation.get(term.value, run);
      if (!tensor || !tensor->hasData() || tensor->rank() > 4) {
        problem = "is not computed from positions, lengths and the attention mask alone";
        return;
      }
      auto padded = SmallVector<int64_t>(4 - tensor->rank(), 1);
      padded.append(tensor->shape.begin(), tensor->shape.end());
      HostTensor term4 = *tensor;
      term4.shape = padded;
      heads = std::max(heads, padded[1]);
      if ((padded[0] != 1 && padded[0] != assignment.batch) || (padded[2] != 1 && padded[2] != assignment.sequence) ||
          (padded[3] != 1 && padded[3] != assignment.total())) {
        problem = llvm::formatv("has shape [{0}] with {1} queries and {2} keys",
                                llvm::make_range(tensor->shape.begin(), tensor->shape.end()), assignment.sequence,
                                assignment.total())
                      .str();
        return;
      }
      tensors.push_back(std::move(term4));
    }
  }

  Sight at(int64_t row, int64_t head, int64_t query, int64_t key) const {
    int64_t position = query + (mask.hasPast ? assignment.past : 0);
    if (mask.isCausal && key > position)
      return Sight::Hidden;
    if ((mask.leftWindow >= 0 && key < position - mask.leftWindow) ||
        (mask.rightWindow >= 0 && key > position + mask.rightWindow))
      return Sight::Hidden;
    Sight sight = Sight::Seen;
    for (auto [term, tensor] : llvm::zip(mask.terms, tensors)) {
      int64_t at = tensor.shape[1] == 1 ? 0 : head;
      Sight one = sightOf(term, tensor.at(broadcastOffset(tensor.shape, {row, at, query, key})));
      if (one == Sight::Hidden)
        return one;
      if (one == Sight::Biased)
        sight = one;
    }
    return sight;
  }

  std::string problem;
  int64_t heads = 1;

private:
  const MaskTerms &mask;
  const Assignment &assignment;
  SmallVector<HostTensor> tensors;
};

/// Keys before the query that it sees in a run, counted from the query backwards; -1 when it sees all.
int64_t windowOf(const Seen &seen, const Assignment &a) {
  int64_t position = a.past + a.sequence - 1, oldest = 0;
  while (oldest < position && seen.at(0, 0, a.sequence - 1, oldest) == Sight::Hidden)
    ++oldest;
  return oldest == 0 ? -1 : position - oldest;
}
} // namespace

std::optional<Visibility> sparse::raise::classifyMask(const Evaluation &evaluation, const MaskTerms &mask,
                                                      std::string &reason) {
  auto assignments = evaluation.assignments();
  // The longest run is the last; only it reaches past every window.
  Seen longest(evaluation, mask, assignments.size() - 1);
  if (!longest.problem.empty()) {
    reason = longest.problem;
    return std::nullopt;
  }
  Visibility result{windowOf(longest, assignments.back())};

  // Whether padding is hidden may be decided by the mask or left to the caller, but not key by key.
  std::optional<bool> hidesPadding;
  for (auto [run, a] : llvm::enumerate(assignments)) {
    Seen seen(evaluation, mask, run);
    if (!seen.problem.empty()) {
      reason = seen.problem;
      return std::nullopt;
    }
    for (int64_t row = 0; row < a.batch; ++row)
      for (int64_t head = 0; head < seen.heads; ++head)
        for (int64_t query = 0; query < a.sequence; ++query)
          for (int64_t key = 0; key < a.total(); ++key) {
            Sight sight = seen.at(row, head, query, key);
            int64_t position = a.past + query;
            bool visible = key <= position && (result.leftWindow < 0 || key >= position - result.leftWindow);
            if (visible && !a.isToken(row, key)) {
              if (!hidesPadding)
                hidesPadding = sight == Sight::Hidden;
              visible = !*hidesPadding;
            }
            if (sight == (visible ? Sight::Seen : Sight::Hidden))
              continue;
            reason = llvm::formatv("is no causal mask, window or padding: with {0} past tokens and {1} new ones, query "
                                   "{2} {3} key {4}{5}",
                                   a.past, a.sequence, query,
                                   sight == Sight::Biased   ? "adds a bias to"
                                   : sight == Sight::Hidden ? "does not see"
                                                            : "sees",
                                   key, seen.heads > 1 ? llvm::formatv(" in head {0}", head).str() : "")
                         .str();
            return std::nullopt;
          }
  }
  return result;
}
