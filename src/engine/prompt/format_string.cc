// The % operator and str.format.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/prompt/access.h"
#include "engine/prompt/format.h"

namespace tradewind::engine::prompt {
namespace {

// One "%..." of a format, taken apart.
struct Conversion {
  std::optional<std::string> key;
  bool left = false, zero = false;
  NumberFormat number;
  int64_t width = 0;
};

class PercentFormatter {
 public:
  PercentFormatter(Run& run, const Text& format, const Value& arguments)
      : run_(run),
        format_(format),
        text_(format.view()),
        arguments_(arguments),
        out_(&run.budget) {}

  ValueResult Format() {
    while (at_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', at_), text_.size());
      out_.Append(format_, at_, percent);
      at_ = percent + 1;
      if (percent < text_.size()) {
        TW_RETURN_IF_ERROR(FormatOne());
        TW_RETURN_IF_ERROR(run_.Check());
      }
    }
    const bool all_used = arguments_.is(Kind::kTuple) ? used_ == arguments_.list().items.size()
                                                      : used_ > 0 || arguments_.is(Kind::kDict) ||
                                                            arguments_.is(Kind::kList);
    if (!all_used) {
      return RunError("not all arguments converted during string formatting");
    }
    return out_.Finish(format_.markup());
  }

 private:
  ValueResult Next() {
    if (arguments_.is(Kind::kTuple)) {
      if (used_ == arguments_.list().items.size()) {
        return RunError("not enough arguments for format string");
      }
      return arguments_.list().items[used_++];
    }
    if (used_++ > 0) {
      return RunError("not enough arguments for format string");
    }
    return arguments_;
  }

  Result<int64_t> NumberOrStar() {
    int64_t number = 0;
    if (at_ < text_.size() && text_[at_] == '*') {
      ++at_;
      TW_ASSIGN_OR_RETURN(const Value value, Next());
      if (!value.is_integral()) {
        return RunError("* wants an integer");
      }
      return value.integer();
    }
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), number);
    if (error == std::errc::result_out_of_range) {
      return RunError("the width of a format is too large");
    }
    if (at_ < text_.size() && text_[at_] != '-') {
      at_ = static_cast<size_t>(end - text_.data());
    }
    return number;
  }

  Result<Conversion> ParseConversion() {
    Conversion c;
    if (at_ < text_.size() && text_[at_] == '(') {
      const size_t close = text_.find(')', at_);
      if (close == std::string_view::npos) {
        return RunError("incomplete format key");
      }
      c.key = std::string(text_.substr(at_ + 1, close - at_ - 1));
      at_ = close + 1;
    }
    for (;
         at_ < text_.size() && std::string_view("#0- +").find(text_[at_]) != std::string_view::npos;
         ++at_) {
      switch (text_[at_]) {
        case '#':
          c.number.alternate = true;
          break;
        case '0':
          c.zero = true;
          break;
        case '-':
          c.left = true;
          break;
        case '+':
          c.number.sign = '+';
          break;
        default:
          c.number.sign = c.number.sign == '+' ? '+' : ' ';
      }
    }
    TW_ASSIGN_OR_RETURN(c.width, NumberOrStar());
    if (c.width < 0) {
      c.left = true;
      c.width = c.width == INT64_MIN ? INT64_MAX : -c.width;
    }
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      TW_ASSIGN_OR_RETURN(const int64_t precision, NumberOrStar());
      c.number.precision = static_cast<int>(std::clamp<int64_t>(precision, 0, INT32_MAX));
    }
    while (at_ < text_.size() &&
           std::string_view("hlL").find(text_[at_]) != std::string_view::npos) {
      ++at_;
    }
    if (at_ == text_.size()) {
      return RunError("incomplete format");
    }
    c.number.type = text_[at_++];
    return c;
  }

  Status FormatOne() {
    const size_t begin = at_ - 1;
    TW_ASSIGN_OR_RETURN(const Conversion c, ParseConversion());
    if (c.number.type == '%') {
      out_.Append(format_, begin, begin + 1);
      return {};
    }
    Value value;
    if (c.key) {
      if (!arguments_.is(Kind::kDict)) {
        return RunError("format requires a mapping");
      }
      const Value* found = arguments_.dict().Find(*c.key);
      if (found == nullptr) {
        return RunError("the arguments of a format have no key '{}'", *c.key);
      }
      value = *found;
      used_ += arguments_.is(Kind::kDict) ? 1 : 0;
    } else {
      TW_ASSIGN_OR_RETURN(value, Next());
    }
    TW_ASSIGN_OR_RETURN(const Value converted, Convert(value, c));
    Pad(converted.text(), c);
    return {};
  }

  ValueResult Convert(Value value, const Conversion& c) {
    NumberFormat number = c.number;
    switch (number.type) {
      case 's':
      case 'r':
      case 'a': {
        TextBuilder text(&run_.budget);
        number.type == 's' ? AppendStr(run_, value, text) : AppendRepr(run_, value, text);
        Value whole = text.Finish();
        if (format_.markup()) {
          whole = Escape(run_, value.is_string() && value.text().markup() ? value : whole);
        }
        const Text& t = whole.text();
        return number.precision < 0 ? whole
                                    : Slice(&run_.budget, t, 0, t.ByteOffset(number.precision));
      }
      case 'c':
        if (value.is_string()) {
          return value.text().length() == 1 ? ValueResult(value)
                                            : RunError("%c requires int or char");
        }
        break;
      case 'd':
      case 'i':
      case 'u':
        number.type = 'd';
        if (value.is(Kind::kFloat)) {
          if (!(std::abs(value.real()) < 9.2e18)) {
            return RunError("a float does not fit into a 64-bit integer");
          }
          value = Value::Int(static_cast<int64_t>(value.real()), value.from_data());
        }
        break;
      case 'x':
      case 'X':
      case 'o':
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        break;
      default:
        return RunError("unsupported format character '{}'", number.type);
    }
    if (!value.is_number() && !value.is(Kind::kBigInt)) {
      return RunError("%{} format: a number is required, not {}", c.number.type, TypeName(value));
    }
    TW_ASSIGN_OR_RETURN(const std::string digits, FormatNumber(value, number));
    return MakeText(&run_.budget, digits, !value.from_data());
  }

  void Pad(const Text& text, const Conversion& c) {
    const int64_t missing = std::max<int64_t>(c.width - text.length(), 0);
    const bool numeric = std::string_view("srac").find(c.number.type) == std::string_view::npos;
    const bool zeros = c.zero && numeric && !c.left;
    const Value pad = MakeText(&run_.budget, zeros ? "0" : " ", true);
    size_t sign = zeros && text.size() > 0 &&
                  std::string_view("+- ").find(text.view()[0]) != std::string_view::npos;
    if (zeros && c.number.alternate && text.size() >= sign + 2 && text.view()[sign] == '0') {
      sign += 2;  // 0x
    }
    out_.Append(text, 0, sign);
    out_.AppendRepeated(pad.text(), c.left ? 0 : missing);
    out_.Append(text, sign, text.size());
    out_.AppendRepeated(pad.text(), c.left ? missing : 0);
  }

  Run& run_;
  const Text& format_;
  const std::string_view text_;
  const Value& arguments_;
  size_t at_ = 0;
  size_t used_ = 0;
  TextBuilder out_;
};

class StrFormatter {
 public:
  StrFormatter(Run& run, const Text& format, const Args& args)
      : run_(run), markup_(format.markup()), args_(args) {}

  // `level`: a specification may hold fields, those no further ones.
  Status Format(const Text& format, size_t begin, size_t end, int level, TextBuilder& out) {
    const std::string_view text = format.view();
    while (begin < end) {
      const size_t brace = std::min(text.find_first_of("{}", begin), end);
      out.Append(format, begin, brace);
      begin = brace;
      if (begin >= end) {
        break;
      }
      if (begin + 1 < end && text[begin + 1] == text[begin]) {
        out.Append(format, begin, begin + 1);
        begin += 2;
        continue;
      }
      if (text[begin] == '}') {
        return RunError("single '}}' in format string");
      }
      size_t close = begin + 1;
      for (int open = 1; close < end; ++close) {
        open += text[close] == '{' ? 1 : text[close] == '}' ? -1 : 0;
        if (open == 0) {
          break;
        }
      }
      if (close >= end) {
        return RunError("expected '}}' before end of format string");
      }
      TW_RETURN_IF_ERROR(FormatField(format, begin + 1, close, level, out));
      TW_RETURN_IF_ERROR(run_.Check());
      begin = close + 1;
    }
    return {};
  }

 private:
  Status FormatField(const Text& format, size_t begin, size_t end, int level, TextBuilder& out) {
    if (level > 1) {
      return RunError("max string recursion exceeded");
    }
    const std::string_view field = format.view().substr(begin, end - begin);
    const size_t name_end = std::min(field.find_first_of("!:"), field.size());
    TW_ASSIGN_OR_RETURN(Value value, Find(field.substr(0, name_end)));
    size_t at = name_end;
    if (at < field.size() && field[at] == '!') {
      const char conversion = at + 1 < field.size() ? field[at + 1] : '?';
      if (conversion != 's' && conversion != 'r' && conversion != 'a') {
        return RunError("unknown conversion '{}' in a format", conversion);
      }
      TextBuilder text(&run_.budget);
      conversion == 's' ? AppendStr(run_, value, text) : AppendRepr(run_, value, text);
      value = text.Finish();
      at += 2;
      if (at < field.size() && field[at] != ':') {
        return RunError("expected ':' after conversion specifier");
      }
    }
    TextBuilder specification(&run_.budget);
    if (at < field.size()) {
      TW_RETURN_IF_ERROR(Format(format, begin + at + 1, end, level + 1, specification));
    }
    if (!markup_) {
      return AppendFormatted(run_, value, specification, out);
    }
    TextBuilder plain(&run_.budget);
    TW_RETURN_IF_ERROR(AppendFormatted(run_, value, specification, plain));
    const bool safe = value.is_string() && value.text().markup();
    out.Append(safe ? plain.Finish().text() : Escape(run_, plain.Finish()).text());
    return {};
  }

  // "0", "name", "" (the next one), each with .attribute and [item] behind it.
  ValueResult Find(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    TW_ASSIGN_OR_RETURN(Value value, FindArgument(name.substr(0, end)));
    name.remove_prefix(end);
    while (!name.empty()) {
      if (name[0] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", 1), name.size());
        TW_ASSIGN_OR_RETURN(value, GetAttribute(run_, value, name.substr(1, stop - 1)));
        name.remove_prefix(stop);
        continue;
      }
      const size_t close = name.find(']');
      if (name[0] != '[' || close == std::string_view::npos) {
        return RunError("a field of a format is malformed");
      }
      const std::string_view key = name.substr(1, close - 1);
      const bool number =
          !key.empty() && key.find_first_not_of("0123456789") == std::string_view::npos;
      TW_ASSIGN_OR_RETURN(
          value, GetItem(run_, value,
                         number ? MakeInteger(&run_.budget, key, false) : run_.TextOf(key, false)));
      name.remove_prefix(close + 1);
    }
    return value;
  }

  ValueResult FindArgument(std::string_view name) {
    size_t index = 0;
    if (name.empty()) {
      index = next_++;
    } else if (name.find_first_not_of("0123456789") == std::string_view::npos) {
      if (std::from_chars(name.data(), name.data() + name.size(), index).ec != std::errc()) {
        return RunError("a position in a format is too large");
      }
    } else {
      for (const auto& [key, value] : args_.named) {
        if (key == name) {
          return value;
        }
      }
      return RunError("the arguments of a format have no key '{}'", name);
    }
    if (index >= args_.positional.size()) {
      return RunError("a format needs more than {} arguments", args_.positional.size());
    }
    return args_.positional[index];
  }

  Run& run_;
  const bool markup_;
  const Args& args_;
  size_t next_ = 0;
};

}  // namespace

ValueResult PercentFormat(Run& run, const Value& format, const Value& arguments) {
  return PercentFormatter(run, format.text(), arguments).Format();
}

ValueResult StrFormat(Run& run, const Value& format, const Args& args) {
  TextBuilder out(&run.budget);
  const Text& text = format.text();
  TW_RETURN_IF_ERROR(StrFormatter(run, text, args).Format(text, 0, text.size(), 0, out));
  return out.Finish(text.markup());
}

}  // namespace tradewind::engine::prompt
