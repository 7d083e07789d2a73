#include "dialects/rewritten.h"

#include <algorithm>
#include <cstddef>

#include "dialects/json_reader.h"
#include "dialects/schema_refs.h"

namespace tradewind::dialects {
namespace {

constexpr int64_t kIndent = 4;
constexpr int64_t kNumberBytesMax = 24;  // of a double: -1.7976931348623157e+308
// "type", "description", "parameters" and "strict", with their values, each on its line.
constexpr int64_t kDefaultBytes = 128;

// Of the inside of a string, to its escapes too. An escape of a code point is as long as any.
int64_t GrowthOfString(std::string_view raw) {
  constexpr int64_t kEscaped = 6;  // \u003c
  int64_t growth = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto c = static_cast<unsigned char>(raw[i]);
    if (c == '\\') {
      ++i;
      growth += i < raw.size() && (raw[i] == 'b' || raw[i] == 'f') ? kEscaped - 2 : 0;
    } else if (c >= 0xF0) {
      growth += 2 * kEscaped - 4;
    } else if (c >= 0xC0) {
      growth += kEscaped - (c >= 0xE0 ? 3 : 2);
    } else if (c == '<' || c == '>' || c == '&' || c == '\'' || c == 0x7F) {
      growth += kEscaped - 1;
    }
  }
  return growth;
}

// 1e15 becomes 1000000000000000.0; and 1 becomes 1.0 where all numbers are doubles.
int64_t GrowthOfNumber(std::string_view text) {
  const bool has_exponent = text.find_first_of("eE") != std::string_view::npos;
  return has_exponent ? std::max<int64_t>(0, kNumberBytesMax - static_cast<int64_t>(text.size()))
                      : 3;
}

// One value, whose members stand at a depth.
class Walk {
 public:
  Walk(std::string_view json, int64_t depth, bool parses_strings)
      : json_(json), outer_(depth), depth_(depth), parses_strings_(parses_strings) {}

  int64_t Run() {
    for (bool is_open = true; is_open && at_ < json_.size(); ++at_) {
      is_open = Step(json_[at_]);
    }
    return std::max<int64_t>(0, added_ - spaces_);
  }
  // Of the object or array that was walked over.
  int64_t members() const { return members_; }

 private:
  // A line break before what stands here, and how far it is indented.
  void AddLine() { added_ += 1 + kIndent * depth_; }

  // False where the value ends.
  bool Step(char c) {
    if (c == '}' || c == ']') {
      depth_ = std::max(outer_, depth_ - 1);
      if (!is_empty_) {
        AddLine();
      }
      is_empty_ = false;
      return depth_ > outer_;
    }
    if (c == ',') {
      added_ += 1;  // a space
      AddLine();
      members_ += depth_ == outer_ + 1 ? 1 : 0;
    } else if (c == ':') {
      added_ += 2;  // a space on each side
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      ++spaces_;
    } else {
      Value(c);
    }
    return true;
  }

  void Value(char c) {
    if (is_empty_) {
      AddLine();
      members_ += depth_ == outer_ + 1 ? 1 : 0;
    }
    is_empty_ = c == '{' || c == '[';
    if (is_empty_) {
      ++depth_;
    } else if (c == '"') {
      String();
    } else {
      Word();
    }
  }

  // at_ goes to its last byte.
  void String() {
    const size_t begin = at_ + 1;
    size_t end = begin;
    while (end < json_.size() && json_[end] != '"') {
      end += json_[end] == '\\' ? 2 : 1;
    }
    end = std::min(end, json_.size());
    const std::string_view raw = json_.substr(begin, end - begin);
    added_ += std::max(GrowthOfString(raw), parses_strings_ ? GrowthWithin(begin, end) : 0);
    at_ = end;
  }

  // Of the JSON that a string holds.
  int64_t GrowthWithin(size_t begin, size_t end) const {
    const auto text = ParseJson(json_.substr(begin - 1, end - begin + 2));
    if (!text.has_value() || !text->is_string()) {
      return 0;
    }
    const std::string_view held = text->get_string();
    const size_t first = held.find_first_not_of(" \t\r\n");
    return first != std::string_view::npos && (held[first] == '{' || held[first] == '[')
               ? Walk(held, depth_, false).Run()
               : 0;
  }

  // A number, true, false, or null; at_ goes to its last byte.
  void Word() {
    const size_t end = std::min(json_.find_first_of(",:]} \t\r\n\"[{", at_ + 1), json_.size());
    const std::string_view word = json_.substr(at_, end - at_);
    added_ += word[0] == '-' || (word[0] >= '0' && word[0] <= '9') ? GrowthOfNumber(word) : 0;
    at_ = end - 1;
  }

  const std::string_view json_;
  const int64_t outer_;
  int64_t depth_;
  const bool parses_strings_;
  size_t at_ = 0;
  int64_t added_ = 0, spaces_ = 0, members_ = 0;
  bool is_empty_ = false;  // nothing stands between here and the last brace
};

}  // namespace

int64_t RewrittenGrowth(std::string_view json, bool parses_strings) {
  return Walk(json, 0, parses_strings).Run();
}

int64_t RewrittenToolsGrowth(std::string_view json) {
  Walk walk(json, 0, false);
  const int64_t growth = walk.Run();
  return growth + walk.members() * kDefaultBytes;
}

int64_t ResolvedToolsGrowth(std::string_view json) {
  const int64_t resolved = ResolvedBytes(json);
  return resolved == 0 ? 0
                       : std::max<int64_t>(0, resolved - static_cast<int64_t>(json.size()) -
                                                  RewrittenGrowth(json));
}

}  // namespace tradewind::dialects
