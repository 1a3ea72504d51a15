//===- PrefixIndex.cpp - What prompts begin with --------------------------===//

#include "PrefixIndex.h"
#include "Checked.h"
#include "Sha256.h"

#include <numeric>

using namespace sparse::runtime;

// So that no digest of anything else is one of a block.
static const char domain[] = "sparse-opt prefix block 1";

PrefixIndex::PrefixIndex(Cache &cache, const std::string &model,
                         const std::string &policy, uint64_t limitBytes)
    : cache(cache), model(model),
      policyDigest(sha256(policy.data(), policy.size())), limit(limitBytes),
      block(cache.options().chunk) {
  // Past the context there is no block, whatever its length.
  for (const LayerLayout &layout : cache.layouts())
    if (block <= cache.options().maxContext)
      block = std::lcm(block, static_cast<uint64_t>(layout.page));
}

/// Each field with its length: no two lists of fields are the same bytes.
static void addField(Sha256 &hash, const void *bytes, uint64_t size) {
  hash.update(&size, sizeof(size));
  hash.update(bytes, size);
}
static void addField(Sha256 &hash, const std::string &text) {
  addField(hash, text.data(), text.size());
}

std::string PrefixIndex::keyOf(const std::string &salt,
                               const std::string &parent,
                               const int32_t *tokens) const {
  Sha256 hash;
  addField(hash, domain);
  addField(hash, model);
  addField(hash, policyDigest);
  addField(hash, salt);
  addField(hash, parent);
  addField(hash, tokens, block * sizeof(int32_t));
  return hash.hex();
}

PrefixIndex::Node *PrefixIndex::find(const std::string &key) const {
  auto it = nodes.find(key);
  return it == nodes.end() ? nullptr : it->second.get();
}

/// Makes a block and those before it the most recent ones.
void PrefixIndex::touch(Node *node) {
  for (; node; node = node->parent)
    order.splice(order.begin(), order, node->place);
}

/// Brings the sums up to date with a node that has changed.
void PrefixIndex::count(Node &node) {
  uint64_t bytes = cache.bytesOf(node.block) + sizeof(Node) + node.key.size();
  now.bytes += bytes - node.bytes;
  node.bytes = bytes;
}

bool PrefixIndex::forgetOne() {
  if (order.empty() || order.back()->users > 0)
    return false;
  Node *node = order.back();
  order.pop_back();
  if (node->parent)
    --node->parent->users;
  now.pages -= node->block.pageCount();
  now.bytes -= node->bytes;
  cache.dropBlock(node->block);
  nodes.erase(node->key);
  return true;
}

uint64_t PrefixIndex::adopt(uint32_t seq, const int32_t *ids, size_t n) {
  ++now.lookups;
  std::vector<Node *> chain;
  size_t usable = 0;
  std::string key;
  for (uint64_t end = block; end < n; end += block) {
    key = keyOf(cache.salt(seq), key, ids + end - block);
    Node *node = find(key);
    if (!node)
      break;
    chain.push_back(node);
    if (node->block.complete)
      usable = chain.size();
  }
  if (usable == 0)
    return 0;
  chain.resize(usable);
  std::vector<const CachedBlock *> blocks;
  for (Node *node : chain)
    blocks.push_back(&node->block);
  touch(chain.back());
  // Room for the copies may be made by forgetting others.
  ++chain.back()->users;
  try {
    cache.adopt(seq, blocks, ids);
  } catch (...) {
    --chain.back()->users;
    throw;
  }
  --chain.back()->users;
  ++now.hits;
  now.tokens += cache.length(seq);
  return cache.length(seq);
}

PrefixIndex::Cursor PrefixIndex::cursorOf(uint32_t seq) const {
  Cursor cursor;
  cursor.ended = !cache.isPlain(seq);
  if (cursor.ended)
    return cursor;
  for (; cursor.length + block <= cache.length(seq); cursor.length += block)
    cursor.key = keyOf(cache.salt(seq), cursor.key,
                       cache.tokens(seq)->data() + cursor.length);
  return cursor;
}

void PrefixIndex::keep(uint32_t seq, Cursor &cursor, bool last) {
  cursor.ended = cursor.ended || !cache.isPlain(seq);
  if (cursor.ended || cache.length(seq) < cursor.length + block)
    return;
  Node *parent = cursor.length ? find(cursor.key) : nullptr;
  bool isOrphan = cursor.length && !parent;
  std::string key = keyOf(cache.salt(seq), cursor.key,
                          cache.tokens(seq)->data() + cursor.length);
  uint64_t begin = cursor.length;
  cursor.key = key;
  cursor.length += block;
  // The block before was forgotten meanwhile: nothing can lead here.
  if (isOrphan)
    return;
  // What is worked with is not forgotten to make room for it.
  if (parent)
    ++parent->users;
  Node *node = find(key);
  try {
    if (!node)
      node = insert(key, parent, seq, begin);
    ++node->users;
    // State that later blocks do not have too is copied where it is worth it:
    // at the end of a prompt.
    uint64_t pages = node->block.pageCount();
    try {
      if (!node->block.complete && (last || !cache.hasOwnState()))
        cache.completeBlock(seq, node->block);
    } catch (...) {
      --node->users;
      throw;
    }
    --node->users;
    now.pages += node->block.pageCount() - pages;
    count(*node);
    touch(node);
  } catch (const Error &error) {
    if (error.code != Code::ResourceExhausted)
      throw;
  } catch (const std::bad_alloc &) {
    // A prompt that is not kept is still a prompt.
  }
  if (parent)
    --parent->users;
  while (now.bytes > limit && forgetOne())
    ;
}

/// A node of the block that the sequence has just ended. Nothing has changed
/// when it throws.
PrefixIndex::Node *PrefixIndex::insert(const std::string &key, Node *parent,
                                       uint32_t seq, uint64_t begin) {
  std::list<Node *> entry(1, nullptr);
  auto it = nodes.emplace(key, std::make_unique<Node>()).first;
  Node *node = it->second.get();
  try {
    node->key = key;
    cache.holdBlock(seq, begin, begin + block, node->block);
  } catch (...) {
    nodes.erase(it);
    throw;
  }
  node->parent = parent;
  if (parent)
    ++parent->users;
  entry.front() = node;
  order.splice(order.begin(), entry);
  node->place = order.begin();
  now.pages += node->block.pageCount();
  count(*node);
  touch(node);
  return node;
}
