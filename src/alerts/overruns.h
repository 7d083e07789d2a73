// Of providers that bill, or count, more than what was asked for allows.
#pragma once

#include <string_view>
#include <vector>

#include "alerts/alert.h"
#include "base/result.h"
#include "billing/barred.h"
#include "billing/recorder.h"
#include "storage/database.h"

namespace tradewind::alerts {

// What the scope of a route that nobody may use begins with.
inline constexpr std::string_view kAllPart = "all/";

// It cost more than was held.
Alert OverrunOf(const billing::AttemptRow& row);
// Adds it to an open one of the same route, which nobody is told of again. False: there is none.
Result<bool> CountOverrun(storage::Database& database, const Alert& more);
// More tokens than it can have, or some of a kind that has no price.
Alert UsageOf(const billing::AttemptRow& row);
// What bounds the route bounds no bill: no hard budget can be kept on it, or nothing at all.
Alert BarredOf(const billing::AttemptRow& row, const billing::BarredRoute& route);

// What BarredOf has told, and nobody has acknowledged. Errors: those of storage::Database.
Result<std::vector<billing::BarredRoute>> BarredNow(storage::Database& database);

}  // namespace tradewind::alerts
