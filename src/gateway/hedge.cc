// Two attempts beside each other, where it is wanted: when a route says nothing for longer than it
// usually does, the next one is asked too. The first with something to show answers, and the other
// is closed. Both are attempts, in the log, the metrics and on the providers' bills.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gateway/tries.h"

namespace tradewind::gateway {
namespace {

using routing::FailureKind;
using routing::PlannedRoute;
using std::chrono::steady_clock;

Answered Unfinished() {
  Answered answered;
  answered.failed_before_first_byte =
      Error{ErrorCode::kInternal, "The server failed to answer this request."};
  return answered;
}

struct Leg {
  Begun begun;
  Opening opening;
  bool is_done = false;
  // Until it is known that it has not; so also when its task ends by an exception.
  std::optional<Answered> failed = Unfinished();

  bool is_ready() const { return is_done && !failed.has_value(); }
};
using Legs = std::vector<std::shared_ptr<Leg>>;

struct Ending {
  Ending(Leg& in, http::Wakeup& bell) : leg(in), wakeup(bell) {}
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;
  ~Ending() {
    leg.is_done = true;
    wakeup.Notify();
  }
  Leg& leg;
  http::Wakeup& wakeup;
};

// It was answering when another one was faster, or when its client left.
Answered Left() {
  Answered answered = Unfinished();
  answered.kind = FailureKind::kClientLeft;
  return answered;
}

// The whole answer of one that lost was here before it could be told to stop, and says what it
// used.
Task<void> SettleAsWaste(Leg& leg, const Clock& clock) {
  const PassedWhole whole = co_await PassWhole(leg.opening.upstream, clock);
  if (whole.usage.has_value() && whole.usage->is_whole()) {
    billing::Ended ended;
    ended.is_complete = ended.is_waste = true;
    ended.usage = whole.usage;
    ended.finish = kHedgeLost;
    static_cast<void>(leg.begun.money.End(ended));
  }
}

void CancelAll(const Legs& legs, const Leg* but = nullptr) {
  for (const std::shared_ptr<Leg>& leg : legs) {
    if (leg.get() != but) {
      leg->opening.upstream->Cancel();
    }
  }
}

}  // namespace

// Nothing: no hedging. Before there are enough measurements of a route there is no usual time, and
// none of how long whole answers take.
std::optional<int64_t> Gateway::HedgeAfterMs(const Tries& tries) const {
  const std::vector<PlannedRoute>& routes = tries.plan.routes;
  const size_t now = tries.attempts.route();
  const dialects::ProviderPreferences& wanted = tries.order.facts.provider;
  const catalog::RouteConfig& config = tries.plan.market->route();
  const bool can = tries.began == nullptr && now + 1 < routes.size() && !routes[now].is_local() &&
                   !routes[now + 1].is_local();
  if (!can || !wanted.hedge.value_or(config.hedge)) {
    return std::nullopt;
  }
  if (wanted.hedge_after_ms.has_value()) {
    return wanted.hedge_after_ms;
  }
  if (config.hedge_after_ms > 0) {
    return config.hedge_after_ms;
  }
  const auto usual_ms = tries.order.facts.stream ? routes[now].health->Ttft95Ms() : std::nullopt;
  return usual_ms.has_value() ? std::optional(static_cast<int64_t>(*usual_ms) + 1) : std::nullopt;
}

// The next route, when it is in health and the budget has a second attempt for it.
std::optional<Begun> Gateway::BeginSecond(Tries& tries) const {
  const PlannedRoute& route = tries.plan.routes[tries.attempts.route() + 1];
  if (!MayPayFor(tries, route)) {
    return std::nullopt;
  }
  UpstreamKey key = KeyFor(tries.call, route);
  auto lesson = route.health->Begin(key.ref, false);
  const auto now = clock_.Now();
  if (!lesson.has_value()) {
    return std::nullopt;
  }
  // Both are paid for in the worst case, so both are held.
  Begun second{&route, std::move(key), std::move(*lesson), now};
  second.is_beside = true;
  if (!HoldFor(tries, second).has_value()) {
    return std::nullopt;
  }
  if (!tries.attempts.Hedge(route.slug(), now)) {
    EndMoney(tries, NotSent(), second);
    return std::nullopt;
  }
  return second;
}

Task<Answered> Gateway::AttemptHedged(Tries& tries, Begun first, int64_t after_ms) {
  Call& call = tries.call;
  const auto hedge_at = first.started + std::chrono::milliseconds(after_ms);
  const auto wakeup = http::Wakeup::Create();
  const auto legs = std::make_shared<Legs>();
  call.exchange.OnClientLeft([weak = std::weak_ptr(legs), wakeup] {
    if (const auto alive = weak.lock()) {
      CancelAll(*alive);
    }
    wakeup->Notify();
  });
  const auto start = [&](Begun begun) {
    // Nothing is there to go on with, so it cannot fail.
    const AttemptTerms terms = tries.TermsOf(begun);
    auto opening = Prepare(call, tries.order, *begun.route, terms, tries.stream);
    auto leg = std::make_shared<Leg>(Leg{std::move(begun), std::move(*opening)});
    legs->push_back(leg);
    ++call.record.attempts;
    http::RunBeside([leg, wakeup]() -> Task<void> {
      const Ending ending{*leg, *wakeup};
      leg->failed = co_await Reach(leg->opening, true);
    });
  };

  start(std::move(first));
  bool has_hedged = false;
  std::optional<Begun> second;  // that has not gone out
  const auto is_ready = [](const auto& leg) { return leg->is_ready(); };
  const auto is_done = [](const auto& leg) { return leg->is_done; };
  while (!std::ranges::any_of(*legs, is_ready) && !std::ranges::all_of(*legs, is_done) &&
         !call.exchange.client_left()) {
    const bool is_awake =
        co_await wakeup->Wait(has_hedged ? steady_clock::time_point::max() : hedge_at);
    if (!is_awake && !std::exchange(has_hedged, true)) {
      second = BeginSecond(tries);
      if (second.has_value() && second->money.goes_out_after() > 0) {
        options_.meter->WhenDurable(second->money.goes_out_after(),
                                    [wakeup](bool /*is_durable*/) { wakeup->Notify(); });
      }
    }
    // The first one may have answered while the money of the second was on its way to the disk.
    const bool is_over = std::ranges::any_of(*legs, is_ready) || call.exchange.client_left();
    if (second.has_value() && !is_over && MayGoOut(second->money)) {
      second->started = clock_.Now();  // how fast the disk is says nothing of the route
      start(std::move(*second));
      second.reset();
    }
  }
  if (second.has_value()) {
    EndMoney(tries, NotSent(), *second);
  }
  const auto found = std::ranges::find_if(*legs, is_ready);
  Leg* const won = found == legs->end() ? nullptr : found->get();
  CancelAll(*legs, won);
  while (!std::ranges::all_of(*legs, is_done)) {
    static_cast<void>(co_await wakeup->Wait(steady_clock::time_point::max()));
  }

  Answered answered = Left();
  for (const std::shared_ptr<Leg>& leg : *legs) {
    const std::string& slug = leg->begun.route->slug();
    if (leg.get() == won) {
      continue;
    }
    leg->begun.money.UpstreamIdWithNext(leg->opening.upstream->upstream_request_id());
    if (leg->is_ready() && !tries.order.facts.stream) {
      co_await SettleAsWaste(*leg, clock_);
    }
    // What the others had done by then nobody says: in doubt for their worst case
    // (billing/ending.h).
    Answered failed = std::move(leg->failed).value_or(Left());
    const bool has_lost =
        leg->is_ready() || (won != nullptr && failed.kind == FailureKind::kClientLeft);
    EndMoney(tries, failed, leg->begun, has_lost);
    if (has_lost) {
      CountAttempt(slug, kHedgeLost);  // nothing is learnt from it
      continue;
    }
    const routing::AttemptFailure failure{failed.kind, failed.reached};
    tries.may_be_billed |= routing::RuleFor(failure, routing::SecondTries::kYes, false).bill ==
                           routing::Bill::kUnknown;
    CountAttempt(slug, routing::FailureKindName(failed.kind));
    tries.Teach(failed, leg->begun);
    if (answered.kind != FailureKind::kOtherForm) {  // which was bought, and is not again
      answered = std::move(failed);
    }
  }
  const PlannedRoute& route = won == nullptr ? *legs->back()->begun.route : *won->begun.route;
  call.record.model = route.mapping->hf_model;
  call.record.provider = route.slug();
  if (legs->size() > 1 && (won == nullptr || won == legs->back().get())) {
    tries.attempts.Skip();  // the first one's turn is over
  }
  if (won == nullptr) {
    co_return answered;
  }
  // From here on it stands alone. A silent one that is left by its client is cancelled, also where
  // it bills on: nobody knows yet which of the two would be worth reading.
  won->opening.leaving =
      LeavingClient::Watch(call.exchange, won->opening.upstream,
                           route.place->upstream->bills_on ? &read_on_ : nullptr, clock_);
  AttemptTerms terms;
  terms.money = &won->begun.money;
  terms.cost_is_known = tries.KnowsCost(won->begun);
  terms.on_first_token = [&] {
    won->begun.lesson.Answered(MsBetween(won->begun.started, clock_.Now()));
  };
  answered = co_await Deliver(call, tries.order, route, terms, won->opening, tries.stream);
  if (call.exchange.client_left()) {
    answered.kind = FailureKind::kClientLeft;
  }
  CountAttempt(route.slug(), answered.has_failed() ? routing::FailureKindName(answered.kind)
                                                   : std::string_view("answered"));
  EndMoney(tries, answered, won->begun);
  tries.Teach(answered, won->begun);
  co_return answered;
}

}  // namespace tradewind::gateway
