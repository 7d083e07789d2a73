#include "engine/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pcre2.h>

#include "base/check.h"
#include "base/utf8.h"

// White space is Unicode's property, as in the engines that the models were trained with: PCRE2's
// own \s also holds U+180E.
#define WS "\\p{White_Space}"
#define NOT_WS "\\P{White_Space}"

namespace tradewind::engine {
namespace {

// Sources: the tokenizer.json files of the models; tekken.json; llama.cpp for `default`.
constexpr const char* kDigit = "\\p{N}";
constexpr const char* kGpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS
                              "\\p{L}\\p{N}]+|" WS "+(?!" NOT_WS ")|" WS "+";
constexpr const char* kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" WS
    "\\p{L}\\p{N}]+[\\r\\n]*|" WS "*[\\r\\n]+|" WS "+(?!" NOT_WS ")|" WS "+";
constexpr const char* kQwen2 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" WS
    "\\p{L}\\p{N}]+[\\r\\n]*|" WS "*[\\r\\n]+|" WS "+(?!" NOT_WS ")|" WS "+";
constexpr const char* kTekken =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
    "\\p{N}| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|" WS "*[\\r\\n]+|" WS "+(?!" NOT_WS ")|" WS "+";
constexpr const char* kDefaultPunctuation = "[\\p{P}$+<=>^~|]+";
constexpr const char* kDigits = "\\p{N}+";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";

struct Family {
  PreTokenizerRule rule;
  std::vector<std::string_view> names;
};

const std::vector<Family>& Families() {
  static const std::vector<Family> families = {
      {{{kDefaultPunctuation, kGpt2, kDigits, kThreeDigits}}, {"default"}},
      {{{kGpt2}},
       {"gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "jina-es", "jina-de", "jina-v1-en",
        "jina-v2-es", "jina-v2-de", "jina-v2-code"}},
      {{{kDigit, kGpt2}}, {"smollm", "starcoder", "refact", "command-r"}},
      {{{kLlama3}, true, true}, {"llama-bpe", "llama3", "llama-v3", "pixtral"}},
      {{{kQwen2}}, {"qwen2", "deepseek-r1-qwen"}},
      {{{kTekken}, true, true}, {"tekken"}},
  };
  return families;
}

}  // namespace

std::string_view TekkenPattern() {
  // As the files spell it.
  return "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
         "|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
         "|"
         "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
}

Result<PreTokenizerRule> FindPreTokenizerRule(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Family& family : Families()) {
    if (std::ranges::find(family.names, name) != family.names.end()) {
      return family.rule;
    }
    known.insert(known.end(), family.names.begin(), family.names.end());
  }
  return Fail(ErrorCode::kUnsupported,
              fmt::format("the pre-tokenizer '{}' (tokenizer.ggml.pre) is not known; known are {}",
                          ReplaceInvalidUtf8(name.substr(0, 64)), fmt::join(known, ", ")),
              "tokenizer.ggml.pre");
}

// A compiled pattern. One of ours, so that it compiles is our own invariant.
class PreTokenizer::Pattern {
 public:
  explicit Pattern(const char* pattern) {
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    TW_CHECK(code_ != nullptr);
    // Where the system forbids making code the interpreter matches instead: slower, the same words.
    static_cast<void>(pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE));
  }
  const pcre2_code* get() const { return code_.get(); }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
};

// The working memory of one Split.
class PreTokenizer::Matcher {
 public:
  explicit Matcher(uint32_t steps_per_byte)
      : data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        steps_per_byte_(steps_per_byte) {
    TW_CHECK(data_ != nullptr && context_ != nullptr);
    pcre2_set_heap_limit(context_, 64 << 10);  // KiB; only the interpreter needs any
  }
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;
  ~Matcher() {
    pcre2_match_data_free(data_);
    pcre2_match_context_free(context_);
  }

  void Begin(size_t text_bytes) {
    const uint64_t steps = (uint64_t{text_bytes} + 64) * steps_per_byte_;
    pcre2_set_match_limit(context_, static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
  }

  // The first match at or after `from`, never empty; {size, size} when there is none. `text` is
  // valid UTF-8.
  std::pair<size_t, size_t> Next(const Pattern& pattern, std::string_view text, size_t from) {
    int found = Run(pattern, text, from, 0);
    if (found < PCRE2_ERROR_NOMATCH) {
      found = Run(pattern, text, from, PCRE2_NO_JIT);  // the JIT's stack is small, the heap is not
    }
    if (found == PCRE2_ERROR_NOMATCH) {
      return {text.size(), text.size()};
    }
    const size_t* bounds = pcre2_get_ovector_pointer(data_);
    if (found < 0 || bounds[1] <= bounds[0]) {
      return {from, text.size()};
    }
    return {bounds[0], bounds[1]};
  }

 private:
  int Run(const Pattern& pattern, std::string_view text, size_t from, uint32_t options) {
    return pcre2_match(pattern.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       PCRE2_NO_UTF_CHECK | options, data_, context_);
  }

  pcre2_match_data* data_;
  pcre2_match_context* context_;
  uint32_t steps_per_byte_;
};

PreTokenizer::PreTokenizer(const PreTokenizerRule& rule)
    : patterns_(rule.patterns.begin(), rule.patterns.end()) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

void PreTokenizer::Split(std::string_view text, const std::function<void(std::string_view)>& word,
                         uint32_t steps_per_byte) const {
  Matcher matcher(steps_per_byte);
  while (!text.empty()) {
    // A run of valid characters, or one of bytes that are none.
    const bool valid = DecodeUtf8(text).valid;
    size_t run = 0;
    while (run < text.size()) {
      const Utf8Char c = DecodeUtf8(text.substr(run));
      if (c.valid != valid) {
        break;
      }
      run += static_cast<size_t>(c.bytes);
    }
    if (valid) {
      matcher.Begin(run);
      SplitPiece(text.substr(0, run), 0, matcher, word);
    } else {
      word(text.substr(0, run));
    }
    text.remove_prefix(run);
  }
}

void PreTokenizer::SplitPiece(std::string_view piece, size_t stage, Matcher& matcher,
                              const std::function<void(std::string_view)>& word) const {
  const auto pass_on = [&](size_t begin, size_t end) {
    if (begin == end) {
      return;
    }
    if (stage + 1 == patterns_.size()) {
      word(piece.substr(begin, end - begin));
    } else {
      SplitPiece(piece.substr(begin, end - begin), stage + 1, matcher, word);
    }
  };
  for (size_t done = 0; done < piece.size();) {
    const auto [begin, end] = matcher.Next(patterns_[stage], piece, done);
    pass_on(done, begin);
    pass_on(begin, end);
    done = end;
  }
}

}  // namespace tradewind::engine
