//===-- Table.cpp - Which template serves which op ----------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse::device;

ArrayRef<TemplateEntry> sparse::device::templateTable() {
  using sparsity::Strategy;
  static const TemplateEntry table[] = {
      {kvcache::AppendOp::getOperationName(), Strategy::Simt, appendTemplate},
      {kvcache::ChooseOp::getOperationName(), Strategy::Simt, chooseTemplate},
      {kvcache::GatherOp::getOperationName(), Strategy::Simt, gatherTemplate},
      {kvcache::PlaceOp::getOperationName(), Strategy::Simt, placeTemplate},
      {kvcache::CompressOp::getOperationName(), Strategy::Simt, compressTemplate},
      {kvcache::RebuildOp::getOperationName(), Strategy::Simt, rebuildTemplate},
      {onnx::RMSNormalizationOp::getOperationName(), Strategy::Simt, normTemplate},
      {onnx::RotaryEmbeddingOp::getOperationName(), Strategy::Simt, ropeTemplate},
      {sparsity::AttendOp::getOperationName(), Strategy::Mma, attendPrefillTemplate},
      {sparsity::EmbedOp::getOperationName(), Strategy::Simt, embedTemplate},
      {sparsity::LinearOp::getOperationName(), Strategy::Simt, linearTemplate},
      {onnx::CastOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {sparsity::AttendPartOp::getOperationName(), Strategy::Mma, attendMmaTemplate},
      {sparsity::AttendPartOp::getOperationName(), Strategy::Simt, attendSimtTemplate},
      {sparsity::CombineOp::getOperationName(), Strategy::Simt, combineTemplate},
      {sparsity::MassOp::getOperationName(), Strategy::Mma, massPrefillTemplate},
      {sparsity::MassOp::getOperationName(), Strategy::Simt, massSimtTemplate},
      {sparsity::MassOfScoresOp::getOperationName(), Strategy::Simt, massOfScoresTemplate},
      {sparsity::MatchOp::getOperationName(), Strategy::Mma, matchMmaTemplate},
      {sparsity::MatchOp::getOperationName(), Strategy::Simt, matchSimtTemplate},
      {sparsity::MatchChosenOp::getOperationName(), Strategy::Simt, matchChosenTemplate},
      {sparsity::MergeOp::getOperationName(), Strategy::Simt, mergeTemplate},
      {sparsity::MergeChosenOp::getOperationName(), Strategy::Simt, mergeChosenTemplate},
      {sparsity::SettleOp::getOperationName(), Strategy::Simt, settleTemplate},
      {sparsity::SampleOp::getOperationName(), Strategy::Simt, sampleTemplate},
      {sparsity::ScoreOp::getOperationName(), Strategy::Mma, scoreMmaTemplate},
      {sparsity::ScoreOp::getOperationName(), Strategy::Simt, scoreSimtTemplate},
      {sparsity::SelectOp::getOperationName(), Strategy::Mma, selectAttendTemplate},
      {sparsity::SelectOp::getOperationName(), Strategy::Simt, selectSimtTemplate},
      {sparsity::SpreadOp::getOperationName(), Strategy::Simt, spreadTemplate},
      {onnx::AddOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::SubOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::MulOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::DivOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::NegOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::ExpOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::TanhOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::ReluOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::SigmoidOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::SwishOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
      {onnx::GeluOp::getOperationName(), Strategy::Simt, elementwiseTemplate},
  };
  return table;
}
