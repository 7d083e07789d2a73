#include "billing/usd.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/decimal.h"
#include "ledger/book.h"

namespace tradewind::billing {

Result<ledger::NanoUsd> ParseUsd(std::string_view text, std::string param) {
  const Result<Decimal> decimal = Decimal::Parse(text.substr(text.starts_with('$') ? 1 : 0));
  if (!decimal.has_value()) {
    return Fail(ErrorCode::kInvalidArgument,
                "`" + param + "` is an amount of USD, like \"5\" or \"0.25\".", param);
  }
  int64_t nano = decimal->digits();
  const int places = decimal->exponent() + 9;
  bool fits = places >= 0 && nano >= 0;
  for (int i = 0; fits && i < places && nano != 0; ++i) {
    fits = !__builtin_mul_overflow(nano, int64_t{10}, &nano);
  }
  if (!fits || nano > ledger::kAmountMax) {
    return Fail(ErrorCode::kInvalidArgument,
                "`" + param + "` is 0 to 1000000 USD, with at most nine decimal places.", param);
  }
  return nano;
}

std::string FormatUsd(ledger::NanoUsd amount) {
  const bool is_negative = amount < 0;
  const uint64_t nano =
      is_negative ? 0 - static_cast<uint64_t>(amount) : static_cast<uint64_t>(amount);
  std::string digits = fmt::format("{}.{:09}", nano / 1'000'000'000, nano % 1'000'000'000);
  digits.erase(std::max(digits.find_last_not_of('0') + 1, digits.find('.') + 3));
  return fmt::format("{}${}", is_negative ? "-" : "", digits);
}

}  // namespace tradewind::billing
