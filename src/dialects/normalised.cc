#include "dialects/normalised.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>

namespace tradewind::dialects {
namespace {

// By how many bytes of UTF-8 the canonical decomposition of a code point is longer than itself, at
// most, in ranges that may hold others too. What is composed again is no longer than what was
// decomposed; but a mark that follows can keep it from being composed, so all of them count. Not
// so Hangul's syllables, whose parts nothing can come between. A test goes through all there are.
struct Growth {
  char32_t first, last;
  uint8_t bytes;
};
constexpr auto kGrowths = std::to_array<Growth>(
    {{0x00C0, 0x017E, 1},   {0x01A0, 0x01B0, 1},   {0x01CD, 0x0233, 3},   {0x0344, 0x0344, 2},
     {0x0385, 0x0390, 4},   {0x03AA, 0x03B0, 4},   {0x03CA, 0x03D4, 2},   {0x0400, 0x0419, 2},
     {0x0439, 0x0477, 2},   {0x04C1, 0x04F9, 2},   {0x0622, 0x0626, 2},   {0x06C0, 0x06D3, 2},
     {0x0929, 0x0934, 3},   {0x0958, 0x095F, 3},   {0x09CB, 0x09DF, 3},   {0x0A33, 0x0A36, 3},
     {0x0A59, 0x0A5E, 3},   {0x0B48, 0x0B5D, 3},   {0x0B94, 0x0B94, 3},   {0x0BCA, 0x0BCC, 3},
     {0x0C48, 0x0C48, 3},   {0x0CC0, 0x0CCA, 3},   {0x0CCB, 0x0CCB, 6},   {0x0D4A, 0x0D4C, 3},
     {0x0DDA, 0x0DDC, 3},   {0x0DDD, 0x0DDD, 6},   {0x0DDE, 0x0DDE, 3},   {0x0F43, 0x0FB9, 3},
     {0x1026, 0x1026, 3},   {0x1B06, 0x1B12, 3},   {0x1B3B, 0x1B43, 3},   {0x1E00, 0x1EF9, 3},
     {0x1F00, 0x1FAF, 5},   {0x1FB0, 0x1FFC, 4},   {0x219A, 0x21AE, 2},   {0x21CD, 0x21CF, 2},
     {0x2204, 0x2226, 2},   {0x2241, 0x2249, 2},   {0x2262, 0x2289, 2},   {0x22AC, 0x22AF, 2},
     {0x22E0, 0x22ED, 2},   {0x2ADC, 0x2ADC, 2},   {0x304C, 0x30FE, 3},   {0xFA6C, 0xFA6C, 1},
     {0xFACF, 0xFAD7, 1},   {0xFB1D, 0xFB4E, 3},   {0x105C9, 0x105E4, 2}, {0x1109A, 0x110AB, 4},
     {0x1112E, 0x1112F, 4}, {0x1134B, 0x1134C, 4}, {0x11383, 0x113C8, 8}, {0x114BB, 0x114BE, 4},
     {0x115BA, 0x115BB, 4}, {0x11938, 0x11938, 4}, {0x16121, 0x16128, 8}, {0x16D68, 0x16D6A, 8},
     {0x1D15E, 0x1D1C0, 8}});

int64_t GrowthOf(char32_t code_point) {
  const auto* range = std::ranges::lower_bound(kGrowths, code_point, {}, &Growth::last);
  return range != kGrowths.end() && range->first <= code_point ? range->bytes : 0;
}

// Of an escape "\uXXXX", which is longer than what it stands for: what is beyond its own six bytes.
// A pair of them, twelve bytes, stands for what is never more.
int64_t GrowthOfEscape(std::string_view text) {
  constexpr size_t kEscapeBytes = 6;
  uint32_t code_point = 0;
  if (text.size() < kEscapeBytes || text[1] != 'u' ||
      std::from_chars(text.data() + 2, text.data() + kEscapeBytes, code_point, 16).ptr !=
          text.data() + kEscapeBytes) {
    return 0;
  }
  const int64_t bytes = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : 3;
  return std::max<int64_t>(0, bytes + GrowthOf(code_point) - int64_t{kEscapeBytes});
}

// Of the character that begins here, which is none of ASCII; 0 where none begins.
int64_t GrowthAt(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t size = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : byte(0) >= 0xC0 ? 2 : 0;
  if (size == 0 || text.size() < size) {
    return 0;
  }
  char32_t code_point = byte(0) & (0xFFU >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    code_point = code_point << 6 | (byte(i) & 0x3FU);
  }
  return GrowthOf(code_point);
}

}  // namespace

int64_t NormalisedGrowth(std::string_view text) {
  constexpr size_t kBlock = 64;  // most of them have nothing to look at, which is seen at once
  int64_t growth = 0;
  for (size_t begin = 0; begin < text.size(); begin += kBlock) {
    const std::string_view block = text.substr(begin, kBlock);
    unsigned char seen = 0;
    for (const char c : block) {
      seen |= static_cast<unsigned char>(c) & 0x80U;
      seen |= c == '\\' ? 1 : 0;
    }
    for (size_t i = 0; seen != 0 && i < block.size(); ++i) {
      if ((static_cast<unsigned char>(block[i]) & 0x80U) != 0) {
        growth += GrowthAt(text.substr(begin + i));
      } else if (block[i] == '\\') {
        growth += GrowthOfEscape(text.substr(begin + i));
      }
    }
  }
  return growth;
}

}  // namespace tradewind::dialects
