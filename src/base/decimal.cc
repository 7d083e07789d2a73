#include "base/decimal.h"

#include <algorithm>

#include <fmt/format.h>

namespace tradewind {
namespace {

// Clang's name for it; a pedantic build knows no other.
using Int128 = __int128_t;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

std::unexpected<Error> Wrong(std::string_view text, std::string_view why) {
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("\"{}\" {}; write a plain decimal number such as 0.15",
                          text.substr(0, Decimal::kTextBytesMax), why));
}

// Takes the digits at the front of `rest`.
std::string_view TakeDigits(std::string_view& rest) {
  const auto end = std::find_if_not(rest.begin(), rest.end(), IsDigit);
  const auto count = static_cast<size_t>(end - rest.begin());
  const std::string_view digits = rest.substr(0, count);
  rest.remove_prefix(count);
  return digits;
}

int DigitCount(int64_t magnitude) {
  int count = 0;
  for (; magnitude > 0; magnitude /= 10) {
    ++count;
  }
  return count;
}

// What stands after 'e'. False when it is no exponent; a huge one is cut to a value that is out of
// range in every use.
bool ReadExponent(std::string_view rest, int64_t& exponent) {
  constexpr int64_t kFar = 1'000'000;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) {
    rest.remove_prefix(1);
  }
  const std::string_view digits = TakeDigits(rest);
  if (digits.empty() || !rest.empty()) {
    return false;
  }
  exponent = 0;
  for (const char c : digits) {
    exponent = std::min(kFar, exponent * 10 + (c - '0'));
  }
  exponent = negative ? -exponent : exponent;
  return true;
}

}  // namespace

Result<Decimal> Decimal::Parse(std::string_view text) {
  if (text.size() > kTextBytesMax) {
    return Wrong(text, fmt::format("is longer than {} characters", kTextBytesMax));
  }
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  rest.remove_prefix(negative ? 1 : 0);
  std::string digits(TakeDigits(rest));
  bool is_number = !digits.empty();
  int64_t exponent = 0;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    const std::string_view fraction = TakeDigits(rest);
    is_number = is_number && !fraction.empty();
    digits += fraction;
    exponent -= static_cast<int64_t>(fraction.size());
  }
  if (rest.starts_with('e') || rest.starts_with('E')) {
    int64_t written = 0;
    is_number = is_number && ReadExponent(rest.substr(1), written);
    exponent += written;
    rest = {};
  }
  if (!is_number || !rest.empty()) {
    return Wrong(text, "is not a number");
  }
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) {
    return Decimal();
  }
  const size_t last = digits.find_last_not_of('0');
  exponent += static_cast<int64_t>(digits.size() - 1 - last);
  digits = digits.substr(first, last + 1 - first);
  if (digits.size() > static_cast<size_t>(kDecimalDigitsMax)) {
    return Wrong(text, fmt::format("has more than {} digits", kDecimalDigitsMax));
  }
  if (exponent > kDecimalExponentMax || exponent < -kDecimalExponentMax) {
    return Wrong(text, "is too large or too small");
  }
  int64_t value = 0;
  for (const char c : digits) {
    value = value * 10 + (c - '0');
  }
  return Decimal(negative ? -value : value, static_cast<int>(exponent));
}

Result<Decimal> Decimal::Shifted(int power) const {
  if (digits_ == 0) {
    return Decimal();
  }
  const int64_t exponent = int64_t{exponent_} + power;
  if (exponent > kDecimalExponentMax || exponent < -kDecimalExponentMax) {
    return Wrong(ToString(), fmt::format("times 10^{} is too large or too small", power));
  }
  return Decimal(digits_, static_cast<int>(exponent));
}

std::string Decimal::ToString() const {
  std::string text = std::to_string(digits_ < 0 ? -digits_ : digits_);
  if (exponent_ >= 0) {
    text.append(static_cast<size_t>(exponent_), '0');
  } else {
    const auto places = static_cast<size_t>(-exponent_);
    if (text.size() <= places) {
      text.insert(0, places + 1 - text.size(), '0');
    }
    text.insert(text.size() - places, 1, '.');
  }
  return digits_ < 0 ? "-" + text : text;
}

std::strong_ordering operator<=>(const Decimal& a, const Decimal& b) {
  const int a_sign = (a.digits_ > 0) - (a.digits_ < 0);
  const int b_sign = (b.digits_ > 0) - (b.digits_ < 0);
  if (a_sign != b_sign || a_sign == 0) {
    return a_sign <=> b_sign;
  }
  const int64_t a_size = a.digits_ * a_sign;
  const int64_t b_size = b.digits_ * b_sign;
  // Numbers of the same length above and below the point differ in their exponents by less than the
  // digits there can be, so that aligning them stays below 10^36.
  const int a_top = DigitCount(a_size) + a.exponent_;
  const int b_top = DigitCount(b_size) + b.exponent_;
  std::strong_ordering order = a_top <=> b_top;
  if (a_top == b_top) {
    Int128 left = a_size, right = b_size;
    for (int i = a.exponent_; i > b.exponent_; --i) {
      left *= 10;
    }
    for (int i = b.exponent_; i > a.exponent_; --i) {
      right *= 10;
    }
    order = left < right    ? std::strong_ordering::less
            : left == right ? std::strong_ordering::equal
                            : std::strong_ordering::greater;
  }
  return a_sign > 0 ? order : 0 <=> order;
}

}  // namespace tradewind
