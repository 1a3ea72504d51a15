//===- Cache.h - The paged KV cache -----------------------------*- C++ -*-===//
//
// The host counts pages, the device chooses slots. For every sequence, layer
// and KV head the host keeps the extent (slots ever in use since the last
// compaction) by arithmetic alone, fills the page table ahead of the kernels
// and takes pages back after a compaction. What is in the slots is the
// kernels' affair.
//
// Not thread-safe: one owner at a time.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_CACHE_H
#define SPARSE_RUNTIME_CACHE_H

#include "Manifest.h"
#include "PagePool.h"
#include "PageTable.h"
#include "Slab.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sparse::runtime {

/// How tokens are appended; the extents they reach differ.
enum class Append { Prefill, Decode };

/// Which layers a compaction works on: all with a cap, or those whose cap is
/// enforced after each chunk.
enum class Compact { Capped, Chunk };

struct CacheOptions {
  uint32_t maxSequences = 64;
  /// Most bytes that the pages of all pools together may take.
  uint64_t limitBytes = 0;
  uint64_t maxContext = 0;
  uint64_t chunk = 1; ///< rows of a prefill chunk
  std::string salt;   ///< of sequences that have no other, see PrefixIndex.h
};

/// What the host knows of a sequence.
struct SequenceState {
  struct Head {
    uint64_t extent = 0; ///< slots
    bool victim = false; ///< the next decode step reuses a slot
    uint64_t budget = 0; ///< the cap that a prompt has set; 0 = none has
  };
  uint64_t length = 0;
  bool evicted = false;
  std::vector<Head> heads;     ///< all layers' heads in a row
  std::vector<int32_t> tokens; ///< of `length`, or none when they are unknown
};

/// A part of the content of a sequence: a row of a component, the entries of a
/// paged component for the pages of one head, or some pages of one head.
struct CachePart {
  enum Kind { Row, Entries, Pages } kind = Row;
  uint32_t layer = 0, head = 0;
  size_t component = 0;
  uint64_t begin = 0, end = 0; ///< logical pages
  uint64_t bytes = 0;
};

/// Everything that a sequence in this state holds in the slabs and pools,
/// always in the same order: first all fields, then all pages. Page tables are
/// no content. Throws INVALID_ARGUMENT when a size overflows.
std::vector<CachePart> partsOf(const std::vector<LayerLayout> &layers,
                               const std::vector<SequenceState::Head> &heads);

/// The content that sequences have in common after the same tokens, held by the
/// cache itself. Pages that nobody changes are shared. What changes (heads with
/// a cap, pages that are written in place, fields that follow from later tokens)
/// is a copy of how it was after the last token.
struct CachedBlock {
  uint64_t begin = 0, end = 0; ///< tokens
  /// Per head, all layers in a row: the shared pages of these tokens, none where
  /// the head has its own state.
  std::vector<std::vector<int32_t>> pages;
  std::vector<uint8_t> fields; ///< of these pages

  /// A sequence of `end` tokens needs what follows too; it is there.
  bool complete = false;
  bool evicted = false;
  std::vector<uint64_t> extents;            ///< per head
  std::vector<std::vector<int32_t>> copies; ///< pages of heads with own state
  std::vector<uint8_t> state;               ///< their entries, and rows

  uint64_t pageCount() const;
};

struct CacheUsage {
  uint64_t pages = 0;      ///< pages in use; shared ones count once
  uint64_t bytes = 0;      ///< pages plus the fields of pages in use
  uint64_t pageBytes = 0;  ///< pages alone
  uint64_t densePages = 0; ///< pages if every head kept every token
};

class Cache {
public:
  Cache(Memory &memory, const std::vector<LayerLayout> &layers,
        const CacheOptions &options);

  // -- Sequences. An index is what the kernels see; indices are reused.

  /// Throws RESOURCE_EXHAUSTED when all `maxSequences` are taken.
  uint32_t create();
  void destroy(uint32_t seq);
  bool exists(uint32_t seq) const {
    return seq < sequences.size() && sequences[seq].live;
  }
  /// Tokens appended so far.
  uint64_t length(uint32_t seq) const { return sequences[seq].length; }
  bool evicted(uint32_t seq) const { return sequences[seq].evicted; }

  // -- Appending. A step is `reserve`, run the entry, `advance`.

  /// Makes pages for the next `n` tokens of each of `seqs`, for all or for
  /// none. Idempotent. Throws OUT_OF_RANGE beyond the context and
  /// RESOURCE_EXHAUSTED without pages.
  void reserve(const uint32_t *seqs, size_t count, uint64_t n, Append how);
  void reserve(uint32_t seq, uint64_t n, Append how) {
    reserve(&seq, 1, n, how);
  }

  /// Records that the kernels appended `n` tokens (one entry's worth). Without
  /// `ids` the sequence's tokens are unknown from now on.
  void advance(uint32_t seq, uint64_t n, Append how,
               const int32_t *ids = nullptr);

  /// The tokens appended so far; null when they are unknown.
  const std::vector<int32_t> *tokens(uint32_t seq) const {
    const Sequence &sequence = sequences[seq];
    return sequence.tokens.size() == sequence.length ? &sequence.tokens
                                                     : nullptr;
  }

  // -- Caps that the first prompt of a sequence sets: ask, run the entry, then
  //    `takeBudgets`.

  /// True when the layouts have such caps and the sequence has none yet.
  bool needsBudgets(uint32_t seq) const;
  /// Reads what the kernels have set. Throws INTERNAL when no layout allows it.
  void takeBudgets(uint32_t seq);
  /// 0 = none.
  uint64_t budget(uint32_t seq, uint32_t layer, uint32_t head) const {
    return state(seq, layer, head).budget;
  }

  // -- Compaction: ask, run the entry, then `compacted`.

  /// True when a head holds more than its cap.
  bool needsCompaction(uint32_t seq, Compact which) const;
  /// `goesOn`: another chunk of the prompt follows, for which the pages stay,
  /// so that the chunk cannot be refused.
  void compacted(uint32_t seq, Compact which, bool goesOn = false);

  // -- The rest of the algebra.

  /// A new sequence with the same content. Changes nothing on failure.
  uint32_t fork(uint32_t seq);

  /// Drops all tokens from `n` on. FAILED_PRECONDITION once a head has evicted.
  /// The caller then runs maintain_rebuild.
  void trim(uint32_t seq, uint64_t n);

  /// Drops all tokens; the sequence is as if it were new.
  void clear(uint32_t seq);

  // -- Beginnings that sequences have in common.

  /// True when all tokens were appended by whole chunks of a prefill, so that
  /// another prompt that begins with them has the same content.
  bool isPlain(uint32_t seq) const {
    return sequences[seq].plain == sequences[seq].length;
  }
  /// What keeps the blocks of this sequence apart from those of others.
  const std::string &salt(uint32_t seq) const { return sequences[seq].salt; }
  void setSalt(uint32_t seq, const std::string &salt) {
    sequences[seq].salt = salt;
  }
  /// Tokens that came from blocks.
  uint64_t adopted(uint32_t seq) const { return sequences[seq].adopted; }

  /// True when a head's state after a block is gone when the sequence goes on.
  bool hasOwnState() const;

  /// Holds the pages of tokens [begin, end) of a sequence that has just come to
  /// `end`; whole pages of all layers. Changes nothing on failure.
  void holdBlock(uint32_t seq, uint64_t begin, uint64_t end,
                 CachedBlock &block);
  /// Copies what is not shared, of the same sequence at the same time.
  void completeBlock(uint32_t seq, CachedBlock &block);
  void dropBlock(CachedBlock &block);
  uint64_t bytesOf(const CachedBlock &block) const;

  /// Makes an empty sequence one of the tokens of `blocks`, which follow each
  /// other from the first token on; the last is complete. Changes nothing on
  /// failure.
  void adopt(uint32_t seq, const std::vector<const CachedBlock *> &blocks,
             const int32_t *ids);

  /// Called when pages are short; false when it could not free any.
  void setReclaim(std::function<bool()> fn) { reclaim = std::move(fn); }

  // -- Content as bytes of the host.

  SequenceState stateOf(uint32_t seq) const;

  /// A new sequence in this state, which must be one that the layouts allow.
  /// The caller writes all of its parts. Changes nothing on failure.
  uint32_t createAs(const SequenceState &state);

  void readPart(uint32_t seq, const CachePart &part, void *host) const;
  void writePart(uint32_t seq, const CachePart &part, const void *host);

  /// Sets the kernels' counts of all heads to the host's, for a sequence whose
  /// slots were written by the host.
  void storeCounts(uint32_t seq);

  /// Brings the page tables to where the kernels read them; before a step.
  void flush();

  // -- What the executor binds and what reports show.

  /// The memory of pools and slabs.
  Memory &storage() const { return memory; }

  uint8_t *keyBase(uint32_t layer) const;
  uint8_t *valueBase(uint32_t layer) const;
  uint8_t *slabBase(uint32_t layer, size_t component) const;

  uint64_t extent(uint32_t seq, uint32_t layer, uint32_t head) const {
    return state(seq, layer, head).extent;
  }
  uint64_t pages(uint32_t seq, uint32_t layer, uint32_t head) const {
    return state(seq, layer, head).pages;
  }
  int32_t pageAt(uint32_t seq, uint32_t layer, uint32_t head,
                 uint64_t index) const {
    return tableRow(seq, layer, head)[index];
  }
  uint32_t references(uint32_t layer, int32_t page) const {
    return pools[poolOf[layer]]->references(page);
  }

  CacheUsage usage() const;
  CacheUsage usage(uint32_t seq) const;
  uint64_t peakPageBytes() const { return mostPageBytes; }

  /// Sum over the heads of a counter component.
  int64_t counter(uint32_t seq, uint32_t layer, size_t component) const;

  /// Compares the mirror with the kernels' `count`. Throws INTERNAL.
  void checkCounts(uint32_t seq) const;

  const std::vector<LayerLayout> &layouts() const { return layers; }
  const CacheOptions &options() const { return opts; }

private:
  struct HeadState {
    uint64_t extent = 0; ///< slots
    uint64_t pages = 0;  ///< pages in the table
    bool victim = false; ///< the next decode step reuses a slot
    uint64_t budget = 0; ///< the cap that a prompt has set; 0 = none has
  };
  struct Sequence {
    bool live = false;
    bool evicted = false;
    uint64_t length = 0;
    std::vector<HeadState> heads; ///< all layers' heads in a row
    std::vector<int32_t> tokens;  ///< as many as `length`, else unknown
    uint64_t plain = 0;   ///< tokens of whole chunks, from the first on
    uint64_t adopted = 0; ///< tokens that came from blocks
    std::string salt;
  };

  HeadState &state(uint32_t seq, uint32_t layer, uint32_t head) {
    return sequences[seq].heads[firstHead[layer] + head];
  }
  const HeadState &state(uint32_t seq, uint32_t layer, uint32_t head) const {
    return sequences[seq].heads[firstHead[layer] + head];
  }
  int32_t *tableRow(uint32_t seq, uint32_t layer, uint32_t head) {
    return tables[layer].row(seq, head);
  }
  const int32_t *tableRow(uint32_t seq, uint32_t layer, uint32_t head) const {
    return tables[layer].row(seq, head);
  }
  void storeCounts(uint32_t seq, uint32_t layer);
  void dropBudgets(uint32_t seq);
  void commitRows(uint32_t seq);
  uint32_t createWithPages(const std::vector<uint64_t> &pages);
  uint64_t nextExtent(const LayerLayout &layout, uint32_t head,
                      const HeadState &now, uint64_t length, uint64_t n,
                      Append how) const;
  uint64_t peakExtent(const LayerLayout &layout, uint32_t head,
                      const HeadState &now, uint64_t length, uint64_t n,
                      Append how) const;
  bool sharable(const LayerLayout &layout, uint32_t head) const;
  bool isShared(uint32_t layer, uint32_t head) const;
  bool isOwnRow(uint32_t layer, size_t component) const;
  template <typename Fn> void forOwnState(const CachedBlock &block, Fn fn);
  template <typename Fn> void forSharedFields(const CachedBlock &block, Fn fn);
  void ensurePages(const std::vector<uint64_t> &perPool);
  void ensurePagesOnce(const std::vector<uint64_t> &perPool);
  void initHeads(uint32_t seq);
  void dropPages(uint32_t seq, uint32_t layer, uint32_t head, uint64_t keep,
                 std::vector<std::vector<int32_t>> &freed);
  void release(std::vector<std::vector<int32_t>> &freed);
  void placeSlabs();
  void notePeak();

  Memory &memory;
  std::vector<LayerLayout> layers;
  CacheOptions opts;
  std::vector<std::unique_ptr<PagePool>> pools;
  std::vector<size_t> poolOf;           ///< per layer
  Region small;                         ///< slabs less than a granule
  std::vector<std::vector<Slab>> slabs; ///< per layer, component
  std::vector<PageTable> tables;        ///< per layer
  std::vector<size_t> firstHead;        ///< per layer
  std::vector<Sequence> sequences;
  uint64_t mostPageBytes = 0;
  std::function<bool()> reclaim;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CACHE_H
