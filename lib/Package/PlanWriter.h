//===-- PlanWriter.h - plan.entry as JSON ----------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_PACKAGE_PLANWRITER_H
#define SPARSE_LIB_PACKAGE_PLANWRITER_H

#include "dialects/KVCache/KVCache.h"
#include "dialects/Plan/Plan.h"
#include "llvm/Support/JSON.h"

namespace sparse::package {
/// An entry in the form of docs/architecture.md §5.
llvm::json::Value planToJSON(plan::EntryOp entry);
/// A cache layout in the form of docs/architecture.md §4.
llvm::json::Value layoutToJSON(kvcache::LayoutAttr layout);
} // namespace sparse::package

#endif
