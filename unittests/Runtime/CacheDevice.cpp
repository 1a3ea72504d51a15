//===- CacheDevice.cpp - The kernels' part over a cache -------------------===//

#include "CacheDevice.h"

#include <algorithm>
#include <cstring>

using namespace sparse::runtime;

LayerLayout sparse::runtime::makeLayout(uint32_t page, uint64_t pageBytes,
                                        std::vector<int64_t> caps,
                                        PrefillCap prefillCap, bool inPlace,
                                        bool byChannel) {
  LayerLayout l;
  l.kvHeads = static_cast<uint32_t>(caps.size());
  l.page = page;
  l.pageBytes = pageBytes;
  l.keyBytes = page * sizeof(Key);
  l.slotBytes = sizeof(Key) + sizeof(uint64_t);
  l.maxPages = 64;
  l.caps = caps;
  l.prefillCap = prefillCap;
  l.writesInPlace = inPlace;
  auto add = [&](const char *name, DType dtype, std::vector<uint64_t> shape,
                 Scope scope, double init, size_t axis = 1) {
    sparse::runtime::Component c;
    c.name = name;
    c.dtype = dtype;
    c.shape = shape;
    c.scope = scope;
    c.axis = axis;
    // The bounds follow from the keys of their page.
    c.content = scope == Scope::Page && dtype == DType::F32;
    encodeElement(dtype, init, c.init);
    l.components.push_back(c);
  };
  add("table", DType::I32, {l.kvHeads, l.maxPages}, Scope::Page, -1);
  add("count", DType::I32, {l.kvHeads}, Scope::Head, 0);
  add("victim", DType::I32, {l.kvHeads}, Scope::Head, -1);
  add("position", DType::I32, {l.kvHeads, l.maxSlots()}, Scope::Slot, -1);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  std::vector<uint64_t> field = {l.kvHeads, l.maxPages, 2};
  if (byChannel)
    std::swap(field[1], field[2]);
  size_t axis = byChannel ? 2 : 1;
  add("page_min", DType::F32, field, Scope::Page, infinity, axis);
  add("page_max", DType::F32, field, Scope::Page, -infinity, axis);
  add("appends", DType::I32, {l.kvHeads}, Scope::Head, 0);
  l.table = CacheDevice::Table;
  l.count = CacheDevice::Count;
  l.victim = CacheDevice::Victim;
  return l;
}

void sparse::runtime::addBudget(LayerLayout &layout) {
  layout.budget = layout.components.size();
  sparse::runtime::Component c = layout.components[layout.count];
  c.name = "budget";
  layout.components.push_back(c);
}

//===----------------------------------------------------------------------===//
// Addresses
//===----------------------------------------------------------------------===//

int32_t *CacheDevice::component(uint32_t layer, Component which,
                                uint32_t seq) const {
  return reinterpret_cast<int32_t *>(
      cache.slabBase(layer, which) +
      seq * layers[layer].components[which].rowBytes());
}

int32_t CacheDevice::pageOf(uint32_t seq, Place place, uint64_t slot) const {
  const LayerLayout &layout = layers[place.layer];
  return component(place.layer, Table,
                   seq)[place.head * layout.maxPages + slot / layout.page];
}

float *CacheDevice::keyPlace(uint32_t seq, Place place, uint64_t slot) const {
  const LayerLayout &layout = layers[place.layer];
  return reinterpret_cast<float *>(
      cache.keyBase(place.layer) +
      static_cast<uint64_t>(pageOf(seq, place, slot)) * layout.pageBytes +
      slot % layout.page * sizeof(Key));
}

uint64_t *CacheDevice::valuePlace(uint32_t seq, Place place,
                                  uint64_t slot) const {
  const LayerLayout &layout = layers[place.layer];
  return reinterpret_cast<uint64_t *>(
             cache.valueBase(place.layer) +
             static_cast<uint64_t>(pageOf(seq, place, slot)) *
                 layout.pageBytes) +
         slot % layout.page;
}

float *CacheDevice::boundPlace(uint32_t seq, Place place, Component which,
                               uint64_t page, size_t channel) const {
  const LayerLayout &layout = layers[place.layer];
  float *row = reinterpret_cast<float *>(component(place.layer, which, seq)) +
               place.head * layout.maxPages * 2;
  return layout.components[which].axis == 1
             ? row + page * 2 + channel
             : row + channel * layout.maxPages + page;
}

Key CacheDevice::keyAt(uint32_t seq, Place place, uint64_t slot) const {
  Key key;
  std::memcpy(key.data(), keyPlace(seq, place, slot), sizeof(key));
  return key;
}

uint64_t CacheDevice::valueAt(uint32_t seq, Place place, uint64_t slot) const {
  return *valuePlace(seq, place, slot);
}

Bounds CacheDevice::boundsOf(uint32_t seq, Place place, uint64_t page) const {
  Bounds bounds;
  for (size_t d = 0; d < bounds.least.size(); ++d) {
    bounds.least[d] = *boundPlace(seq, place, Least, page, d);
    bounds.most[d] = *boundPlace(seq, place, Most, page, d);
  }
  return bounds;
}

void CacheDevice::setBounds(uint32_t seq, Place place, uint64_t page,
                            const Bounds &bounds) {
  for (size_t d = 0; d < bounds.least.size(); ++d) {
    *boundPlace(seq, place, Least, page, d) = bounds.least[d];
    *boundPlace(seq, place, Most, page, d) = bounds.most[d];
  }
}

std::string CacheDevice::writable(uint32_t seq, Place place,
                                  uint64_t slot) const {
  if (slot >= layers[place.layer].maxSlots())
    return "slot beyond the table";
  int32_t page = pageOf(seq, place, slot);
  if (page < 0)
    return "write without a reserved page in layer " +
           std::to_string(place.layer);
  if (cache.references(place.layer, page) != 1)
    return "write to a page of two owners in layer " +
           std::to_string(place.layer);
  return "";
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

std::string CacheDevice::append(uint32_t seq, int32_t token, int32_t position,
                                bool decode) {
  for (uint32_t l = 0; l < layers.size(); ++l)
    for (uint32_t h = 0; h < layers[l].kvHeads; ++h) {
      Place place = {l, h};
      int32_t &count = component(l, Count, seq)[h];
      int32_t &victim = component(l, Victim, seq)[h];
      bool reuse = decode && victim >= 0 && bug != Bug::DecodeForgetsVictim;
      uint64_t slot = static_cast<uint64_t>(reuse ? victim : count);
      std::string problem = writable(seq, place, slot);
      if (!problem.empty())
        return problem;
      Key key = keyOf(token, position, place);
      std::memcpy(keyPlace(seq, place, slot), key.data(), sizeof(key));
      *valuePlace(seq, place, slot) = valueOf(token, position, place);
      component(l, Position, seq)[h * layers[l].maxSlots() + slot] = position;
      Bounds bounds = boundsOf(seq, place, slot / layers[l].page);
      bounds.widen(key);
      setBounds(seq, place, slot / layers[l].page, bounds);
      ++component(l, Appends, seq)[h];
      if (reuse)
        victim = -1;
      else
        ++count;
    }
  return "";
}

std::string CacheDevice::evict(uint32_t seq, Place place, size_t slot,
                               size_t target) {
  component(place.layer, Victim, seq)[place.head] = static_cast<int32_t>(slot);
  if (!merges(layers[place.layer]) || target == slot ||
      bug == Bug::MergeIsForgotten)
    return "";
  std::string problem = writable(seq, place, target);
  if (problem.empty())
    *valuePlace(seq, place, target) += valueAt(seq, place, slot);
  return problem;
}

std::string CacheDevice::compact(uint32_t seq, Place place, uint32_t random) {
  const LayerLayout &layout = layers[place.layer];
  int32_t &count = component(place.layer, Count, seq)[place.head];
  int32_t &victim = component(place.layer, Victim, seq)[place.head];
  int32_t *position =
      component(place.layer, Position, seq) + place.head * layout.maxSlots();
  struct Gathered {
    Key key;
    uint64_t value;
    int32_t position;
  };
  std::vector<Gathered> live;
  for (int32_t slot = 0; slot < count; ++slot)
    if (slot != victim)
      live.push_back(
          {keyAt(seq, place, slot), valueAt(seq, place, slot), position[slot]});
  std::vector<Gathered> stay = live;
  uint64_t budget = layout.budget ? static_cast<uint64_t>(component(
                                        place.layer, Budget, seq)[place.head])
                                  : 0;
  for (const Departure &departure :
       chooseDepartures(live.size(),
                        static_cast<size_t>(layout.capAt(
                            place.head, cache.length(seq), budget)),
                        random)) {
    if (merges(layout))
      stay[departure.target].value += live[departure.leaves].value;
    stay[departure.leaves].position = -1;
  }
  stay.erase(
      std::remove_if(stay.begin(), stay.end(),
                     [](const Gathered &one) { return one.position < 0; }),
      stay.end());
  std::sort(stay.begin(), stay.end(), [](const Gathered &a, const Gathered &b) {
    return a.position < b.position;
  });
  for (size_t i = 0; i < stay.size(); ++i) {
    std::string problem = writable(seq, place, i);
    if (!problem.empty())
      return problem;
    std::memcpy(keyPlace(seq, place, i), stay[i].key.data(), sizeof(Key));
    *valuePlace(seq, place, i) = stay[i].value;
    position[i] = stay[i].position;
  }
  // The rest of the tail page is free; the pages behind are the host's affair.
  uint64_t rest = (stay.size() + layout.page - 1) / layout.page * layout.page;
  for (uint64_t i = stay.size();
       i < std::min<uint64_t>(rest, static_cast<uint64_t>(count)); ++i)
    position[i] = -1;
  count = static_cast<int32_t>(stay.size());
  victim = -1;
  if (bug != Bug::CompactionKeepsBounds)
    rebuild(seq, place);
  return "";
}

void CacheDevice::rebuild(uint32_t seq, Place place) {
  uint64_t page = layers[place.layer].page;
  uint64_t count =
      static_cast<uint64_t>(component(place.layer, Count, seq)[place.head]);
  for (uint64_t first = 0; first < count; first += page) {
    Bounds bounds;
    for (uint64_t slot = first; slot < std::min(count, first + page); ++slot)
      bounds.widen(keyAt(seq, place, slot));
    setBounds(seq, place, first / page, bounds);
  }
}
