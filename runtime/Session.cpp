//===- Session.cpp - Saving and restoring sequences -----------------------===//

#include "Session.h"
#include "Checked.h"

#include <algorithm>
#include <cstring>

using namespace sparse::runtime;

/// Kernels take these as indices, so they are checked even when the digest is
/// right: counts, victims, positions, and budgets, which bound lists of slots.
/// All else is numbers to compute with.
static void checkPart(const std::vector<LayerLayout> &layouts,
                      const SequenceState &state, size_t firstHead,
                      const CachePart &part, const uint8_t *bytes, Code code) {
  if (part.kind == CachePart::Pages)
    return;
  const LayerLayout &layout = layouts[part.layer];
  const Component &component = layout.components[part.component];
  auto at = [&](uint64_t i) {
    int32_t value;
    std::memcpy(&value, bytes + i * 4, 4);
    return static_cast<int64_t>(value);
  };
  auto refuse = [&](uint32_t head, int64_t value) {
    fail(code,
         "layer %u head %u: '%s' is %lld, which does not go with %llu slots",
         part.layer, head, component.name.c_str(),
         static_cast<long long>(value),
         static_cast<unsigned long long>(state.heads[firstHead + head].extent));
  };
  for (uint32_t head = 0; head < layout.kvHeads; ++head) {
    const SequenceState::Head &one = state.heads[firstHead + head];
    int64_t extent = static_cast<int64_t>(one.extent);
    if (part.component == layout.count && at(head) != extent)
      refuse(head, at(head));
    if (part.component == layout.victim &&
        (one.victim ? at(head) < 0 || at(head) >= extent : at(head) != -1))
      refuse(head, at(head));
    if (part.component == layout.budget &&
        at(head) != static_cast<int64_t>(one.budget))
      fail(code,
           "layer %u head %u: 'budget' is %lld in the fields, %llu in "
           "the state",
           part.layer, head, static_cast<long long>(at(head)),
           static_cast<unsigned long long>(one.budget));
  }
  if (layout.slotted && component.name == "position" &&
      component.scope == Scope::Slot && component.dtype == DType::I32)
    for (uint64_t i = 0; i < part.bytes / 4; ++i)
      if (at(i) < -1 || at(i) >= static_cast<int64_t>(state.length))
        refuse(part.head, at(i));
}

/// The index of each layer's first head, and behind them the number of heads.
static std::vector<size_t> firstHeads(const std::vector<LayerLayout> &layouts) {
  std::vector<size_t> first = {0};
  for (const LayerLayout &layout : layouts)
    first.push_back(first.back() + layout.kvHeads);
  return first;
}

//===----------------------------------------------------------------------===//
// Saving
//===----------------------------------------------------------------------===//

static void requireUsable(const Context &context) {
  if (context.poisoned())
    fail(Code::FailedPrecondition,
         "an earlier step failed inside a kernel; create a new context");
}

void sparse::runtime::saveSequence(const Context &context, uint32_t seq,
                                   const std::string &path,
                                   const std::string &note,
                                   const FileCalls &calls) {
  requireUsable(context);
  context.requireFree(seq);
  const Model &model = context.model();
  const Cache &cache = context.cache();
  SessionHeader header;
  header.model = model.identity();
  header.source = model.manifest().sourceName;
  header.policy = model.manifest().policy;
  header.device = model.part().name;
  header.target = model.target().name;
  header.layouts = cache.layouts();
  header.state = cache.stateOf(seq);
  header.noteBytes = note.size();
  std::vector<size_t> first = firstHeads(cache.layouts());
  SessionWriter writer(path, header, note, calls);
  std::vector<uint8_t> bytes;
  for (const CachePart &part : partsOf(cache.layouts(), header.state.heads)) {
    bytes.resize(part.bytes);
    cache.readPart(seq, part, bytes.data());
    cache.storage().throwIfFailed();
    checkPart(cache.layouts(), header.state, first[part.layer], part,
              bytes.data(), Code::Internal);
    writer.write(bytes.data(), bytes.size());
  }
  writer.commit();
}

//===----------------------------------------------------------------------===//
// Restoring
//===----------------------------------------------------------------------===//

static void checkOrigin(const Context &context, const SessionFile &session) {
  const Model &model = context.model();
  const SessionHeader &header = session.header();
  const char *path = session.path().c_str();
  if (header.model != model.identity())
    fail(Code::Incompatible,
         "%s was saved with another model (%s, digest %.12s), this is %s "
         "(%s, digest %.12s)",
         path, header.source.c_str(), header.model.c_str(),
         model.path().c_str(), model.manifest().sourceName.c_str(),
         model.identity().c_str());
  if (header.device != model.part().name)
    fail(Code::Incompatible,
         "%s was saved on device '%s', where a cache has another layout than "
         "on '%s'",
         path, header.device.c_str(), model.part().name.c_str());
  if (session.layouts() != describeLayouts(model.layers()))
    fail(Code::InvalidArgument, "%s: its layouts are not those of the model",
         path);
}

/// A state that steps can reach, as far as memory depends on it.
static void checkState(const Context &context, const SessionFile &session) {
  const Model &model = context.model();
  const SequenceState &state = session.header().state;
  const ModelFacts &facts = model.manifest().model;
  const char *path = session.path().c_str();
  if (state.length > facts.maxContext)
    fail(Code::InvalidArgument, "%s: %llu tokens in a context of %llu", path,
         static_cast<unsigned long long>(state.length),
         static_cast<unsigned long long>(facts.maxContext));
  for (int32_t token : state.tokens)
    if (token < 0 || static_cast<uint64_t>(token) >= facts.vocab)
      fail(Code::InvalidArgument, "%s: token %d is outside the vocabulary",
           path, token);
  std::vector<size_t> first = firstHeads(model.layers());
  if (state.heads.size() != first.back())
    fail(Code::InvalidArgument, "%s: %zu heads, the model has %zu", path,
         state.heads.size(), first.back());
  for (uint32_t layer = 0; layer < model.layers().size(); ++layer) {
    const LayerLayout &layout = model.layers()[layer];
    for (uint32_t head = 0; head < layout.kvHeads; ++head) {
      const SequenceState::Head &one = state.heads[first[layer] + head];
      if (one.budget && (!layout.budget ||
                         static_cast<int64_t>(one.budget) > layout.caps[head]))
        fail(Code::InvalidArgument,
             "%s: layer %u head %u cannot have a budget of %llu slots", path,
             layer, head, static_cast<unsigned long long>(one.budget));
      // A cap grows by a slot a step at most, so extents keep up with it.
      int64_t cap = layout.capAt(head, state.length, one.budget);
      bool complete = one.extent == state.length && !one.victim;
      bool reachable =
          one.extent <= state.length && one.extent <= layout.maxSlots() &&
          (complete || (cap >= 0 && state.evicted)) &&
          (!one.victim || one.extent > static_cast<uint64_t>(cap)) &&
          (complete || one.extent >= static_cast<uint64_t>(cap));
      if (!reachable)
        fail(Code::InvalidArgument,
             "%s: layer %u head %u cannot have %llu slots after %llu tokens",
             path, layer, head, static_cast<unsigned long long>(one.extent),
             static_cast<unsigned long long>(state.length));
    }
  }
}

uint32_t sparse::runtime::restoreSequence(Context &context,
                                          const SessionFile &session) {
  requireUsable(context);
  checkOrigin(context, session);
  checkState(context, session);
  Cache &cache = context.cache();
  const SequenceState &state = session.header().state;
  std::vector<size_t> first = firstHeads(cache.layouts());
  std::vector<CachePart> parts = partsOf(cache.layouts(), state.heads);
  uint64_t total = 0;
  for (const CachePart &part : parts)
    total = checkedAdd(total, part.bytes);
  if (total != session.partBytes())
    fail(Code::InvalidArgument,
         "%s holds %llu bytes of content, its state needs %llu",
         session.path().c_str(),
         static_cast<unsigned long long>(session.partBytes()),
         static_cast<unsigned long long>(total));

  std::vector<uint8_t> bytes;
  auto forEach = [&](auto use) {
    SessionFile::Parts reader(session);
    for (const CachePart &part : parts) {
      bytes.resize(part.bytes);
      reader.next(bytes.data(), part.bytes);
      checkPart(cache.layouts(), state, first[part.layer], part, bytes.data(),
                Code::InvalidArgument);
      if (!use(part))
        return;
    }
    reader.finish();
  };
  // Fields come first, and only they can be refused: nothing is touched before
  // all of them were seen.
  forEach([&](const CachePart &part) { return part.kind != CachePart::Pages; });
  uint32_t seq = cache.createAs(state);
  try {
    forEach([&](const CachePart &part) {
      cache.writePart(seq, part, bytes.data());
      return true;
    });
    cache.storage().throwIfFailed();
  } catch (...) {
    // The file changed under our hands, or the device failed.
    cache.destroy(seq);
    throw;
  }
  return seq;
}
