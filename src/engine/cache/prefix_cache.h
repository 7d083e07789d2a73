// Blocks of sequences that have ended, found again by the token ids they hold: the next message of
// a conversation, or a prompt with the same beginning, does not evaluate them again.
//
// A tree whose nodes hold one block and the ids in it; only the last block of a sequence may be
// partly filled. Ids are compared exactly. The least recently used blocks go first, from the end of
// a sequence towards its beginning. Blocks that a running sequence shares are not let go, as that
// would free nothing, unless they stand in the way: two sequences may have evaluated the same ids,
// and what the running one holds may go on from a block that only the other held. So every idle
// block can be had. Scopes see nothing of each other.
//
// Engine's thread only.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cache/kv_cache.h"

namespace tradewind::engine {

class PrefixCache {
 public:
  PrefixCache() = default;
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;
  ~PrefixCache();

  struct Match {
    std::vector<KvBlockRef> blocks;  // the last one may be used in part
    int64_t positions = 0;
  };
  // The longest beginning of `ids` that is known in the scope. What it finds counts as used now.
  Match Find(std::string_view scope, std::span<const int32_t> ids);

  // Keeps `blocks`, which hold the keys and values of `ids`, but for those that are known already.
  void Insert(std::string_view scope, std::span<const int32_t> ids,
              std::span<const KvBlockRef> blocks);

  // Frees the block that was used least recently, of those at an end if there are any, and is held
  // by nobody else. False when there is none: no block is idle.
  bool EvictOne();

  int64_t blocks() const { return static_cast<int64_t>(by_use_.size()); }

 private:
  struct Node {
    std::vector<int32_t> ids;
    KvBlockRef block;
    Node* parent = nullptr;
    std::vector<std::unique_ptr<Node>> children;
    std::list<Node*>::iterator use;
  };
  using Roots = std::map<std::string, Node, std::less<>>;

  Node* Append(Node& parent, std::span<const int32_t> ids, const KvBlockRef& block);
  // A parent always counts as used after its children, so that a branch is let go from its end.
  void TouchPath(Node* node);
  void Remove(Node& node);  // one that has no children
  void RemoveBranch(Node& top);

  Roots roots_;              // by scope; without a block of their own
  std::list<Node*> by_use_;  // the most recently used first
};

}  // namespace tradewind::engine
