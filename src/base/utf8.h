// UTF-8 as RFC 3629 has it: no surrogates, no over-long forms, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tradewind {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Char {
  char32_t code_point = 0;  // U+FFFD when !valid
  int bytes = 0;            // bytes consumed: 1..4; for invalid input the bytes to skip (>= 1)
  bool valid = false;
  bool truncated = false;  // !valid only because the text ends inside a so far correct sequence
};

// Decodes the character at text[0]. `text` must not be empty. An invalid sequence consumes its
// maximal valid prefix (Unicode 15, section 3.9, "substitution of maximal subparts").
Utf8Char DecodeUtf8(std::string_view text);

void AppendUtf8(char32_t code_point, std::string& out);  // invalid code points become U+FFFD
bool IsValidUtf8(std::string_view text);
std::string ReplaceInvalidUtf8(std::string_view text);  // each maximal invalid part becomes U+FFFD

// Length of the longest prefix of `text` that does not end inside a character: text.size() minus
// 0..3.
size_t CompleteUtf8Prefix(std::string_view text);

}  // namespace tradewind
