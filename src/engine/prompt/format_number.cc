// Numbers and padding by format specifications, for % and str.format.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/prompt/format.h"

namespace tradewind::engine::prompt {
namespace {

constexpr int kPrecisionMax = 1000;

std::string Lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return text;
}

std::string Upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  return text;
}

std::string Group(std::string digits, char separator, size_t every) {
  for (size_t at = digits.size(); at > every; at -= every) {
    digits.insert(at - every, 1, separator);
  }
  return digits;
}

std::string IntegerDigits(uint64_t magnitude, char type) {
  char buffer[72];
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr;
  std::string digits(buffer, static_cast<size_t>(end - buffer));
  return type == 'X' ? Upper(digits) : digits;
}

// %g: up to `precision` significant digits, trailing zeros dropped.
std::string General(double magnitude, int precision, bool alternate) {
  char buffer[1100];
  const int digits = precision == 0 ? 1 : precision;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude,
                                 std::chars_format::scientific, digits - 1)
                       .ptr;
  std::string_view scientific(buffer, static_cast<size_t>(end - buffer));
  const size_t e = scientific.find('e');
  int exponent = 0;
  std::from_chars(scientific.data() + e + (scientific[e + 1] == '+' ? 2 : 1), end, exponent);
  const auto trim = [alternate](std::string text) {
    if (!alternate && text.find('.') != std::string::npos) {
      text.erase(text.find_last_not_of('0') + 1);
      if (text.ends_with('.')) {
        text.pop_back();
      }
    }
    return text;
  };
  if (exponent < -4 || exponent >= digits) {
    return trim(std::string(scientific.substr(0, e))) + std::string(scientific.substr(e));
  }
  char fixed[2200];
  const auto fixed_end = std::to_chars(fixed, fixed + sizeof fixed, magnitude,
                                       std::chars_format::fixed, std::max(digits - 1 - exponent, 0))
                             .ptr;
  return trim(std::string(fixed, static_cast<size_t>(fixed_end - fixed)));
}

std::string RealDigits(double magnitude, const NumberFormat& format) {
  if (std::isnan(magnitude) || std::isinf(magnitude)) {
    return std::isnan(magnitude) ? "nan" : "inf";
  }
  const int precision = format.precision < 0 ? 6 : format.precision;
  char buffer[1500];
  switch (format.type | 0x20) {
    case 'e': {
      const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude,
                                     std::chars_format::scientific, precision)
                           .ptr;
      return std::string(buffer, static_cast<size_t>(end - buffer));
    }
    case 'f': {
      const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude,
                                     std::chars_format::fixed, precision)
                           .ptr;
      return std::string(buffer, static_cast<size_t>(end - buffer));
    }
    default:
      return General(magnitude, precision, format.alternate);
  }
}

std::string Signed(bool negative, char sign, std::string digits) {
  return (negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "") + std::move(digits);
}

Result<std::string> FormatReal(double value, NumberFormat format) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  const double magnitude = std::abs(value);
  std::string digits;
  if (format.type == '%') {
    format.type = 'f';
    digits = RealDigits(magnitude * 100, format) + "%";
  } else if (format.type == 0 && format.precision < 0) {
    digits = FloatRepr(magnitude);
  } else if (format.type == 0) {
    digits = RealDigits(magnitude, {'g', format.precision, format.alternate, '-', 0});
    if (digits.find_first_of(".en") == std::string::npos) {
      digits += ".0";
    }
  } else {
    const bool upper = format.type >= 'A' && format.type <= 'Z';
    digits = RealDigits(magnitude, format);
    digits = upper ? Upper(digits) : Lower(digits);
  }
  if (format.grouping != 0) {
    const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
    digits = Group(digits.substr(0, whole), format.grouping, 3) + digits.substr(whole);
  }
  return Signed(negative, format.sign, std::move(digits));
}

// Python's format specification, taken apart.
struct Specification {
  std::string fill = " ";
  bool literal = true;  // the template wrote the specification, and so the fill
  char align = 0;
  bool zero = false;
  int64_t width = 0;
  NumberFormat number;
};

Result<Specification> ParseSpecification(std::string_view text) {
  Specification spec;
  size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!text.empty()) {
    const size_t fill = static_cast<size_t>(DecodeUtf8(text).bytes);
    if (fill < text.size() && is_align(text[fill])) {
      spec.fill = text.substr(0, fill);
      spec.align = text[fill];
      at = fill + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto take = [&](std::string_view allowed) {
    return at < text.size() && allowed.find(text[at]) != std::string_view::npos ? text[at++] : '\0';
  };
  const auto number = [&](int64_t& out) {
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), out);
    const bool fine = error == std::errc();
    at = static_cast<size_t>(end - text.data());
    return fine;
  };
  if (const char sign = take("+- "); sign != 0) {
    spec.number.sign = sign;
  }
  spec.number.alternate = take("#") != 0;
  if (at < text.size() && text[at] == '0') {
    spec.zero = true;
    ++at;
  }
  if (at < text.size() && text[at] >= '0' && text[at] <= '9' && !number(spec.width)) {
    return RunError("the width of a format is too large");
  }
  spec.number.grouping = take(",_");
  if (take(".") != 0) {
    int64_t precision = 0;
    if (at == text.size() || text[at] < '0' || text[at] > '9' || !number(precision)) {
      return RunError("a format lacks its precision");
    }
    spec.number.precision = static_cast<int>(std::min<int64_t>(precision, INT32_MAX));
  }
  spec.number.type = take("sbcdoxXneEfFgG%");
  if (at != text.size()) {
    return RunError("invalid format specifier '{}'", text);
  }
  return spec;
}

// Text in a field: `before_sign` bytes of it (a sign) stay in front of '=' padding.
void AppendPadded(Run& run, const Text& text, const Specification& spec, char otherwise,
                  TextBuilder& out) {
  const int64_t missing = std::max<int64_t>(spec.width - text.length(), 0);
  const char align = spec.align != 0 ? spec.align : spec.zero ? '=' : otherwise;
  const std::string fill = spec.zero && spec.align == 0 ? "0" : spec.fill;
  const Value pad = MakeText(&run.budget, fill, spec.literal);
  const size_t sign = align == '=' && text.size() > 0 &&
                      std::string_view("+- ").find(text.view()[0]) != std::string_view::npos;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  out.Append(text, 0, sign);
  out.AppendRepeated(pad.text(), left);
  out.Append(text, sign, text.size());
  out.AppendRepeated(pad.text(), missing - left);
}

}  // namespace

Result<std::string> FormatNumber(const Value& value, const NumberFormat& format) {
  if (format.precision > kPrecisionMax) {
    return RunError("a precision above {} is not supported", kPrecisionMax);
  }
  const bool integer_type = format.type == 'd' || format.type == 'x' || format.type == 'X' ||
                            format.type == 'o' || format.type == 'b' || format.type == 'n';
  if (value.is(Kind::kBigInt)) {
    if (format.type == 0 || format.type == 'd') {
      return value.as<BigInt>().digits;
    }
    return RunError("this format does not take integers beyond 64 bits");
  }
  if (value.is_integral() && format.type == 'c') {
    if (value.integer() < 0 || value.integer() > 0x10FFFF) {
      return RunError("%c needs a character code");
    }
    std::string text;
    AppendUtf8(static_cast<char32_t>(value.integer()), text);
    return text;
  }
  if (value.is_integral() && (integer_type || format.type == 0)) {
    const bool negative = value.integer() < 0;
    const uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(value.integer())
                                        : static_cast<uint64_t>(value.integer());
    std::string digits = IntegerDigits(magnitude, format.type);
    if (format.precision > static_cast<int>(digits.size())) {
      digits.insert(0, static_cast<size_t>(format.precision) - digits.size(), '0');
    }
    if (format.grouping != 0) {
      digits =
          Group(std::move(digits), format.grouping, format.type == 0 || format.type == 'd' ? 3 : 4);
    }
    if (format.alternate && format.type != 0 && format.type != 'd' && format.type != 'n') {
      digits = std::string{'0', format.type} + digits;
    }
    return Signed(negative, format.sign, std::move(digits));
  }
  const bool real_type = !integer_type || (format.type == 'n' && value.is(Kind::kFloat));
  if (value.is_number() && real_type && format.type != 'c' && format.type != 's') {
    NumberFormat real = format;
    real.type = format.type == 'n' ? 'g' : format.type;
    return FormatReal(value.real(), real);
  }
  return RunError("format '{}' does not take a value of type {}",
                  format.type == 0 ? 'd' : format.type, TypeName(value));
}

Status AppendFormatted(Run& run, const Value& value, const TextBuilder& specification,
                       TextBuilder& out) {
  if (specification.size() == 0) {
    AppendStr(run, value, out);
    return {};
  }
  TW_ASSIGN_OR_RETURN(Specification spec, ParseSpecification(specification.view()));
  spec.literal = specification.all_literal();
  if (value.is_string()) {
    if (spec.number.type != 0 && spec.number.type != 's') {
      return RunError("unknown format code '{}' for a string", spec.number.type);
    }
    if (spec.align == '=' || spec.number.sign != '-' || spec.number.grouping != 0 ||
        spec.number.alternate) {
      return RunError("signs, '#', grouping and '=' alignment are not allowed for strings");
    }
    const Text& text = value.text();
    const size_t end =
        spec.number.precision >= 0 ? text.ByteOffset(spec.number.precision) : text.size();
    Specification field = spec;
    if (spec.zero && spec.align == 0) {
      field.align = '<';
      field.fill = "0";
    }
    AppendPadded(run, Slice(&run.budget, text, 0, end).text(), field, '<', out);
    return run.Check();
  }
  if (!value.is_number() && !value.is(Kind::kBigInt)) {
    return RunError("a value of type {} takes no format specification", TypeName(value));
  }
  if (value.is_integral() && spec.number.precision >= 0 &&
      (spec.number.type == 0 || spec.number.type == 'd')) {
    return RunError("precision is not allowed for an integer");
  }
  TW_ASSIGN_OR_RETURN(const std::string digits, FormatNumber(value, spec.number));
  AppendPadded(run, MakeText(&run.budget, digits, !value.from_data()).text(), spec, '>', out);
  return run.Check();
}

}  // namespace tradewind::engine::prompt
