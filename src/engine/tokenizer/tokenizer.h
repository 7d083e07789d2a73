// Text <-> token ids. The kinds (byte-level BPE, SentencePiece BPE, Tekken) differ in the files; callers see one class.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/format/gguf.h"

namespace tradewind::engine {

using TokenId = int32_t;

enum class TokenKind : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// A half-open range of bytes of a text.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable after construction; any thread may use one at the same time.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // From `tokenizer.ggml.*`. Errors: kCorruptFile (names the key), kUnsupported (a model or pre-tokenizer that we do not
  // know: says which and lists those we do).
  static Result<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);
  // From a tekken.json text (mistral-common). Errors: kCorruptFile.
  static Result<std::unique_ptr<Tokenizer>> FromTekkenJson(std::string_view json);

  // Ids of `text`, without BOS or EOS. A special token (control or user-defined) is formed only from bytes that lie
  // wholly inside one of `special_ranges` (sorted, disjoint): user text never becomes a special token, whatever it
  // spells. Pre-tokenization sees the text whole, so ranges do not change how ordinary text is split.
  // Invalid UTF-8 is encoded byte by byte and decodes back to the same bytes where the vocabulary has byte tokens.
  std::vector<TokenId> Encode(std::string_view text, std::span<const ByteRange> special_ranges) const;
  std::vector<TokenId> Encode(std::string_view text) const { return Encode(text, {}); }  // all is ordinary text
  std::vector<TokenId> EncodeWithSpecial(std::string_view text) const;                   // every special may form

  // The bytes that a token stands for when it follows other tokens. Control tokens give their name ("<|im_end|>").
  std::string_view TokenBytes(TokenId id) const;
  TokenKind Kind(TokenId id) const;
  bool IsSpecial(TokenId id) const { return Kind(id) == TokenKind::kControl; }
  // Text of ids as they stand at the start of a text; control tokens are left out unless `with_special`.
  std::string Decode(std::span<const TokenId> ids, bool with_special = false) const;
  std::optional<TokenId> FindToken(std::string_view text) const;  // the exact vocabulary entry, specials included

  int vocab_size() const { return static_cast<int>(kinds_.size()); }
  bool IsValid(TokenId id) const { return id >= 0 && id < vocab_size(); }

  std::optional<TokenId> bos() const { return bos_; }
  std::optional<TokenId> eos() const { return eos_; }
  bool add_bos() const { return add_bos_; }
  bool add_eos() const { return add_eos_; }
  // Tokens that end a turn: eos, eot and eom, and well-known end markers by name (<|im_end|>, <|eot_id|>, ...).
  std::span<const TokenId> end_tokens() const { return end_tokens_; }
  bool IsEnd(TokenId id) const;
  // SentencePiece marks a word start by a space: the first token of a text loses one.
  bool strips_leading_space() const { return strips_leading_space_; }
  std::string_view model_name() const { return model_name_; }  // "gpt2", "llama", "tekken"
  std::string_view pre_name() const { return pre_name_; }      // "smollm", "tekken", "" ...

 protected:
  Tokenizer() = default;
  // Appends the ids of a piece that holds no special token. `at_start`: nothing precedes it in the text;
  // `after_special`: a special token does.
  virtual void EncodeOrdinary(std::string_view text, bool at_start, bool after_special,
                              std::vector<TokenId>& ids) const = 0;

  std::vector<TokenKind> kinds_;               // [V]
  std::vector<std::string> bytes_;             // [V]
  std::vector<TokenId> end_tokens_;
  std::optional<TokenId> bos_, eos_;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool strips_leading_space_ = false;
  std::string model_name_, pre_name_;
  // (the owner of this file adds what special-token matching and FindToken need)
};

}  // namespace tradewind::engine
