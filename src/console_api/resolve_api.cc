// Of MoneyApi: requests in doubt that an operator ends, because he knows what they cost.
#include <charconv>
#include <string>
#include <system_error>

#include "billing/reconcile.h"
#include "billing/usd.h"
#include "console_api/bodies.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"

namespace tradewind::console_api {

Result<ledger::HoldId> ReadReceipt(std::string_view text) {
  const std::string_view receipt = text.substr(0, text.find('-'));
  const auto request = ledger::RequestId::Parse(receipt);
  ledger::HoldId id;
  bool is_good = request.has_value();
  if (receipt.size() < text.size()) {
    const char* end = text.data() + text.size();
    const auto [stopped, error] =
        std::from_chars(text.data() + receipt.size() + 1, end, id.attempt);
    is_good = is_good && error == std::errc() && stopped == end && id.attempt > 0;
  }
  if (!is_good) {
    return Fail(ErrorCode::kInvalidArgument,
                "`receipt` is the x-tradewind-receipt of an answer, with -N behind it for its "
                "attempt N.",
                "receipt");
  }
  id.request = *request;
  return id;
}

Result<http::Response> MoneyApi::Resolve(const http::Request& request,
                                         const identity::Principal& caller) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(request.body));
  dialects::Fields fields(object);
  std::string receipt, cost;
  bool is_void = false;
  billing::OperatorsWord word;
  fields.Text("receipt", receipt);
  fields.Text("cost", cost);
  fields.Flag("void", is_void);
  fields.Text("reason", word.reason);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a resolution"));
  if (is_void == object.contains("cost")) {
    return Fail(ErrorCode::kInvalidArgument,
                "Say what it cost in USD, or that it is void: one of `cost` and `void` (--cost "
                "USD, --void).",
                "cost");
  }
  TW_ASSIGN_OR_RETURN(const ledger::HoldId id, ReadReceipt(receipt));
  if (!is_void) {
    TW_ASSIGN_OR_RETURN(word.cost, billing::ParseUsd(cost, "cost"));
  }
  TW_RETURN_IF_ERROR(billing::ResolveDoubt(ledger_, id, word));
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  return AnswerReceipt(id.request.ToString(), caller);
}

}  // namespace tradewind::console_api
