// What a model file says about its tokens, read and checked: the step between a file format and a
// Tokenizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/format/gguf.h"

namespace tradewind::engine {

using TokenId = int32_t;

// Numbered as in GGUF's tokenizer.ggml.token_type.
enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Whether a token may stand only where the caller allows it (Tokenizer::Encode).
constexpr bool IsSpecialKind(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined ||
         kind == TokenKind::kUnknown;
}

// Two neighbours that become one token.
struct Merge {
  TokenId left = 0;
  TokenId right = 0;
  TokenId result = 0;
};

// How neighbouring tokens merge: a lower rank first, the leftmost on ties.
enum class MergeRule : uint8_t {
  kPairs,   // only the listed pairs; rank = place in that list
  kJoined,  // any pair whose joined bytes are a normal token; rank = `ranks` of that token
};

struct Merging {
  MergeRule rule = MergeRule::kPairs;
  std::vector<Merge> pairs;        // of kPairs; normal tokens only
  std::vector<int32_t> ranks;      // [V] of kJoined, >= 0
  bool ignore_merges = false;      // a word that is a token is that token, whatever merges say
  std::optional<TokenId> unknown;  // stands for bytes that have no token
};

// All ids are inside the vocabulary.
struct Vocabulary {
  std::string model_name, pre_name, version;
  std::vector<std::string> bytes;  // [V] what each token stands for; control tokens: the name
  std::vector<TokenKind> kinds;    // [V]
  Merging merging;
  bool add_space_prefix = false;
  std::optional<TokenId> bos, eos, eot, eom;
  bool add_bos = false;
  bool add_eos = false;
};

// Errors: kCorruptFile (names the key), kUnsupported (names what, lists what is known).
Result<Vocabulary> ReadGgufVocabulary(const GgufFile& file);
// Source: tekken.json of mistral-common. Errors: kCorruptFile, kUnsupported.
Result<Vocabulary> ReadTekkenVocabulary(std::string_view json);

// The bytes that a byte-level BPE token spells (space is U+0120 there, and so on), or nullopt when
// a character is outside that alphabet. Source: GPT-2's byte-to-character table.
std::optional<std::string> DecodeByteLevel(std::string_view token);

// Bounds that every vocabulary keeps. Errors: kCorruptFile, naming the token.
Status CheckVocabulary(const Vocabulary& vocabulary);

}  // namespace tradewind::engine
