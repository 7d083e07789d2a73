#include "dialects/picture_marks.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace tradewind::dialects {
namespace {

constexpr std::array<std::string_view, 2> kMarks = {"![](http", "![](data:"};

// What the escape at the front of `raw` says, as far as it is a letter of a mark, and its length.
struct Escape {
  char c = '\0';
  size_t size = 0;
};
Escape EscapeAt(std::string_view raw) {
  constexpr size_t kUnicodeSize = std::string_view(R"(\u0021)").size();
  unsigned code = 0;
  if (raw.size() < kUnicodeSize || raw[1] != 'u') {
    return {'\0', 2};
  }
  std::from_chars(raw.data() + 2, raw.data() + kUnicodeSize, code, 16);
  return {code < 0x80 ? static_cast<char>(code) : '\0', kUnicodeSize};
}

}  // namespace

void PictureMarks::Take(char c) {
  begun_ += c;
  if (std::ranges::find(kMarks, begun_) != kMarks.end()) {
    ++count_;
    begun_.clear();
  } else if (std::ranges::none_of(
                 kMarks, [&](std::string_view mark) { return mark.starts_with(begun_); })) {
    begun_ = c == '!' ? "!" : "";
  }
}

// Nearly all text is passed over by two searches.
void PictureMarks::Read(std::string_view raw) {
  size_t bang = 0, slash = 0;
  for (size_t at = 0; at < raw.size();) {
    bang = std::min(bang < at || at == 0 ? raw.find('!', at) : bang, raw.size());
    slash = std::min(slash < at || at == 0 ? raw.find('\\', at) : slash, raw.size());
    if (begun_.empty()) {
      at = std::min(bang, slash);
    }
    if (at == raw.size()) {
      break;
    }
    const Escape escape = at == slash ? EscapeAt(raw.substr(at)) : Escape{raw[at], 1};
    Take(escape.c);
    at += escape.size;
  }
}

}  // namespace tradewind::dialects
