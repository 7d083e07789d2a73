#include "billing/billing_answer.h"

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <boost/json.hpp>

#include "dialects/json_reader.h"
#include "ledger/money.h"

namespace tradewind::billing {
namespace {

namespace json = boost::json;

// Nothing: no cost. The protocol says integers, and what to do with others.
std::optional<ledger::NanoUsd> CostOf(const json::value& value) {
  if (value.is_int64()) {
    return value.get_int64() >= 0 && value.get_int64() <= ledger::kAmountMax
               ? std::optional(value.get_int64())
               : std::nullopt;
  }
  if (!value.is_double()) {
    return std::nullopt;
  }
  const double number = value.get_double();
  // Below 2^53 every whole number is exact.
  return number >= 0 && number <= static_cast<double>(ledger::kAmountMax)
             ? std::optional(static_cast<ledger::NanoUsd>(std::ceil(number)))
             : std::nullopt;
}

}  // namespace

Result<std::vector<BilledCost>> ReadBillingAnswer(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(body));
  const json::value* requests = object.if_contains("requests");
  if (requests == nullptr || (!requests->is_array() && !requests->is_null())) {
    return Fail(ErrorCode::kInvalidArgument, "it has no `requests`", "requests");
  }
  std::vector<BilledCost> costs;
  if (requests->is_null()) {
    return costs;
  }
  for (const json::value& entry : requests->get_array()) {
    const json::object* fields = entry.if_object();
    const json::value* id = fields == nullptr ? nullptr : fields->if_contains("requestId");
    const json::value* cost = fields == nullptr ? nullptr : fields->if_contains("costNanoUsd");
    if (id == nullptr || cost == nullptr || !id->is_string()) {
      continue;
    }
    costs.push_back({std::string(id->get_string()), CostOf(*cost).value_or(-1)});
  }
  return costs;
}

}  // namespace tradewind::billing
