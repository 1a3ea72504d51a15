//===- CacheDevice.h - The kernels' part over a cache -----------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CACHEDEVICE_H
#define SPARSE_UNITTESTS_CACHEDEVICE_H

#include "Cache.h"
#include "CacheModel.h"

#include <string>

namespace sparse::runtime {

/// Faults that a test plants to see that the comparison finds them.
enum class Bug {
  None,
  ForkSharesTail,
  DecodeForgetsVictim,
  TrimKeepsCount,
  MergeIsForgotten,
  CompactionKeepsBounds,
  RestoreForgetsFields,
  BlockIsTakenLate
};

/// A layout with bounds of the keys of each page; with `byChannel` the field
/// counts pages on its last axis.
LayerLayout makeLayout(uint32_t page, uint64_t pageBytes,
                       std::vector<int64_t> caps, PrefillCap prefillCap,
                       bool inPlace, bool byChannel);

/// Lets prompts set the caps of a layout.
void addBudget(LayerLayout &layout);

/// Does what kernels do, from nothing but what they can read: tables, counts,
/// victims, positions and pages. A problem is a text; empty is none.
class CacheDevice {
public:
  CacheDevice(Cache &cache, const std::vector<LayerLayout> &layers, Bug bug)
      : cache(cache), layers(layers), bug(bug) {}

  enum Component {
    Table,
    Count,
    Victim,
    Position,
    Least,
    Most,
    Appends,
    Budget
  };

  int32_t *component(uint32_t layer, Component which, uint32_t seq) const;
  Key keyAt(uint32_t seq, Place place, uint64_t slot) const;
  uint64_t valueAt(uint32_t seq, Place place, uint64_t slot) const;
  Bounds boundsOf(uint32_t seq, Place place, uint64_t page) const;

  std::string append(uint32_t seq, int32_t token, int32_t position,
                     bool decode);
  std::string evict(uint32_t seq, Place place, size_t slot, size_t target);
  /// What a prompt lets a head keep.
  void setBudget(uint32_t seq, Place place, uint32_t slots) {
    component(place.layer, Budget, seq)[place.head] =
        static_cast<int32_t>(slots);
  }
  std::string compact(uint32_t seq, Place place, uint32_t random);
  void rebuild(uint32_t seq, Place place);

private:
  int32_t pageOf(uint32_t seq, Place place, uint64_t slot) const;
  /// The page of a slot that is about to be written: nobody else has it.
  std::string writable(uint32_t seq, Place place, uint64_t slot) const;
  float *keyPlace(uint32_t seq, Place place, uint64_t slot) const;
  uint64_t *valuePlace(uint32_t seq, Place place, uint64_t slot) const;
  float *boundPlace(uint32_t seq, Place place, Component which, uint64_t page,
                    size_t channel) const;
  void setBounds(uint32_t seq, Place place, uint64_t page,
                 const Bounds &bounds);

  Cache &cache;
  const std::vector<LayerLayout> &layers;
  Bug bug;
};

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_CACHEDEVICE_H
