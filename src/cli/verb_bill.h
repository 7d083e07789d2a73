// Verbs of bills; beside those of verbs.h.
#pragma once

#include "base/result.h"
#include "cli/exit_codes.h"

namespace tradewind::cli {

class Settings;

Result<ExitCode> RunBill(const Settings& settings);
Result<ExitCode> RunBackup(const Settings& settings);
Result<ExitCode> RunRerate(const Settings& settings);        // verb_rerate.cc
Result<ExitCode> RunPriceHistory(const Settings& settings);  // prices history

}  // namespace tradewind::cli
