#include "engine/prompt/unicode.h"

#include <algorithm>
#include <iterator>

#include <utf8proc.h>

#include "base/utf8.h"
#include "engine/prompt/text.h"

namespace tradewind::engine::prompt {
namespace {

utf8proc_category_t Category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// Characters whose upper or title case is more than one character (Unicode, SpecialCasing,
// unconditional rows).
struct SpecialCase {
  char32_t code_point;
  const char8_t* upper;
  const char8_t* title;
};
constexpr SpecialCase kSpecialCases[] = {
    {0x00DF, u8"SS", u8"Ss"},
    {0x0149, u8"\u02BCN", u8"\u02BCN"},
    {0x01F0, u8"J\u030C", u8"J\u030C"},
    {0x0390, u8"\u0399\u0308\u0301", u8"\u0399\u0308\u0301"},
    {0x03B0, u8"\u03A5\u0308\u0301", u8"\u03A5\u0308\u0301"},
    {0x0587, u8"\u0535\u0552", u8"\u0535\u0582"},
    {0x1E96, u8"H\u0331", u8"H\u0331"},
    {0x1E97, u8"T\u0308", u8"T\u0308"},
    {0x1E98, u8"W\u030A", u8"W\u030A"},
    {0x1E99, u8"Y\u030A", u8"Y\u030A"},
    {0x1E9A, u8"A\u02BE", u8"A\u02BE"},
    {0x1F50, u8"\u03A5\u0313", u8"\u03A5\u0313"},
    {0x1F52, u8"\u03A5\u0313\u0300", u8"\u03A5\u0313\u0300"},
    {0x1F54, u8"\u03A5\u0313\u0301", u8"\u03A5\u0313\u0301"},
    {0x1F56, u8"\u03A5\u0313\u0342", u8"\u03A5\u0313\u0342"},
    {0x1F80, u8"\u1F08\u0399", u8"\u1F88"},
    {0x1F81, u8"\u1F09\u0399", u8"\u1F89"},
    {0x1F82, u8"\u1F0A\u0399", u8"\u1F8A"},
    {0x1F83, u8"\u1F0B\u0399", u8"\u1F8B"},
    {0x1F84, u8"\u1F0C\u0399", u8"\u1F8C"},
    {0x1F85, u8"\u1F0D\u0399", u8"\u1F8D"},
    {0x1F86, u8"\u1F0E\u0399", u8"\u1F8E"},
    {0x1F87, u8"\u1F0F\u0399", u8"\u1F8F"},
    {0x1F88, u8"\u1F08\u0399", u8"\u1F88"},
    {0x1F89, u8"\u1F09\u0399", u8"\u1F89"},
    {0x1F8A, u8"\u1F0A\u0399", u8"\u1F8A"},
    {0x1F8B, u8"\u1F0B\u0399", u8"\u1F8B"},
    {0x1F8C, u8"\u1F0C\u0399", u8"\u1F8C"},
    {0x1F8D, u8"\u1F0D\u0399", u8"\u1F8D"},
    {0x1F8E, u8"\u1F0E\u0399", u8"\u1F8E"},
    {0x1F8F, u8"\u1F0F\u0399", u8"\u1F8F"},
    {0x1F90, u8"\u1F28\u0399", u8"\u1F98"},
    {0x1F91, u8"\u1F29\u0399", u8"\u1F99"},
    {0x1F92, u8"\u1F2A\u0399", u8"\u1F9A"},
    {0x1F93, u8"\u1F2B\u0399", u8"\u1F9B"},
    {0x1F94, u8"\u1F2C\u0399", u8"\u1F9C"},
    {0x1F95, u8"\u1F2D\u0399", u8"\u1F9D"},
    {0x1F96, u8"\u1F2E\u0399", u8"\u1F9E"},
    {0x1F97, u8"\u1F2F\u0399", u8"\u1F9F"},
    {0x1F98, u8"\u1F28\u0399", u8"\u1F98"},
    {0x1F99, u8"\u1F29\u0399", u8"\u1F99"},
    {0x1F9A, u8"\u1F2A\u0399", u8"\u1F9A"},
    {0x1F9B, u8"\u1F2B\u0399", u8"\u1F9B"},
    {0x1F9C, u8"\u1F2C\u0399", u8"\u1F9C"},
    {0x1F9D, u8"\u1F2D\u0399", u8"\u1F9D"},
    {0x1F9E, u8"\u1F2E\u0399", u8"\u1F9E"},
    {0x1F9F, u8"\u1F2F\u0399", u8"\u1F9F"},
    {0x1FA0, u8"\u1F68\u0399", u8"\u1FA8"},
    {0x1FA1, u8"\u1F69\u0399", u8"\u1FA9"},
    {0x1FA2, u8"\u1F6A\u0399", u8"\u1FAA"},
    {0x1FA3, u8"\u1F6B\u0399", u8"\u1FAB"},
    {0x1FA4, u8"\u1F6C\u0399", u8"\u1FAC"},
    {0x1FA5, u8"\u1F6D\u0399", u8"\u1FAD"},
    {0x1FA6, u8"\u1F6E\u0399", u8"\u1FAE"},
    {0x1FA7, u8"\u1F6F\u0399", u8"\u1FAF"},
    {0x1FA8, u8"\u1F68\u0399", u8"\u1FA8"},
    {0x1FA9, u8"\u1F69\u0399", u8"\u1FA9"},
    {0x1FAA, u8"\u1F6A\u0399", u8"\u1FAA"},
    {0x1FAB, u8"\u1F6B\u0399", u8"\u1FAB"},
    {0x1FAC, u8"\u1F6C\u0399", u8"\u1FAC"},
    {0x1FAD, u8"\u1F6D\u0399", u8"\u1FAD"},
    {0x1FAE, u8"\u1F6E\u0399", u8"\u1FAE"},
    {0x1FAF, u8"\u1F6F\u0399", u8"\u1FAF"},
    {0x1FB2, u8"\u1FBA\u0399", u8"\u1FBA\u0345"},
    {0x1FB3, u8"\u0391\u0399", u8"\u1FBC"},
    {0x1FB4, u8"\u0386\u0399", u8"\u0386\u0345"},
    {0x1FB6, u8"\u0391\u0342", u8"\u0391\u0342"},
    {0x1FB7, u8"\u0391\u0342\u0399", u8"\u0391\u0342\u0345"},
    {0x1FBC, u8"\u0391\u0399", u8"\u1FBC"},
    {0x1FC2, u8"\u1FCA\u0399", u8"\u1FCA\u0345"},
    {0x1FC3, u8"\u0397\u0399", u8"\u1FCC"},
    {0x1FC4, u8"\u0389\u0399", u8"\u0389\u0345"},
    {0x1FC6, u8"\u0397\u0342", u8"\u0397\u0342"},
    {0x1FC7, u8"\u0397\u0342\u0399", u8"\u0397\u0342\u0345"},
    {0x1FCC, u8"\u0397\u0399", u8"\u1FCC"},
    {0x1FD2, u8"\u0399\u0308\u0300", u8"\u0399\u0308\u0300"},
    {0x1FD3, u8"\u0399\u0308\u0301", u8"\u0399\u0308\u0301"},
    {0x1FD6, u8"\u0399\u0342", u8"\u0399\u0342"},
    {0x1FD7, u8"\u0399\u0308\u0342", u8"\u0399\u0308\u0342"},
    {0x1FE2, u8"\u03A5\u0308\u0300", u8"\u03A5\u0308\u0300"},
    {0x1FE3, u8"\u03A5\u0308\u0301", u8"\u03A5\u0308\u0301"},
    {0x1FE4, u8"\u03A1\u0313", u8"\u03A1\u0313"},
    {0x1FE6, u8"\u03A5\u0342", u8"\u03A5\u0342"},
    {0x1FE7, u8"\u03A5\u0308\u0342", u8"\u03A5\u0308\u0342"},
    {0x1FF2, u8"\u1FFA\u0399", u8"\u1FFA\u0345"},
    {0x1FF3, u8"\u03A9\u0399", u8"\u1FFC"},
    {0x1FF4, u8"\u038F\u0399", u8"\u038F\u0345"},
    {0x1FF6, u8"\u03A9\u0342", u8"\u03A9\u0342"},
    {0x1FF7, u8"\u03A9\u0342\u0399", u8"\u03A9\u0342\u0345"},
    {0x1FFC, u8"\u03A9\u0399", u8"\u1FFC"},
    {0xFB00, u8"FF", u8"Ff"},
    {0xFB01, u8"FI", u8"Fi"},
    {0xFB02, u8"FL", u8"Fl"},
    {0xFB03, u8"FFI", u8"Ffi"},
    {0xFB04, u8"FFL", u8"Ffl"},
    {0xFB05, u8"ST", u8"St"},
    {0xFB06, u8"ST", u8"St"},
    {0xFB13, u8"\u0544\u0546", u8"\u0544\u0576"},
    {0xFB14, u8"\u0544\u0535", u8"\u0544\u0565"},
    {0xFB15, u8"\u0544\u053B", u8"\u0544\u056B"},
    {0xFB16, u8"\u054E\u0546", u8"\u054E\u0576"},
    {0xFB17, u8"\u0544\u053D", u8"\u0544\u056D"},
};

const SpecialCase* FindSpecialCase(char32_t c) {
  const auto* at =
      std::lower_bound(std::begin(kSpecialCases), std::end(kSpecialCases), c,
                       [](const SpecialCase& s, char32_t value) { return s.code_point < value; });
  return at != std::end(kSpecialCases) && at->code_point == c ? at : nullptr;
}

void AppendUpper(char32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  } else if (const SpecialCase* special = FindSpecialCase(c); special != nullptr) {
    out += reinterpret_cast<const char*>(special->upper);
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}

void AppendTitle(char32_t c, std::string& out) {
  if (const SpecialCase* special = FindSpecialCase(c); special != nullptr) {
    out += reinterpret_cast<const char*>(special->title);
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
  }
}

bool IsCaseIgnorable(char32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019;
  }
}

// Sigma is final when a cased character precedes it and none follows, case-ignorable ones not
// counted.
bool IsFinalSigma(std::string_view text, size_t at) {
  size_t before = at;
  bool preceded = false;
  while (before > 0) {
    do {
      --before;
    } while (before > 0 && (text[before] & 0xC0) == 0x80);
    const char32_t c = DecodeUtf8(text.substr(before)).code_point;
    if (!IsCaseIgnorable(c)) {
      preceded = IsCased(c);
      break;
    }
  }
  for (size_t after = at + 2; preceded && after < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(after));
    if (!IsCaseIgnorable(c.code_point)) {
      return !IsCased(c.code_point);
    }
    after += static_cast<size_t>(c.bytes);
  }
  return preceded;
}

void AppendLower(std::string_view text, size_t at, char32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {
    out += "i\xCC\x87";  // the one character whose lower case is two
  } else if (c == 0x3A3) {
    AppendUtf8(IsFinalSigma(text, at) ? 0x3C2 : 0x3C3, out);
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
  }
}

}  // namespace

bool IsSpace(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool IsLineBreak(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsAlpha(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsDecimal(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_ND;
}

bool IsDigit(char32_t c) {
  return IsDecimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
         (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C) ||
         (c >= 0x2488 && c <= 0x2490) || (c >= 0x24F5 && c <= 0x24FD) ||
         (c >= 0x2776 && c <= 0x277E);
}

bool IsNumeric(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsWordChar(char32_t c) {
  return c == '_' || IsAlnum(c);
}

bool IsLower(char32_t c) {
  return c < 0x80 ? c >= 'a' && c <= 'z' : utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool IsUpper(char32_t c) {
  return c < 0x80 ? c >= 'A' && c <= 'Z' : utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool IsTitle(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_LT;
}

bool IsPrintable(char32_t c) {
  if (c >= 0x20 && c < 0x7F) {
    return true;
  }
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string ToUpper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  ForEachChar(text, [&](size_t, size_t, char32_t c) { AppendUpper(c, out); });
  return out;
}

std::string ToLower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  ForEachChar(text, [&](size_t at, size_t, char32_t c) { AppendLower(text, at, c, out); });
  return out;
}

std::string ToCaseFold(std::string_view text) {
  std::string out;
  ForEachChar(text, [&](size_t at, size_t, char32_t c) {
    if (const SpecialCase* special = FindSpecialCase(c); special != nullptr) {
      out += ToLower(reinterpret_cast<const char*>(special->upper));
    } else if (c == 0x3A3 || c == 0x3C2) {
      AppendUtf8(0x3C3, out);
    } else {
      AppendLower(text, at, c, out);
    }
  });
  return out;
}

std::string ToSwappedCase(std::string_view text) {
  std::string out;
  ForEachChar(text, [&](size_t at, size_t bytes, char32_t c) {
    if (IsUpper(c)) {
      AppendLower(text, at, c, out);
    } else if (IsLower(c)) {
      AppendUpper(c, out);
    } else {
      out += text.substr(at, bytes);
    }
  });
  return out;
}

std::string Capitalize(std::string_view text) {
  std::string out;
  ForEachChar(text, [&](size_t at, size_t, char32_t c) {
    if (at == 0) {
      AppendTitle(c, out);
    } else {
      AppendLower(text, at, c, out);
    }
  });
  return out;
}

std::string ToTitleWords(std::string_view text) {
  std::string out;
  bool in_word = false;
  ForEachChar(text, [&](size_t at, size_t, char32_t c) {
    if (in_word) {
      AppendLower(text, at, c, out);
    } else {
      AppendTitle(c, out);
    }
    in_word = IsCased(c);
  });
  return out;
}

size_t LeadingSpace(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Char c = DecodeUtf8(text.substr(at));
    if (!IsSpace(c.code_point)) {
      break;
    }
    at += static_cast<size_t>(c.bytes);
  }
  return at;
}

size_t TrailingSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (text[begin] & 0xC0) == 0x80) {
      --begin;
    }
    if (!IsSpace(DecodeUtf8(text.substr(begin)).code_point)) {
      break;
    }
    end = begin;
  }
  return text.size() - end;
}

}  // namespace tradewind::engine::prompt
