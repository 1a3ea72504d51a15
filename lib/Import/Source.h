//===-- Source.h - Locations in an ONNX file ------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_SOURCE_H
#define SPARSE_LIB_IMPORT_SOURCE_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "mlir/IR/MLIRContext.h"

namespace sparse::import {
/// Makes locations in one ONNX file. The line is the node's number in the graph, counted from 1; line 0 is anything
/// that is no node. The driver's diagnostic printer knows this form.
class Source {
public:
  Source(mlir::MLIRContext *context, llvm::StringRef path) : file(mlir::StringAttr::get(context, path)) {}

  llvm::StringRef path() const { return file.getValue(); }
  mlir::MLIRContext *context() const { return file.getContext(); }

  /// The file as a whole.
  mlir::Location whole() const { return mlir::FileLineColLoc::get(file, 0, 0); }
  /// Something with a name that is no node, such as "initializer 'w'" or "byte 17".
  mlir::Location item(const llvm::Twine &what) const {
    return mlir::NameLoc::get(mlir::StringAttr::get(context(), what), whole());
  }
  mlir::Location node(const llvm::Twine &name, unsigned index) const {
    return mlir::NameLoc::get(mlir::StringAttr::get(context(), name), mlir::FileLineColLoc::get(file, index + 1, 0));
  }

private:
  mlir::StringAttr file;
};
} // namespace sparse::import

#endif
