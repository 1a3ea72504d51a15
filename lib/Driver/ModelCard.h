//===-- ModelCard.h - Model facts and sites for people and for programs ---------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_MODELCARD_H
#define SPARSE_LIB_DRIVER_MODELCARD_H

#include "dialects/Sparsity/Sparsity.h"
#include "lib/Model/ModelFacts.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <map>

namespace sparse::driver {
/// Parts recognised per layer (-1: outside the layers), with how often each occurs.
using SiteTable = std::map<int64_t, std::map<sparsity::Part, int64_t>>;
SiteTable collectSites(mlir::func::FuncOp func);

void printModelCard(const ModelFacts &facts, llvm::raw_ostream &os);
void printSites(const SiteTable &sites, llvm::raw_ostream &os);
llvm::json::Value modelCardAsJson(const ModelFacts &facts);
llvm::json::Value sitesAsJson(const SiteTable &sites);
} // namespace sparse::driver

#endif
