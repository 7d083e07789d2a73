// POST /v1/billing/requests: what requests cost, for those who route to us and for our own users;
// the protocol that we speak to providers, from its other side (docs/formats/billing-protocol.md).
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "billing/correction.h"
#include "billing/reconcile.h"
#include "console_api/bodies.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"

namespace tradewind::console_api {
namespace {

namespace json = boost::json;

struct Charged {
  ledger::NanoUsd amount = 0;
  bool is_open = false;  // its charge may change yet
};

// What runs may be charged more, and what is in doubt less: whoever names the cost of that in the
// end, charged is at most what is known by now. Of nothing, nothing.
bool MayChange(const billing::AttemptRow& row, ledger::Ledger& ledger) {
  if (row.state != billing::AttemptState::kInDoubt) {
    return row.state < billing::AttemptState::kSettled;
  }
  const std::optional<ledger::OpenHold> doubt = ledger.DoubtToAskAbout(row.id);
  return !doubt.has_value() || doubt->metered_charge > 0;
}

Result<std::vector<std::string>> ReadIds(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const json::object object, dialects::ParseJsonObject(body));
  const json::value* ids = object.if_contains("requestIds");
  if (ids == nullptr || !ids->is_array()) {
    return Fail(ErrorCode::kInvalidArgument, "`requestIds` has to be an array of ids.",
                "requestIds");
  }
  if (ids->get_array().size() > billing::kBillingIdsMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`requestIds` has to have at most {} ids.", billing::kBillingIdsMax),
                "requestIds");
  }
  std::vector<std::string> texts;
  for (const json::value& id : ids->get_array()) {
    if (!id.is_string()) {
      return Fail(ErrorCode::kInvalidArgument, "`requestIds` has to be an array of ids.",
                  "requestIds");
    }
    texts.emplace_back(id.get_string());
  }
  return texts;
}

}  // namespace

Result<http::Response> MoneyApi::AnswerBilling(const http::Request& request,
                                               const identity::Principal& caller) {
  TW_ASSIGN_OR_RETURN(const std::vector<std::string> texts, ReadIds(request.body));
  std::vector<std::pair<std::string, ledger::RequestId>> asked;
  std::vector<ledger::RequestId> ids;
  std::set<ledger::RequestId> known;
  for (const std::string& text : texts) {
    if (const auto id = ledger::RequestId::Parse(text);
        id.has_value() && known.insert(*id).second) {  // of one that is asked twice, once
      asked.emplace_back(text, *id);
      ids.push_back(*id);
    }
  }
  // Of an organisation: whoever asks with one of its keys. What a key spent for another one is that
  // one's.
  std::map<ledger::RequestId, Charged> charged;
  TW_RETURN_IF_ERROR(recorder_.ForEachOf(ids, [&](const billing::AttemptRow& row) {
    if (!caller.is_admin_token && row.purchase.org_id != caller.org_id) {
      return;
    }
    Charged& sum = charged[row.id.request];
    sum.amount += row.state == billing::AttemptState::kSettled ? row.charge : 0;
    sum.is_open |= MayChange(row, ledger_);
  }));
  TW_RETURN_IF_ERROR(recorder_.ForEachCorrectionOf(ids, [&](const billing::Correction& made) {
    if (const auto found = charged.find(made.id.request);
        found != charged.end() &&
        (caller.is_admin_token || made.purchase.org_id == caller.org_id)) {
      found->second.amount += made.charge_change();
    }
  }));
  dialects::JsonWriter json;
  json.BeginObject().Key("requests").BeginArray();
  for (const auto& [text, id] : asked) {
    const auto found = charged.find(id);
    if (found != charged.end() && !found->second.is_open) {
      json.BeginObject().Field("requestId", text);
      json.Field("costNanoUsd", found->second.amount).EndObject();
    }
  }
  return JsonResponse(json.EndArray().EndObject().Take());
}

}  // namespace tradewind::console_api
