#include "billing/bill_period.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include <fmt/format.h>

namespace tradewind::billing {
namespace {

namespace chr = std::chrono;

int64_t SecondsOf(chr::year_month_day day) {
  return chr::duration_cast<chr::seconds>(chr::sys_days(day).time_since_epoch()).count();
}

chr::year_month_day DayOf(int64_t unix_s) {
  return chr::floor<chr::days>(chr::sys_seconds(chr::seconds(unix_s)));
}

BillPeriod Month(chr::year_month month) {
  return {fmt::format("{:04}-{:02}", static_cast<int>(month.year()),
                      static_cast<unsigned>(month.month())),
          SecondsOf(month / chr::day(1)), SecondsOf((month + chr::months(1)) / chr::day(1))};
}

// `size` digits at `at`; -1 when they are none.
int Digits(std::string_view text, size_t at, size_t size) {
  int value = -1;
  const char* begin = text.data() + at;
  const auto read = std::from_chars(begin, begin + size, value);
  return read.ptr == begin + size && *begin != '-' ? value : -1;
}

}  // namespace

Result<BillPeriod> ParseBillPeriod(std::string_view text) {
  const auto wrong = [&] {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is no period: a month like 2026-11, or a day like 2026-11-25.",
                            text.substr(0, 32)),
                "period");
  };
  const bool is_day = text.size() == 10;
  if ((text.size() != 7 && !is_day) || text[4] != '-' || (is_day && text[7] != '-')) {
    return wrong();
  }
  const int year = Digits(text, 0, 4), month = Digits(text, 5, 2);
  const int day = is_day ? Digits(text, 8, 2) : 1;
  if (year < 1970 || month < 1 || day < 1) {
    return wrong();
  }
  const chr::year_month_day date{chr::year(year), chr::month(static_cast<unsigned>(month)),
                                 chr::day(static_cast<unsigned>(day))};
  if (!date.ok()) {
    return wrong();
  }
  constexpr int64_t kDayS = 86'400;
  return is_day ? BillPeriod{std::string(text), SecondsOf(date), SecondsOf(date) + kDayS}
                : Month(date.year() / date.month());
}

Result<BillPeriod> ParseBillMonth(std::string_view text) {
  TW_ASSIGN_OR_RETURN(BillPeriod period, ParseBillPeriod(text));
  if (!period.is_month()) {
    return Fail(ErrorCode::kInvalidArgument, "A provider's bill is for a month, like 2026-11.",
                "period");
  }
  return period;
}

BillPeriod MonthOf(int64_t unix_s) {
  const chr::year_month_day day = DayOf(unix_s);
  return Month(day.year() / day.month());
}

BillPeriod MonthBefore(const BillPeriod& month) {
  return MonthOf(month.from_s - 1);
}

std::string UtcDate(int64_t unix_s) {
  const chr::year_month_day day = DayOf(unix_s);
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
}

std::string UtcTime(int64_t unix_s) {
  constexpr int64_t kDayS = 86'400;
  const int64_t second = ((unix_s % kDayS) + kDayS) % kDayS;
  return fmt::format("{}T{:02}:{:02}:{:02}Z", UtcDate(unix_s), second / 3600, second / 60 % 60,
                     second % 60);
}

std::string TransferText(std::string_view what, std::string_view provider, const BillPeriod& period,
                         std::string_view why) {
  constexpr char kSeparator = '\x1F';
  constexpr size_t kWhyBytesMax = 1024;
  std::string reason(why.substr(0, kWhyBytesMax));
  std::ranges::replace(reason, kSeparator, ' ');
  return fmt::format("{}{}{}{}{}{}{}", what, kSeparator, provider, kSeparator, period.name,
                     kSeparator, reason);
}

std::string SuspenseName(std::string_view provider, const BillPeriod& period) {
  return fmt::format("suspense:{}/{}", provider, period.name);
}

}  // namespace tradewind::billing
