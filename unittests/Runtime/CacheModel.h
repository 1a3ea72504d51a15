//===- CacheModel.h - What a cache holds, without pages ---------*- C++ -*-===//
//
// The reference that random operations are compared with (R7, R8): per sequence
// and head a list of slots, each with what it holds as a function of token,
// position, layer and head. It knows neither pages that move nor memory.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_UNITTESTS_CACHEMODEL_H
#define SPARSE_UNITTESTS_CACHEMODEL_H

#include "Manifest.h"

#include <array>
#include <limits>
#include <map>
#include <vector>

namespace sparse::runtime {

/// A key of two channels, small integers.
using Key = std::array<float, 2>;

struct Place {
  uint32_t layer, head;
};

/// What a token's key and value are.
Key keyOf(int32_t token, int32_t position, Place place);
uint64_t valueOf(int32_t token, int32_t position, Place place);

/// The keys of a page lie between these, channel by channel.
struct Bounds {
  Key least = {infinity, infinity}, most = {-infinity, -infinity};

  void widen(const Key &key);
  bool operator==(const Bounds &other) const {
    return least == other.least && most == other.most;
  }

private:
  static constexpr float infinity = std::numeric_limits<float>::infinity();
};

/// Which slots leave in a compaction and which of those that stay takes their
/// values in. Slots are named by their order among the living ones.
struct Departure {
  size_t leaves, target;
};
std::vector<Departure> chooseDepartures(size_t live, size_t cap,
                                        uint32_t random);

/// Layers of this cache whose policy merges what it evicts.
bool merges(const LayerLayout &layout);

struct ModelSlot {
  Key key = {};
  uint64_t value = 0; ///< of its token and of all that were merged into it
  int32_t position = -1;
};

struct ModelHead {
  std::vector<ModelSlot> slots; ///< in use, a dead one too
  int64_t victim = -1;
  std::vector<Bounds> bounds; ///< per logical page, since it was last rebuilt
  int32_t appends = 0;
  uint64_t budget = 0; ///< what a prompt has set
};

struct ModelSequence {
  bool evicted = false;
  uint64_t length = 0;
  std::vector<int32_t> tokens;
  std::vector<std::vector<ModelHead>> heads; ///< [layer][head]
};

class CacheModel {
public:
  explicit CacheModel(const std::vector<LayerLayout> &layers)
      : layers(layers) {}

  void create(uint32_t seq);
  void destroy(uint32_t seq) { sequences.erase(seq); }
  void clear(uint32_t seq) { create(seq); }
  void fork(uint32_t from, uint32_t to) { sequences[to] = sequences.at(from); }
  /// A sequence as `one` was when somebody looked at it.
  void put(uint32_t seq, const ModelSequence &one) { sequences[seq] = one; }
  bool canTrim(uint32_t seq, uint64_t n) const;
  void trim(uint32_t seq, uint64_t n);

  /// Appends a token to all heads; in a decode step to the victim's slot.
  void append(uint32_t seq, int32_t token, bool decode);

  /// The policy of a head lets `slot` go, and merges it where it merges.
  void evict(uint32_t seq, Place place, size_t slot, size_t target);

  /// The end of a prompt sets what a head keeps from now on.
  void setBudget(uint32_t seq, Place place, uint64_t slots) {
    head(seq, place).budget = slots;
  }
  /// Whether a prompt has set what the sequence keeps.
  bool hasBudgets(uint32_t seq) const;

  /// Leaves at most the cap of a head.
  void compact(uint32_t seq, Place place, uint32_t random);

  bool has(uint32_t seq) const { return sequences.count(seq) != 0; }
  const ModelSequence &at(uint32_t seq) const { return sequences.at(seq); }
  std::vector<uint32_t> live() const;

private:
  void rebuildBounds(ModelHead &head, uint64_t page);
  ModelHead &head(uint32_t seq, Place place) {
    return sequences.at(seq).heads[place.layer][place.head];
  }

  const std::vector<LayerLayout> &layers;
  std::map<uint32_t, ModelSequence> sequences;
};

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_CACHEMODEL_H
