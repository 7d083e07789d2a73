// Exact decimal numbers, read from text and never through a double: prices, and the caps that
// people set on them.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind {

// digits() * 10^exponent(), in one form only: no zeros at the end of the digits; zero is 0 * 10^0.
// At most kDecimalDigitsMax significant digits and an exponent of at most +-kDecimalExponentMax, so
// that two of them compare, and one times a count of tokens stays, within 128 bits.
class Decimal {
 public:
  static constexpr int kDecimalDigitsMax = 18;    // a shortest double has 17
  static constexpr int kDecimalExponentMax = 30;  // USD per token in nano-USD per million: 1e-15
  static constexpr size_t kTextBytesMax = 64;

  constexpr Decimal() = default;  // zero

  // Reads -?[0-9]+(.[0-9]+)?([eE][+-]?[0-9]+)? and nothing else: no spaces, signs of plus, NaN,
  // infinities, hexadecimal or separators. Leading and trailing zeros do not count as digits.
  // Errors: kInvalidArgument (no such number; more digits or a larger exponent than fit). Never
  // rounds.
  static Result<Decimal> Parse(std::string_view text);

  // The same number moved by `power` places: USD per token is USD per million shifted by -6.
  // Errors: kInvalidArgument when the exponent leaves its range.
  Result<Decimal> Shifted(int power) const;

  int64_t digits() const { return digits_; }
  int exponent() const { return exponent_; }
  bool is_zero() const { return digits_ == 0; }
  bool is_negative() const { return digits_ < 0; }

  // Plain digits, as JSON and people read them: "0.00000015", "300", "-1.5".
  std::string ToString() const;

  friend bool operator==(const Decimal&, const Decimal&) = default;
  friend std::strong_ordering operator<=>(const Decimal& a, const Decimal& b);

 private:
  constexpr Decimal(int64_t digits, int exponent) : digits_(digits), exponent_(exponent) {}

  int64_t digits_ = 0;
  int exponent_ = 0;
};

}  // namespace tradewind
