// Amounts of money as people write and read them.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "ledger/money.h"

namespace tradewind::billing {

// "5", "0.25", "$0.25": USD, exact to the nano-dollar. Errors: kInvalidArgument with `param`: no such
// number, negative, finer than a nano-dollar, more than 1,000,000.
Result<ledger::NanoUsd> ParseUsd(std::string_view text, std::string param);

// "$0.25", "$12.00", "-$0.000000001": at least cents, no zeros behind them.
std::string FormatUsd(ledger::NanoUsd amount);

}  // namespace tradewind::billing
