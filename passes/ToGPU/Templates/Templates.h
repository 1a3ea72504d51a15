//===-- Templates.h - The templates of GPU kernels -------------------------------------------------------*- C++ -*-===//
//
// A template is one file of this folder and one line of the table. `sparse-set-device-strategy` takes the first entry for
// an op whose `whyNot` is empty; the IR may name another.
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_TEMPLATES_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_TEMPLATES_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

struct TemplateEntry {
  StringRef opName;
  sparsity::Strategy strategy;
  Template body;
};

/// All templates, better ones first.
ArrayRef<TemplateEntry> templateTable();

extern const Template appendTemplate;      // Append.cpp: kvcache.append
extern const Template attendPrefillTemplate; // AttendPrefill.cpp: sparsity.attend of a prompt
extern const Template attendMmaTemplate;   // AttendMma.cpp: sparsity.attend_part
extern const Template attendSimtTemplate;  // AttendSimt.cpp: sparsity.attend_part
extern const Template chooseTemplate;      // Compact.cpp: kvcache.choose
extern const Template gatherTemplate;      // Compact.cpp: kvcache.gather
extern const Template placeTemplate;       // Compact.cpp: kvcache.place
extern const Template compressTemplate;    // Compress.cpp: kvcache.compress
extern const Template combineTemplate;     // Combine.cpp: sparsity.combine
extern const Template elementwiseTemplate; // Elementwise.cpp: elementwise ops alone
extern const Template embedTemplate;       // Embed.cpp: sparsity.embed
extern const Template linearTemplate;      // Linear.cpp: sparsity.linear and the elementwise ops after it
extern const Template massOfScoresTemplate; // MassOfScores.cpp: sparsity.mass_of_scores
extern const Template massPrefillTemplate; // MassPrefill.cpp: sparsity.mass of a prompt
extern const Template massSimtTemplate;    // MassSimt.cpp: sparsity.mass of decode rows
extern const Template matchMmaTemplate;    // MatchMma.cpp: sparsity.match
extern const Template matchSimtTemplate;   // MatchSimt.cpp: sparsity.match
extern const Template matchChosenTemplate; // MatchChosen.cpp: sparsity.match_chosen
extern const Template mergeTemplate;       // Merge.cpp: sparsity.merge
extern const Template mergeChosenTemplate; // MergeChosen.cpp: sparsity.merge_chosen
extern const Template normTemplate;        // Norm.cpp: onnx.RMSNormalization
extern const Template rebuildTemplate;     // Rebuild.cpp: kvcache.rebuild
extern const Template ropeTemplate;        // Rope.cpp: onnx.RotaryEmbedding
extern const Template sampleTemplate;      // Sample.cpp: sparsity.sample
extern const Template scoreMmaTemplate;    // ScoreMma.cpp: sparsity.score
extern const Template scoreSimtTemplate;   // ScoreSimt.cpp: sparsity.score
extern const Template spreadTemplate;      // Spread.cpp: sparsity.spread
extern const Template settleTemplate;      // MergeChosen.cpp: sparsity.settle
extern const Template selectAttendTemplate; // SelectAttend.cpp: select, attend_part and combine in one launch
extern const Template selectSimtTemplate;  // SelectSimt.cpp: sparsity.select

} // namespace sparse::device

#endif
