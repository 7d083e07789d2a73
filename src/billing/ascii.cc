#include "billing/ascii.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <utf8proc.h>

#include "base/utf8.h"

namespace tradewind::billing {
namespace {

constexpr char32_t kAsciiEnd = 0x80;

// What Unicode does not take apart. Sorted.
constexpr std::array<std::pair<char32_t, std::string_view>, 27> kSpelled = {{
    {U'Æ', "AE"}, {U'Ð', "D"},  {U'×', "x"},   {U'Ø', "O"},  {U'Þ', "Th"}, {U'ß', "ss"},
    {U'æ', "ae"}, {U'ð', "d"},  {U'ø', "o"},   {U'þ', "th"}, {U'Đ', "D"},  {U'đ', "d"},
    {U'ı', "i"},  {U'Ł', "L"},  {U'ł', "l"},   {U'Œ', "OE"}, {U'œ', "oe"}, {U'ẞ', "SS"},
    {U'‐', "-"},  {U'–', "-"},  {U'—', "-"},   {U'‘', "'"},  {U'’', "'"},  {U'“', "\""},
    {U'”', "\""}, {U'„', "\""}, {U'€', "EUR"},
}};
static_assert(std::ranges::is_sorted(kSpelled, {}, &decltype(kSpelled)::value_type::first));

bool IsMark(char32_t c) {
  return c >= 0x300 && c <= 0x36F;  // of Latin letters
}

// Empty: there is nothing like it in ASCII.
std::string Spelled(char32_t c) {
  const auto* found =
      std::ranges::lower_bound(kSpelled, c, {}, &decltype(kSpelled)::value_type::first);
  if (found != kSpelled.end() && found->first == c) {
    return std::string(found->second);
  }
  std::array<utf8proc_int32_t, 32> parts = {};
  int boundary = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(c), parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT), &boundary);
  std::string ascii;
  for (utf8proc_ssize_t i = 0; i < std::min<utf8proc_ssize_t>(count, parts.size()); ++i) {
    const auto part = static_cast<char32_t>(parts[static_cast<size_t>(i)]);
    if (part < kAsciiEnd) {
      ascii += static_cast<char>(part);
    } else if (!IsMark(part)) {
      return {};
    }
  }
  return ascii;
}

std::string Escaped(char32_t c) {
  constexpr char32_t kPlane = 0x10000, kHigh = 0xD800, kLow = 0xDC00, kHalf = 0x400;
  if (c < kPlane) {
    return fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  }
  return fmt::format("\\u{:04x}\\u{:04x}", static_cast<uint32_t>(kHigh + (c - kPlane) / kHalf),
                     static_cast<uint32_t>(kLow + (c - kPlane) % kHalf));
}

std::string Ascii(std::string_view text, bool is_folded) {
  std::string out;
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    text.remove_prefix(static_cast<size_t>(next.bytes));
    if (next.code_point < kAsciiEnd) {
      out += static_cast<char>(next.code_point);
    } else if (!is_folded) {
      out += Escaped(next.code_point);
    } else if (!IsMark(next.code_point)) {  // of the letter before it
      const std::string spelled = Spelled(next.code_point);
      out += spelled.empty() ? Escaped(next.code_point) : spelled;
    }
  }
  return out;
}

}  // namespace

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text,
                             [](char c) { return static_cast<unsigned char>(c) < kAsciiEnd; });
}

std::string AsciiFolded(std::string_view text) {
  return Ascii(text, true);
}

std::string AsciiEscaped(std::string_view text) {
  return Ascii(text, false);
}

}  // namespace tradewind::billing
