#include "console_api/spent_before.h"

#include <algorithm>
#include <string_view>

#include "billing/meter.h"

namespace tradewind::console_api {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

// "org:ID/model:NAME": what of it stands behind `kind`; "" = it does not begin so.
std::string_view Behind(std::string_view text, std::string_view kind) {
  return text.starts_with(kind) ? text.substr(kind.size()) : std::string_view();
}

std::optional<billing::UsageFilter> FilterOf(std::string_view scope, bool is_of_server) {
  billing::UsageFilter filter;
  std::string_view of = scope;
  if (!is_of_server) {
    const size_t slash = std::min(scope.find('/'), scope.size());
    filter.key_id = Behind(scope.substr(0, slash), "key:");
    filter.org_id = Behind(scope.substr(0, slash), "org:");
    if (filter.key_id.empty() && filter.org_id.empty()) {
      return std::nullopt;
    }
    of = scope.substr(std::min(slash + 1, scope.size()));
  }
  filter.model = Behind(of, "model:");
  filter.provider = Behind(of, "provider:");
  const bool is_all = of.empty() || of == "all";
  return is_all || !filter.model.empty() || !filter.provider.empty() ? std::optional(filter)
                                                                     : std::nullopt;
}

}  // namespace

Result<std::optional<ledger::NanoUsd>> SpentBefore(const ledger::BudgetState& budget,
                                                   billing::Recorder& recorder) {
  const bool is_of_server = billing::IsServerScope(budget.spec.name);
  std::optional<billing::UsageFilter> filter = FilterOf(budget.spec.name, is_of_server);
  if (!filter.has_value() || budget.spec.period == ledger::Period::kRolling ||
      budget.window.start_s % billing::kSumSlotS != 0) {
    return std::nullopt;
  }
  filter->from_ns = budget.window.start_s * kNanosPerSecond;
  TW_ASSIGN_OR_RETURN(const billing::UsageSum sum, recorder.Sum(*filter));
  const bool is_of_charge = budget.spec.dimension == ledger::Dimension::kCharge;
  // As the budget counts: what callers' own keys pay is in none of the server's.
  const ledger::NanoUsd spent = is_of_charge   ? sum.charge
                                : is_of_server ? sum.cost - sum.own_key_cost
                                               : sum.cost;
  return std::max<ledger::NanoUsd>(0, spent - budget.account.debits);
}

}  // namespace tradewind::console_api
