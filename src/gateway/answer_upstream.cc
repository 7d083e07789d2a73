// A provider as one of the routes: prepare the request in its form, open, pass its bytes on.
#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "base/text.h"
#include "dialects/json_writer.h"
#include "gateway/gateway.h"
#include "gateway/pass.h"
#include "gateway/upstream_failure.h"
#include "pricing/cost.h"
#include "providers/continuation.h"
#include "providers/quirks.h"

namespace tradewind::gateway {
namespace {

using providers::UpstreamFailure;
using routing::FailureKind;

Answered FromPassed(Passed passed) {
  Answered answered;
  if (passed.failed_before_first_byte.has_value()) {
    SetFailure(std::move(*passed.failed_before_first_byte), true, answered);
  } else if (passed.failed_after_first_byte.has_value()) {
    SetFailure(std::move(*passed.failed_after_first_byte), false, answered);
  } else if (passed.client_failed.has_value()) {
    answered.kind = FailureKind::kClientLeft;
    answered.failed_after_first_byte = std::move(passed.client_failed);
  }
  answered.is_left_open = passed.is_left_open;
  answered.gave_nothing = passed.gave_nothing;
  if (!answered.usage.has_value()) {  // of a refusal
    answered.usage = passed.usage;
    answered.usage_is_final = passed.usage_is_final;
  }
  answered.first_token_at = passed.first_token_at;
  answered.last_token_at = passed.last_token_at;
  answered.finish_reason = std::move(passed.finish_reason);
  answered.delivered_bytes = passed.delivered_bytes;
  answered.was_read_on = passed.was_read_on;
  answered.unread_bytes = passed.unread_bytes;
  return answered;
}

using Earlier = std::vector<std::string>;  // slugs of those who gave the beginning of the answer

// Nothing when the route is unpriced, nobody told the usage or its price, or something is billed
// apart from it: unknown is never zero. Nothing too for an answer in pieces: what the ones that
// were cut cost is not known.
std::optional<int64_t> CostOf(const routing::PlannedRoute& route, const Order& order,
                              const std::optional<chat::Usage>& usage, const AttemptTerms& terms,
                              const Earlier& earlier = {}) {
  if (!usage.has_value() || !terms.cost_is_known || !earlier.empty()) {
    return std::nullopt;
  }
  const catalog::Prices& prices = route.mapping->prices;
  if (route.place->upstream->price_varies && prices.is_priced() &&
      (usage->cost_nanousd.has_value() || route.place->billing.has_value())) {
    return usage->cost_nanousd;
  }
  if (!usage->is_whole()) {
    return std::nullopt;
  }
  pricing::TokenCounts counts =
      billing::CountsOf(*usage, order.facts.images, order.facts.wants_long_cache);
  const auto service = billing::ServedAt(prices, usage->service_tier,
                                         prices.ServiceOf(order.facts.service_tier), counts);
  if (!service.has_value()) {
    return std::nullopt;
  }
  counts.service = *service;
  if (pricing::HasUnpricedWrites(prices, counts)) {
    return std::nullopt;
  }
  const Result<int64_t> cost = pricing::CostNanoUsd(prices, counts);
  // As the ledger takes it (billing::Metered).
  return cost.has_value() ? std::optional(std::min(*cost, ledger::kAmountMax)) : std::nullopt;
}

// What is known to have been used is settled; what is not, when the attempt is over.
void EndMoney(const std::optional<chat::Usage>& usage, int64_t delivered_bytes,
              billing::Metered* money) {
  if (money != nullptr && usage.has_value() && usage->is_whole()) {
    billing::Ended ended;
    ended.is_complete = true;
    ended.usage = usage;
    ended.delivered_bytes = delivered_bytes;
    ended.finish = "answered";
    static_cast<void>(money->End(ended));
  }
}

// What bounds an answer under a name that only some servers know is told to the others too; what
// bounds nothing there (-1 is "without end") is taken out. Returns the largest.
std::optional<int64_t> ReadOtherBounds(dialects::JsonText& text) {
  std::optional<int64_t> largest;
  for (const std::string_view name : dialects::kOtherBounds) {
    if (const auto bound = dialects::OtherBound(text, name); bound.has_value()) {
      largest = std::max(largest.value_or(0), *bound);
    } else {
      text.Remove(name);
    }
  }
  text.Remove("auto_max_new_tokens");  // text-generation-webui: as long as the context
  return largest;
}

// The bound that is held is the one that is sent: under one name, when the request has none.
void BoundOutput(providers::Endpoint endpoint, const AttemptTerms& terms,
                 dialects::JsonText& text) {
  if (endpoint == providers::Endpoint::kEmbeddings || terms.money == nullptr ||
      terms.money->held() == 0) {
    return;
  }
  const std::optional<int64_t> other = ReadOtherBounds(text);
  const auto cap = terms.money->output_cap();
  bool has_bound = false;
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    const std::string_view raw = text.Raw(name);
    double bound = 1;
    std::from_chars(raw.data(), raw.data() + raw.size(), bound);
    if (raw == "null" || (bound == 0 && cap.has_value())) {
      text.Remove(name);  // as good as absent, but in the way of the other name
    } else {
      has_bound |= !raw.empty();
    }
  }
  if (const auto bound = cap.has_value() ? cap : other; bound.has_value() && !has_bound) {
    text.Set("max_tokens", std::to_string(*bound));
  }
}

// By the name that the provider obeys. Where that is not known, what a hard budget relies on is
// said by both: many servers ignore the newer one.
void NameBound(const providers::Upstream& place, providers::Endpoint endpoint, bool is_own_form,
               const AttemptTerms& terms, dialects::JsonText& text) {
  const bool is_relied_on = terms.money != nullptr && terms.money->is_hard();
  if (is_own_form && !is_relied_on) {
    return;  // the client knows the provider
  }
  providers::NameBound(place.bound_name == providers::BoundName::kUnclear && is_relied_on
                           ? providers::BoundName::kOlderToo
                           : place.bound_name,
                       endpoint, text);
}

// What is ours of the bound that was sent: the client knows nothing of it.
std::string OwnNames(const Order& order, const dialects::JsonText& sent) {
  constexpr std::string_view kNames[] = {"max_tokens", "max_completion_tokens"};
  const auto has_both = [&](const dialects::JsonText& text) {
    return std::ranges::all_of(
        kNames, [&](std::string_view name) { return text.Has(name) && text.Raw(name) != "null"; });
  };
  return has_both(sent) && !has_both(order.text)
             ? "Its bound was sent as max_tokens and as max_completion_tokens, to be kept by "
               "whatever serves it; the operator can say in the config which of them the provider "
               "knows (bound_name)."
             : "";
}

std::string OwnBound(const Order& order, const AttemptTerms& terms) {
  const auto cap = terms.money == nullptr ? std::nullopt : terms.money->output_cap();
  return cap.has_value() && !order.facts.max_tokens.has_value()
             ? fmt::format(
                   "As it names no max_tokens, {} was sent to keep a hard budget; name "
                   "one that the provider takes.",
                   *cap)
             : "";
}

// To what a provider says of a request that it does not take. Of a field that it does not know many
// name no name; a size is told in one of these words, and else something is the client's alone.
void ExplainOwnBound(const Opening& opening, Answered& failed) {
  if ((failed.upstream_status != 400 && failed.upstream_status != 422) ||
      !failed.upstream_error.has_value()) {
    return;
  }
  std::string& said = failed.upstream_error->message;
  const std::string words = CaseFolded(failed.upstream_error->param + " " + said);
  const bool is_of_size =
      std::ranges::any_of(std::array{"token", "max_", "length", "context"},
                          [&](std::string_view word) { return words.contains(word); });
  const std::string& own = !opening.own_names.empty() ? opening.own_names : opening.own_bound;
  if (!own.empty() && (is_of_size || !opening.own_names.empty())) {
    constexpr std::string_view kEnds = ".!?";
    const bool is_ended = !said.empty() && kEnds.contains(said.back());
    said += fmt::format("{} {}", is_ended ? "" : ".", own);
  }
}

// How large an answer that is no stream may be: it is in memory whole, and its provider may send
// whatever it likes.
int64_t AnswerBytesMax(const Order& order, const AttemptTerms& terms) {
  const dialects::OpenAiFacts& facts = order.facts;
  const auto cap = terms.money == nullptr ? std::nullopt : terms.money->output_cap();
  // Sound and pictures have no tokens that bound their bytes.
  if (facts.wants_sound) {
    return limits::kAnswerBytesMax;
  }
  int64_t each = limits::kAnswerEmbeddingBytes;
  if (order.endpoint != providers::Endpoint::kEmbeddings) {
    const int64_t tokens = std::min(
        cap.has_value() ? *cap : facts.largest_max_tokens.value_or(limits::kAnswerTokensUnbounded),
        limits::kAnswerBytesMax);
    // The prompt's tokens may come back too (`echo`, `prompt_logprobs`).
    const bool is_rich = facts.has_logprobs || order.text.Has("prompt_logprobs");
    const int64_t echoed = is_rich ? facts.input_bytes : 0;
    each =
        (tokens + echoed) * (is_rich ? limits::kAnswerRichTokenBytes : limits::kAnswerTokenBytes);
  }
  const int64_t count = std::min(facts.n * facts.prompts, limits::kAnswerBytesMax);
  int64_t bytes = 0;
  return __builtin_mul_overflow(each, count, &bytes)
             ? limits::kAnswerBytesMax
             : std::min(limits::kAnswerBytesMax - limits::kAnswerBytes, bytes) +
                   limits::kAnswerBytes;
}

std::string Receipt(const routing::PlannedRoute& route, const Order& order,
                    const std::optional<chat::Usage>& usage, const AttemptTerms& terms,
                    const Earlier& earlier) {
  dialects::JsonWriter json;
  json.BeginObject().Key("cost_nanousd");
  if (const auto cost = CostOf(route, order, usage, terms, earlier); cost.has_value()) {
    json.Value(std::to_string(*cost));
  } else {
    json.Null();
  }
  json.Field("provider", route.slug());
  json.Field("route", RouteName(route.slug(), route.mapping->provider_model));
  if (terms.money != nullptr && terms.money->price_version() > 0) {
    json.Field("price_version", int64_t{terms.money->price_version()});
  }
  if (!earlier.empty()) {
    json.Key("after").BeginArray();
    for (const std::string& slug : earlier) {
      json.Value(slug);
    }
    json.EndArray();
  }
  json.EndObject();
  return json.Take();
}

}  // namespace

Result<Opening> Gateway::Prepare(const Call& call, const Order& order,
                                 const routing::PlannedRoute& route, const AttemptTerms& terms,
                                 const ClientStream& stream) const {
  const providers::Upstream& place = *route.place->upstream;
  Opening opening;
  dialects::JsonText text = order.text;
  if (stream.head_is_out &&
      !providers::AskForTheRest(place, order.endpoint, stream.text, stream.tokens(), text)) {
    return Fail(ErrorCode::kUpstreamFailed,
                "The stream was cut, and this request cannot go on elsewhere.");
  }
  BoundOutput(order.endpoint, terms, text);
  NameBound(place, order.endpoint, !call.own_path_of.empty(), terms, text);
  opening.own_names = OwnNames(order, text);
  opening.own_bound = OwnBound(order, terms);
  providers::UpstreamOrder sent;
  sent.endpoint = order.endpoint;
  sent.is_stream = order.facts.stream;
  sent.choices = order.facts.n * order.facts.prompts;
  sent.answer_bytes_max = AnswerBytesMax(order, terms);
  const UpstreamKey& key = *terms.key;
  opening.key_owner = key.key.empty()   ? KeyOwner::kNobody
                      : key.ref.empty() ? KeyOwner::kOperator
                                        : KeyOwner::kCaller;
  sent.api_key = key.key;
  sent.request_id = call.request_id;
  if (place.keeps_own_ids && terms.money != nullptr) {
    sent.attempt_id = terms.money->own_id();
  }
  sent.deadlines = terms.deadlines;
  sent.visible_by = terms.visible_by;
  if (call.own_path_of.empty()) {
    opening.dropped = providers::PrepareRequest(
        *place.quirks, order.endpoint, route.mapping->provider_model, order.facts.stream, text);
  } else {
    providers::PrepareOwnForm(*place.quirks, order.facts.stream, text);
    sent.query = call.request().query;
  }
  for (const std::string& name : order.facts.provider.ignored) {
    opening.dropped.push_back("provider." + name);
  }
  sent.body = text.Text();
  opening.upstream =
      std::make_shared<providers::UpstreamExchange>(*market_.upstreams, place, std::move(sent));
  return opening;
}

Task<std::optional<Answered>> Gateway::Reach(Opening& opening, bool until_visible) {
  providers::UpstreamResult<void> reached = co_await opening.upstream->Open();
  if (reached.has_value() && until_visible) {
    reached = co_await opening.upstream->AwaitVisible();
  }
  if (reached.has_value()) {
    co_return std::nullopt;
  }
  Answered answered;
  SetFailure(std::move(reached).error(), true, answered);
  answered.key_owner = opening.key_owner;
  ExplainOwnBound(opening, answered);
  co_return answered;
}

// What is known once the upstream's head is here; the ledger learns the upstream's own name of it.
http::Headers Gateway::BeginDelivery(const Call& call, const Order& order,
                                     const routing::PlannedRoute& route, const AttemptTerms& terms,
                                     const Opening& opening) const {
  const std::string& upstream_id = opening.upstream->upstream_request_id();
  const std::string id = upstream_id.empty() ? RandomId("inf-", 24) : HeaderSafe(upstream_id);
  http::Headers headers =
      AnswerHeaders(call, id, route.slug(), route.mapping->provider_model, opening.dropped);
  if (billing::Metered* const money = terms.money; money != nullptr) {
    // An answer that is no stream comes right behind its head.
    if (order.facts.stream) {
      money->UpstreamId(upstream_id);
    } else {
      money->UpstreamIdWithNext(upstream_id);
    }
    if (money->price_version() > 0) {
      headers.Set("x-tradewind-price-version", std::to_string(money->price_version()));
    }
    if (money->held() > 0) {
      headers.Set("x-tradewind-hold-nanousd", std::to_string(money->held()));
    }
    if (money->output_cap().has_value()) {
      headers.Set("x-tradewind-max-tokens-applied", std::to_string(*money->output_cap()));
    }
  }
  return headers;
}

Task<Answered> Gateway::DeliverStream(Call& call, const Order& order,
                                      const routing::PlannedRoute& route, const AttemptTerms& terms,
                                      Opening& opening, ClientStream& stream) {
  http::Headers headers = BeginDelivery(call, order, route, terms, opening);
  SetStreamHeaders(headers);
  billing::Metered* const money = terms.money;
  const Earlier earlier = stream.providers;
  const bool recounts = Recounts(call, order, route, stream);
  const PassOptions options{
      route.slug(),
      order.facts.include_usage,
      order.facts.n * order.facts.prompts,
      [&](const auto& usage) { return Receipt(route, order, usage, terms, earlier); },
      terms.on_first_token,
      money == nullptr ? std::function<void(int64_t)>()
                       : [money](int64_t bytes) { money->Progress(bytes); },
      [money](const auto& usage, int64_t bytes) { EndMoney(usage, bytes, money); },
      [leaving = opening.leaving] { return leaving != nullptr && leaving->is_reading_on(); },
      recounts};
  Passed passed = co_await PassStream(call.exchange, opening.upstream, std::move(headers), options,
                                      stream, clock_);
  if (recounts && passed.usage_is_final) {
    Recount(order, route, passed, std::move(passed.text), false);
  }
  Answered answered = FromPassed(std::move(passed));
  call.record.cost_nanousd = CostOf(route, order, answered.usage, terms, earlier);
  co_return answered;
}

Task<Answered> Gateway::DeliverWhole(Call& call, const Order& order,
                                     const routing::PlannedRoute& route, const AttemptTerms& terms,
                                     Opening& opening) {
  http::Headers headers = BeginDelivery(call, order, route, terms, opening);
  PassedWhole whole = co_await PassWhole(opening.upstream, clock_);
  if (!whole.failed_before_first_byte.has_value()) {
    if (whole.body.size() <= limits::kRecountedBytesMax && Recounts(call, order, route, {})) {
      Recount(order, route, whole, whole.body, true);
    }
    if (!call.exchange.client_left()) {
      EndMoney(whole.usage, whole.delivered_bytes, terms.money);
    }
    call.record.cost_nanousd = CostOf(route, order, whole.usage, terms);
    headers.Set("Content-Type", "application/json");
    if (call.record.cost_nanousd.has_value()) {
      headers.Set("x-tradewind-cost-nanousd", std::to_string(*call.record.cost_nanousd));
    }
    co_await Respond(call, {200, std::move(headers), std::move(whole.body)});
  }
  const bool was_read_on =
      !whole.failed_before_first_byte.has_value() && call.exchange.client_left();
  Answered answered = FromPassed(std::move(whole));
  if (was_read_on) {
    answered.was_read_on = true;
    answered.unread_bytes = std::exchange(answered.delivered_bytes, 0);
  }
  co_return answered;
}

Task<Answered> Gateway::Deliver(Call& call, const Order& order, const routing::PlannedRoute& route,
                                const AttemptTerms& terms, Opening& opening, ClientStream& stream) {
  return order.facts.stream ? DeliverStream(call, order, route, terms, opening, stream)
                            : DeliverWhole(call, order, route, terms, opening);
}

Task<Answered> Gateway::AnswerFromUpstream(Call& call, const Order& order,
                                           const routing::PlannedRoute& route,
                                           const AttemptTerms& terms, ClientStream& stream) {
  Result<Opening> opening = Prepare(call, order, route, terms, stream);
  if (!opening.has_value()) {
    Answered answered;
    answered.kind = FailureKind::kClientError;
    answered.failed_after_first_byte = std::move(opening).error();
    answered.is_left_open = true;
    co_return answered;
  }
  opening->leaving =
      LeavingClient::Watch(call.exchange, opening->upstream,
                           route.place->upstream->bills_on ? &read_on_ : nullptr, clock_);
  if (auto failed = co_await Reach(*opening, false); failed.has_value()) {
    // What failed with the status of an answer may be billed, and asked about by this.
    const bool was_answered = failed->kind == FailureKind::kGarbage ||
                              failed->kind == FailureKind::kOtherForm ||
                              failed->kind == FailureKind::kErrorEvent;
    if (terms.money != nullptr && was_answered) {
      terms.money->UpstreamIdWithNext(opening->upstream->upstream_request_id());
    }
    if (stream.head_is_out) {
      failed->failed_after_first_byte = std::exchange(failed->failed_before_first_byte, {});
      failed->is_left_open = true;
      failed->gave_nothing = true;
    }
    co_return std::move(*failed);
  }
  co_return co_await Deliver(call, order, route, terms, *opening, stream);
}

}  // namespace tradewind::gateway
