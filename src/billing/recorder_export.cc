// Of Recorder: what an export begins with.
#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "billing/credits.h"
#include "billing/export_sums.h"
#include "billing/meters.h"
#include "billing/recorder_parts.h"

namespace tradewind::billing {

Status Recorder::BeginExport(const MeterFilter& filter, ExportSums& sums) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  MeterFilter part = filter;
  part.by_day = true;
  TW_RETURN_IF_ERROR(ReadMeters(part, sums.by_day));
  TW_RETURN_IF_ERROR(ReadCreditUses(filter, [&sums](CreditUseKey use, ledger::NanoUsd amount) {
    use.hour = 0;
    use.project_id.clear();
    use.key_id.clear();
    sums.credits[std::move(use)] += amount;
  }));
  TW_ASSIGN_OR_RETURN(storage::Statement last,
                      database_.Prepare("SELECT coalesce(max(hour), 0) FROM meters"));
  TW_ASSIGN_OR_RETURN(const bool has_row, last.Next());
  sums.last_hour = has_row ? last.Integer(0) : 0;
  sums.last_hour = std::clamp(sums.last_hour, filter.from_hour, filter.to_hour);
  for (const char* table : {"meters", "credit_uses"}) {
    TW_ASSIGN_OR_RETURN(
        storage::Statement query,
        database_.Prepare(fmt::format(
            "SELECT hour, count(*) FROM {} WHERE hour >= ?1 AND hour < ?2 AND (?3 = '' OR "
            "org = ?3) AND (?4 = '' OR key = ?4) GROUP BY hour",
            table)));
    query.Bind(1, filter.from_hour).Bind(2, sums.last_hour);
    query.Bind(3, std::string_view(filter.org_id)).Bind(4, std::string_view(filter.key_id));
    while (true) {
      TW_ASSIGN_OR_RETURN(const bool has_hour, query.Next());
      if (!has_hour) {
        break;
      }
      sums.rows[query.Integer(0)] += query.Integer(1);
    }
  }
  part = filter;
  part.from_hour = sums.last_hour;
  TW_RETURN_IF_ERROR(ReadMeters(part, sums.last_meters));
  return ReadCreditUses(part, [&sums](CreditUseKey use, ledger::NanoUsd amount) {
    sums.last_credits[std::move(use)] += amount;
  });
}

}  // namespace tradewind::billing
