#include "engine/prompt/text_operations.h"

#include <algorithm>

#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {

Value Strip(Run& run, const Text& text, const Text* chars, bool left, bool right) {
  size_t begin = 0, end = text.size();
  if (chars == nullptr) {
    begin = left ? LeadingSpace(text.view()) : 0;
    end -= right ? TrailingSpace(text.view().substr(begin)) : 0;
    return Slice(&run.budget, text, begin, end);
  }
  std::u32string set;
  ForEachChar(chars->view(), [&](size_t, size_t, char32_t c) { set += c; });
  run.budget.SpendCopy(static_cast<int64_t>(set.size() * sizeof(char32_t)));
  std::ranges::sort(set);
  const auto in_set = [&](char32_t c) { return std::ranges::binary_search(set, c); };
  while (left && begin < end) {
    const Utf8Char c = DecodeUtf8(text.view().substr(begin));
    if (!in_set(c.code_point)) {
      break;
    }
    begin += static_cast<size_t>(c.bytes);
  }
  while (right && end > begin) {
    size_t start = end - 1;
    while (start > begin && (text.view()[start] & 0xC0) == 0x80) {
      --start;
    }
    if (!in_set(DecodeUtf8(text.view().substr(start)).code_point)) {
      break;
    }
    end = start;
  }
  return Slice(&run.budget, text, begin, end);
}

Value Replace(Run& run, const Text& text, const Text& from, const Text& to, int64_t count) {
  TextBuilder out(&run.budget);
  size_t at = 0;
  if (from.size() == 0) {  // before every character and at the end
    run.budget.SpendConversion(static_cast<int64_t>(text.size()));
    while (count != 0 && run.budget.ok()) {
      out.Append(to);
      --count;
      if (at >= text.size()) {
        break;
      }
      const size_t bytes = static_cast<size_t>(DecodeUtf8(text.view().substr(at)).bytes);
      out.Append(text, at, at + bytes);
      at += bytes;
    }
    out.Append(text, at, text.size());
    return out.Finish(text.markup());
  }
  while (count != 0 && run.budget.ok()) {
    const size_t found = text.view().find(from.view(), at);
    if (found == std::string_view::npos) {
      break;
    }
    out.Append(text, at, found);
    out.Append(to);
    at = found + from.size();
    --count;
  }
  out.Append(text, at, text.size());
  return out.Finish(text.markup());
}

Value Pad(Run& run, const Text& text, int64_t width, const Text& fill, char where) {
  const int64_t missing = width > text.length() ? width - text.length() : 0;
  // CPython puts the odd space of center() on the left when the width is odd.
  const int64_t left = where == 'l'   ? 0
                       : where == 'r' ? missing
                                      : missing / 2 + (missing & width & 1);
  TextBuilder out(&run.budget);
  out.AppendRepeated(fill, left);
  out.Append(text);
  out.AppendRepeated(fill, missing - left);
  return out.Finish(text.markup());
}

std::vector<Value> SplitLines(Run& run, const Text& text, bool keep_ends) {
  std::vector<Value> lines;
  size_t begin = 0;
  run.budget.SpendConversion(static_cast<int64_t>(text.size()));
  ForEachChar(text.view(), [&](size_t at, size_t bytes, char32_t c) {
    if (!IsLineBreak(c) || at < begin || !run.budget.ok()) {
      return;
    }
    const bool pair = c == '\r' && at + 1 < text.size() && text.view()[at + 1] == '\n';
    const size_t next = at + bytes + (pair ? 1 : 0);
    lines.push_back(Slice(&run.budget, text, begin, keep_ends ? next : at));
    begin = next;
  });
  if (begin < text.size()) {
    lines.push_back(Slice(&run.budget, text, begin, text.size()));
  }
  return lines;
}

Value Converted(Run& run, const Text& from, std::string (*convert)(std::string_view)) {
  // Checked before: case mapping can make three bytes out of one.
  if (!run.budget.SpendConversion(static_cast<int64_t>(from.size())) ||
      !run.budget.Fits(static_cast<int64_t>(from.size() * 3))) {
    return Value();
  }
  return MakeText(&run.budget, convert(from.view()), !from.any_data(), from.markup());
}

std::string (*FindConversion(std::string_view name))(std::string_view) {
  static constexpr std::pair<std::string_view, std::string (*)(std::string_view)> kConversions[] = {
      {"upper", ToUpper},      {"lower", ToLower},          {"casefold", ToCaseFold},
      {"title", ToTitleWords}, {"swapcase", ToSwappedCase}, {"capitalize", Capitalize}};
  const auto* at =
      std::ranges::find(kConversions, name, [](const auto& entry) { return entry.first; });
  return at == std::end(kConversions) ? nullptr : at->second;
}

}  // namespace tradewind::engine::prompt
