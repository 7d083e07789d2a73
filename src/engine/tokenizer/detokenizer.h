// Streaming ids -> text that never emits half a character.
#pragma once

#include <string>
#include <string_view>

#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

// One per generated sequence; not thread-safe. The tokenizer must outlive it. All that it returned,
// joined, equals ReplaceInvalidUtf8(Tokenizer::Decode(ids)) when `at_text_start`.
class Detokenizer {
 public:
  // `at_text_start`: the ids begin a text (then a SentencePiece word-start space is dropped).
  explicit Detokenizer(const Tokenizer& tokenizer, bool at_text_start = false,
                       bool with_special = false);

  // Text that became complete with this token: valid UTF-8, possibly empty. Holds at most 3 bytes
  // of a character that is not complete yet; an invalid byte becomes U+FFFD at once.
  std::string Push(TokenId id);
  // At the end of a generation: bytes still held become one U+FFFD.
  std::string Flush();

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
  bool at_text_start_;
  bool with_special_;
};

}  // namespace tradewind::engine
