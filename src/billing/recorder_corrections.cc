// The table of corrections: rows beside attempts, in the sums of the admission and of the hour.
#include <array>
#include <cstdlib>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "billing/correction.h"
#include "billing/recorder_parts.h"

namespace tradewind::billing {
namespace {

constexpr std::string_view kColumns =
    "request, attempt, number, time_ns, admitted_ns, cost_before, charge_before, cost, charge, "
    "credits, text";

// "17:500 18:20 "
std::string SharesText(const std::vector<CreditShare>& shares) {
  std::string text;
  for (const CreditShare& share : shares) {
    text += fmt::format("{}:{} ", share.credit, share.amount);
  }
  return text;
}

std::vector<CreditShare> SharesOf(const std::string& text) {
  std::vector<CreditShare> shares;
  const char* at = text.c_str();
  while (*at != '\0') {
    char* end = nullptr;
    CreditShare share;
    share.credit = static_cast<ledger::AccountNumber>(std::strtoul(at, &end, 10));
    if (*end != ':') {
      break;
    }
    share.amount = std::strtoll(end + 1, &end, 10);
    shares.push_back(share);
    at = *end == ' ' ? end + 1 : end;
  }
  return shares;
}

Correction CorrectionOfRow(const storage::Statement& row) {
  Correction correction;
  correction.id = {IdOf(row.Blob(0)), static_cast<uint16_t>(row.Integer(1))};
  correction.number = static_cast<uint32_t>(row.Integer(2));
  correction.time_ns = row.Integer(3);
  correction.admitted_ns = row.Integer(4);
  correction.cost_before = row.Integer(5);
  correction.charge_before = row.Integer(6);
  correction.cost = row.Integer(7);
  correction.charge = row.Integer(8);
  correction.credits = SharesOf(std::string(row.Text(9)));
  DecodeInto(row.Text(10), correction);
  return correction;
}

}  // namespace

// Of a batch, in its transaction. Returns those that were not there: one that comes again is none.
Result<std::vector<Correction>> Recorder::WriteCorrections(
    std::span<const Correction> corrections) {
  std::vector<Correction> written;
  for (const Correction& one : corrections) {
    const std::array<std::byte, 16> id = BytesOf(one.id.request);
    TW_ASSIGN_OR_RETURN(
        storage::Statement known,
        database_.Prepare("SELECT 1 FROM corrections WHERE request = ?1 AND attempt = ?2 AND "
                          "number = ?3"));
    known.Bind(1, std::span<const std::byte>(id)).Bind(2, int64_t{one.id.attempt});
    known.Bind(3, int64_t{one.number});
    TW_ASSIGN_OR_RETURN(const bool is_known, known.Next());
    if (is_known) {
      continue;
    }
    TW_RETURN_IF_ERROR(database_.Run(
        fmt::format("INSERT INTO corrections ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
                    kColumns),
        std::span<const std::byte>(id), int64_t{one.id.attempt}, int64_t{one.number}, one.time_ns,
        one.admitted_ns, one.cost_before, one.charge_before, one.cost, one.charge,
        std::string_view(SharesText(one.credits)), std::string_view(Encode(one))));
    for (const CreditShare& back : one.credits) {
      TW_RETURN_IF_ERROR(
          database_.Run("INSERT INTO credit_uses VALUES (?1,?2,?3,?4,?5,?6) "
                        "ON CONFLICT DO UPDATE SET amount = amount + ?6",
                        HourOf(one.time_ns), std::string_view(one.purchase.org_id),
                        std::string_view(one.purchase.project_id),
                        std::string_view(one.purchase.key_id), int64_t{back.credit}, -back.amount));
    }
    written.push_back(one);
  }
  return written;
}

Status Recorder::ForEachCorrectionOf(std::span<const ledger::RequestId> ids,
                                     const std::function<void(const Correction&)>& take) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(fmt::format(
          "SELECT {} FROM corrections WHERE request = ?1 ORDER BY attempt, number", kColumns)));
  for (const ledger::RequestId& id : ids) {
    const std::array<std::byte, 16> bytes = BytesOf(id);
    query.Reset();
    query.Bind(1, std::span<const std::byte>(bytes));
    while (true) {
      TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
      if (!has_row) {
        break;
      }
      take(CorrectionOfRow(query));
    }
  }
  return {};
}

Result<std::vector<Correction>> Recorder::CorrectionPage(ledger::HoldId after, uint32_t number,
                                                         int64_t count) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(fmt::format("SELECT {} FROM corrections WHERE (request, attempt, number) > "
                                    "(?1, ?2, ?3) ORDER BY request, attempt, number LIMIT ?4",
                                    kColumns)));
  const std::array<std::byte, 16> bytes = BytesOf(after.request);
  query.Bind(1, std::span<const std::byte>(bytes)).Bind(2, int64_t{after.attempt});
  query.Bind(3, int64_t{number}).Bind(4, count);
  std::vector<Correction> rows;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return rows;
    }
    rows.push_back(CorrectionOfRow(query));
  }
}

Result<CorrectionList> Recorder::ListCorrections(const AttemptFilter& filter, int64_t before_ns,
                                                 size_t limit) {
  constexpr int64_t kLookedAtMax = 2000;
  CorrectionList list;
  if (filter.by_admission) {
    return list;
  }
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(fmt::format("SELECT {} FROM corrections WHERE time_ns < ?1 AND time_ns >= "
                                    "?2 ORDER BY time_ns DESC LIMIT ?3",
                                    kColumns)));
  query.Bind(1, std::min(before_ns, filter.to_ns)).Bind(2, filter.from_ns).Bind(3, kLookedAtMax);
  TW_ASSIGN_OR_RETURN(std::vector<Correction> rows,
                      storage::ReadAll(std::move(query), CorrectionOfRow));
  for (Correction& row : rows) {
    if (list.rows.size() == limit) {
      return list;
    }
    list.next_before_ns = row.time_ns;  // no two records have one time
    if (Matches(filter, RowOf(row))) {
      list.rows.push_back(std::move(row));
    }
  }
  if (rows.size() < kLookedAtMax) {
    list.next_before_ns.reset();
  }
  return list;
}

Status Recorder::AddCorrected(const MeterFilter& filter, Meters& meters) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return ReadCorrected(filter, meters);
}

Status Recorder::ReadCorrected(const MeterFilter& filter, Meters& meters) {
  // An attempt that was set aside ended about when it was admitted.
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(
          "SELECT c.text, coalesce(a.ended_ns, c.admitted_ns) AS ended FROM corrections c LEFT "
          "JOIN attempts a ON a.request = c.request AND a.attempt = c.attempt WHERE c.number = 1 "
          "AND c.cost_before = 0 AND c.time_ns / 3600000000000 >= ?1 AND "
          "c.time_ns / 3600000000000 < ?2 AND ended / 3600000000000 >= ?1 AND "
          "ended / 3600000000000 < ?2"));
  query.Bind(1, filter.from_hour).Bind(2, filter.to_hour);
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return {};
    }
    Correction correction;
    DecodeInto(query.Text(0), correction);
    const Purchase& bought = correction.purchase;
    if (!correction.makes_cost_known() ||
        (!filter.org_id.empty() && filter.org_id != bought.org_id) ||
        (!filter.key_id.empty() && filter.key_id != bought.key_id)) {
      continue;
    }
    MeterKey key;
    key.org_id = bought.org_id;
    key.project_id = bought.project_id;
    key.key_id = bought.key_id;
    key.model = bought.model;
    key.provider = bought.provider;
    key.own_key = bought.own_key;
    ++meters[key].quantity;
  }
}

Result<ledger::NanoUsd> Recorder::CorrectedSince(int64_t time_ns) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT coalesce(sum(max(abs(cost - cost_before), abs(charge - "
                        "charge_before))), 0) FROM corrections WHERE time_ns >= ?1"));
  query.Bind(1, time_ns);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

}  // namespace tradewind::billing
