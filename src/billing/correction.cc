#include "billing/correction.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace tradewind::billing {
namespace {

constexpr char kSeparator = '\x1F';  // between words; behind the last one stands the purchase

std::string Plain(std::string_view text) {
  std::string plain(text);
  std::ranges::replace_if(plain, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return plain;
}

// Up to the separator, which goes too.
std::string_view NextWord(std::string_view& rest, char separator) {
  const std::string_view word = rest.substr(0, rest.find(separator));
  rest.remove_prefix(std::min(word.size() + 1, rest.size()));
  return word;
}

template <class Number>
Number NumberOf(std::string_view text) {
  Number number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

std::string Encode(const Correction& correction) {
  return fmt::format("{}{}{}{}{}{}{}{}{}", correction.is_rerated ? 1 : 0, kSeparator,
                     correction.price_version, kSeparator, Plain(correction.actor), kSeparator,
                     Plain(correction.reason), kSeparator, Encode(correction.purchase));
}

void DecodeInto(std::string_view text, Correction& correction) {
  correction.is_rerated = NextWord(text, kSeparator) == "1";
  correction.price_version = NumberOf<uint32_t>(NextWord(text, kSeparator));
  correction.actor = NextWord(text, kSeparator);
  correction.reason = NextWord(text, kSeparator);
  correction.purchase = DecodePurchase(text);
}

Correction CorrectionOf(const ledger::Record& record) {
  Correction correction;
  correction.id = record.hold;
  correction.number = record.price_version;
  correction.time_ns = record.time_ns;
  correction.admitted_ns = record.since_ns;
  correction.cost_before = record.metered_cost;
  correction.charge_before = record.metered_charge;
  correction.cost = record.cost;
  correction.charge = record.charge;
  for (const ledger::Leg& leg : record.legs.all()) {
    if (leg.is_credit) {
      correction.credits.push_back({leg.account.number, leg.amount});
    }
  }
  std::ranges::sort(correction.credits, {}, &CreditShare::credit);
  DecodeInto(record.text, correction);
  return correction;
}

AttemptRow RowOf(const Correction& correction) {
  AttemptRow row;
  row.id = correction.id;
  row.purchase = correction.purchase;
  row.purchase.priced = true;  // what it changed is known
  row.state = AttemptState::kSettled;
  row.admitted_ns = correction.admitted_ns;
  row.ended_ns = correction.time_ns;
  row.cost = correction.cost_change();
  row.charge = correction.charge_change();
  row.price_version = correction.price_version;
  row.outcome.source = UsageSource::kOperator;
  row.reason = correction.reason;
  return row;
}

void AddToMeters(const Correction& correction, Meters& meters) {
  const Purchase& bought = correction.purchase;
  MeterKey key;
  key.hour = HourOf(correction.time_ns);
  key.org_id = bought.org_id;
  key.project_id = bought.project_id;
  key.key_id = bought.key_id;
  key.model = bought.model;
  key.provider = bought.provider;
  key.provider_model = bought.provider_model;
  key.own_key = bought.own_key;
  key.price_version = correction.price_version;
  key.kind = MeterKind::kCorrections;
  meters[key] += {1, correction.cost_change(), correction.charge_change()};
}

void AddToCreditUses(const Correction& correction, const CreditNames& names, CreditUses& uses) {
  AttemptRow row;  // that ended now, and gave it
  row.purchase = correction.purchase;
  row.ended_ns = correction.time_ns;
  for (const CreditShare& back : correction.credits) {
    row.credits.push_back({back.credit, -back.amount});
  }
  AddToCreditUses(row, names, uses);
}

std::string BudgetsText(const ledger::Legs& legs) {
  std::string text;
  for (const ledger::Leg& leg : legs.all()) {
    if (!leg.is_credit) {
      text += std::to_string(leg.account.number);
      text += leg.dimension == ledger::Dimension::kCost ? 'c' : 'u';
      text += std::to_string(leg.account.window_start_s);
      text += ' ';
    }
  }
  return text;
}

std::vector<ledger::Leg> BudgetsOf(std::string_view text) {
  std::vector<ledger::Leg> legs;
  while (!text.empty()) {
    std::string_view word = NextWord(text, ' ');
    const size_t end = std::min(word.find_first_not_of("0123456789"), word.size());
    ledger::Leg leg;
    leg.account.number = NumberOf<uint32_t>(word.substr(0, end));
    leg.dimension =
        word.substr(end).starts_with('u') ? ledger::Dimension::kCharge : ledger::Dimension::kCost;
    leg.account.window_start_s = NumberOf<int64_t>(word.substr(std::min(end + 1, word.size())));
    legs.push_back(leg);
  }
  return legs;
}

}  // namespace tradewind::billing
