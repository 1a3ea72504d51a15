//===- CacheModel.cpp - What a cache holds, without pages -----------------===//

#include "CacheModel.h"

#include <algorithm>

using namespace sparse::runtime;

/// The finalizer of SplitMix64.
static uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

static uint64_t hashOf(int32_t token, int32_t position, Place place) {
  return mixed(static_cast<uint64_t>(token) << 40 ^
               static_cast<uint64_t>(position) << 16 ^ place.layer << 8 ^
               place.head);
}

Key sparse::runtime::keyOf(int32_t token, int32_t position, Place place) {
  uint64_t hash = hashOf(token, position, place);
  return {static_cast<float>(hash % 2003) - 1001,
          static_cast<float>(hash / 2003 % 2003) - 1001};
}

uint64_t sparse::runtime::valueOf(int32_t token, int32_t position,
                                  Place place) {
  return mixed(hashOf(token, position, place) + 1);
}

void Bounds::widen(const Key &key) {
  for (size_t d = 0; d < key.size(); ++d) {
    least[d] = std::min(least[d], key[d]);
    most[d] = std::max(most[d], key[d]);
  }
}

bool sparse::runtime::merges(const LayerLayout &layout) {
  return layout.writesInPlace;
}

std::vector<Departure>
sparse::runtime::chooseDepartures(size_t live, size_t cap, uint32_t random) {
  std::vector<size_t> rest(live);
  for (size_t i = 0; i < live; ++i)
    rest[i] = i;
  std::vector<Departure> departures;
  while (rest.size() > cap) {
    size_t at = random++ % rest.size();
    departures.push_back({rest[at], 0});
    rest.erase(rest.begin() + static_cast<ptrdiff_t>(at));
  }
  // Into the neighbour that stays.
  for (Departure &departure : departures) {
    auto next = std::lower_bound(rest.begin(), rest.end(), departure.leaves);
    departure.target = next == rest.end() ? rest.back() : *next;
  }
  return departures;
}

void CacheModel::create(uint32_t seq) {
  ModelSequence fresh;
  for (const LayerLayout &layout : layers)
    fresh.heads.emplace_back(layout.kvHeads);
  sequences[seq] = fresh;
}

std::vector<uint32_t> CacheModel::live() const {
  std::vector<uint32_t> all;
  for (const auto &entry : sequences)
    all.push_back(entry.first);
  return all;
}

void CacheModel::append(uint32_t seq, int32_t token, bool decode) {
  ModelSequence &sequence = sequences.at(seq);
  int32_t position = static_cast<int32_t>(sequence.length++);
  sequence.tokens.push_back(token);
  for (uint32_t l = 0; l < layers.size(); ++l)
    for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
      ModelHead &to = head(seq, {l, h});
      size_t slot = to.slots.size();
      if (decode && to.victim >= 0) {
        slot = static_cast<size_t>(to.victim);
        to.victim = -1;
      } else {
        to.slots.emplace_back();
      }
      to.slots[slot] = {keyOf(token, position, {l, h}),
                        valueOf(token, position, {l, h}), position};
      size_t page = slot / layers[l].page;
      to.bounds.resize(std::max(to.bounds.size(), page + 1));
      to.bounds[page].widen(to.slots[slot].key);
      ++to.appends;
    }
}

void CacheModel::evict(uint32_t seq, Place place, size_t slot, size_t target) {
  ModelHead &of = head(seq, place);
  of.victim = static_cast<int64_t>(slot);
  if (merges(layers[place.layer]) && target != slot)
    of.slots[target].value += of.slots[slot].value;
  sequences.at(seq).evicted = true;
}

void CacheModel::compact(uint32_t seq, Place place, uint32_t random) {
  ModelHead &of = head(seq, place);
  const LayerLayout &layout = layers[place.layer];
  size_t cap = static_cast<size_t>(
      layout.capAt(place.head, sequences.at(seq).length, of.budget));
  if (of.slots.size() > cap)
    sequences.at(seq).evicted = true;
  if (of.victim >= 0)
    of.slots.erase(of.slots.begin() + of.victim);
  of.victim = -1;
  std::vector<Departure> departures =
      chooseDepartures(of.slots.size(), cap, random);
  std::vector<ModelSlot> before = of.slots;
  std::vector<bool> gone(before.size());
  for (const Departure &departure : departures) {
    gone[departure.leaves] = true;
    if (merges(layout))
      of.slots[departure.target].value += before[departure.leaves].value;
  }
  std::vector<ModelSlot> stay;
  for (size_t i = 0; i < of.slots.size(); ++i)
    if (!gone[i])
      stay.push_back(of.slots[i]);
  std::sort(stay.begin(), stay.end(),
            [](const ModelSlot &a, const ModelSlot &b) {
              return a.position < b.position;
            });
  of.slots = stay;
  rebuildBounds(of, layout.page);
}

bool CacheModel::hasBudgets(uint32_t seq) const {
  for (const std::vector<ModelHead> &heads : at(seq).heads)
    for (const ModelHead &head : heads)
      if (head.budget)
        return true;
  return false;
}

void CacheModel::rebuildBounds(ModelHead &head, uint64_t page) {
  head.bounds.assign((head.slots.size() + page - 1) / page, Bounds());
  for (size_t i = 0; i < head.slots.size(); ++i)
    head.bounds[i / page].widen(head.slots[i].key);
}

bool CacheModel::canTrim(uint32_t seq, uint64_t n) const {
  const ModelSequence &sequence = at(seq);
  return n == sequence.length || (n < sequence.length && !sequence.evicted);
}

void CacheModel::trim(uint32_t seq, uint64_t n) {
  ModelSequence &sequence = sequences.at(seq);
  if (n == sequence.length)
    return;
  sequence.length = n;
  sequence.tokens.resize(n);
  for (uint32_t l = 0; l < layers.size(); ++l)
    for (ModelHead &head : sequence.heads[l]) {
      head.slots.resize(n);
      if (n == 0)
        head.budget = 0;
      rebuildBounds(head, layers[l].page);
    }
}
