// Text <-> token ids. The kinds (byte-level BPE, SentencePiece BPE, Tekken) differ in the files;
// callers see one class.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/format/gguf.h"
#include "engine/tokenizer/token_tables.h"
#include "engine/tokenizer/vocabulary.h"

namespace tradewind::engine {

// A half-open range of bytes of a text.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable after construction; any thread may use one at the same time.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // From `tokenizer.ggml.*`. Errors: kCorruptFile (names the key), kUnsupported (a model or
  // pre-tokenizer that we do not know: says which and lists those we do). Keeps no reference to
  // `file`.
  static Result<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);
  // From a tekken.json text (mistral-common). Errors: kCorruptFile, kUnsupported (another pattern).
  static Result<std::unique_ptr<Tokenizer>> FromTekkenJson(std::string_view json);

  // Ids of `text`, without BOS or EOS. A special token (control, user-defined or unknown) is formed
  // only from bytes that lie wholly inside one of `special_ranges` (sorted, disjoint): user text
  // never becomes a special token, whatever it spells. Where several match, the leftmost does, and
  // of those the longest. Pre-tokenization sees the text between two special tokens whole, so
  // ranges do not change how ordinary text is split.
  // Invalid UTF-8 is encoded byte by byte and decodes back to the same bytes where the vocabulary
  // has byte tokens. Never fails; time is O(n log n) in the bytes, whatever they are.
  std::vector<TokenId> Encode(std::string_view text,
                              std::span<const ByteRange> special_ranges) const;
  std::vector<TokenId> Encode(std::string_view text) const { return Encode(text, {}); }
  std::vector<TokenId> EncodeWithSpecial(std::string_view text) const;  // every special may form

  // The bytes that a token stands for when it follows other tokens. Control tokens give their name
  // ("<|im_end|>"). An id outside the vocabulary has no bytes and is kUnused.
  std::string_view TokenBytes(TokenId id) const;
  TokenKind Kind(TokenId id) const;
  bool IsSpecial(TokenId id) const { return Kind(id) == TokenKind::kControl; }
  // Text of ids as they stand at the start of a text; control and unknown tokens are left out
  // unless `with_special`. Bytes as they come: not necessarily valid UTF-8.
  std::string Decode(std::span<const TokenId> ids, bool with_special = false) const;
  // One step of Decode: appends what `id` adds. `at_text_start` becomes false once bytes came.
  void AppendToken(TokenId id, bool with_special, bool& at_text_start, std::string& out) const;
  // The vocabulary entry with exactly these bytes; of several the special one, else an ordinary
  // one.
  std::optional<TokenId> FindToken(std::string_view text) const;

  int vocab_size() const { return static_cast<int>(kinds_.size()); }
  bool IsValid(TokenId id) const { return id >= 0 && id < vocab_size(); }

  std::optional<TokenId> bos() const { return bos_; }
  std::optional<TokenId> eos() const { return eos_; }
  bool add_bos() const { return add_bos_; }
  bool add_eos() const { return add_eos_; }
  // Tokens that end a turn: eos, eot and eom, and well-known end markers by name (<|im_end|>,
  // <|eot_id|>, ...).
  std::span<const TokenId> end_tokens() const { return end_tokens_; }
  bool IsEnd(TokenId id) const;
  // SentencePiece marks a word start by a space: the first token of a text loses one.
  bool strips_leading_space() const { return strips_leading_space_; }
  std::string_view model_name() const { return model_name_; }  // "gpt2", "llama", "tekken"
  std::string_view pre_name() const { return pre_name_; }      // "smollm", "tekken", "" ...
  std::string_view version() const { return version_; }        // tekken.json's ("v13"), else ""

 protected:
  explicit Tokenizer(Vocabulary vocabulary);

  // Appends the ids of a piece that holds no special token. `at_start`: nothing precedes it in the
  // text; `after_special`: a special token does.
  virtual void EncodeOrdinary(std::string_view text, bool at_start, bool after_special,
                              std::vector<TokenId>& ids) const = 0;

  std::vector<TokenKind> kinds_;    // [V]
  std::vector<std::string> bytes_;  // [V]
  std::vector<TokenId> end_tokens_;
  std::optional<TokenId> bos_, eos_;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool strips_leading_space_ = false;
  std::string model_name_, pre_name_, version_;

 private:
  void FindEndTokens(const Vocabulary& vocabulary);

  TextIndex by_text_;  // every distinct text, over bytes_
  SpecialMatcher specials_;
};

}  // namespace tradewind::engine
