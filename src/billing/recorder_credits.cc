// The tables of credits: what each is called, and what it paid, by attempt and by the hour.
#include <array>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "billing/credits.h"
#include "billing/meters.h"
#include "billing/recorder_parts.h"

namespace tradewind::billing {

void Recorder::Bill::NoteCredit(const ledger::Record& record) {
  ledger::CreditSpec spec = record.credit;
  spec.granted_ns = spec.granted_ns == 0 ? record.time_ns : spec.granted_ns;
  new_credits.emplace_back(record.account, std::move(spec));
}

// Of a batch, in its transaction.
Status Recorder::WriteCredits(const std::vector<AttemptRow>& ended) {
  for (const auto& [number, spec] : bill_->new_credits) {  // a snapshot tells them again
    TW_RETURN_IF_ERROR(database_.Run("INSERT OR IGNORE INTO credits VALUES (?1,?2,?3,?4,?5,?6,?7)",
                                     int64_t{number}, std::string_view(spec.name),
                                     std::string_view(spec.owner), spec.amount, spec.granted_ns,
                                     spec.expires_s, std::string_view(spec.note)));
  }
  using Key = std::tuple<int64_t, std::string_view, std::string_view, std::string_view,
                         ledger::AccountNumber>;
  std::map<Key, ledger::NanoUsd> uses;
  for (const AttemptRow& row : ended) {
    const std::array<std::byte, 16> id = BytesOf(row.id.request);
    for (const CreditShare& share : row.credits) {
      has_credits_ = true;
      TW_RETURN_IF_ERROR(
          database_.Run("INSERT OR REPLACE INTO attempt_credits VALUES (?1,?2,?3,?4)",
                        std::span<const std::byte>(id), int64_t{row.id.attempt},
                        int64_t{share.credit}, share.amount));
      const Purchase& bought = row.purchase;
      uses[{HourOf(row.ended_ns), bought.org_id, bought.project_id, bought.key_id, share.credit}] +=
          share.amount;
    }
  }
  for (const auto& [key, amount] : uses) {
    const auto& [hour, org, project, key_id, credit] = key;
    TW_RETURN_IF_ERROR(
        database_.Run("INSERT INTO credit_uses VALUES (?1,?2,?3,?4,?5,?6) "
                      "ON CONFLICT DO UPDATE SET amount = amount + ?6",
                      hour, org, project, key_id, int64_t{credit}, amount));
  }
  return {};
}

Status Recorder::PrepareCredits() {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT 1 FROM attempt_credits LIMIT 1"));
  TW_ASSIGN_OR_RETURN(has_credits_, query.Next());
  return {};
}

Status Recorder::LoadCredits(std::span<AttemptRow> rows) {
  if (!has_credits_ || rows.empty()) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT attempt, credit, amount, request FROM attempt_credits WHERE "
                        "(request, attempt) >= (?1, ?2) AND (request, attempt) <= (?3, ?4) "
                        "ORDER BY request, attempt, credit"));
  const std::array<std::byte, 16> first = BytesOf(rows.front().id.request);
  const std::array<std::byte, 16> last = BytesOf(rows.back().id.request);
  query.Bind(1, std::span<const std::byte>(first)).Bind(2, int64_t{rows.front().id.attempt});
  query.Bind(3, std::span<const std::byte>(last)).Bind(4, int64_t{rows.back().id.attempt});
  auto row = rows.begin();
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return {};
    }
    const ledger::HoldId id{IdOf(query.Blob(3)), static_cast<uint16_t>(query.Integer(0))};
    while (row != rows.end() && row->id < id) {
      ++row;
    }
    if (row != rows.end() && row->id == id) {
      row->credits.push_back(
          {static_cast<ledger::AccountNumber>(query.Integer(1)), query.Integer(2)});
    }
  }
}

Result<std::map<ledger::AccountNumber, CreditName>> Recorder::Credits() {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT number, name, note FROM credits"));
  CreditNames names;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return names;
    }
    names[static_cast<ledger::AccountNumber>(query.Integer(0))] = {std::string(query.Text(1)),
                                                                   std::string(query.Text(2))};
  }
}

Status Recorder::AddCreditUses(const MeterFilter& filter,
                               std::map<CreditUseKey, ledger::NanoUsd>& uses) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return ReadCreditUses(filter, uses);
}

Status Recorder::ReadCreditUses(const MeterFilter& filter,
                                std::map<CreditUseKey, ledger::NanoUsd>& uses) {
  return ReadCreditUses(filter, [&uses](CreditUseKey key, ledger::NanoUsd amount) {
    uses[std::move(key)] += amount;
  });
}

Status Recorder::ReadCreditUses(const MeterFilter& filter,
                                const std::function<void(CreditUseKey, ledger::NanoUsd)>& take) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare(fmt::format(
                          "SELECT hour, org, project, key, coalesce(name, 'credit-' || credit), "
                          "coalesce(note, ''), uses.amount FROM {} AS uses LEFT JOIN credits "
                          "ON number = credit WHERE hour >= ?1 AND hour < ?2 AND (?3 = '' OR org = "
                          "?3) AND (?4 = '' OR key = ?4)",
                          filter.set_aside ? "set_aside_credits" : "credit_uses")));
  query.Bind(1, filter.from_hour).Bind(2, filter.to_hour);
  query.Bind(3, std::string_view(filter.org_id)).Bind(4, std::string_view(filter.key_id));
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return {};
    }
    CreditUseKey key;
    key.hour = query.Integer(0);
    int column = 1;
    for (std::string* field : {&key.org_id, &key.project_id, &key.key_id, &key.credit, &key.note}) {
      *field = query.Text(column++);
    }
    take(std::move(key), query.Integer(6));
  }
}

}  // namespace tradewind::billing
