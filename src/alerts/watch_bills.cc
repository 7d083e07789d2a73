// What providers' bills say against what was recorded here.
#include <cstdlib>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "alerts/watch.h"
#include "billing/bill_boundary.h"
#include "billing/meter.h"
#include "billing/price_proposal.h"
#include "billing/usd.h"

namespace tradewind::alerts {
namespace {

using billing::Difference;
using billing::DifferenceClass;
using billing::FormatUsd;
using ledger::NanoUsd;

// What differs in one way.
struct Apart {
  int64_t lines = 0;
  NanoUsd amount = 0;
  const Difference* largest = nullptr;
};

std::string_view MeaningOf(DifferenceClass kind) {
  switch (kind) {
    case DifferenceClass::kMissingLocal:
      return "bills what is not known here";
    case DifferenceClass::kMissingRemote:
      return "does not bill what was recorded here";
    case DifferenceClass::kUnits:
      return "counts other tokens than were recorded here";
    default:
      return "bills another price than was recorded here";
  }
}

std::string ProposalsIn(std::span<const Difference> found) {
  constexpr size_t kTold = 3;
  std::string text;
  size_t told = 0;
  for (const billing::PriceProposal& one : billing::ProposePrices(found)) {
    if (!one.none_because.empty() || ++told > kTold) {
      continue;
    }
    text += fmt::format(" Its figures say of {}:", one.model);
    const char* comma = "";
    for (const auto& [name, price] :
         {std::pair("input", &one.input), std::pair("cached input", &one.cached_input),
          std::pair("output", &one.output)}) {
      if (price->has_value()) {
        text += fmt::format("{} {} ${}", std::exchange(comma, ","), name, (*price)->ToString());
      }
    }
    text += " per million tokens.";
  }
  return text;
}

// Other `figures` are told anew.
Alert AlertOf(const std::string& provider, const billing::BillPeriod& period, std::string_view name,
              std::string_view figures, int64_t now_ns) {
  Alert alert;
  alert.kind = Kind::kBill;
  alert.scope = billing::BudgetName("provider", provider);
  alert.dedup = fmt::format("bill:{}:{}:{}:{}", provider, period.name, name, figures);
  alert.raised_ns = now_ns;
  return alert;
}

std::string LookAt(const billing::BillPeriod& period) {
  return fmt::format(" Look at it with: tradewind reconcile status {}", period.name);
}

}  // namespace

Status Watch::Compared(storage::Database& database, const std::string& provider,
                       const billing::BillPeriod& period, std::span<const Difference> found,
                       int64_t now_ns) {
  std::map<DifferenceClass, Apart> classes;
  for (const Difference& difference : found) {
    if (billing::IsExplained(difference.kind)) {
      continue;
    }
    Apart& apart = classes[difference.kind];
    ++apart.lines;
    const NanoUsd amount = difference.amount();
    if (__builtin_add_overflow(apart.amount, amount, &apart.amount)) {
      apart.amount = ledger::kNanoUsdMax;
    }
    if (apart.largest == nullptr || std::abs(apart.largest->amount()) < std::abs(amount)) {
      apart.largest = &difference;
    }
  }
  for (const auto& [kind, apart] : classes) {
    const std::string_view name = billing::DifferenceClassName(kind);
    const billing::BillLine& line = apart.largest->line;
    Alert alert =
        AlertOf(provider, period, name, fmt::format("{}:{}", apart.lines, apart.amount), now_ns);
    alert.amount = apart.amount;
    alert.text = fmt::format("{}'s bill of {} {} ({}): {} lines, {} in all, most of it {} for {}.",
                             provider, period.name, MeaningOf(kind), name, apart.lines,
                             FormatUsd(apart.amount), FormatUsd(apart.largest->amount()),
                             line.model.empty() ? "all models" : line.model);
    if (kind == DifferenceClass::kPrice) {
      alert.text += ProposalsIn(found);
    }
    alert.text += LookAt(period);
    TW_RETURN_IF_ERROR(Put(database, std::move(alert)));
  }
  const billing::BillSum sum = billing::SumUp(found);
  if (sum.IsWithinTolerance()) {
    return {};
  }
  Alert alert =
      AlertOf(provider, period, "sum", fmt::format("{}:{}", found.size(), sum.apart), now_ns);
  alert.amount = sum.apart;
  alert.text = fmt::format(
      "{}'s bill of {} is {} off in all (sum), by lines of which each is "
      "within its tolerance: more than 0.5 % and $0.01 of their sum.{}",
      provider, period.name, FormatUsd(sum.apart), LookAt(period));
  return Put(database, std::move(alert));
}

}  // namespace tradewind::alerts
