#include "providers/retry_after.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include "base/text.h"

namespace tradewind::providers {
namespace {

constexpr double kMostMs = 86'400'000;

// Takes a number from the front; nothing when there is none, or it is below 0.
std::optional<double> TakeNumber(std::string_view& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (read.ec != std::errc() || !std::isfinite(number) || number < 0) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<size_t>(read.ptr - text.data()));
  return number;
}

std::optional<int64_t> Bounded(double ms) {
  return static_cast<int64_t>(std::ceil(std::min(ms, kMostMs)));
}

std::optional<int64_t> Plain(std::optional<std::string_view> text, double unit_ms) {
  if (!text.has_value()) {
    return std::nullopt;
  }
  const auto number = TakeNumber(*text);
  return number.has_value() && text->empty() ? Bounded(*number * unit_ms) : std::nullopt;
}

// "2m59.56s", "120ms", "1h", or seconds without a unit.
std::optional<int64_t> Span(std::string_view text) {
  struct Unit {
    std::string_view name;
    double ms;
  };
  constexpr std::array<Unit, 5> kUnits = {
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  if (const auto seconds = Plain(text, 1000); seconds.has_value()) {
    return seconds;
  }
  double total_ms = 0;
  do {
    const auto number = TakeNumber(text);
    const auto* const unit =
        std::ranges::find_if(kUnits, [&](const Unit& one) { return text.starts_with(one.name); });
    if (!number.has_value() || unit == kUnits.end()) {
      return std::nullopt;
    }
    text.remove_prefix(unit->name.size());
    total_ms += *number * unit->ms;
  } while (!text.empty());
  return Bounded(total_ms);
}

std::optional<int> Digits(std::string_view text, size_t at, size_t count) {
  int number = 0;
  const char* begin = text.data() + at;
  const auto read = std::from_chars(begin, begin + count, number);
  return read.ec == std::errc() && read.ptr == begin + count && number >= 0 ? std::optional(number)
                                                                            : std::nullopt;
}

// "Sun, 06 Nov 1994 08:49:37 GMT"; the two older forms are not sent any more.
std::optional<std::chrono::sys_seconds> HttpDate(std::string_view text) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  constexpr std::string_view kForm = "Sun, 06 Nov 1994 08:49:37 GMT";
  if (text.size() != kForm.size() || !text.ends_with(" GMT")) {
    return std::nullopt;
  }
  const size_t month = kMonths.find(text.substr(8, 3));
  const auto day = Digits(text, 5, 2), year = Digits(text, 12, 4), hour = Digits(text, 17, 2),
             minute = Digits(text, 20, 2), second = Digits(text, 23, 2);
  if (month == std::string_view::npos || month % 3 != 0 || !day || !year || !hour || !minute ||
      !second) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(month / 3 + 1)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) {
    return std::nullopt;
  }
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

std::optional<int64_t> UntilReset(const http::Headers& headers) {
  constexpr std::string_view kReset = "x-ratelimit-reset-";
  std::optional<int64_t> longest;
  for (const auto& [name, value] : headers.all()) {
    const std::string lower = AsciiLower(name);
    if (!lower.starts_with(kReset) ||
        headers.Find("x-ratelimit-remaining-" + lower.substr(kReset.size())) != "0") {
      continue;
    }
    if (const auto ms = Span(value); ms.has_value()) {
      longest = std::max(*ms, longest.value_or(0));
    }
  }
  return longest;
}

}  // namespace

std::optional<int64_t> RetryAfterMs(const http::Headers& headers,
                                    std::chrono::system_clock::time_point now) {
  if (const auto ms = Plain(headers.Find("retry-after-ms"), 1); ms.has_value()) {
    return ms;
  }
  const auto field = headers.Find("Retry-After");
  if (const auto ms = Plain(field, 1000); ms.has_value()) {
    return ms;
  }
  if (field.has_value()) {
    if (const auto at = HttpDate(*field); at.has_value()) {
      // In seconds: the year 9999 has no nanoseconds in 64 bits.
      const auto left = *at - std::chrono::floor<std::chrono::seconds>(now);
      return Bounded(1000.0 * static_cast<double>(std::max<int64_t>(left.count(), 0)));
    }
  }
  return UntilReset(headers);
}

}  // namespace tradewind::providers
