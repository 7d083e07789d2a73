// An attempt and its money: what it may cost is held before it, what it did cost is settled after
// it.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gateway/prompt_bounds.h"
#include "gateway/tries.h"
#include "routing/attempts.h"

namespace tradewind::gateway {
namespace {

using providers::Endpoint;
using routing::PlannedRoute;

// What a photo comes to at most providers: 1,600 is the most that most of Anthropic's models make
// of one, OpenAI makes 765 of a square one and 1,105 of most others, and Qwen some 1,300 of a
// megapixel.
constexpr int64_t kImageTokensUsual = 1'600;

// What is more than the context of each prompt is refused by the provider, and not billed. Where a
// stream goes on elsewhere, what the client has of it is input too. Some providers bill the prompt
// for each of its answers.
int64_t InputTokensMax(const Tries& tries, const PlannedRoute& route) {
  const catalog::Mapping& mapping = *route.mapping;
  const dialects::OpenAiFacts& facts = tries.order.facts;
  int64_t tokens =
      PromptTokensMax(tries.order, tries.call.request().body) + TokensMax(tries.stream.text);
  // Who takes no pictures may read their data as text, or put it into the prompt.
  const std::vector<std::string>& takes = mapping.input_modalities;
  const bool takes_pictures = std::ranges::find(takes, "image") != takes.end();
  if (takes_pictures) {
    tokens -= facts.picture_bytes;
  }
  if (!route.is_local() && route.place->upstream->may_be_any_server) {
    tokens += facts.resolved_growth;
    tokens += takes_pictures || takes.empty() ? NamedPictureTokensMax(tries.order) : 0;
  }
  if (mapping.context_length.has_value()) {
    const int64_t contexts = Times(*mapping.context_length, facts.prompts);
    tokens = facts.sounds > 0 ? contexts : std::min(tokens, contexts);
  }
  return Times(tokens, facts.answers / facts.prompts);
}

// How long a sound is is told by nothing: as much as is held.
int64_t InputTokensLikely(const Tries& tries, int64_t most) {
  const dialects::OpenAiFacts& facts = tries.order.facts;
  if (facts.sounds > 0) {
    return most;
  }
  size_t bytes = static_cast<size_t>(facts.input_bytes) + tries.stream.text.size();
  for (const std::string_view field : {"tools", "functions", "response_format"}) {
    bytes += tries.order.text.Raw(field).size();
  }
  return std::min(
      most, billing::TextTokens(static_cast<int64_t>(bytes)) + facts.images * kImageTokensUsual);
}

// The smaller one of the key's bound and of that of who pays.
std::optional<int64_t> OutputSaid(const Call& call) {
  if (call.caller == nullptr) {
    return std::nullopt;
  }
  const identity::KeyLimits& payer =
      call.bill_to.has_value() ? call.bill_to->limits : call.caller->org_limits;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const std::optional<int64_t>& bound : {call.caller->limits.max_output, payer.max_output}) {
    least = std::min(least, bound.value_or(least));
  }
  return least == std::numeric_limits<int64_t>::max() ? std::nullopt : std::optional(least);
}

// Of an answer whose length the request does not say: what it says of thoughts comes before it, and
// a provider refuses what does not fit into the context beside the prompt.
void SetOutputDefault(const Tries& tries, const catalog::Mapping& mapping, billing::Offer& offer) {
  constexpr int64_t kCompletionTokensUnasked = 16;  // as OpenAI has it, and vLLM
  constexpr int64_t kContextMargin = 512;           // a template's own words
  const dialects::OpenAiFacts& facts = tries.order.facts;
  const std::optional<int64_t> said = OutputSaid(tries.call);
  if (tries.order.endpoint == Endpoint::kCompletions && !said.has_value()) {
    offer.output_sent_max = facts.thinking_tokens + kCompletionTokensUnasked;
  }
  if (__builtin_add_overflow(facts.thinking_tokens, said.value_or(billing::kOutputTokensDefault),
                             &offer.output_default)) {
    offer.output_default = std::numeric_limits<int64_t>::max();
  }
  offer.output_min = facts.thinking_tokens + billing::kOutputTokensMin;
  // How much of it a sound takes is not known.
  if (mapping.context_length.has_value() && facts.sounds == 0) {
    const int64_t left =
        *mapping.context_length - offer.input_tokens_likely / facts.prompts - kContextMargin;
    // Most prompts have fewer tokens than is likely here (a third of their bytes, where English has
    // a quarter): one that fits is not to be answered by a few words.
    const int64_t least =
        std::clamp<int64_t>(*mapping.context_length / 16, billing::kOutputTokensMin, 2048);
    offer.output_sent_max =
        std::min(offer.output_sent_max.value_or(offer.output_default), std::max(left, least));
  }
}

void SetOutputMax(const Tries& tries, const catalog::Mapping& mapping, billing::Offer& offer) {
  const dialects::OpenAiFacts& facts = tries.order.facts;
  if (tries.order.endpoint == Endpoint::kEmbeddings) {
    offer.output_tokens_max = 0;
    return;
  }
  offer.output_tokens_max = facts.largest_max_tokens;
  offer.has_zero_bound = facts.max_tokens == 0;
  // Where its cap is known not to bound all, what it says of thoughts may be beyond that, too.
  if (!offer.cap_trust.is_full()) {
    offer.cap_trust.slack = std::max(offer.cap_trust.slack, facts.thinking_tokens);
  }
  SetOutputDefault(tries, mapping, offer);
}

// What is billed by units that the route has no price for, or that nothing bounds.
std::string BilledApart(const dialects::OpenAiFacts& facts, const catalog::Mapping& mapping) {
  if (!facts.billed_apart.empty()) {
    return facts.billed_apart;
  }
  if (!facts.service_tier.empty() && !catalog::IsUsualServiceTier(facts.service_tier) &&
      mapping.prices.ServiceOf(facts.service_tier) == 0) {
    return "service_tier";
  }
  if (facts.sounds > 0 && (!mapping.prices.audio_input || !mapping.context_length)) {
    return "input_audio";
  }
  if (facts.wants_long_cache && !mapping.prices.cache_write_1h) {
    return "cache_control";
  }
  return facts.wants_sound && !mapping.prices.audio_output ? "modalities" : "";
}

// A field that nobody here knows, and the operator has not said to be harmless there.
std::string UnknownField(const dialects::OpenAiFacts& facts, const providers::Upstream& upstream) {
  for (const std::string& field : facts.unknown_fields) {
    if (std::ranges::find(upstream.harmless_fields, field) == upstream.harmless_fields.end()) {
      return field;
    }
  }
  return "";
}

billing::Purchase BuyerOf(const Call& call, bool own_key) {
  billing::Purchase bought;
  if (call.caller != nullptr) {
    bought.org_id = call.bill_to.has_value() ? call.bill_to->org_id : call.caller->org_id;
    bought.project_id = call.caller->project_id;
    bought.key_id = call.caller->key_id;
    bought.user_id = call.caller->user_id();
  }
  bought.own_key = own_key;
  bought.degraded = !call.record.degraded.empty();
  return bought;
}

bool IsStrict(const Call& call) {
  return call.bill_to.has_value() ? call.bill_to->is_strict
                                  : call.caller != nullptr && call.caller->org_is_strict;
}

}  // namespace

billing::Offer OfferOf(const catalog::Mapping& mapping, const routing::MarketPlace& place,
                       billing::Purchase buyer) {
  billing::Offer offer;
  offer.purchase = std::move(buyer);
  offer.purchase.model = mapping.hf_model;
  offer.purchase.provider = mapping.provider;
  offer.purchase.provider_model = mapping.provider_model;
  offer.prices = &mapping.prices;
  offer.model_output_max = mapping.max_output;
  offer.cap_trust = mapping.cap_trust;
  // What goes beyond its cap need not be seen either.
  offer.thinks_unseen = mapping.prices.reasoning.has_value() || !mapping.cap_trust.is_full();
  if (!place.is_local()) {
    offer.bills_whole = place.upstream->bills_on;
    offer.price_varies = place.upstream->price_varies;
    offer.askable = {place.billing.has_value(),
                     place.billing.has_value() && place.upstream->keeps_own_ids};
  }
  return offer;
}

Status Gateway::HoldFor(Tries& tries, Begun& begun) const {
  if (options_.meter == nullptr) {
    return {};
  }
  const PlannedRoute& route = *begun.route;
  billing::Offer offer =
      OfferOf(*route.mapping, *route.place, BuyerOf(tries.call, !begun.key.ref.empty()));
  offer.id = {tries.call.receipt, ++tries.attempt};
  offer.input_tokens_max = InputTokensMax(tries, route);
  offer.input_tokens_likely = InputTokensLikely(tries, offer.input_tokens_max);
  SetOutputMax(tries, *route.mapping, offer);
  offer.choices = tries.order.facts.answers;
  offer.images = tries.order.facts.images;
  offer.has_audio_input = tries.order.facts.sounds > 0;
  offer.wants_audio_output = tries.order.facts.wants_sound;
  offer.thinks_unseen = offer.thinks_unseen || tries.order.facts.may_think;
  offer.hides_answers = tries.order.facts.answers > tries.order.facts.n * tries.order.facts.prompts;
  offer.service_tier = tries.order.facts.service_tier;
  offer.wants_long_cache = tries.order.facts.wants_long_cache;
  if (!route.is_local()) {
    const catalog::Prices& prices = route.mapping->prices;
    offer.writes_unpriced = tries.order.facts.wants_cache && !prices.cache_write &&
                            !prices.is_free() && route.place->upstream->may_be_any_server;
    offer.billed_apart = BilledApart(tries.order.facts, *route.mapping);
    offer.unknown_field = UnknownField(tries.order.facts, *route.place->upstream);
  }
  // Going on with a stream costs both attempts: who wants it knows.
  const bool is_bounded =
      tries.began == nullptr &&
      !tries.order.facts.provider.dear_failover.value_or(tries.plan.market->route().dear_failover);
  offer.cost_max =
      is_bounded ? tries.at_stake.room(route.is_named && !begun.is_beside) : std::nullopt;
  offer.is_strict = IsStrict(tries.call);
  std::optional<ledger::Refusal> refused;
  Result<billing::Metered> money =
      options_.meter->Begin(std::move(offer), ledger::Send::kNow, &refused);
  if (!money.has_value()) {
    if (!tries.refused.has_value() && refused.has_value() &&
        refused->reason == ledger::Refusal::Reason::kBudget) {
      tries.refused = refused;
    }
    return Fail(money.error());
  }
  begun.money = std::move(*money);
  tries.call.record.receipt = tries.call.receipt.ToString();
  begun.held = begun.money.held();
  tries.at_stake.Begin(begun.held);
  return {};
}

bool Gateway::MayGoOut(const billing::Metered& money) const {
  const uint64_t seq = money.goes_out_after();
  return seq == 0 || options_.meter->IsDurable(seq);
}

Task<bool> AwaitDurable(billing::Meter& meter, uint64_t seq,
                        std::chrono::steady_clock::time_point deadline) {
  if (seq == 0) {
    co_return true;
  }
  const auto wakeup = http::Wakeup::Create();
  meter.WhenDurable(seq, [wakeup](bool /*is_durable*/) { wakeup->Notify(); });
  static_cast<void>(co_await wakeup->Wait(deadline));
  co_return meter.IsDurable(seq);
}

// The first request of a budget's window or after a rest, and each of an organisation that is
// strict.
Task<Status> Gateway::AwaitDisk(Tries& tries, Begun& begun) const {
  constexpr int64_t kRetryAfterMs = 60'000;
  if (co_await AwaitDurable(*options_.meter, begun.money.goes_out_after(), tries.deadline)) {
    begun.started = clock_.Now();  // how fast the disk is says nothing of the route
    co_return Status();
  }
  EndMoney(tries, NotSent(), begun);
  co_return Fail(Error{ErrorCode::kResourceExhausted,
                       "What the request may cost could not be kept on the disk, so it was not "
                       "sent. Ask again when the disk is well.",
                       {},
                       kRetryAfterMs});
}

Answered NotSent() {
  Answered answered;
  answered.failed_before_first_byte =
      Error{ErrorCode::kInternal, "The server failed to answer this request."};
  answered.kind = routing::FailureKind::kConnect;
  answered.reached = routing::Reached::kNotSent;
  return answered;
}

billing::Ended EndedOf(const Answered& answered) {
  billing::Ended ended;
  ended.is_complete = !answered.has_failed() || answered.was_read_on;
  // Some say with every chunk what there is by then: that is no bill of an answer that was cut.
  if (ended.is_complete || answered.usage_is_final) {
    ended.usage = answered.usage;
  }
  ended.delivered_bytes = answered.delivered_bytes;
  ended.unread_bytes = answered.unread_bytes;
  if (answered.has_failed()) {
    const routing::AttemptFailure failure{answered.kind, answered.reached};
    ended.surely_unbilled = routing::RuleFor(failure, routing::SecondTries::kYes, false).bill ==
                            routing::Bill::kNothing;
    // An error is seldom billed, nor is a web page, which no model wrote but something in between
    // (a sign-in, a block); what was cut, stalled, left or cannot be read usually is.
    ended.provider_ended = answered.kind == routing::FailureKind::kServerError ||
                           answered.kind == routing::FailureKind::kErrorEvent || answered.is_page;
    ended.likely_billed = !ended.provider_ended;
    // An answer that began anew instead of going on was compared, and not shown. Of a refusal that
    // is billed nobody has got anything.
    const bool is_refusal = answered.usage.has_value() && answered.delivered_bytes == 0;
    ended.is_waste = !answered.was_read_on &&
                     (is_refusal || (answered.gave_nothing && answered.delivered_bytes > 0));
    if (answered.refusal_is_billed) {  // as an answer of nothing
      ended.surely_unbilled = false;
      ended.is_complete = ended.is_waste = true;
    }
    ended.finish = routing::FailureKindName(answered.kind);
  } else {
    ended.finish = answered.finish_reason;
  }
  return ended;
}

void EndMoney(Tries& tries, const Answered& answered, Begun& begun, bool has_lost) {
  billing::Ended ended = EndedOf(answered);
  if (has_lost) {
    ended.finish = kHedgeLost;  // its client is still there
  }
  if (begun.route->is_local()) {
    ended.usage = answered.usage;
  }
  static_cast<void>(begun.money.End(ended));
  tries.at_stake.End(begun.held, begun.money.may_cost());
}

}  // namespace tradewind::gateway
