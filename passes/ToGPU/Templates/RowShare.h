//===-- RowShare.h - How a warp lies over rows of channels -----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ROWSHARE_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ROWSHARE_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// A warp takes several rows (keys, values, page fields) at once: `lanes` neighbouring lanes share a row and load 16 bytes
/// each, load j of lane l being chunk j * lanes + l of the row.
struct RowShare {
  int64_t width; // elements of a load
  int64_t lanes; // of one row, a power of two
  int64_t rows;  // of the warp at once

  /// For rows of all `dims` elements of one type: as many lanes as divide every row.
  static RowShare over(ArrayRef<int64_t> dims, Type element) {
    int64_t width = 128 / element.getIntOrFloatBitWidth(), lanes = kWarp;
    for (int64_t dim : dims)
      while (dim / width % lanes != 0)
        lanes /= 2;
    return {width, lanes, kWarp / lanes};
  }
  /// Loads of a lane for its part of a row of `dim` elements.
  int64_t loads(int64_t dim) const { return dim / width / lanes; }
  /// First element (i32) of load j of this lane.
  Value channel(Device &d, int64_t j) const {
    return d.mul(d.add(d.remU(d.lane(), lanes), d.i32(j * lanes)), d.i32(width));
  }
  /// Which of the warp's rows this lane works on.
  Value row(Device &d) const { return d.divU(d.lane(), lanes); }
};

} // namespace sparse::device

#endif
