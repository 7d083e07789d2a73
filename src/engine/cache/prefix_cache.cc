#include "engine/cache/prefix_cache.h"

#include <algorithm>

#include "base/check.h"

namespace tradewind::engine {
namespace {

constexpr size_t kBlock = limits::kKvBlockPositions;

size_t CommonPrefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

PrefixCache::~PrefixCache() {
  while (!by_use_.empty()) {
    RemoveBranch(*by_use_.back());
  }
}

PrefixCache::Match PrefixCache::Find(std::string_view scope, std::span<const int32_t> ids) {
  Match match;
  const auto root = roots_.find(scope);
  if (root == roots_.end()) {
    return match;
  }
  Node* node = &root->second;
  while (node != nullptr && !ids.empty()) {
    Node* best = nullptr;
    size_t best_length = 0;
    for (const auto& child : node->children) {
      const size_t length = CommonPrefix(child->ids, ids);
      if (length > best_length) {
        best = child.get();
        best_length = length;
      }
    }
    if (best == nullptr) {
      break;
    }
    match.blocks.push_back(best->block);
    match.positions += static_cast<int64_t>(best_length);
    ids = ids.subspan(best_length);
    node = best;
    if (best_length < kBlock) {
      break;
    }
  }
  TouchPath(node);
  return match;
}

void PrefixCache::Insert(std::string_view scope, std::span<const int32_t> ids,
                         std::span<const KvBlockRef> blocks) {
  if (ids.empty()) {
    return;
  }
  TW_CHECK(KvBlocksFor(static_cast<int64_t>(ids.size())) <= static_cast<int64_t>(blocks.size()));
  Node* node = &roots_.try_emplace(std::string(scope)).first->second;
  for (size_t at = 0; at < ids.size(); at += kBlock) {
    const auto part = ids.subspan(at, std::min(kBlock, ids.size() - at));
    const KvBlockRef& block = blocks[at / kBlock];
    Node* next = nullptr;
    for (const auto& child : node->children) {
      const size_t common = CommonPrefix(child->ids, part);
      if (common == part.size()) {  // known, and perhaps more than this
        next = child.get();
      } else if (common == child->ids.size()) {  // a partly filled block that this one goes on from
        next = child.get();
        next->ids.assign(part.begin(), part.end());
        next->block.SetCached(false);
        next->block = block;
        next->block.SetCached(true);
      }
      if (next != nullptr) {
        break;
      }
    }
    if (next == nullptr) {
      next = Append(*node, part, block);
    }
    node = next;
  }
  TouchPath(node);
}

// All that may fail for want of memory comes before the tree changes.
PrefixCache::Node* PrefixCache::Append(Node& parent, std::span<const int32_t> ids,
                                       const KvBlockRef& block) {
  auto node = std::make_unique<Node>();
  node->ids.assign(ids.begin(), ids.end());
  node->block = block;
  node->parent = &parent;
  std::list<Node*> use{node.get()};
  parent.children.push_back(std::move(node));
  Node* const child = parent.children.back().get();
  child->block.SetCached(true);
  child->use = use.begin();
  by_use_.splice(by_use_.begin(), use);
  return child;
}

void PrefixCache::TouchPath(Node* node) {
  for (; node->parent != nullptr; node = node->parent) {
    by_use_.splice(by_use_.begin(), by_use_, node->use);
  }
}

bool PrefixCache::EvictOne() {
  Node* inner = nullptr;
  for (auto it = by_use_.rbegin(); it != by_use_.rend(); ++it) {
    Node& node = **it;
    if (node.block.is_shared()) {
      continue;
    }
    if (node.children.empty()) {
      Remove(node);
      return true;
    }
    if (inner == nullptr) {
      inner = &node;
    }
  }
  if (inner == nullptr) {
    return false;
  }
  // All that goes on from it is in use: known no longer, it comes back when its sequence ends.
  RemoveBranch(*inner);
  return true;
}

// From the ends: a long branch must not recurse.
void PrefixCache::RemoveBranch(Node& top) {
  for (Node* node = &top;;) {
    if (!node->children.empty()) {
      node = node->children.back().get();
      continue;
    }
    const bool is_top = node == &top;
    Node* const parent = node->parent;
    Remove(*node);
    if (is_top) {
      return;
    }
    node = parent;
  }
}

void PrefixCache::Remove(Node& node) {
  by_use_.erase(node.use);
  node.block.SetCached(false);
  Node& parent = *node.parent;
  std::erase_if(parent.children, [&](const auto& child) { return child.get() == &node; });
  if (parent.parent == nullptr && parent.children.empty()) {
    std::erase_if(roots_, [&](const auto& root) { return &root.second == &parent; });
  }
}

}  // namespace tradewind::engine
