// What was used and what it is charged, in one period, as text that is the same byte for byte
// whenever it is made again from the same records.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "billing/bill_period.h"
#include "billing/credits.h"
#include "billing/meters.h"
#include "billing/price_version.h"

namespace tradewind::billing {

struct StatementOrder {
  BillPeriod period;
  std::string org_id, key_id;  // empty: of all
};
// By days, as a period has whole ones; exports ask by hours.
MeterFilter FilterOf(const StatementOrder& order);

// One line: everything of the period that is alike but for its hour.
struct StatementLine {
  MeterKey key;  // its hour and provider_model are not set
  MeterSum sum;
  std::string price;  // USD per million tokens; empty: there is none
  std::string id;     // of the same line, always the same
};

// What one credit paid of an organisation's charges in the period.
struct CreditLine {
  std::string org_id, credit, note;
  ledger::NanoUsd amount = 0;
  std::string id;  // of the same line, always the same
};
std::string CreditLineId(const std::string& org_id, const std::string& credit);

struct Statement {
  std::vector<StatementLine> lines;
  std::vector<CreditLine> credits;
  int64_t requests = 0;
  ledger::NanoUsd cost = 0, charge = 0;
  ledger::NanoUsd credited = 0;  // of the charge; the rest is to be paid
  std::string text;              // JSON
  std::string hash;              // SHA-256 of the text

  ledger::NanoUsd payable() const { return charge - credited; }
};

// Where no credit paid anything, the text says nothing of credits.
Statement MakeStatement(const StatementOrder& order, const Meters& meters,
                        const std::vector<PriceVersion>& prices, const CreditUses& credits = {});

// The price of that kind of token; nullopt: there is none.
std::optional<Decimal> PriceOf(const catalog::Prices& prices, MeterKind kind);

}  // namespace tradewind::billing
