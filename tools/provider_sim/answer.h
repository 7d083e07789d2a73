// The deterministic answer: its text depends on the request alone. Where text is written, a token
// is a word with the space before it; where JSON is written, a piece of kJsonTokenBytes bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "provider_sim/behaviour.h"
#include "provider_sim/request.h"

namespace provider_sim {

inline constexpr size_t kJsonTokenBytes = 6;
inline constexpr int64_t kDefaultTokens = 16;
inline constexpr int64_t kDefaultReasoningTokens = 8;

// Tokens laid end to end.
class TokenText {
 public:
  void Add(std::string_view token);
  void AddPieces(std::string_view text);  // of kJsonTokenBytes bytes, whole characters
  std::string_view At(size_t i) const { return Range(i, i + 1); }
  std::string_view Range(size_t from, size_t to) const;  // not empty
  size_t size() const { return ends_.size(); }
  const std::string& text() const { return text_; }
  void CutTokens(size_t tokens);
  void CutBytes(size_t bytes);
  void DropBytes(size_t bytes);  // at the beginning; the rest of a token is one

 private:
  std::string text_;
  std::vector<uint32_t> ends_;
};

struct ToolCall {
  std::string id, name;  // the name is one token
  TokenText arguments;
};

struct Choice {
  TokenText reasoning, content;
  std::vector<ToolCall> calls;
  std::string finish;

  uint64_t tokens() const;
};

struct Answer {
  std::vector<Choice> choices;
  uint64_t prompt_tokens = 0, cached_tokens = 0, written_tokens = 0, written_1h_tokens = 0;
  int64_t cost_nanousd = 0;  // of all of it
  std::string service_tier;  // it says that it was served at this one; "": it says nothing

  uint64_t completion_tokens() const;
  uint64_t reasoning_tokens() const;
};

Answer MakeAnswer(const Ask& ask, const Behaviour& behaviour);

// A value that fits the schema (the subset that structured output uses); {} where it says nothing.
boost::json::value Instance(const boost::json::value* schema, std::string_view word);

// A unit vector's entries, made from the text.
std::vector<float> Embed(std::string_view text, int64_t dims);

}  // namespace provider_sim
