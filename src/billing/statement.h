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
  std::string price;  // USD per million tokens, or per request or picture; empty: there is none
  int64_t above =
      0;           // more input tokens than that have this price; 0: it has no tiers, or the first
  std::string id;  // of the same line, always the same
  std::string service_tier = {};  // whose price it is; "" = the usual one

  // One of these has the price.
  std::string usd_per_mtok() const { return IsOfTokens(key.kind) ? price : std::string(); }
  std::string usd_each() const { return IsOfTokens(key.kind) ? std::string() : price; }
  std::string meter() const;  // "input_tokens", "input_tokens above 200000 at flex"
};

// The id of the line that a meter is part of.
std::string StatementLineId(const MeterKey& key);

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
  int64_t unverifiable = 0;      // tokens that providers alone can count
  std::string text;              // JSON
  std::string hash;              // SHA-256 of the text

  ledger::NanoUsd payable() const { return charge - credited; }
};

// Where no credit paid anything, the text says nothing of credits; where no provider reported what
// it alone can count, nothing of that.
Statement MakeStatement(const StatementOrder& order, const Meters& meters,
                        const std::vector<PriceVersion>& prices, const CreditUses& credits = {});

// What a line counts costs: USD per million tokens, or per request or picture; nullopt: it has no
// price.
std::optional<Decimal> PriceOf(const catalog::Prices& prices, const MeterKey& key);
int64_t AboveOf(const catalog::Prices& prices, const MeterKey& key);  // as StatementLine has it

}  // namespace tradewind::billing
