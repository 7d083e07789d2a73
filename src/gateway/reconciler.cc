#include "gateway/reconciler.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "billing/billing_answer.h"
#include "dialects/json_writer.h"
#include "http/upstream.h"
#include "telemetry/log.h"

namespace tradewind::gateway {
namespace {

using billing::BillingOutcome;
using billing::BillingQuestion;

std::string BodyOf(const BillingQuestion& question) {
  dialects::JsonWriter body;
  body.BeginObject().Key("requestIds").BeginArray();
  for (const std::string& id : question.ids) {
    body.Value(id);
  }
  body.EndArray().EndObject();
  return body.Take();
}

}  // namespace

Reconciler::Reconciler(routing::Marketplace& market, ledger::Ledger& ledger, billing::Meter& meter,
                       telemetry::Registry& metrics, ReconcilerOptions options, const Clock& clock)
    : market_(market),
      ledger_(ledger),
      meter_(meter),
      metrics_(metrics),
      options_(std::move(options)),
      clock_(clock),
      reconciliation_(ledger, options_.give_up, options_.has_twin),
      loop_(http::EventLoop::Start()) {
  loop_->Spawn([this] { return Run(); });
  if (options_.usage_sources && market_.upstreams != nullptr) {
    loop_->Spawn([this] { return RunUsage(); });
  }
}

void Reconciler::Stop() {
  loop_->Stop();
}

Reconciler::~Reconciler() {
  Stop();
  loop_->Destroy();  // a suspended call, which ends with it
}

Task<void> Reconciler::Run() {
  wakeup_ = http::Wakeup::Create();
  while (true) {
    static_cast<void>(co_await wakeup_->Wait(clock_.Now() + options_.every));
    if (!ledger_.is_released()) {
      co_await Round();
    }
  }
}

// A source that failed is asked again soon, but no more often than it was to be.
Task<void> Reconciler::RunUsage() {
  constexpr std::chrono::milliseconds kAfterTrouble{600'000};
  usage_wakeup_ = http::Wakeup::Create();
  while (true) {
    for (const UsageSource& source :
         ledger_.is_released() ? std::vector<UsageSource>() : options_.usage_sources()) {
      auto& due = usage_due_[source.provider];
      if (due > clock_.Now()) {
        continue;
      }
      const Status taken = co_await FetchAndTake(source);
      if (taken.has_value()) {
        usage_troubles_.erase(source.provider);
      } else {
        UsageTrouble(source.provider, taken.error().message);
      }
      due =
          clock_.Now() + (taken.has_value() ? source.every : std::min(source.every, kAfterTrouble));
    }
    static_cast<void>(co_await usage_wakeup_->Wait(clock_.Now() + options_.every));
  }
}

Task<Status> Reconciler::FetchAndTake(const UsageSource& source) {
  const UsageDays days = UsageDaysAt(clock_.UnixSeconds());
  TW_CO_ASSIGN_OR_RETURN(std::vector<billing::BillLine> lines,
                         co_await FetchUsage(*market_.upstreams, source, days, clock_));
  co_return options_.take_usage(source, days, std::move(lines));
}

void Reconciler::UsageTrouble(const std::string& provider, const std::string& what) {
  metrics_
      .GetCounter("tradewind_usage_fetches_failed_total",
                  "Looks at providers' usage APIs that failed.", {{"provider", provider}})
      .Increment();
  if (std::exchange(usage_troubles_[provider], what) != what) {
    telemetry::Log(
        telemetry::Level::kWarn,
        fmt::format("the bill of {} was not looked at, and will be again: {}", provider, what));
  }
}

Task<void> Reconciler::Round() {
  const std::shared_ptr<const routing::Market> market = market_.board.Get();
  const auto askable = [&](std::string_view provider) -> billing::AskableIds {
    const routing::MarketPlace* place = market->Find(provider);
    if (place == nullptr || !place->billing.has_value()) {
      return {};
    }
    return {true, place->upstream->keeps_own_ids};
  };
  if (market_.upstreams != nullptr) {
    const std::vector<BillingQuestion> questions = reconciliation_.Questions(askable);
    for (const BillingQuestion& question : questions) {
      co_await Ask(*market, question);
    }
  }
  meter_.SettleOverdue(options_.deadline, askable);
}

std::optional<std::string> Reconciler::KeyFor(const routing::MarketPlace& place,
                                              const BillingQuestion& question) const {
  if (!question.asker.own_key) {
    return place.api_key;
  }
  return options_.own_key
             ? options_.own_key(question.asker.org_id, question.asker.user_id, question.provider)
             : std::nullopt;
}

Task<void> Reconciler::Ask(const routing::Market& market, const BillingQuestion& question) {
  const routing::MarketPlace& place = *market.Find(question.provider);
  const std::optional<std::string> key = KeyFor(place, question);
  if (!key.has_value()) {
    co_return;  // the caller took it back
  }
  const std::string body = BodyOf(question);
  http::UpstreamRequest request;
  request.url = *place.billing;
  request.target = request.url.target_prefix.empty() ? "/" : "";
  request.headers.Set("Content-Type", "application/json");
  request.headers.Set("Accept", "application/json");
  providers::Authorize(*place.upstream, *key, request.headers);  // as inference has it
  request.body = body;
  request.allow_private = place.provider->allow_private;
  request.deadlines.overall = clock_.Now() + std::chrono::milliseconds(limits::kBillingDeadlineMs);
  const std::unique_ptr<http::UpstreamCall> call = market_.upstreams->Start(std::move(request));
  if (const Status head = co_await call->AwaitHead(); !head.has_value()) {
    co_return Trouble(question.provider, head.error().message);
  }
  if (call->status() != 200) {
    co_return Trouble(question.provider, fmt::format("it answers with {}", call->status()));
  }
  const Result<std::string> answer = co_await http::ReadBody(*call, limits::kBillingAnswerBytesMax);
  if (!answer.has_value()) {
    co_return Trouble(question.provider, answer.error().message);
  }
  const auto costs = billing::ReadBillingAnswer(*answer);
  if (!costs.has_value()) {
    co_return Trouble(question.provider, "its answer is none: " + costs.error().message);
  }
  troubles_.erase(question.provider);
  Tell(question.provider, reconciliation_.Take(question, *costs, clock_.Now()));
}

void Reconciler::Trouble(const std::string& provider, const std::string& what) {
  metrics_
      .GetCounter("tradewind_billing_calls_failed_total",
                  "Calls to providers' billing that failed.", {{"provider", provider}})
      .Increment();
  if (std::exchange(troubles_[provider], what) != what) {
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("{} cannot be asked what requests cost, and will be again: {}",
                               provider, what));
  }
}

void Reconciler::Tell(const std::string& provider, const BillingOutcome& outcome) {
  const auto count = [&](std::string_view end, int64_t requests) {
    if (requests > 0) {
      metrics_
          .GetCounter("tradewind_reconciled_total",
                      "Requests in doubt that a provider was asked about, by what came of it.",
                      {{"provider", provider}, {"end", std::string(end)}})
          .Increment(static_cast<uint64_t>(requests));
    }
  };
  count("settled", outcome.settled);
  count("void", outcome.voided);
  count("overrun", outcome.overruns);
  count("ambiguous", outcome.ambiguous);
  if (outcome.settled > 0 || outcome.voided > 0) {
    telemetry::Log(telemetry::Level::kInfo,
                   fmt::format("{} was asked about requests in doubt: {} are settled by its bill, "
                               "{} it does not know and are void, {} are asked again",
                               provider, outcome.settled, outcome.voided, outcome.unknown));
  }
  if (outcome.ambiguous > 0) {
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("{} names several requests by one id, so its bill of them says "
                               "nothing: they stay in doubt",
                               provider));
  }
}

}  // namespace tradewind::gateway
