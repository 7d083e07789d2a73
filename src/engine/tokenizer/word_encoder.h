// One pre-token -> ids, by merging. Shared by all kinds of BPE.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/merge.h"
#include "engine/tokenizer/token_tables.h"
#include "engine/tokenizer/vocabulary.h"

namespace tradewind::engine {

// Immutable but for a memo that any thread may fill. `bytes` must stay where it is.
class WordEncoder {
 public:
  // What merging starts from.
  enum class Start : uint8_t { kBytes, kCharacters };

  WordEncoder(Start start, Merging merging, const std::vector<TokenKind>& kinds,
              const std::vector<std::string>& bytes);

  // Appends the ids of `word`; only normal and byte tokens come out (or the unknown token, for
  // bytes that the vocabulary has no token for; without one such bytes are dropped). Words above
  // limits::kWordBytesMax are encoded in parts.
  void Encode(std::string_view word, MergeScratch& scratch, std::vector<TokenId>& ids) const;

 private:
  // Whether merging a token's own bytes gives that token: not so for tokens that no merge forms.
  enum Whole : uint8_t { kNotKnown, kYes, kNo };

  void EncodeByMerging(std::string_view word, MergeScratch& scratch,
                       std::vector<TokenId>& ids) const;
  void AppendSymbol(std::string_view bytes, TokenId id, std::vector<TokenId>& ids) const;

  Start start_;
  MergeRule rule_;
  bool ignore_merges_;
  TokenId unknown_;
  TextIndex normal_;                       // normal tokens by their bytes
  std::array<TokenId, 256> byte_tokens_;   // kNoToken where there is none
  std::array<TokenId, 256> byte_normals_;  // the same, normal tokens only: what merging starts from
  WordMap merges_;                         // kPairs: left << 32 | right -> rank << 32 | result
  std::vector<int32_t> ranks_;             // [V] kJoined
  // [V] Whole: filled as words come. Each thread would store the same value, so order is no matter.
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;
};

}  // namespace tradewind::engine
