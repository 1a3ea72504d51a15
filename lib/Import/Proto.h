//===-- Proto.h - The generated ONNX messages -----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_PROTO_H
#define SPARSE_LIB_IMPORT_PROTO_H

#include "onnx-ml.pb.h"

namespace sparse::import {
// The generated namespace is ::onnx, which sparse::onnx (the dialect) hides in this project.
namespace proto = ::onnx;
} // namespace sparse::import

#endif
