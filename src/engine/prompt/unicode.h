// Character classes and case mapping as Python's str methods have them.
#pragma once

#include <string>
#include <string_view>

namespace tradewind::engine::prompt {

bool IsSpace(char32_t c);      // str.isspace: also what strip() and split() take away
bool IsLineBreak(char32_t c);  // str.splitlines
bool IsAlpha(char32_t c);
bool IsDecimal(char32_t c);
bool IsDigit(char32_t c);
bool IsNumeric(char32_t c);
inline bool IsAlnum(char32_t c) {
  return IsAlpha(c) || IsNumeric(c);
}
bool IsWordChar(char32_t c);  // \w of Python's re
bool IsLower(char32_t c);
bool IsUpper(char32_t c);
bool IsTitle(char32_t c);  // title case letters such as U+01C5
inline bool IsCased(char32_t c) {
  return IsLower(c) || IsUpper(c) || IsTitle(c);
}
bool IsPrintable(char32_t c);  // str.isprintable: what repr leaves as it is

std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
std::string ToCaseFold(std::string_view text);
std::string ToSwappedCase(std::string_view text);
std::string Capitalize(
    std::string_view text);  // the first character in title case, the others lower
std::string ToTitleWords(std::string_view text);  // str.title: a word is a run of cased characters

size_t LeadingSpace(std::string_view text);   // bytes of white space at the start
size_t TrailingSpace(std::string_view text);  // and at the end

}  // namespace tradewind::engine::prompt
