//===- Manifest.h - What a model directory holds ----------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_MANIFEST_H
#define SPARSE_RUNTIME_MANIFEST_H

#include "DType.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparse::runtime {

inline constexpr int64_t schemaVersion = 2;

/// What the rows of a component belong to. Page and slot components have one
/// entry per logical page or slot; the rest is one block per sequence.
enum class Scope { Page, Slot, Head, Layer, Sequence };

/// One slab `[sequences, *shape]` of a layer's cache.
struct Component {
  std::string name;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape;
  Scope scope = Scope::Head;
  /// The bytes of one element of a fresh row (`dtypeBytes(dtype)` of them).
  uint8_t init[8] = {};
  bool content = false;
  bool counter = false;
  /// The axis of `shape` that counts pages or slots (page and slot scope).
  size_t axis = 1;

  uint64_t elements() const;
  uint64_t rowBytes() const { return elements() * dtypeBytes(dtype); }
};

/// `prefill_cap`: when the cap of a layer is enforced during a prompt.
enum class PrefillCap { None, End, Chunk };

/// How a cap follows the length of its sequence: in proportion up to the length
/// `over`, where it is reached, and never below `least`. `over` 0: constant.
struct CapGrowth {
  uint64_t over = 0, least = 0;
};

/// The solved layout of one layer's cache. Units: slots, pages, bytes.
struct LayerLayout {
  uint32_t kvHeads = 0;
  uint32_t page = 0;         ///< slots of a page
  uint64_t pageBytes = 0;    ///< K and V of one page of one head
  uint64_t keyBytes = 0;     ///< the offset of V in a page
  uint64_t slotBytes = 0;    ///< K and V of one slot of one head
  uint64_t maxPages = 0;     ///< width of the page table
  std::vector<int64_t> caps; ///< per head; -1 = no cap
  std::vector<CapGrowth> growth; ///< per head; empty = all are constant
  PrefillCap prefillCap = PrefillCap::None;
  DType dtype = DType::F32; ///< of pages: of keys and values, or of their codes
  bool slotted = false;
  bool writesInPlace = false;
  std::vector<Component> components;
  size_t table = 0, count = 0, victim = 0; ///< indices into `components`
  /// That of the caps that the first prompt of a sequence sets, if it does.
  std::optional<size_t> budget;

  uint64_t maxSlots() const { return maxPages * page; }
  /// The cap of a head in a sequence of `length` tokens; -1 = no cap. `budget`
  /// is what its first prompt has set; 0 = nothing.
  int64_t capAt(uint32_t head, uint64_t length, uint64_t budget = 0) const;
  const Component *find(const std::string &name) const;
};

struct ModelFacts {
  uint64_t layers = 0, hidden = 0, vocab = 0, heads = 0, kvHeads = 0,
           headDim = 0, maxContext = 0, prefillChunk = 0;
  std::string weightsDType, kvDType;
};

struct Target {
  std::string name, code;
  std::string ptx; ///< the same for cards that are newer; empty = none
  std::vector<std::string> requires_;
};

struct EntryInfo {
  std::string name, kind, plan;
  uint64_t rows = 0;
};

struct Section {
  std::string path, kind, sha256;
  uint64_t bytes = 0;
};

/// What an artifact holds for one kind of device. Layouts, plans and packed
/// weights differ between them.
struct DeviceInfo {
  std::string name; ///< "cpu" or "cuda"
  std::vector<Target> targets;
  std::vector<LayerLayout> layers;
  std::vector<EntryInfo> entries;
};

struct Manifest {
  std::string digest; ///< of the manifest, and through it of all sections
  std::string createdBy, sourceName, sourceSha256, policy;
  ModelFacts model;
  bool weightless = false; ///< shapes only: for measuring speed
  std::vector<DeviceInfo> devices;
  std::vector<Section> sections;

  const Section *findSection(const std::string &path) const;
  const DeviceInfo *findDevice(const std::string &name) const;
};

/// Checks the digest of the bytes, then the schema version, then everything
/// else. Throws DATA_LOSS, INCOMPATIBLE or INVALID_ARGUMENT in that order.
Manifest parseManifest(const std::string &text, const std::string &where);

/// The digest that `text` should carry. `begin` receives the offset of its 64
/// digits. Throws INVALID_ARGUMENT when the file does not start with one.
std::string manifestDigest(const std::string &text, const std::string &where,
                           size_t &begin);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_MANIFEST_H
