//===-- BlockFold.cpp - One value of all warps of a block ---------------------------------------------------------===//
#include "passes/ToGPU/Templates/BlockFold.h"

using namespace sparse::device;

BlockFold::BlockFold(Device &d, Type element, int64_t warps, StringRef name)
    : d(d), warps(warps), values(d.shared(element, warps, name)) {}

Value BlockFold::operator()(Value ofWarp, Fold fold) {
  d.barrier(); // the last result has been read
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { d.store(ofWarp, values, d.warp()); });
  d.barrier();
  Value all = d.load(values, d.i32(0));
  for (int64_t warp = 1; warp < warps; ++warp)
    all = fold(all, d.load(values, d.i32(warp)));
  return all;
}
