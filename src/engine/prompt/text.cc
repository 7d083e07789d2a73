#include "engine/prompt/text.h"

#include <algorithm>

namespace tradewind::engine::prompt {

void Origin::Append(size_t bytes, bool literal) {
  if (bytes == 0) {
    return;
  }
  if (size_ == 0) {
    literal_first_ = literal;
  } else if (literal != (literal_first_ != ((switches_.size() & 1) != 0))) {
    switches_.push_back(static_cast<uint32_t>(size_));
  }
  size_ += bytes;
}

void Origin::Append(const Origin& other, size_t begin, size_t end) {
  other.ForEachRun(begin, end,
                   [this](size_t from, size_t to, bool literal) { Append(to - from, literal); });
}

size_t Origin::NextSwitch(size_t byte) const {
  return static_cast<size_t>(std::upper_bound(switches_.begin(), switches_.end(), byte) -
                             switches_.begin());
}

bool Origin::IsLiteral(size_t byte) const {
  return literal_first_ != ((NextSwitch(byte) & 1) != 0);
}

Text::Text(Budget* budget, std::string bytes, Origin origin, bool markup)
    : Object(budget), bytes_(std::move(bytes)), origin_(std::move(origin)), markup_(markup) {
  length_ = std::count_if(bytes_.begin(), bytes_.end(), [](char c) { return (c & 0xC0) != 0x80; });
  charge_.Set(static_cast<int64_t>(sizeof(Text) + bytes_.size() + origin_.heap_bytes()));
}

size_t Text::ByteOffset(int64_t code_point) const {
  if (code_point >= length_) {
    return bytes_.size();
  }
  if (is_ascii()) {
    return static_cast<size_t>(code_point);
  }
  size_t at = 0;
  for (int64_t i = 0; at < bytes_.size(); ++at) {
    if ((bytes_[at] & 0xC0) != 0x80 && i++ == code_point) {
      break;
    }
  }
  if (charge_.budget() != nullptr) {
    charge_.budget()->SpendCopy(static_cast<int64_t>(at));
  }
  return at;
}

bool TextBuilder::Grow(size_t bytes) {
  Budget* budget = charge_.budget();
  if (budget == nullptr) {
    return true;
  }
  return budget->ok() && budget->SpendCopy(static_cast<int64_t>(bytes)) &&
         charge_.Set(static_cast<int64_t>(bytes_.size() + bytes + origin_.heap_bytes()));
}

void TextBuilder::Append(std::string_view bytes, bool literal) {
  if (Grow(bytes.size())) {
    bytes_.append(bytes);
    origin_.Append(bytes.size(), literal);
  }
}

void TextBuilder::Append(const Text& text, size_t begin, size_t end) {
  if (begin < end && Grow(end - begin)) {
    bytes_.append(text.view().substr(begin, end - begin));
    origin_.Append(text.origin(), begin, end);
  }
}

void TextBuilder::AppendInstead(std::string_view bytes, const Text& text, size_t begin,
                                size_t end) {
  bool literal = true;
  text.origin().ForEachRun(begin, end,
                           [&literal](size_t, size_t, bool run) { literal = literal && run; });
  Append(bytes, literal);
}

void TextBuilder::AppendRepeated(const Text& text, int64_t times) {
  if (text.size() == 0) {
    return;
  }
  Budget* budget = charge_.budget();
  int64_t total = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(text.size()), std::max<int64_t>(times, 0),
                             &total)) {
    total = INT64_MAX / 2;
  }
  if (budget != nullptr && !budget->Fits(total)) {
    return;
  }
  for (int64_t i = 0; i < times && (budget == nullptr || budget->ok()); ++i) {
    Append(text);
  }
}

namespace {

// Frees the builder's share before the text takes its own: both count the same bytes.
Value Wrap(MemoryCharge& charge, std::string bytes, Origin origin, bool markup) {
  charge.Set(0);
  return Value(Kind::kString, std::make_shared<Text>(charge.budget(), std::move(bytes),
                                                     std::move(origin), markup));
}

}  // namespace

Value TextBuilder::Finish(bool markup) {
  return Wrap(charge_, std::move(bytes_), std::move(origin_), markup);
}

Value TextBuilder::FinishWhole(bool markup) {
  Origin whole;
  whole.Append(bytes_.size(), all_literal());
  return Wrap(charge_, std::move(bytes_), std::move(whole), markup);
}

Value MakeText(Budget* budget, std::string_view bytes, bool literal, bool markup) {
  TextBuilder builder(budget);
  builder.Append(bytes, literal);
  return builder.Finish(markup);
}

Value Slice(Budget* budget, const Text& text, size_t begin, size_t end) {
  TextBuilder builder(budget);
  builder.Append(text, begin, end);
  return builder.Finish(text.markup());
}

}  // namespace tradewind::engine::prompt
