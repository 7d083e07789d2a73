// Byte-pair merging: repeatedly joins the neighbours whose pair has the lowest rank, the leftmost
// on ties. Short words scan for the minimum; long ones keep a heap, O(n log n).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "engine/tokenizer/token_tables.h"

namespace tradewind::engine {

// A part of a word: `size` bytes at `begin`. `id` is kNoToken when they are no token.
struct Symbol {
  uint32_t begin = 0;
  uint32_t size = 0;
  TokenId id = kNoToken;
};

// What a pair of neighbours becomes; kNeverMerges when they do not.
struct PairMerge {
  int32_t rank = 0;
  TokenId id = kNoToken;
};
inline constexpr int32_t kNeverMerges = std::numeric_limits<int32_t>::max();

// Memory that merging reuses from word to word; one per thread and call.
struct MergeScratch {
  struct Candidate {
    int32_t rank = 0;
    uint32_t left = 0;   // position of the left symbol
    uint32_t bytes = 0;  // of both when it was noted: another sum means that it is out of date
    TokenId id = kNoToken;
  };
  struct Link {
    uint32_t previous = 0, next = 0;
  };
  std::vector<Symbol> symbols;
  std::vector<PairMerge> pairs;
  std::vector<Link> links;
  std::vector<Candidate> heap;
};

// `find(left, right)` tells what two neighbouring symbols become.
template <class Find>
void MergeByScan(MergeScratch& scratch, const Find& find) {
  auto& symbols = scratch.symbols;
  auto& pairs = scratch.pairs;  // [symbols - 1]
  pairs.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    pairs.push_back(find(symbols[i], symbols[i + 1]));
  }
  while (!pairs.empty()) {
    const auto best = std::ranges::min_element(pairs, {}, &PairMerge::rank);
    if (best->rank == kNeverMerges) {
      break;
    }
    const auto i = static_cast<size_t>(best - pairs.begin());
    symbols[i].size += symbols[i + 1].size;
    symbols[i].id = best->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    pairs.erase(best);
    if (i > 0) {
      pairs[i - 1] = find(symbols[i - 1], symbols[i]);
    }
    if (i < pairs.size()) {
      pairs[i] = find(symbols[i], symbols[i + 1]);
    }
  }
}

template <class Find>
void MergeByHeap(MergeScratch& scratch, const Find& find) {
  using Candidate = MergeScratch::Candidate;
  auto& symbols = scratch.symbols;
  auto& links = scratch.links;
  auto& heap = scratch.heap;
  const auto count = static_cast<uint32_t>(symbols.size());
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  };
  const auto note = [&](uint32_t left) {
    const uint32_t right = links[left].next;
    if (right >= count) {
      return;
    }
    const PairMerge pair = find(symbols[left], symbols[right]);
    if (pair.rank != kNeverMerges) {
      heap.push_back({pair.rank, left, symbols[left].size + symbols[right].size, pair.id});
      std::ranges::push_heap(heap, later);
    }
  };
  heap.clear();
  links.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    links[i] = {i - 1,
                i + 1};  // previous of the first is 2^32 - 1: out of range, as next of the last
  }
  for (uint32_t i = 0; i < count; ++i) {
    note(i);
  }
  while (!heap.empty()) {
    std::ranges::pop_heap(heap, later);
    const Candidate best = heap.back();
    heap.pop_back();
    // A symbol only grows, and is emptied when its left neighbour takes it in.
    Symbol& left = symbols[best.left];
    const uint32_t right = links[best.left].next;
    if (left.size == 0 || right >= count || left.size + symbols[right].size != best.bytes) {
      continue;
    }
    left.size = best.bytes;
    left.id = best.id;
    symbols[right].size = 0;
    links[best.left].next = links[right].next;
    if (links[right].next < count) {
      links[links[right].next].previous = best.left;
    }
    note(best.left);
    if (links[best.left].previous < count) {
      note(links[best.left].previous);
    }
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.size == 0; });
}

// Merges scratch.symbols in place until no pair is left. Symbols are not empty and lie side by
// side.
template <class Find>
void MergeSymbols(MergeScratch& scratch, const Find& find) {
  constexpr size_t kScanMax = 32;  // symbols; beyond it moving the tails costs more than a heap
  if (scratch.symbols.size() <= kScanMax) {
    MergeByScan(scratch, find);
  } else {
    MergeByHeap(scratch, find);
  }
}

}  // namespace tradewind::engine
