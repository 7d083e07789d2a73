// Splits text into the words that byte-level BPE works on: the first half of such a tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tradewind::engine {

// What a value of `tokenizer.ggml.pre` means.
struct PreTokenizerRule {
  std::vector<const char*> patterns;  // applied in turn, each to the pieces of the one before
  bool ignore_merges = false;
  bool add_bos = false;  // when the file does not say
};

// Errors: kUnsupported, which lists the names that are known.
Result<PreTokenizerRule> FindPreTokenizerRule(std::string_view name);

// The pattern of every tekken.json so far.
std::string_view TekkenPattern();

// Immutable; any thread may use one at the same time.
class PreTokenizer {
 public:
  explicit PreTokenizer(const PreTokenizerRule& rule);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Calls `word` for consecutive parts of `text`; joined they are the text. Matches and what lies
  // between them are words; so is each run of bytes that is not UTF-8. Never fails: should a match
  // need more steps than `steps_per_byte` allows, the rest of that piece is one word.
  void Split(std::string_view text, const std::function<void(std::string_view)>& word,
             uint32_t steps_per_byte = 16) const;

 private:
  class Pattern;
  class Matcher;
  void SplitPiece(std::string_view piece, size_t stage, Matcher& matcher,
                  const std::function<void(std::string_view)>& word) const;

  std::vector<Pattern> patterns_;
};

}  // namespace tradewind::engine
