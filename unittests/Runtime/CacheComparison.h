//===- CacheComparison.h - A cache against its model ------------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CACHECOMPARISON_H
#define SPARSE_UNITTESTS_CACHECOMPARISON_H

#include "CacheDevice.h"
#include "CacheModel.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace sparse::runtime {

/// What prompts can begin with: blocks of a chunk each.
struct Beginning {
  std::vector<CachedBlock> blocks;
  ModelSequence model;
};

/// All content, tables, counts, references and limits. A difference is a text;
/// empty is none.
class CacheComparison {
public:
  CacheComparison(const Cache &cache, const CacheDevice &device,
                  const CacheModel &model,
                  const std::vector<LayerLayout> &layers)
      : cache(cache), device(device), model(model), layers(layers) {}

  /// With the blocks that are kept beside the sequences.
  std::string all(const std::vector<Beginning> &beginnings) {
    Owners owners;
    countBlocks(beginnings, owners);
    for (uint32_t seq : model.live()) {
      if (cache.length(seq) != model.at(seq).length)
        return "length";
      if (cache.evicted(seq) != model.at(seq).evicted)
        return "evicted flag of sequence " + std::to_string(seq);
      if (!cache.tokens(seq) || *cache.tokens(seq) != model.at(seq).tokens)
        return "tokens of sequence " + std::to_string(seq);
      for (uint32_t l = 0; l < layers.size(); ++l)
        for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
          std::string problem = compareHead(seq, {l, h}, owners);
          if (!problem.empty())
            return problem;
        }
      std::string problem = checkBudgets(seq, 0);
      if (!problem.empty())
        return problem;
    }
    return comparePools(owners);
  }

  /// R9: no head holds more than its cap and the dead slot, nor than `more`
  /// rows on top where the cap is enforced after each chunk.
  std::string checkBudgets(uint32_t seq, uint64_t more) {
    for (uint32_t l = 0; l < layers.size(); ++l)
      for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
        int64_t cap = layers[l].capAt(h, cache.length(seq),
                                      model.at(seq).heads[l][h].budget);
        bool holds = layers[l].prefillCap == PrefillCap::Chunk ||
                     (layers[l].prefillCap == PrefillCap::End && more == 0);
        if (holds && cap >= 0 &&
            cache.extent(seq, l, h) > static_cast<uint64_t>(cap) + 1 + more)
          return at(seq, {l, h}) + "holds more than its budget";
      }
    return "";
  }

private:
  using Owners = std::map<std::pair<uint64_t, int32_t>, uint32_t>;

  static std::string at(uint32_t seq, Place place) {
    std::ostringstream where;
    where << "sequence " << seq << " layer " << place.layer << " head "
          << place.head << ": ";
    return where.str();
  }

  /// R8 and R9: everything of one head.
  std::string compareHead(uint32_t seq, Place place, Owners &owners) {
    uint32_t l = place.layer, h = place.head;
    const LayerLayout &layout = layers[l];
    const ModelHead &head = model.at(seq).heads[l][h];
    auto bad = [&](const std::string &what) { return at(seq, place) + what; };
    uint64_t extent = cache.extent(seq, l, h), pages = cache.pages(seq, l, h);
    if (extent != head.slots.size())
      return bad("extent " + std::to_string(extent) + ", expected " +
                 std::to_string(head.slots.size()));
    auto number = [&](CacheDevice::Component which) {
      return device.component(l, which, seq)[h];
    };
    if (number(CacheDevice::Count) != static_cast<int32_t>(extent))
      return bad("the device counts differently");
    if (number(CacheDevice::Victim) != head.victim)
      return bad("victim");
    if (number(CacheDevice::Appends) != head.appends)
      return bad("field of scope head");
    if (cache.budget(seq, l, h) != head.budget)
      return bad("budget " + std::to_string(cache.budget(seq, l, h)) +
                 ", expected " + std::to_string(head.budget));
    if (layout.budget &&
        number(CacheDevice::Budget) != static_cast<int32_t>(head.budget))
      return bad("the device has another budget");
    if (pages * layout.page < extent)
      return bad("fewer pages than slots");
    const int32_t *table =
        device.component(l, CacheDevice::Table, seq) + h * layout.maxPages;
    for (uint64_t i = 0; i < layout.maxPages; ++i) {
      if ((table[i] >= 0) != (i < pages))
        return bad("table entry " + std::to_string(i));
      if (i >= pages)
        continue;
      ++owners[{layout.pageBytes, table[i]}];
      // A page of two owners never changes: it is full, and nothing evicts.
      if (cache.references(l, table[i]) > 1 &&
          (layout.writesInPlace || layout.caps[h] >= 0))
        return bad("page " + std::to_string(i) + " is shared");
    }
    const int32_t *position =
        device.component(l, CacheDevice::Position, seq) + h * layout.maxSlots();
    for (uint64_t i = 0; i < pages * layout.page; ++i) {
      if (i >= extent) {
        if (position[i] != -1)
          return bad("a free slot is not fresh");
        continue;
      }
      const ModelSlot &slot = head.slots[i];
      if (device.keyAt(seq, place, i) != slot.key)
        return bad("key of slot " + std::to_string(i));
      if (device.valueAt(seq, place, i) != slot.value)
        return bad("value of slot " + std::to_string(i));
      if (position[i] != slot.position)
        return bad("position of slot " + std::to_string(i));
    }
    for (uint64_t i = 0; i < pages; ++i) {
      Bounds expected = i < head.bounds.size() ? head.bounds[i] : Bounds();
      if (!(device.boundsOf(seq, place, i) == expected))
        return bad("bounds of page " + std::to_string(i));
    }
    return "";
  }

  void countBlocks(const std::vector<Beginning> &beginnings,
                   Owners &owners) const {
    for (const Beginning &one : beginnings)
      for (const CachedBlock &block : one.blocks)
        for (const auto *list : {&block.pages, &block.copies}) {
          size_t at = 0;
          for (const LayerLayout &layout : layers)
            for (uint32_t h = 0; h < layout.kvHeads && at < list->size(); ++h)
              for (int32_t page : (*list)[at++])
                ++owners[{layout.pageBytes, page}];
        }
  }

  /// R9: every page is free or has as many references as owners.
  std::string comparePools(const Owners &owners) {
    uint64_t bytes = 0;
    for (const auto &owner : owners) {
      bytes += owner.first.first;
      highest[owner.first.first] =
          std::max(highest[owner.first.first], owner.first.second);
    }
    for (const auto &[pageBytes, last] : highest)
      for (int32_t page = 0; page <= last; ++page) {
        auto owner = owners.find({pageBytes, page});
        if (cache.references(pageBytes == 192 ? 0 : 2, page) !=
            (owner == owners.end() ? 0 : owner->second))
          return "references of page " + std::to_string(page);
      }
    CacheUsage usage = cache.usage();
    if (usage.pages != owners.size() || usage.pageBytes != bytes)
      return "pages in use";
    if (bytes > cache.options().limitBytes)
      return "the limit is exceeded";
    return "";
  }

  const Cache &cache;
  const CacheDevice &device;
  const CacheModel &model;
  const std::vector<LayerLayout> &layers;
  std::map<uint64_t, int32_t> highest; ///< page that was ever seen, by size
};

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_CACHECOMPARISON_H
