//===- PrefixIndex.h - What prompts begin with ------------------*- C++ -*-===//
//
// Prompts of one model often begin with the same tokens. The cache of such a
// beginning is kept in blocks, and a later prompt takes the longest known chain
// of them instead of computing it again.
//
// A block is named by a digest of all that its content depends on: model,
// policy, salt, the block before, and its tokens. It is whole chunks of a
// prefill and whole pages of every layer, so that a prompt computes the rest in
// the very chunks of a prompt that computes everything: its results are the
// same bits. Only what prefills in whole chunks have computed from an empty
// sequence on is kept.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_PREFIXINDEX_H
#define SPARSE_RUNTIME_PREFIXINDEX_H

#include "Cache.h"

#include <list>
#include <map>
#include <memory>
#include <string>

namespace sparse::runtime {

struct PrefixUsage {
  uint64_t lookups = 0; ///< prompts that began in an empty sequence
  uint64_t hits = 0;    ///< of those, how many took blocks
  uint64_t tokens = 0;  ///< that were not computed again
  uint64_t pages = 0;   ///< held now
  uint64_t bytes = 0;   ///< of these pages and their fields
};

class PrefixIndex {
public:
  /// Keeps at most `limitBytes`. `model` and `policy` are part of each digest.
  PrefixIndex(Cache &cache, const std::string &model, const std::string &policy,
              uint64_t limitBytes);

  /// Tokens of a block.
  uint64_t blockTokens() const { return block; }

  /// Gives the empty sequence `seq` the longest known beginning of a prompt
  /// that leaves at least one token. Returns its length, 0 without one.
  uint64_t adopt(uint32_t seq, const int32_t *ids, size_t n);

  /// The blocks of a sequence so far, while a prompt is computed.
  struct Cursor {
    std::string key;
    uint64_t length = 0;
    bool ended = false; ///< the rest of the sequence is not kept
  };
  Cursor cursorOf(uint32_t seq) const;

  /// After a chunk: keeps the block that ends with it, if one does. `last`: the
  /// prompt has no later end of a block. Does nothing without memory.
  void keep(uint32_t seq, Cursor &cursor, bool last);

  /// Forgets the block that was used longest ago. False when there is none.
  bool forgetOne();

  PrefixUsage usage() const { return now; }

private:
  struct Node {
    std::string key;
    Node *parent = nullptr;
    uint64_t users = 0; ///< blocks behind it, and calls that work with it
    CachedBlock block;
    uint64_t bytes = 0;
    std::list<Node *>::iterator place;
  };

  std::string keyOf(const std::string &salt, const std::string &parent,
                    const int32_t *tokens) const;
  Node *find(const std::string &key) const;
  Node *insert(const std::string &key, Node *parent, uint32_t seq,
               uint64_t begin);
  void touch(Node *node);
  void count(Node &node);

  Cache &cache;
  std::string model, policyDigest;
  uint64_t limit, block;
  std::map<std::string, std::unique_ptr<Node>> nodes;
  /// The most recent first; a block comes before those behind it, so that the
  /// last one has none.
  std::list<Node *> order;
  PrefixUsage now;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_PREFIXINDEX_H
