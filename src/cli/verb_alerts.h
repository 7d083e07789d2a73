// The verb alerts.
#pragma once

#include "base/result.h"
#include "cli/exit_codes.h"

namespace tradewind::cli {

class Settings;

Result<ExitCode> RunAlerts(const Settings& settings);

}  // namespace tradewind::cli
