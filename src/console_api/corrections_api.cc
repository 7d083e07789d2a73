// Of MoneyApi: what was settled and turned out wrong.
#include <chrono>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "billing/usd.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "console_api/sight.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"

namespace tradewind::console_api {
namespace {

constexpr std::string_view kActor = "the admin token";  // there is one, and it alone may

Result<std::optional<Decimal>> PriceOf(const std::string& text, const char* name) {
  if (text.empty()) {
    return std::nullopt;
  }
  const auto price = Decimal::Parse(text);
  if (!price.has_value() || price->is_negative() || *price > Decimal::Parse("1000000").value()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`{}` is USD per million tokens, like \"0.25\".", name), name);
  }
  return *price;
}

std::string ReceiptOf(ledger::HoldId id) {
  return fmt::format("{}-{}", id.request.ToString(), id.attempt);
}

struct RerateFields {
  std::string from, to, after, input, cached, output;
};

Status Complete(const RerateFields& said, int64_t now_s, billing::RerateOrder& order) {
  if (order.model.empty() || order.provider.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "Say which model at which provider is rated anew.",
                order.model.empty() ? "model" : "provider");
  }
  TW_ASSIGN_OR_RETURN(order.from_ns, ReadTime(said.from, "from", 0, now_s));
  TW_ASSIGN_OR_RETURN(order.to_ns, ReadTime(said.to, "to", INT64_MAX, now_s));
  catalog::Prices prices;
  TW_ASSIGN_OR_RETURN(prices.input, PriceOf(said.input, "input_usd_per_mtok"));
  TW_ASSIGN_OR_RETURN(prices.cached_input, PriceOf(said.cached, "cached_input_usd_per_mtok"));
  TW_ASSIGN_OR_RETURN(prices.output, PriceOf(said.output, "output_usd_per_mtok"));
  if (prices.input.has_value() != prices.output.has_value() ||
      (prices.cached_input.has_value() && !prices.input.has_value())) {
    return Fail(ErrorCode::kInvalidArgument,
                "A price is of input and output: name both, or none for the one in force.",
                prices.input.has_value() ? "output_usd_per_mtok" : "input_usd_per_mtok");
  }
  if (prices.input.has_value()) {
    order.prices = std::move(prices);
  }
  if (!said.after.empty()) {
    TW_ASSIGN_OR_RETURN(order.after, ReadReceipt(said.after));
  }
  return {};
}

// The price that the next request would be held at, and the names as requests are recorded with
// them.
Status PriceByCatalog(const catalog::Catalog& catalog, billing::RerateOrder& order) {
  const catalog::Provider* provider = catalog.FindProvider(AsciiLower(order.provider));
  const catalog::Model* model = catalog.Find(order.model);
  order.provider = provider == nullptr ? order.provider : provider->slug;
  if (model == nullptr) {
    return {};
  }
  order.model = model->id;
  bool is_served = false;
  for (const catalog::Mapping& mapping : model->mappings) {
    is_served |= mapping.provider == order.provider;
    if (mapping.provider == order.provider && mapping.prices.is_priced()) {
      order.now.push_back(mapping);
    }
  }
  if (is_served && order.now.empty() && !order.prices.has_value()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} has no price at {} now: write it into the config, or name one "
                            "with `input_usd_per_mtok` and `output_usd_per_mtok`.",
                            order.model, order.provider),
                "model");
  }
  return {};
}

}  // namespace

Result<http::Response> MoneyApi::AnswerCorrections(const http::Request& request,
                                                   std::string_view rest,
                                                   const identity::Principal& caller) {
  if (!caller.is_admin_token) {
    return Fail(ErrorCode::kPermissionDenied,
                "What was settled is corrected with the admin token.");
  }
  if (request.method != "POST") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes POST.");
  }
  if (rest == "/rerate") {
    return Rerate(request.body);
  }
  if (!rest.empty()) {
    return Fail(ErrorCode::kNotFound, "Corrections are made here, or by /rerate.");
  }
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(request.body));
  dialects::Fields fields(object);
  std::string receipt, cost, charge;
  billing::AdjustWord word;
  word.actor = kActor;
  fields.Text("receipt", receipt);
  fields.Text("cost", cost);
  fields.Text("charge", charge);
  fields.Text("reason", word.reason);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "an adjustment"));
  TW_ASSIGN_OR_RETURN(const ledger::HoldId id, ReadReceipt(receipt));
  if (object.contains("cost")) {
    TW_ASSIGN_OR_RETURN(word.cost, billing::ParseUsd(cost, "cost"));
  }
  if (object.contains("charge")) {
    TW_ASSIGN_OR_RETURN(word.charge, billing::ParseUsd(charge, "charge"));
  }
  TW_RETURN_IF_ERROR(adjuster_.Adjust(id, word));
  return AnswerReceipt(id.request.ToString(), caller);
}

// Some thousand attempts at a time: `next` says where the next call goes on.
Result<http::Response> MoneyApi::Rerate(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  dialects::Fields fields(object);
  billing::RerateOrder order;
  order.actor = kActor;
  RerateFields said;
  fields.Text("model", order.model);
  fields.Text("provider", order.provider);
  fields.Text("from", said.from);
  fields.Text("to", said.to);
  fields.Text("input_usd_per_mtok", said.input);
  fields.Text("cached_input_usd_per_mtok", said.cached);
  fields.Text("output_usd_per_mtok", said.output);
  fields.Text("after", said.after);
  fields.Text("reason", order.reason);
  fields.Flag("apply", order.applies);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a rerating"));
  TW_RETURN_IF_ERROR(Complete(said, NowS(), order));
  if (catalog_) {
    TW_ASSIGN_OR_RETURN(const auto catalog, catalog_());
    TW_RETURN_IF_ERROR(PriceByCatalog(*catalog, order));
  }
  TW_ASSIGN_OR_RETURN(const billing::Rerating done, adjuster_.Rerate(order));
  dialects::JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.rerating/v1").Field("applied", order.applies);
  json.Field("price_version", int64_t{done.price_version});
  json.Field("price_source", done.price_source).Key("corrections").BeginArray();
  for (const billing::Correction& one : done.corrections) {
    json.BeginObject().Field("receipt", ReceiptOf(one.id)).Field("org", one.purchase.org_id);
    json.Field("cost_before_nanousd", std::to_string(one.cost_before));
    json.Field("cost_nanousd", std::to_string(one.cost));
    json.Field("charge_before_nanousd", std::to_string(one.charge_before));
    json.Field("charge_nanousd", std::to_string(one.charge)).EndObject();
  }
  json.EndArray().Field("right", done.right).Field("not_by_tokens", done.not_by_tokens);
  json.Field("closed", done.closed).Field("named", done.named);
  json.Key("too_many_accounts").BeginArray();
  for (const ledger::HoldId id : done.too_many) {
    json.Value(ReceiptOf(id));
  }
  json.EndArray().Key("next");
  done.next.has_value() ? json.Value(ReceiptOf(*done.next)) : json.Null();
  json.Key("set_aside_until");
  done.set_aside_until_ns.has_value()
      ? json.Value(FormatTime(*done.set_aside_until_ns / 1'000'000'000))
      : json.Null();
  return JsonResponse(json.EndObject().Take());
}

}  // namespace tradewind::console_api
