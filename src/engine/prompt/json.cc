// JSON text -> Value. Own parser: the order of keys and the difference between 1 and 1.0 reach the
// prompt.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "base/utf8.h"
#include "engine/prompt/text.h"

namespace tradewind::engine::prompt {
namespace {

class JsonParser {
 public:
  JsonParser(std::string_view json, Budget* budget) : json_(json), budget_(budget) {}

  Result<Value> ParseDocument() {
    if (!IsValidUtf8(json_)) {
      return Fail(ErrorCode::kInvalidArgument, "the JSON text is not valid UTF-8");
    }
    TW_ASSIGN_OR_RETURN(Value value, ParseValue(0));
    SkipSpace();
    if (at_ != json_.size()) {
      return Wrong("text after the value");
    }
    return value;
  }

 private:
  std::unexpected<Error> Wrong(std::string_view what) const {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("JSON: {} at byte {}", what, at_));
  }
  // Before the container grows: the text is bounded, but 2 bytes of it can be 32 bytes of values.
  template <class Items>
  Status CountGrowth(const Items& items, MemoryCharge& charge) {
    if (items.size() == items.capacity() &&
        !charge.Set(static_cast<int64_t>((items.size() + 1) * 2 * sizeof(items[0])))) {
      return Fail(ErrorCode::kTemplateFailed, budget_->Message());
    }
    return {};
  }
  void SkipSpace() {
    while (at_ < json_.size() &&
           std::string_view(" \t\r\n").find(json_[at_]) != std::string_view::npos) {
      ++at_;
    }
  }
  bool Skip(std::string_view text) {
    if (!json_.substr(at_).starts_with(text)) {
      return false;
    }
    at_ += text.size();
    return true;
  }

  Result<Value> ParseValue(int depth) {
    if (depth > limits::kJsonDepthMax) {
      return Wrong("nesting too deep");
    }
    if (budget_ != nullptr && !budget_->ok()) {
      return Fail(ErrorCode::kTemplateFailed, budget_->Message());
    }
    SkipSpace();
    if (at_ == json_.size()) {
      return Wrong("the text ends too early");
    }
    switch (json_[at_]) {
      case '{':
        return ParseObject(depth);
      case '[':
        return ParseArray(depth);
      case '"':
        return ParseString();
      case 't':
        return Skip("true") ? Result<Value>(Value::Bool(true, true)) : Wrong("unknown word");
      case 'f':
        return Skip("false") ? Result<Value>(Value::Bool(false, true)) : Wrong("unknown word");
      case 'n':
        return Skip("null") ? Result<Value>(Value::None(true)) : Wrong("unknown word");
      default:
        return ParseNumber();
    }
  }

  Result<Value> ParseObject(int depth) {
    ++at_;
    Dict::Items items;
    MemoryCharge charge(budget_);
    SkipSpace();
    if (Skip("}")) {
      return MakeDict(budget_, std::move(items));
    }
    while (true) {
      SkipSpace();
      if (at_ == json_.size() || json_[at_] != '"') {
        return Wrong("a key must be a string");
      }
      TW_ASSIGN_OR_RETURN(Value key, ParseString());
      SkipSpace();
      if (!Skip(":")) {
        return Wrong("':' missing");
      }
      TW_ASSIGN_OR_RETURN(Value value, ParseValue(depth + 1));
      TW_RETURN_IF_ERROR(CountGrowth(items, charge));
      items.emplace_back(std::move(key), std::move(value));
      SkipSpace();
      if (Skip("}")) {
        return MakeDict(budget_, std::move(items));
      }
      if (!Skip(",")) {
        return Wrong("',' or '}' missing");
      }
    }
  }

  Result<Value> ParseArray(int depth) {
    ++at_;
    std::vector<Value> items;
    MemoryCharge charge(budget_);
    SkipSpace();
    if (Skip("]")) {
      return MakeList(budget_, std::move(items));
    }
    while (true) {
      TW_ASSIGN_OR_RETURN(Value value, ParseValue(depth + 1));
      TW_RETURN_IF_ERROR(CountGrowth(items, charge));
      items.push_back(std::move(value));
      SkipSpace();
      if (Skip("]")) {
        return MakeList(budget_, std::move(items));
      }
      if (!Skip(",")) {
        return Wrong("',' or ']' missing");
      }
    }
  }

  Result<Value> ParseString() {
    ++at_;
    std::string text;
    while (at_ < json_.size()) {
      const char c = json_[at_];
      if (c == '"') {
        ++at_;
        return MakeText(budget_, text, false);
      }
      if (static_cast<unsigned char>(c) < 0x20) {
        return Wrong("control character in a string");
      }
      if (c == '\\') {
        TW_RETURN_IF_ERROR(ParseEscape(text));
        continue;
      }
      const size_t end = std::min(json_.find_first_of("\"\\", at_), json_.size());
      const size_t control = FindControl(at_, end);
      text += json_.substr(at_, control - at_);
      at_ = control;
    }
    return Wrong("a string does not end");
  }

  size_t FindControl(size_t begin, size_t end) const {
    while (begin < end && static_cast<unsigned char>(json_[begin]) >= 0x20) {
      ++begin;
    }
    return begin;
  }

  Status ParseEscape(std::string& text) {
    static constexpr std::string_view kNames = "\"\\/bfnrt";
    static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (at_ + 1 >= json_.size()) {
      return Wrong("a string does not end");
    }
    if (const size_t i = kNames.find(json_[at_ + 1]); i != std::string_view::npos) {
      text += kMeanings[i];
      at_ += 2;
      return {};
    }
    uint32_t unit = 0;
    if (!ParseHex(at_, unit)) {
      return Wrong("unknown escape in a string");
    }
    at_ += 6;
    uint32_t low = 0;
    if (unit >= 0xD800 && unit < 0xDC00 && ParseHex(at_, low) && low >= 0xDC00 && low < 0xE000) {
      unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
      at_ += 6;
    }
    AppendUtf8(unit, text);  // a lone surrogate becomes U+FFFD: it has no UTF-8
    return {};
  }

  bool ParseHex(size_t at, uint32_t& unit) const {
    if (at + 6 > json_.size() || json_[at] != '\\' || json_[at + 1] != 'u') {
      return false;
    }
    const char* begin = json_.data() + at + 2;
    return std::from_chars(begin, begin + 4, unit, 16).ptr == begin + 4;
  }

  size_t SkipDigits() {
    const size_t begin = at_;
    while (at_ < json_.size() && json_[at_] >= '0' && json_[at_] <= '9') {
      ++at_;
    }
    return at_ - begin;
  }

  Result<Value> ParseNumber() {
    const size_t begin = at_;
    Skip("-");
    const bool leading_zero = at_ < json_.size() && json_[at_] == '0';
    const size_t digits = SkipDigits();
    if (digits == 0 || (leading_zero && digits > 1)) {
      return Wrong("not a value");
    }
    bool integer = true;
    if (Skip(".")) {
      integer = false;
      if (SkipDigits() == 0) {
        return Wrong("digits missing after '.'");
      }
    }
    if (Skip("e") || Skip("E")) {
      integer = false;
      if (!Skip("+")) {
        Skip("-");
      }
      if (SkipDigits() == 0) {
        return Wrong("digits missing in the exponent");
      }
    }
    const std::string_view number = json_.substr(begin, at_ - begin);
    if (integer) {
      return MakeInteger(budget_, number, true);
    }
    // strtod and not from_chars: it gives infinity or zero beyond the range, as Python does.
    return Value::Float(std::strtod(std::string(number).c_str(), nullptr), true);
  }

  std::string_view json_;
  Budget* budget_;
  size_t at_ = 0;
};

}  // namespace

Result<Value> ValueFromJson(std::string_view json, Budget* budget) {
  return JsonParser(json, budget).ParseDocument();
}

}  // namespace tradewind::engine::prompt
