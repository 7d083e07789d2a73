#include "billing/credits.h"

#include <algorithm>

#include <fmt/format.h>

#include "billing/meters.h"

namespace tradewind::billing {

std::vector<CreditShare> CreditSharesOf(const ledger::Record& record) {
  std::vector<CreditShare> shares;
  for (const ledger::Leg& leg : record.legs.all()) {
    shares.push_back({leg.account.number, leg.amount});
  }
  std::ranges::sort(shares, {}, &CreditShare::credit);
  return shares;
}

void AddToCreditUses(const AttemptRow& row, const CreditNames& names, CreditUses& uses) {
  for (const CreditShare& share : row.credits) {
    CreditUseKey key;
    key.hour = HourOf(row.ended_ns);
    key.org_id = row.purchase.org_id;
    key.project_id = row.purchase.project_id;
    key.key_id = row.purchase.key_id;
    const auto name = names.find(share.credit);
    key.credit = name == names.end() ? fmt::format("credit-{}", share.credit) : name->second.name;
    key.note = name == names.end() ? "" : name->second.note;
    uses[std::move(key)] += share.amount;
  }
}

}  // namespace tradewind::billing
