// What was spent in a budget's period before the budget was set: it counts from then on.
#pragma once

#include <optional>

#include "base/result.h"
#include "billing/recorder.h"
#include "ledger/ledger.h"
#include "ledger/money.h"

namespace tradewind::console_api {

// Settled in the window that is now, and not in the budget. Nullopt: no sum tells it (of a user, a
// project or probes; of a period that moves, or begins within a quarter of an hour). Waits for the
// disk. Errors: those of the recorder.
Result<std::optional<ledger::NanoUsd>> SpentBefore(const ledger::BudgetState& budget,
                                                   billing::Recorder& recorder);

}  // namespace tradewind::console_api
