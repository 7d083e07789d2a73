#include "engine/tokenizer/detokenizer.h"

#include "base/utf8.h"

namespace tradewind::engine {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool at_text_start, bool with_special)
    : tokenizer_(tokenizer), at_text_start_(at_text_start), with_special_(with_special) {}

std::string Detokenizer::Push(TokenId id) {
  tokenizer_.AppendToken(id, with_special_, at_text_start_, held_);
  const size_t complete = CompleteUtf8Prefix(held_);
  std::string text = ReplaceInvalidUtf8(std::string_view(held_).substr(0, complete));
  held_.erase(0, complete);
  return text;
}

std::string Detokenizer::Flush() {
  const std::string text = ReplaceInvalidUtf8(held_);
  held_.clear();
  return text;
}

}  // namespace tradewind::engine
