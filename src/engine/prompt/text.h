// Strings that know where each byte came from: from the template (literal) or from data.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "engine/prompt/value.h"

namespace tradewind::engine::prompt {

// Which bytes of a text are literal, as the places where that changes. A text of one kind costs
// nothing more.
class Origin {
 public:
  void Append(size_t bytes, bool literal);
  void Append(const Origin& other, size_t begin,
              size_t end);  // bytes [begin, end) of a text with origin `other`

  size_t size() const { return size_; }
  bool all_literal() const { return switches_.empty() && (literal_first_ || size_ == 0); }
  bool IsLiteral(size_t byte) const;
  size_t heap_bytes() const { return switches_.capacity() * sizeof(uint32_t); }

  // Calls visit(begin, end, literal) for each maximal run within [begin, end).
  template <class Visit>
  void ForEachRun(size_t begin, size_t end, Visit visit) const {
    size_t at = begin;
    size_t next = NextSwitch(begin);
    while (at < end) {
      const size_t stop = next < switches_.size() ? std::min<size_t>(switches_[next], end) : end;
      visit(at, stop, literal_first_ != ((next & 1) != 0));
      at = stop;
      ++next;
    }
  }

 private:
  size_t NextSwitch(size_t byte) const;  // index of the first switch beyond `byte`

  std::vector<uint32_t> switches_;  // texts are bounded far below 4 GiB (kTemplateBytesMax)
  size_t size_ = 0;
  bool literal_first_ = true;
};

// An immutable UTF-8 text. Positions that templates see count code points, as Python's do.
class Text final : public Object {
 public:
  Text(Budget* budget, std::string bytes, Origin origin, bool markup);

  std::string_view view() const { return bytes_; }
  const Origin& origin() const { return origin_; }
  size_t size() const { return bytes_.size(); }
  int64_t length() const { return length_; }  // code points
  bool is_ascii() const { return static_cast<size_t>(length_) == bytes_.size(); }
  bool markup() const {
    return markup_;
  }  // went through `escape` or `safe`: + and % escape the other side
  bool any_data() const { return !origin_.all_literal(); }

  size_t ByteOffset(
      int64_t code_point) const;  // of the code point with this index; size() at or past the end

 private:
  const std::string bytes_;
  const Origin origin_;
  int64_t length_;
  const bool markup_;
};

// Builds a text piece by piece. When the budget is exhausted it stops growing.
class TextBuilder {
 public:
  explicit TextBuilder(Budget* budget) : charge_(budget) {}

  void Append(std::string_view bytes, bool literal);
  void Append(char c, bool literal) { Append(std::string_view(&c, 1), literal); }
  void Append(const Text& text) { Append(text, 0, text.size()); }
  void Append(const Text& text, size_t begin, size_t end);
  // Bytes that stand for bytes [begin, end) of `text`: literal when all of those are.
  void AppendInstead(std::string_view bytes, const Text& text, size_t begin, size_t end);
  void AppendRepeated(const Text& text, int64_t times);

  size_t size() const { return bytes_.size(); }
  std::string_view view() const { return bytes_; }
  const Origin& origin() const { return origin_; }
  bool all_literal() const { return origin_.all_literal(); }

  Value Finish(bool markup = false);
  // As one piece: data if any of it is. For results whose bytes do not correspond to bytes of the
  // inputs.
  Value FinishWhole(bool markup = false);
  std::string TakeBytes() { return std::move(bytes_); }

 private:
  bool Grow(size_t bytes);

  MemoryCharge charge_;
  std::string bytes_;
  Origin origin_;
};

Value MakeText(Budget* budget, std::string_view bytes, bool literal, bool markup = false);
Value Slice(Budget* budget, const Text& text, size_t begin,
            size_t end);  // bytes, on character boundaries

// Calls visit(byte offset, bytes, code point) for each character.
template <class Visit>
void ForEachChar(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(at));
    visit(at, static_cast<size_t>(c.bytes), c.code_point);
    at += static_cast<size_t>(c.bytes);
  }
}

}  // namespace tradewind::engine::prompt
