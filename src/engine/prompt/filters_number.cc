// Filters that give or take numbers.
#include <charconv>
#include <cmath>

#include "engine/prompt/access.h"
#include "engine/prompt/filters.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

std::string_view Trimmed(std::string_view text) {
  text.remove_prefix(LeadingSpace(text));
  text.remove_suffix(TrailingSpace(text));
  return text;
}

// Without single underscores between digits; empty when they stand elsewhere.
std::string WithoutUnderscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || text[i + 1] == '_' ||
               !std::isalnum(static_cast<unsigned char>(text[i - 1]))) {
      return "";
    }
  }
  return out;
}

// int(text, base)
std::optional<Value> ParseInteger(Run& run, const Text& source, int64_t base) {
  std::string text = WithoutUnderscores(Trimmed(source.view()));
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) {
    text.erase(0, 1);
  }
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int64_t implied = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (implied != 0 && (base == implied || base == 0)) {
      base = implied;
      text.erase(0, 2);
    }
  }
  base = base == 0 ? 10 : base;
  if (text.empty() || base < 2 || base > 36) {
    return std::nullopt;
  }
  if (base == 10) {
    if (text.find_first_not_of("0123456789") != std::string::npos || text.size() > 4300) {
      return std::nullopt;
    }
    return MakeInteger(&run.budget, (negative ? "-" : "") + text, source.any_data());
  }
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, static_cast<int>(base));
  if (error != std::errc() || end != text.data() + text.size() || text[0] == '-') {
    return std::nullopt;
  }
  return Value::Int(negative ? -value : value, source.any_data());
}

// float(text)
std::optional<double> ParseReal(const Text& source) {
  const std::string text = ToLower(WithoutUnderscores(Trimmed(source.view())));
  std::string_view digits = text;
  if (digits.starts_with('-') || digits.starts_with('+')) {
    digits.remove_prefix(1);
  }
  const bool word = digits == "inf" || digits == "infinity" || digits == "nan";
  if (digits.empty() ||
      (!word && digits.find_first_not_of("0123456789.e+-") != std::string_view::npos)) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return end == text.c_str() + text.size() ? std::optional(value) : std::nullopt;
}

// int(real); nothing for NaN. Errors: infinite, or beyond 64 bits.
Result<std::optional<Value>> Truncated(double real, bool from_data) {
  if (std::isnan(real)) {
    return std::optional<Value>();
  }
  if (!(std::abs(real) < 9.2e18)) {
    return RunError("a float does not fit into a 64-bit integer");
  }
  return std::optional(Value::Int(static_cast<int64_t>(real), from_data));
}

ValueResult IntFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"default", "base"}));
  TW_ASSIGN_OR_RETURN(const int64_t base, bound.Int(1, 10));
  const Value otherwise = bound.Has(0) ? bound[0] : Value::Int(0);
  std::optional<Value> result;
  switch (subject.kind()) {
    case Kind::kUndefined:
      return UndefinedError(subject);
    case Kind::kBool:
    case Kind::kInt:
      return Value::Int(subject.integer(), subject.from_data());
    case Kind::kBigInt:
      return subject;
    case Kind::kFloat: {
      TW_ASSIGN_OR_RETURN(result, Truncated(subject.real(), subject.from_data()));
      break;
    }
    case Kind::kString: {
      result = ParseInteger(run, subject.text(), base);
      const std::optional<double> real = result ? std::nullopt : ParseReal(subject.text());
      if (real && std::isfinite(*real)) {
        TW_ASSIGN_OR_RETURN(result, Truncated(*real, subject.text().any_data()));
      }
      break;
    }
    default:
      break;
  }
  return result ? *result : otherwise;
}

ValueResult FloatFilter(Run&, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"default"}));
  if (subject.is_undefined()) {
    return UndefinedError(subject);
  }
  if (subject.is_number()) {
    return Value::Float(subject.real(), subject.from_data());
  }
  std::optional<double> real;
  if (subject.is_string()) {
    real = ParseReal(subject.text());
  } else if (subject.is(Kind::kBigInt)) {
    real = std::strtod(subject.as<BigInt>().digits.c_str(), nullptr);
  }
  if (real) {
    return Value::Float(*real,
                        subject.from_data() || (subject.is_string() && subject.text().any_data()));
  }
  return bound.Has(0) ? bound[0] : Value::Float(0);
}

ValueResult AbsFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  if (subject.is(Kind::kFloat)) {
    return Value::Float(std::abs(subject.real()), subject.from_data());
  }
  if (subject.is_integral()) {
    return subject.integer() < 0 ? Negate(run, subject)
                                 : ValueResult(Value::Int(subject.integer(), subject.from_data()));
  }
  return RunError("abs() needs a number, not {}", TypeName(subject));
}

// round(value, precision): to the even neighbour of the exact decimal value, which the shortest
// correctly rounded decimal of that precision is.
double RoundHalfEven(double value, int64_t precision) {
  if (!std::isfinite(value) || precision > 300) {
    return value;
  }
  if (precision >= 0) {
    char buffer[700];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed,
                                   static_cast<int>(precision))
                         .ptr;
    return std::strtod(std::string(buffer, static_cast<size_t>(end - buffer)).c_str(), nullptr);
  }
  if (precision < -308) {
    return std::copysign(0.0, value);
  }
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / scale) * scale;
}

ValueResult RoundFilter(Run&, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"precision", "method"}));
  TW_ASSIGN_OR_RETURN(const int64_t precision, bound.Int(0, 0));
  TW_ASSIGN_OR_RETURN(const std::string method, bound.String(1, "common"));
  if (method != "common" && method != "ceil" && method != "floor") {
    return RunError("the method of round() must be common, ceil or floor");
  }
  if (!subject.is_number()) {
    return RunError("round() needs a number, not {}", TypeName(subject));
  }
  if (method == "common") {
    if (!subject.is_integral()) {
      return Value::Float(RoundHalfEven(subject.real(), precision), subject.from_data());
    }
    if (precision >= 0) {
      return Value::Int(subject.integer(), subject.from_data());
    }
    if (precision < -18) {
      return Value::Int(0, subject.from_data());
    }
    // An integer rounds to a multiple of a power of ten, halves to the even one.
    int64_t scale = 1;
    for (int64_t i = 0; i > precision; --i) {
      scale *= 10;
    }
    const __int128 value = subject.integer();
    __int128 quotient = value / scale;
    const __int128 twice = (value < 0 ? -(value % scale) : value % scale) * 2;
    if (twice > scale || (twice == scale && quotient % 2 != 0)) {
      quotient += value < 0 ? -1 : 1;
    }
    const __int128 rounded = quotient * scale;
    if (rounded > INT64_MAX || rounded < INT64_MIN) {
      return RunError("the result does not fit into a 64-bit integer");
    }
    return Value::Int(static_cast<int64_t>(rounded), subject.from_data());
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = subject.real() * scale;
  // Python rounds to an integer here, which has no negative zero.
  const double whole = (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0;
  const double rounded = whole / scale;
  if (!std::isfinite(rounded)) {
    return RunError("round() is out of range");
  }
  return Value::Float(rounded, subject.from_data());
}

ValueResult FileSizeFilter(Run& run, std::string_view name, const Value& subject,
                           const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"binary"}));
  static constexpr std::string_view kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  static constexpr std::string_view kBinary[] = {"KiB", "MiB", "GiB", "TiB",
                                                 "PiB", "EiB", "ZiB", "YiB"};
  std::optional<double> bytes;
  if (subject.is_number()) {
    bytes = subject.real();
  } else if (subject.is_string()) {
    bytes = ParseReal(subject.text());
  }
  if (!bytes || !(std::abs(*bytes) < 1e30)) {
    return RunError("filesizeformat() needs a number");
  }
  const bool literal = subject.is_string() ? !subject.text().any_data() : !subject.from_data();
  const bool binary = bound.Bool(0, false);
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) {
    return run.TextOf("1 Byte", literal);
  }
  if (*bytes < base) {
    return run.TextOf(fmt::format("{} Bytes", static_cast<int64_t>(*bytes)), literal);
  }
  double unit = base * base;
  size_t i = 0;
  for (; i < 7 && *bytes >= unit; ++i) {
    unit *= base;
  }
  return run.TextOf(
      fmt::format("{:.1f} {}", base * *bytes / unit, binary ? kBinary[i] : kDecimal[i]), literal);
}

ValueResult LengthFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  TW_ASSIGN_OR_RETURN(const int64_t length, Length(run, subject));
  return Value::Int(length, subject.is_string() && subject.text().any_data());
}

ValueResult SumFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"attribute", "start"}));
  const AttributePath path = bound.Has(0) ? ParsePath(run, bound[0]) : AttributePath();
  Value sum = bound.Has(1) ? bound[1] : Value::Int(0);
  if (sum.is_string()) {
    return RunError("sum() cannot add strings");
  }
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<Iterator> each, Iterate(run, subject));
  Value item;
  while (run.budget.SpendSteps(1) && each->Next(item)) {
    TW_ASSIGN_OR_RETURN(item, Follow(run, path, std::move(item)));
    TW_ASSIGN_OR_RETURN(sum, Arithmetic(run, Operator::kAdd, sum, item));
  }
  return sum;
}

}  // namespace

const std::initializer_list<FilterEntry> kNumberFilters = {
    {"abs", AbsFilter},     {"count", LengthFilter}, {"filesizeformat", FileSizeFilter},
    {"float", FloatFilter}, {"int", IntFilter},      {"length", LengthFilter},
    {"round", RoundFilter}, {"sum", SumFilter},
};

}  // namespace tradewind::engine::prompt
