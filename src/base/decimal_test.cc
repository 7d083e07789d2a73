// Decimals against examples, and against an oracle that works on strings alone.
#include "base/decimal.h"

#include <random>

#include <gtest/gtest.h>

namespace tradewind {
namespace {

std::string Show(std::string_view text) {
  const auto value = Decimal::Parse(text);
  return value ? value->ToString() : "refused";
}

TEST(Decimal, ReadsWhatPeopleAndPriceMapsWrite) {
  EXPECT_EQ(Show("0.10"), "0.1");
  EXPECT_EQ(Show("1.5e-07"), "0.00000015");
  EXPECT_EQ(Show("3E+2"), "300");
  EXPECT_EQ(Show("8e-7"), "0.0000008");
  EXPECT_EQ(Show("-0.50"), "-0.5");
  EXPECT_EQ(Show("000123.4500"), "123.45");
  EXPECT_EQ(Show("100"), "100");
  EXPECT_EQ(Show("0.00009500000000000001"), "0.00009500000000000001");
  EXPECT_EQ(Show("999999999999999999"), "999999999999999999");
}

TEST(Decimal, ZeroHasOneForm) {
  for (const char* zero : {"0", "-0", "0.000", "0e5", "0E-99999999999999999999", "00"}) {
    const auto value = Decimal::Parse(zero);
    ASSERT_TRUE(value.has_value()) << zero;
    EXPECT_EQ(*value, Decimal()) << zero;
    EXPECT_EQ(value->ToString(), "0") << zero;
    EXPECT_FALSE(value->is_negative()) << zero;
  }
}

TEST(Decimal, RefusesWhatIsNoNumberOrDoesNotFit) {
  for (const char* wrong :
       {"",
        "-",
        "+1",
        ".5",
        "5.",
        "1.e5",
        "1e",
        "1e+",
        "1e-",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "1,5",
        "1_000",
        "0x10",
        " 1",
        "1 ",
        "1.2.3",
        "--1",
        "1e5x",
        "1e5.0",
        "$1",
        "1e1000",
        "1e-31",
        "1e31",
        "1e99999999999999999",
        "\xC2\xB9",
        "1234567890123456789",
        "0.1234567890123456789",
        "99999999999999999999999999",
        "0000000000000000000000000000000000000000000000000000000000000000001"}) {
    EXPECT_EQ(Decimal::Parse(wrong).error().code, ErrorCode::kInvalidArgument) << wrong;
  }
  EXPECT_EQ(Show(std::string_view("1\0", 2)), "refused");
}

TEST(Decimal, ShiftsByPowersOfTenWithoutTouchingTheDigits) {
  const Decimal cents = Decimal::Parse("0.00005").value();
  EXPECT_EQ(cents.Shifted(4)->ToString(), "0.5");
  EXPECT_EQ(cents.Shifted(4)->digits(), cents.digits());
  EXPECT_EQ(Decimal().Shifted(1000)->ToString(), "0");
  EXPECT_FALSE(cents.Shifted(1000).has_value());
  EXPECT_FALSE(cents.Shifted(-1000).has_value());
  EXPECT_FALSE(cents.Shifted(2147483647).has_value());
}

TEST(Decimal, ComparesByValue) {
  const auto number = [](std::string_view text) { return Decimal::Parse(text).value(); };
  const std::vector<Decimal> rising = {number("-1e30"),
                                       number("-100.5"),
                                       number("-100"),
                                       number("-1e-30"),
                                       number("0"),
                                       number("1e-30"),
                                       number("0.000000000000000001"),
                                       number("0.5"),
                                       number("0.500000000000000001"),
                                       number("1"),
                                       number("999999999999999999"),
                                       number("1e18"),
                                       number("999999999999999999e12"),
                                       number("1e30"),
                                       number("999999999999999999e30")};
  for (size_t i = 0; i < rising.size(); ++i) {
    for (size_t j = 0; j < rising.size(); ++j) {
      EXPECT_EQ(rising[i] <=> rising[j], i <=> j) << i << " " << j;
      EXPECT_EQ(rising[i] == rising[j], i == j) << i << " " << j;
    }
  }
}

// The slow twin: a number as its digits before and after the point, moved by hand.
struct Written {
  std::string text;   // as Parse gets it
  std::string plain;  // what it means, without an exponent or needless zeros
};

Written RandomNumber(std::mt19937_64& random) {
  const auto below = [&](size_t bound) { return static_cast<size_t>(random() % bound); };
  std::string whole, fraction;
  for (size_t i = 1 + below(8); i > 0; --i) {
    whole += static_cast<char>('0' + below(10));
  }
  for (size_t i = below(9); i > 0; --i) {
    fraction += static_cast<char>('0' + below(10));
  }
  Written out;
  const bool negative = below(4) == 0;
  out.text = (negative ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
  if (below(2) == 0) {
    const int exponent = static_cast<int>(below(25)) - 12;
    out.text += (below(2) == 0 ? "e" : "E") +
                std::string(exponent >= 0 && below(2) == 0 ? "+" : "") + std::to_string(exponent);
    for (int i = 0; i < exponent; ++i) {
      whole += fraction.empty() ? '0' : fraction[0];
      fraction.erase(0, fraction.empty() ? 0 : 1);
    }
    for (int i = 0; i > exponent; --i) {
      fraction.insert(0, 1, whole.empty() ? '0' : whole.back());
      whole.resize(whole.empty() ? 0 : whole.size() - 1);
    }
  }
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  out.plain = (whole.empty() ? "0" : whole) + (fraction.empty() ? "" : "." + fraction);
  if (negative && out.plain != "0") {
    out.plain.insert(0, 1, '-');
  }
  return out;
}

// Compares plain numbers as strings.
std::strong_ordering ComparePlain(std::string a, std::string b) {
  const bool a_negative = a.starts_with('-'), b_negative = b.starts_with('-');
  if (a_negative != b_negative) {
    return a_negative ? std::strong_ordering::less : std::strong_ordering::greater;
  }
  if (a_negative) {
    return ComparePlain(b.substr(1), a.substr(1));
  }
  size_t a_point = std::min(a.find('.'), a.size()), b_point = std::min(b.find('.'), b.size());
  a.insert(0, std::max(a_point, b_point) - a_point, '0');
  b.insert(0, std::max(a_point, b_point) - b_point, '0');
  const int order = a.compare(b);  // "1" < "1.5": a prefix is smaller
  return order <=> 0;
}

TEST(Decimal, AgreesWithStringArithmeticOnRandomNumbers) {
  std::mt19937_64 random(20261125);
  for (int i = 0; i < 50'000; ++i) {
    const Written a = RandomNumber(random), b = RandomNumber(random);
    const auto left = Decimal::Parse(a.text), right = Decimal::Parse(b.text);
    ASSERT_TRUE(left.has_value() && right.has_value()) << a.text << " " << b.text;
    ASSERT_EQ(left->ToString(), a.plain) << a.text;
    ASSERT_EQ(*left <=> *right, ComparePlain(a.plain, b.plain)) << a.text << " " << b.text;
    ASSERT_EQ(Decimal::Parse(a.plain).value(), *left) << a.text;
  }
}

TEST(Decimal, RandomBytesAreRefusedOrReadBackTheSame) {
  std::mt19937_64 random(7);
  constexpr std::string_view kAlphabet = "0123456789.eE+-x ";
  int read = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string text;
    for (size_t n = random() % 8; n > 0; --n) {
      text += kAlphabet[random() % kAlphabet.size()];
    }
    const auto value = Decimal::Parse(text);
    if (value) {
      ++read;
      ASSERT_EQ(Decimal::Parse(value->ToString()).value(), *value) << text;
    }
  }
  EXPECT_GT(read, 1000);
}

}  // namespace
}  // namespace tradewind
