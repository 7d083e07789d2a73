// What was settled and turned out wrong, put right: a row of its own beside its attempt, which
// stays as it was. It belongs to the attempt's admission, as what providers bill does, and to the
// hour in which it was made, as statements do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "billing/credits.h"
#include "billing/meters.h"
#include "billing/purchase.h"
#include "billing/recorder.h"
#include "ledger/ids.h"
#include "ledger/money.h"
#include "ledger/record.h"

namespace tradewind::billing {

struct Correction {
  ledger::HoldId id;    // of the attempt
  uint32_t number = 1;  // among those of the attempt
  int64_t time_ns = 0, admitted_ns = 0;
  Purchase purchase;  // the attempt's
  ledger::NanoUsd cost_before = 0, charge_before = 0;
  ledger::NanoUsd cost = 0, charge = 0;  // the totals from here on
  std::vector<CreditShare> credits;      // got so much back
  bool is_rerated = false;               // by a price; otherwise somebody named the amounts
  uint32_t price_version = 0;            // 0: of none that was ever in force
  std::string actor, reason;

  // The first that says what an attempt without a price did cost.
  bool makes_cost_known() const { return number == 1 && !purchase.priced; }
  ledger::NanoUsd cost_change() const { return cost - cost_before; }
  ledger::NanoUsd charge_change() const { return charge - charge_before; }
  bool operator==(const Correction&) const = default;
};

struct CorrectionList {
  std::vector<Correction> rows;
  std::optional<int64_t> next_before_ns;  // there may be more before it
};

// As a list of attempts shows it: ended when it was made, with what it changed.
AttemptRow RowOf(const Correction& correction);

// As the text of a ledger's record; and from the record.
std::string Encode(const Correction& correction);
Correction CorrectionOf(const ledger::Record& record);
// What a text says: the purchase, who and why.
void DecodeInto(std::string_view text, Correction& correction);

// A line of their own: kCorrections.
void AddToMeters(const Correction& correction, Meters& meters);
// What credits got back, taken off what they paid.
void AddToCreditUses(const Correction& correction, const CreditNames& names, CreditUses& uses);

// The budgets' windows that a hold counts in, as a column keeps them.
std::string BudgetsText(const ledger::Legs& legs);
std::vector<ledger::Leg> BudgetsOf(std::string_view text);

}  // namespace tradewind::billing
