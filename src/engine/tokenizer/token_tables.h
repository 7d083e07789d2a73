// Hash tables of the tokenizer: text -> id, (left, right) -> merge, and the matcher of special
// tokens. Hashes are keyed by a number drawn at start-up, so that a file cannot choose its
// collisions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/vocabulary.h"

namespace tradewind::engine {

inline constexpr TokenId kNoToken = -1;

// Finds the id of a text. Holds ids only: `texts` must stay where it is. At most 2^30 entries.
class TextIndex {
 public:
  TextIndex(const std::vector<std::string>& texts, size_t expected);

  // False, and nothing changed, when an equal text is in already.
  bool Insert(TokenId id);
  TokenId Find(std::string_view text) const;

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash: most misses need no look at the text
    TokenId id = kNoToken;
  };
  // The slot of `text`, or the free one where it would go.
  size_t Locate(std::string_view text, uint32_t& tag) const;

  const std::vector<std::string>& texts_;
  std::vector<Slot> slots_;  // a power of two, never full
  size_t longest_ = 0;       // bytes
};

// uint64 -> uint64, insert-only. The key 2^64-1 is not allowed. Grows as needed.
class WordMap {
 public:
  static constexpr uint64_t kAbsent = ~uint64_t{0};

  explicit WordMap(size_t expected = 0);
  // The value stored under `key`: `value`, or the earlier one when there was one.
  uint64_t Insert(uint64_t key, uint64_t value);
  // kAbsent when there is none.
  uint64_t Find(uint64_t key) const;

 private:
  struct Slot {
    uint64_t key = kAbsent;
    uint64_t value = 0;
  };
  size_t Locate(uint64_t key) const;

  std::vector<Slot> slots_;
  size_t used_ = 0;
};

// Longest special token at a place: a trie whose edges lie in one hash table.
class SpecialMatcher {
 public:
  struct Match {
    TokenId id = kNoToken;
    size_t bytes = 0;
  };

  // Texts of at most limits::kSpecialTokenBytesMax bytes; others and empty ones are not matched.
  void Add(std::string_view text, TokenId id);
  // The longest special that is a prefix of `text`; id is kNoToken when none is.
  Match LongestAt(std::string_view text) const;
  // Quick rejection: false when no special begins with this byte.
  bool MayStart(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }

 private:
  WordMap edges_;                             // node * 256 + byte -> node
  std::vector<TokenId> tokens_ = {kNoToken};  // [nodes]; node 0 is the root
  std::array<bool, 256> starts_{};
};

}  // namespace tradewind::engine
