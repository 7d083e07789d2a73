#include "engine/prompt/lexer.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/utf8.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

// Line ends become "\n"; one at the very end is dropped.
std::string NormalizeLines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      i += i + 1 < source.size() && source[i + 1] == '\n' ? 1 : 0;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) {
    out.pop_back();
  }
  return out;
}

int CountLines(std::string_view text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

bool IsAsciiDigit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(NormalizeLines(source)), source_(text_) {}

  std::vector<Token> Run() {
    while (at_ < source_.size() && !failed_) {
      LexData();
    }
    if (!failed_) {
      // The end is reported on the line of the last token.
      Emit(TokenType::kEnd, "", tokens_.empty() ? 1 : tokens_.back().line);
    }
    return std::move(tokens_);
  }

 private:
  void Emit(TokenType type, std::string value, int line) {
    tokens_.push_back({type, line, std::move(value)});
  }
  void Fail(std::string message) {
    Emit(TokenType::kError, std::move(message), line_);
    failed_ = true;
  }
  bool At(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  bool AtFrom(size_t at, std::string_view text) const {
    return source_.substr(std::min(at, source_.size())).starts_with(text);
  }
  // Moves on by `bytes` and counts their lines.
  void Skip(size_t bytes) {
    line_ += CountLines(source_.substr(at_, bytes));
    line_starting_ = bytes > 0 && source_[at_ + bytes - 1] == '\n';
    at_ += bytes;
  }
  size_t SpaceFrom(size_t at) const { return LeadingSpace(source_.substr(at)); }

  // Text up to the next tag, then the tag.
  void LexData() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= source_.size()) {
        Emit(TokenType::kData, std::string(source_.substr(at_)), line_);
        Skip(source_.size() - at_);
        return;
      }
      const char kind = source_[tag + 1];
      if (kind == '{' || kind == '%' || kind == '#') {
        break;
      }
      ++tag;
    }
    const char kind = source_[tag + 1];
    const size_t raw_end = kind == '%' ? MatchRawBegin(tag) : 0;
    char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    sign = sign == '-' || sign == '+' ? sign : ' ';
    EmitData(tag, sign, kind == '{');
    if (raw_end > 0) {
      Skip(raw_end - at_);
      LexRaw();
      return;
    }
    Skip(sign == ' ' ? 2 : 3);
    if (kind == '#') {
      LexComment();
    } else {
      Emit(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, "", line_);
      LexTag(kind == '{');
    }
  }

  // Emits the text before a tag at `tag`, stripped as the tag's sign and lstrip_blocks ask.
  void EmitData(size_t tag, char sign, bool variable) {
    const std::string_view text = source_.substr(at_, tag - at_);
    size_t keep = text.size();
    if (sign == '-') {
      keep -= TrailingSpace(text);
    } else if (sign != '+' && !variable) {
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line_begin > 0 || line_starting_) &&
          LeadingSpace(text.substr(line_begin)) == text.size() - line_begin) {
        keep = line_begin;
      }
    }
    if (keep > 0) {
      Emit(TokenType::kData, std::string(text.substr(0, keep)), line_);
    }
    Skip(text.size());
  }

  // The end of "{% raw %}" at `tag`, or 0.
  size_t MatchRawBegin(size_t tag) const {
    size_t at = tag + 2;
    if (AtFrom(at, "-") || AtFrom(at, "+")) {
      ++at;
    }
    at += SpaceFrom(at);
    if (!AtFrom(at, "raw")) {
      return 0;
    }
    at += 3;
    at += SpaceFrom(at);
    if (AtFrom(at, "-%}")) {
      return at + 3 + SpaceFrom(at + 3);
    }
    return AtFrom(at, "%}") ? at + 2 : 0;
  }

  void LexRaw() {
    for (size_t tag = source_.find("{%", at_); tag != std::string_view::npos;
         tag = source_.find("{%", tag + 1)) {
      size_t at = tag + 2;
      char sign = ' ';
      if (AtFrom(at, "-") || AtFrom(at, "+")) {
        sign = source_[at++];
      }
      at += SpaceFrom(at);
      if (!AtFrom(at, "endraw")) {
        continue;
      }
      at += 6;
      at += SpaceFrom(at);
      if (const size_t end = MatchEnd(at, "%}", true); end > 0) {
        EmitData(tag, sign, false);
        Skip(end - at_);
        return;
      }
    }
    Fail("Missing end of raw directive");
  }

  void LexComment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) {
      Fail("Missing end of comment tag");
      return;
    }
    const size_t sign =
        close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+') ? close - 1 : close;
    Skip(MatchEnd(sign, "#}", true) - at_);
  }

  // The end of a closing tag at `at` with its sign and the white space that goes with it, or 0.
  size_t MatchEnd(size_t at, std::string_view close, bool trims_newline) const {
    if (trims_newline && AtFrom(at, "+") && AtFrom(at + 1, close)) {
      return at + 3;
    }
    if (AtFrom(at, "-") && AtFrom(at + 1, close)) {
      return at + 3 + SpaceFrom(at + 3);
    }
    if (!AtFrom(at, close)) {
      return 0;
    }
    return at + 2 + (trims_newline && AtFrom(at + 2, "\n") ? 1 : 0);
  }

  // The inside of {{ }} or {% %}.
  void LexTag(bool variable) {
    std::string open;  // closing brackets that are due
    while (at_ < source_.size()) {
      if (open.empty()) {
        if (const size_t end = MatchEnd(at_, variable ? "}}" : "%}", !variable); end > 0) {
          Emit(variable ? TokenType::kVariableEnd : TokenType::kBlockEnd, "", line_);
          Skip(end - at_);
          return;
        }
      }
      if (const size_t space = SpaceFrom(at_); space > 0) {
        Skip(space);
      } else if (!LexNumber() && !LexName() && !LexString() && !LexOperator(open)) {
        if (!failed_) {
          const Utf8Char c = DecodeUtf8(source_.substr(at_));
          Fail(fmt::format("unexpected character '{}'",
                           source_.substr(at_, static_cast<size_t>(c.bytes))));
        }
        return;
      }
    }
  }

  // Digits, possibly with single underscores between them, from `at`; gives their end or `at`.
  size_t Digits(size_t at, std::string_view allowed = "0123456789") const {
    size_t end = at;
    while (end < source_.size()) {
      if (allowed.find(source_[end]) != std::string_view::npos) {
        ++end;
      } else if (source_[end] == '_' && end > at && end + 1 < source_.size() &&
                 allowed.find(source_[end + 1]) != std::string_view::npos) {
        ++end;
      } else {
        break;
      }
    }
    return end;
  }

  void EmitNumber(TokenType type, size_t end) {
    std::string digits(source_.substr(at_, end - at_));
    std::erase(digits, '_');
    Emit(type, std::move(digits), line_);
    Skip(end - at_);
  }

  // A fraction or an exponent makes a float, but not after a dot: `l.0.1` is two subscripts.
  size_t FloatEnd(size_t digits_end) const {
    if (at_ > 0 && source_[at_ - 1] == '.') {
      return 0;
    }
    size_t end = digits_end;
    if (AtFrom(end, ".") && Digits(end + 1) > end + 1) {
      end = Digits(end + 1);
    }
    if (AtFrom(end, "e") || AtFrom(end, "E")) {
      size_t exponent = end + 1;
      if (AtFrom(exponent, "+") || AtFrom(exponent, "-")) {
        ++exponent;
      }
      if (Digits(exponent) > exponent) {
        end = Digits(exponent);
      }
    }
    return end > digits_end ? end : 0;
  }

  bool LexNumber() {
    if (!IsAsciiDigit(source_[at_])) {
      return false;
    }
    if (const size_t end = FloatEnd(Digits(at_)); end > 0) {
      EmitNumber(TokenType::kFloat, end);
      return true;
    }
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char base = static_cast<char>(source_[at_ + 1] | 0x20);
      const std::string_view allowed = base == 'x'   ? "0123456789abcdefABCDEF"
                                       : base == 'b' ? "01"
                                       : base == 'o' ? "01234567"
                                                     : "";
      const size_t first = at_ + 2 + (AtFrom(at_ + 2, "_") ? 1 : 0);
      if (!allowed.empty() && Digits(first, allowed) > first) {
        EmitNumber(TokenType::kInteger, Digits(first, allowed));
        return true;
      }
      EmitNumber(TokenType::kInteger, Digits(at_, "0"));  // 007 reads as 0, 7
      return true;
    }
    EmitNumber(TokenType::kInteger, Digits(at_));
    return true;
  }

  bool LexName() {
    size_t end = at_;
    bool identifier = true;
    while (end < source_.size()) {
      const Utf8Char c = DecodeUtf8(source_.substr(end));
      if (!IsWordChar(c.code_point)) {
        break;
      }
      identifier = identifier && (end > at_ || c.code_point == '_' || IsAlpha(c.code_point));
      end += static_cast<size_t>(c.bytes);
    }
    if (end == at_) {
      return false;
    }
    if (!identifier) {
      Fail("Invalid character in identifier");
      return false;
    }
    Emit(TokenType::kName, std::string(source_.substr(at_, end - at_)), line_);
    Skip(end - at_);
    return true;
  }

  bool LexString() {
    const char quote = source_[at_];
    if (quote != '\'' && quote != '"') {
      return false;
    }
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) {
      end += source_[end] == '\\' ? 2 : 1;
    }
    if (end >= source_.size()) {
      return false;
    }
    std::string value;
    if (!Unescape(source_.substr(at_ + 1, end - at_ - 1), value)) {
      Fail("a string holds an escape sequence that is cut short or unknown");
      return false;
    }
    Emit(TokenType::kString, std::move(value), line_);
    Skip(end + 1 - at_);
    return true;
  }

  static bool Unescape(std::string_view raw, std::string& out) {
    static constexpr std::string_view kNames = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\' || i + 1 >= raw.size()) {
        out += raw[i];
        continue;
      }
      const char c = raw[++i];
      if (const size_t k = kNames.find(c); k != std::string_view::npos) {
        out += kMeanings[k];
      } else if (c >= '0' && c <= '7') {
        size_t end = i;
        while (end < raw.size() && end < i + 3 && raw[end] >= '0' && raw[end] <= '7') {
          ++end;
        }
        AppendUtf8(
            static_cast<char32_t>(std::stoi(std::string(raw.substr(i, end - i)), nullptr, 8)), out);
        i = end - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        const std::string_view digits = raw.substr(i + 1, length);
        if (digits.size() < length ||
            digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
          return false;
        }
        const unsigned long code_point = std::stoul(std::string(digits), nullptr, 16);
        if (code_point > 0x10FFFF) {
          return false;
        }
        AppendUtf8(static_cast<char32_t>(code_point), out);
        i += length;
      } else if (c == 'N') {
        return false;  // names of characters are not known here
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return true;
  }

  bool LexOperator(std::string& open) {
    static constexpr std::string_view kLong[] = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kShort = "+-*/%~[](){}><=.:|,;";
    for (const std::string_view op : kLong) {
      if (At(op)) {
        Emit(TokenType::kOperator, std::string(op), line_);
        Skip(2);
        return true;
      }
    }
    const char c = source_[at_];
    if (kShort.find(c) == std::string_view::npos) {
      return false;
    }
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) {
        Fail(open.empty() ? fmt::format("unexpected '{}'", c)
                          : fmt::format("unexpected '{}', expected '{}'", c, open.back()));
        return false;
      }
      open.pop_back();
    }
    Emit(TokenType::kOperator, std::string(1, c), line_);
    Skip(1);
    return true;
  }

  const std::string text_;
  const std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was read last ended with a newline
  bool failed_ = false;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) {
  return Lexer(source).Run();
}

}  // namespace tradewind::engine::prompt
