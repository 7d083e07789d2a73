#include "alerts/service.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "alerts/mailer.h"
#include "alerts/message.h"
#include "http/http.h"
#include "telemetry/log.h"

namespace tradewind::alerts {
namespace {

using std::chrono::milliseconds;

constexpr auto kLookPause = milliseconds(500);
constexpr auto kSendPause = milliseconds(500);
constexpr auto kCommandPause = milliseconds(20);
constexpr int64_t kSendsOfARound = 16;
constexpr int64_t kWebhookMs = 10'000;  // of one try
constexpr int64_t kCommandMs = 30'000;  // then it is killed
constexpr int64_t kTriesMax = 8;
constexpr int64_t kTroubleBytesMax = 200;
// 2, 8, 32 seconds ... between tries: three hours until it is given up.
constexpr int64_t kRetryNs = int64_t{2} * 1'000'000'000;
constexpr int64_t kRetryFactor = 4;

// A name in an alert may be anything that an operator or a provider wrote.
std::string OneLine(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return text;
}

}  // namespace

Service::Service(Config config, Watch& watch, billing::Books& books,
                 http::UpstreamClient& upstreams, const Clock& clock)
    : config_(std::move(config)),
      watch_(watch),
      books_(books),
      upstreams_(upstreams),
      clock_(clock),
      loop_(http::EventLoop::Start()) {
  // What is barred or throttled is so from the first request on; what the last process left in the
  // journal alone, too.
  static_cast<void>(books_.recorder().CatchUp());
  Look();
  loop_->Spawn([this] { return LookNowAndThen(); });
  // Each on its own: a command that hangs keeps no webhook waiting.
  if (config_.webhook.has_value()) {
    loop_->Spawn([this] { return SendNowAndThen(Channel::kWebhook); });
  }
  if (!config_.command.empty()) {
    loop_->Spawn([this] { return SendNowAndThen(Channel::kCommand); });
  }
}

Service::~Service() {
  loop_->Stop();
  loop_->Destroy();  // what is on its way ends, and is sent again after the next start
}

int64_t Service::NowNs() const {
  return books_.ledger().TimeNs();
}

Task<void> Service::LookNowAndThen() {
  const auto wakeup = http::Wakeup::Create();
  while (true) {
    Look();
    static_cast<void>(co_await wakeup->Wait(clock_.Now() + kLookPause));
  }
}

void Service::Look() {
  const Result<Seen> seen = watch_.Look(books_.recorder(), books_.ledger());
  LookAtLedger(seen.has_value());
  if (!seen.has_value()) {
    // Another process has the data folder: it tells from now on.
    if (seen.error().code != ErrorCode::kUnavailable && seen.error().message != trouble_) {
      trouble_ = seen.error().message;
      telemetry::Log(telemetry::Level::kError, "alerts are behind: " + OneLine(trouble_));
    }
    return;
  }
  for (const Alert& alert : seen->raised) {
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("alert {}: {}", alert.id, OneLine(alert.text)));
  }
  books_.meter().SetThrottled({seen->throttled.begin(), seen->throttled.end()});
  books_.meter().bars().Set(seen->barred, seen->applied_seq);
}

void Service::LookAtLedger(bool is_kept) {
  std::optional<Alert> alert = LedgerAlert(books_.ledger(), NowNs());
  const std::string scope = alert.has_value() ? alert->scope : "";
  if (scope != ledger_scope_) {
    ledger_scope_ = scope;
    unkept_.reset();
    std::erase_if(unnoted_, [](const auto& one) { return one.first.first == 0; });
    if (books_.ledger().trouble().kind == ledger::Trouble::Kind::kStopped && alert.has_value()) {
      telemetry::Log(telemetry::Level::kError, OneLine(alert->text));
    }
  }
  if (alert.has_value() && !is_kept && !unkept_.has_value()) {
    alert->sent.fill({Delivery::kPending});
    unkept_ = std::move(alert);
  }
}

Task<void> Service::SendNowAndThen(Channel channel) {
  const auto wakeup = http::Wakeup::Create();
  while (true) {
    co_await SendDue(channel);
    static_cast<void>(co_await wakeup->Wait(clock_.Now() + kSendPause));
  }
}

Task<void> Service::SendDue(Channel channel) {
  std::vector<Alert> due;
  const Status looked = books_.recorder().Change([&](storage::Database& database) -> Status {
    TW_ASSIGN_OR_RETURN(due, DueAlerts(database, channel, NowNs(), kSendsOfARound));
    return {};
  });
  if (!looked.has_value()) {
    due.clear();
  }
  if (unkept_.has_value()) {
    due.push_back(*unkept_);
  }
  for (Alert& alert : due) {
    Sent& so_far = alert.sent[static_cast<size_t>(channel)];
    if (const auto known = unnoted_.find({alert.id, channel}); known != unnoted_.end()) {
      so_far = known->second;
    }
    if (so_far.state != Delivery::kPending) {
      Keep(alert, channel, so_far, alert.trouble);
      continue;
    }
    if (so_far.next_ns > NowNs()) {
      continue;
    }
    const Status sent =
        channel == Channel::kWebhook ? co_await Post(alert) : co_await RunCommand(alert);
    Note(alert, channel, sent);
  }
}

Task<Status> Service::Post(const Alert& alert) {
  const std::string body = JsonOf(alert);
  const std::string timestamp = std::to_string(clock_.UnixSeconds());
  http::UpstreamRequest request;
  request.url = *config_.webhook;
  request.allow_private = config_.allow_private;
  request.headers.Set("Content-Type", "application/json");
  request.headers.Set("x-tradewind-alert", std::to_string(alert.id));
  request.headers.Set("x-tradewind-timestamp", timestamp);
  if (!config_.secret.empty()) {
    request.headers.Set("x-tradewind-signature", Sign(config_.secret, timestamp, body));
  }
  request.body = body;
  request.deadlines.overall = clock_.Now() + milliseconds(kWebhookMs);
  const auto call = upstreams_.Start(std::move(request));
  TW_CO_RETURN_IF_ERROR(co_await call->AwaitHead());
  if (call->status() < 200 || call->status() >= 300) {
    co_return Fail(ErrorCode::kUpstreamFailed,
                   fmt::format("the webhook answered {}", call->status()));
  }
  co_return Status();
}

Task<Status> Service::RunCommand(const Alert& alert) {
  Result<CommandRun> run = CommandRun::Start(config_.command, MailOf(alert));
  if (!run.has_value()) {
    co_return Fail(run.error());
  }
  const auto deadline = clock_.Now() + milliseconds(kCommandMs);
  const auto wakeup = http::Wakeup::Create();
  while (clock_.Now() < deadline) {
    if (const std::optional<Status> ended = run->Poll(); ended.has_value()) {
      co_return *ended;
    }
    static_cast<void>(co_await wakeup->Wait(clock_.Now() + kCommandPause));
  }
  co_return Fail(ErrorCode::kDeadlineExceeded, "the command ran for too long");
}

void Service::Note(const Alert& alert, Channel channel, const Status& sent) {
  Sent after = alert.sent[static_cast<size_t>(channel)];
  ++after.tries;
  std::string trouble;
  if (sent.has_value()) {
    after.state = Delivery::kDelivered;
  } else {
    int64_t pause = kRetryNs;
    for (int64_t i = 1; i < after.tries; ++i) {
      pause *= kRetryFactor;
    }
    after.next_ns = NowNs() + pause;
    after.state = after.tries >= kTriesMax ? Delivery::kGaveUp : Delivery::kPending;
    trouble = OneLine(fmt::format("{}: {}", ChannelName(channel),
                                  sent.error().message.substr(0, kTroubleBytesMax)));
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("alert {} did not go out by {}{}", alert.id, trouble,
                               after.state == Delivery::kGaveUp ? "; that was the last try" : ""));
  }
  Keep(alert, channel, after, trouble);
}

// When this cannot be written, the alert goes out once more after the next start: better than not
// at all.
void Service::Keep(const Alert& alert, Channel channel, const Sent& sent,
                   const std::string& trouble) {
  const bool is_kept =
      alert.id != 0 && books_.recorder()
                           .Change([&](storage::Database& database) {
                             return NoteDelivery(database, alert.id, channel, sent, trouble);
                           })
                           .has_value();
  if (is_kept) {
    unnoted_.erase({alert.id, channel});
  } else {
    unnoted_.insert_or_assign({alert.id, channel}, sent);
  }
}

}  // namespace tradewind::alerts
