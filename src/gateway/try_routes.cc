// The attempts of one request: one route after the other until something can be shown, and after
// that, where it is wanted, to go on with a stream that was cut.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/ids.h"
#include "gateway/tries.h"
#include "providers/continuation.h"

namespace tradewind::gateway {
namespace {

using routing::FailureKind;
using routing::PlannedRoute;
using routing::Step;

// Waits without blocking the thread; a client that leaves ends the wait. False: it left.
Task<bool> Pause(http::Exchange& exchange, const Clock& clock, int64_t ms) {
  const auto wakeup = http::Wakeup::Create();
  exchange.OnClientLeft([wakeup] { wakeup->Notify(); });
  if (ms > 0) {
    static_cast<void>(co_await wakeup->Wait(clock.Now() + std::chrono::milliseconds(ms)));
  }
  co_return !exchange.client_left();
}

// What the client asked for, or else the config. Schemas begin with their first brace, and several
// answers are cut in several places.
bool MayGoOn(const Call& call, const Order& order, const routing::Market& market) {
  const dialects::OpenAiFacts& facts = order.facts;
  return facts.provider.continuation.value_or(market.route().continuation) && facts.stream &&
         facts.n == 1 && !facts.has_schema && call.own_path_of.empty() &&
         order.endpoint != providers::Endpoint::kEmbeddings;
}

Answered NoMoney(Error error, const ClientStream& stream) {
  Answered answered;
  answered.kind = FailureKind::kNotCapable;
  answered.reached = routing::Reached::kNotSent;
  (stream.head_is_out ? answered.failed_after_first_byte : answered.failed_before_first_byte) =
      std::move(error);
  answered.is_left_open = answered.gave_nothing = stream.head_is_out;
  return answered;
}

// The provider refused the caller's own account there.
bool RefusedOwnKey(const Answered& answered) {
  return answered.has_failed() && answered.key_owner == KeyOwner::kCaller &&
         (answered.kind == FailureKind::kKeyRejected || answered.kind == FailureKind::kNoFunds);
}

// "org/name at site-a"
std::string NameOf(std::string_view model, std::string_view slug) {
  return fmt::format("{} at {}", model, slug);
}

// What would have cost so much more than the first route that it is not even planned.
std::vector<std::string> LeftOutAsDear(const routing::Plan& plan) {
  std::vector<std::string> names;
  for (const routing::LeftOut& out : plan.ranking.left_out) {
    const routing::RouteFacts& facts = plan.facts[out.index];
    // Under another of its model strings it may be.
    const bool is_planned = std::ranges::any_of(plan.routes, [&](const PlannedRoute& route) {
      return route.slug() == facts.provider &&
             route.mapping->provider_model == facts.provider_model;
    });
    if (out.code == routing::Exclusion::kDearFailover && !is_planned) {
      names.push_back(NameOf(facts.model, facts.provider));
    }
  }
  return names;
}

// Whether any of these routes would have been asked next.
bool WouldHaveFollowed(const Call& call, const Answered& answered) {
  return call.record.attempts > 0 && answered.failed_before_first_byte.has_value() &&
         routing::RuleFor({answered.kind, answered.reached}, routing::SecondTries::kYes, false)
             .elsewhere;
}

// Whether the route can go on with what `before` began: the same model, from its beginning.
bool CanGoOn(const PlannedRoute& route, const PlannedRoute& before, const Order& order) {
  return !route.is_local() && route.model == before.model &&
         providers::CanGoOn(*route.place->upstream, order.endpoint, route.mapping->provider_model);
}

}  // namespace

// A provider sends the head of an answer that is no stream when all of it is done: its first byte
// comes as late as its last. Cut short, it would run on, be billed, and begin again on the next
// route: so it has a time of its own, that only a provider which says nothing at all should need.
AttemptTerms Tries::TermsOf(Begun& begun) const {
  const auto first_byte_by = order.facts.stream ? attempts.FirstByteBy(begun.started)
                                                : attempts.WholeAnswerBy(begun.started);
  AttemptTerms terms;
  terms.key = &begun.key;
  terms.money = &begun.money;
  terms.cost_is_known = KnowsCost(begun);
  terms.deadlines.first_byte_ms = std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(MsBetween(begun.started, first_byte_by))));
  terms.deadlines.idle_ms = times.stall_ms;
  terms.deadlines.overall = deadline;
  if (order.facts.stream) {
    terms.visible_by = first_byte_by;
  }
  return terms;
}

bool Tries::KnowsCost(const Begun& begun) const {
  return !begun.money.is_billed_apart() && !may_be_billed && at_stake.sum <= begun.held;
}

// The request's own end says nothing about a route, unless that had time enough and showed nothing:
// else one that takes requests and never answers would be asked for ever.
bool Tries::WasMute(const Answered& answered, const Begun& begun) const {
  const auto bound_ms =
      static_cast<double>(order.facts.stream ? times.first_byte_ms : times.whole_answer_ms);
  const double enough_ms = std::min(bound_ms, MsBetween(call.started, deadline) / 2);
  return answered.kind == FailureKind::kDeadline && answered.failed_before_first_byte.has_value() &&
         !begun.route->is_local() && MsBetween(begun.started, deadline) >= enough_ms;
}

void Tries::Teach(const Answered& answered, Begun& begun) const {
  routing::Attempt& lesson = begun.lesson;
  if (answered.has_failed()) {
    lesson.Failed(WasMute(answered, begun) ? FailureKind::kFirstByteTimeout : answered.kind,
                  answered.retry_after_ms);
    return;
  }
  routing::Measured measured;
  if (answered.usage.has_value() && !answered.usage->lacks_output &&
      answered.first_token_at.has_value() && answered.last_token_at.has_value()) {
    measured.output_tokens = answered.usage->output_tokens;
    measured.generation_ms = MsBetween(*answered.first_token_at, *answered.last_token_at);
  }
  lesson.Succeeded(measured);
}

void Gateway::CountAttempt(const std::string& slug, std::string_view outcome) {
  metrics_
      .GetCounter("tradewind_attempts_total", "Attempts at answering, by provider and outcome.",
                  {{"provider", slug}, {"outcome", std::string(outcome)}})
      .Increment();
}

// Whether whoever pays for this route was asked to.
bool Gateway::MayPayFor(const Tries& tries, const PlannedRoute& route) const {
  return !tries.own_key_refused || route.is_local() || route.is_asked_for ||
         !KeyFor(tries.call, route).ref.empty();
}

// The route whose turn it is; those that rest, cannot go on with the stream, or would be paid by
// whom nobody asked to, are skipped. Nothing when none is left.
std::optional<Begun> Gateway::Begin(Tries& tries) const {
  const std::vector<PlannedRoute>& routes = tries.plan.routes;
  while (true) {
    const PlannedRoute& route = routes[tries.attempts.route()];
    if ((tries.began == nullptr || CanGoOn(route, *tries.began, tries.order)) &&
        MayPayFor(tries, route)) {
      UpstreamKey key = KeyFor(tries.call, route);
      tries.own_key_refused |= !key.ref.empty() && route.health->Snapshot(key.ref).availability ==
                                                       routing::Availability::kKeyHeld;
      // Better than nothing.
      const bool is_last = std::none_of(
          routes.begin() + static_cast<std::ptrdiff_t>(tries.attempts.route()) + 1, routes.end(),
          [&](const PlannedRoute& next) { return MayPayFor(tries, next); });
      if (auto lesson = route.health->Begin(key.ref, route.last_resort || is_last)) {
        return Begun{&route, std::move(key), std::move(*lesson), clock_.Now()};
      }
    }
    if (!tries.attempts.Skip()) {
      return std::nullopt;
    }
  }
}

// One try at one route, and what it teaches about it.
Task<Answered> Gateway::Attempt(Tries& tries, Begun& begun) {
  Call& call = tries.call;
  const PlannedRoute& route = *begun.route;
  call.record.model = route.mapping->hf_model;
  call.record.provider = route.slug();
  ++call.record.attempts;
  AttemptTerms terms = tries.TermsOf(begun);
  terms.on_first_token = [&] { begun.lesson.Answered(MsBetween(begun.started, clock_.Now())); };
  Answered answered;
  if (route.is_local()) {
    answered = co_await AnswerHere(call, tries.order, route.mapping->provider_model, terms);
  } else {
    answered = co_await AnswerFromUpstream(call, tries.order, route, terms, tries.stream);
  }
  if (call.exchange.client_left()) {
    answered.kind = FailureKind::kClientLeft;
  }
  CountAttempt(route.slug(), answered.has_failed() ? routing::FailureKindName(answered.kind)
                                                   : std::string_view("answered"));
  EndMoney(tries, answered, begun);
  tries.Teach(answered, begun);
  co_return answered;
}

Task<Answered> Gateway::TryRoutes(Call& call, const Order& order, const routing::Plan& plan) {
  const auto deadline = call.started + std::chrono::milliseconds(options_.times.deadline_ms);
  routing::AttemptOptions options;
  options.first_byte_ms = options_.times.first_byte_ms;
  options.whole_answer_ms = options_.times.whole_answer_ms;
  options.second_tries = plan.second_tries();
  options.continuation = MayGoOn(call, order, *plan.market);
  for (const PlannedRoute& route : plan.routes) {
    market_.retries.CountRequest(route.slug());
  }
  Tries tries{
      call,
      order,
      plan,
      deadline,
      options_.times,
      routing::Attempts(options, plan.routes.size(), deadline, market_.retries, SystemRandom())};
  tries.stream.may_go_on = options.continuation;

  Answered answered;
  bool was_sent = false;
  Boxed<Error> out_of_budget;  // the first such refusal: others may hide it
  while (auto begun = Begin(tries)) {
    const auto first_token_at = answered.first_token_at;
    Status held = HoldFor(tries, *begun);
    if (held.has_value() && begun->money.goes_out_after() > 0) {
      held = co_await AwaitDisk(tries, *begun);
    }
    const bool is_refused_here = !held.has_value();
    was_sent |= !is_refused_here;
    if (is_refused_here && !out_of_budget.has_value() && billing::IsOutOfBudget(held.error())) {
      out_of_budget = held.error();
    }
    if (is_refused_here && billing::IsBeyondRequest(held.error())) {
      // What came before is what the client is told, if no cheaper route follows.
      CountAttempt(begun->route->slug(), "too_dear");
      tries.too_dear.push_back(NameOf(begun->route->mapping->hf_model, begun->route->slug()));
    } else if (is_refused_here && was_sent) {
      // The client may have to pay for what failed: a refusal alone would read as if nothing had
      // been tried.
      answered.not_retried = held.error().message;
    } else if (is_refused_here) {
      answered = NoMoney(held.error(), tries.stream);  // another route may be cheaper
    } else if (const auto after_ms = HedgeAfterMs(tries); after_ms.has_value()) {
      answered = co_await AttemptHedged(tries, std::move(*begun), *after_ms);
    } else {
      answered = co_await Attempt(tries, *begun);
    }
    if (tries.began != nullptr) {
      answered.first_token_at = first_token_at;  // the client has had it
    }
    tries.own_key_refused |= RefusedOwnKey(answered);
    if (!answered.failed_before_first_byte.has_value() && !answered.is_left_open) {
      break;
    }
    if (is_refused_here) {
      // Nothing was sent: it takes no second try from others, whose provider has failed.
      if (!tries.attempts.Skip()) {
        break;
      }
      continue;
    }
    if (answered.is_left_open && tries.began == nullptr) {
      tries.began = &plan.routes[tries.attempts.route()];
    }
    const size_t next = std::min(tries.attempts.route() + 1, plan.routes.size() - 1);
    const routing::Attempts::Decision decision =
        tries.attempts.Next({answered.kind, answered.reached, answered.is_left_open, false,
                             answered.retry_after_ms, answered.gave_nothing},
                            plan.routes[next].slug(), clock_.Now());
    tries.may_be_billed |= decision.bill == routing::Bill::kUnknown;
    if (decision.step == Step::kGiveUp ||
        !co_await Pause(call.exchange, clock_, decision.wait_ms)) {
      break;
    }
  }
  if (answered.is_left_open) {
    TellNotRetried(answered, answered.failed_after_first_byte->message);
    co_await EndCutStream(call.exchange, *answered.failed_after_first_byte);
  }
  if (WouldHaveFollowed(call, answered)) {
    answered.too_dear = LeftOutAsDear(plan);
    std::ranges::move(tries.too_dear, std::back_inserter(answered.too_dear));
  }
  if (RefusedOwnKey(answered) && std::ranges::any_of(plan.routes, [&](const PlannedRoute& route) {
        return !MayPayFor(tries, route);
      })) {
    answered.not_retried = std::string(
        "the server's own account pays other routes, which are asked where they are named, like "
        "\"MODEL:PROVIDER\".");
  }
  answered.may_be_billed = tries.may_be_billed;
  if (!was_sent && out_of_budget.has_value()) {
    // Before whatever else the last route had against it: this is what its caller can mend.
    answered = NoMoney(*out_of_budget, tries.stream);
    answered.out_of_budget = true;
    if (tries.refused.has_value()) {
      options_.meter->NoteRefused(*tries.refused);  // nothing had room: a request is refused
    }
  }
  co_return answered;
}

}  // namespace tradewind::gateway
