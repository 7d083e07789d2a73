// Idempotency keys: a request under a key is run once, and its answer given again for a day.
#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "billing/hash.h"
#include "billing/replay_store.h"
#include "dialects/json_writer.h"
#include "gateway/gateway.h"
#include "http/sse.h"

namespace tradewind::gateway {
namespace {

using billing::ReplayClaim;
using billing::ReplayKey;
using billing::ReplayStore;
using billing::StoredAnswer;

constexpr size_t kNameBytesMax = 255;
constexpr int kConflict = 409, kUnprocessable = 422;

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax &&
         std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f; });
}

using Keep = std::function<Task<void>(StoredAnswer)>;

// Hands an answer on and copies it; a complete one is kept before the client has its end. With
// `goes_on` the request does not notice that its client left: its answer waits for him.
class CopyingExchange final : public http::Exchange {
 public:
  CopyingExchange(http::Exchange& client, bool goes_on, Keep keep)
      : client_(client), goes_on_(goes_on), keep_(std::move(keep)) {}

  const http::Request& request() const override { return client_.request(); }

  // Something was answered that may have been billed: the request is not run again.
  bool has_answered() const { return has_answered_; }

  Task<Status> Respond(http::Response response) override {
    if (response.status == 200) {
      has_answered_ = true;
      StoredAnswer answer;
      answer.headers = response.headers.all();
      answer.body = response.body;
      co_await keep_(std::move(answer));
    }
    co_return co_await client_.Respond(std::move(response));
  }
  Task<Status> StartStream(int status, http::Headers headers) override {
    has_answered_ = has_answered_ || status == 200;
    copy_.status = status;
    copy_.is_stream = true;
    copy_.headers = headers.all();
    co_return co_await client_.StartStream(status, std::move(headers));
  }
  Task<Status> Write(std::string_view bytes) override {
    if (copy_.body.size() <= billing::kStoredAnswerBytesMax) {
      copy_.body += bytes;  // beyond it is not kept, and need not be whole
    }
    if (copy_.status == 200 && bytes.ends_with(http::FormatSseData("[DONE]"))) {
      co_await keep_(std::move(copy_));
    }
    co_return co_await client_.Write(bytes);
  }
  Task<Status> Finish() override { return client_.Finish(); }
  bool client_left() const override { return !goes_on_ && client_.client_left(); }
  void OnClientLeft(std::function<void()> on_left) override {
    if (!goes_on_) {
      client_.OnClientLeft(std::move(on_left));
    }
  }
  int status() const override { return client_.status(); }
  int64_t bytes_sent() const override { return client_.bytes_sent(); }

 private:
  http::Exchange& client_;
  const bool goes_on_;
  const Keep keep_;
  bool has_answered_ = false;
  StoredAnswer copy_;
};

// A key that is taken; whatever happens, it does not stay so.
class TakenKey {
 public:
  TakenKey(ReplayStore& store, const ReplayKey& key) : store_(store), key_(key) {}
  TakenKey(const TakenKey&) = delete;
  TakenKey& operator=(const TakenKey&) = delete;
  ~TakenKey() {
    if (!is_over) {
      store_.Leave(key_);
    }
  }
  bool is_over = false;

 private:
  ReplayStore& store_;
  const ReplayKey& key_;
};

http::Response Refusal(const ReplayClaim& claim) {
  std::string message, code;
  http::Response response;
  response.status = kConflict;
  switch (claim.kind) {
    case ReplayClaim::Kind::kRunning:
      code = "idempotency_in_progress";
      message = "The first request with this Idempotency-Key still runs; ask again in a moment.";
      response.headers.Set("Retry-After", "1");
      break;
    case ReplayClaim::Kind::kCut:
      code = "idempotency_unknown_outcome";
      message = fmt::format(
          "The first request with this Idempotency-Key was cut and may have been billed (receipt "
          "{}), so it is not run again; take a new key to ask anew.",
          claim.receipt);
      break;
    case ReplayClaim::Kind::kOther:
      response.status = kUnprocessable;
      code = "idempotency_key_reused";
      message = "This Idempotency-Key was used for another request; take a new one for this.";
      break;
    default:
      code = "idempotency_answer_not_kept";
      message = fmt::format(
          "This request was answered (receipt {}), and the answer is not kept any more, or was too "
          "long; it is not run again. Take a new key to ask anew.",
          claim.receipt);
      break;
  }
  dialects::JsonWriter json;
  json.BeginObject().Key("error").BeginObject().Field("message", message);
  json.Field("type", "invalid_request_error").Field("param", "Idempotency-Key");
  json.Field("code", code).EndObject().EndObject();
  response.headers.Set("Content-Type", "application/json");
  response.body = json.Take();
  return response;
}

// Of the answer itself: what belongs to one exchange is left out.
http::Headers HeadersOf(const StoredAnswer& answer) {
  http::Headers headers;
  for (const auto& [name, value] : answer.headers) {
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (lower != "x-request-id" && lower != "vary" && !lower.starts_with("access-control-")) {
      headers.Set(name, value);
    }
  }
  headers.Set("Idempotent-Replayed", "true");
  headers.Set("x-tradewind-cost-nanousd", "0");
  return headers;
}

}  // namespace

Task<void> Gateway::Replay(Call& call, const ReplayClaim& claim) {
  if (claim.kind != ReplayClaim::Kind::kDone || !claim.answer.is_kept) {
    call.record.outcome = "idempotency_refused";
    co_return co_await Respond(call, Refusal(claim));
  }
  call.record.outcome = "replayed";
  call.record.cost_nanousd = 0;
  http::Headers headers = HeadersOf(claim.answer);
  if (!claim.answer.is_stream) {
    co_return co_await Respond(call, {claim.answer.status, std::move(headers), claim.answer.body});
  }
  headers.Set("x-request-id", call.request_id);
  for (const auto& [name, value] : call.cors.all()) {
    headers.Set(name, value);
  }
  Status sent = co_await call.exchange.StartStream(claim.answer.status, std::move(headers));
  if (sent.has_value()) {
    sent = co_await call.exchange.Write(claim.answer.body);
  }
  if (sent.has_value()) {
    sent = co_await call.exchange.Finish();
  }
}

Task<void> Gateway::FulfilOnce(Call& call, const Order& order, const std::string& name) {
  if (!IsName(name)) {
    co_return co_await Refuse(call, {ErrorCode::kInvalidArgument,
                                     fmt::format("An Idempotency-Key is 1 to {} printable ASCII "
                                                 "characters.",
                                                 kNameBytesMax),
                                     "Idempotency-Key"});
  }
  if (options_.replays == nullptr || call.caller == nullptr || call.caller->is_anonymous) {
    co_return co_await Fulfil(call, order);  // nothing is billed to nobody
  }
  ReplayStore& store = *options_.replays;
  const ReplayKey key{call.bill_to.has_value() ? call.bill_to->org_id : call.caller->org_id,
                      call.caller->key_id, name};
  const auto now = [this] {
    const auto wall = clock_.WallNow().time_since_epoch();
    return billing::ReplayTime{std::chrono::duration_cast<std::chrono::seconds>(wall).count(),
                               clock_.Now()};
  };
  std::function<Result<ReplayClaim>()> begin =
      [&store, key,
       request = call.request().path + "\n" + call.request().query + "\n" + call.request().body,
       receipt = call.receipt,
       at = now()] { return store.Begin(key, billing::Sha256Hex(request), receipt, at); };
  Result<ReplayClaim> claim = co_await replay_workers_.Run(std::move(begin));
  if (!claim.has_value()) {
    co_return co_await Refuse(call, std::move(claim).error());
  }
  if (claim->kind != ReplayClaim::Kind::kNew) {
    co_return co_await Replay(call, *claim);
  }

  TakenKey taken(store, key);
  const auto end = [this](std::function<Result<bool>()> job) -> Task<bool> {
    const Result<bool> done = co_await replay_workers_.Run(std::move(job));
    co_return done.has_value();
  };
  CopyingExchange copying(
      call.exchange, !order.facts.stream, [&](StoredAnswer answer) -> Task<void> {
        taken.is_over =
            co_await end([&store, key, answer = std::move(answer), at = now()]() -> Result<bool> {
              TW_RETURN_IF_ERROR(store.Finish(key, answer, at));
              return true;
            });
      });
  Call copied{copying,      call.request_id, call.receipt,     call.started, std::move(call.record),
              call.route,   call.rest,       call.own_path_of, call.is_work, call.caller,
              call.bill_to, call.cors};
  co_await Fulfil(copied, order);
  call.record = std::move(copied.record);
  if (!taken.is_over && !copying.has_answered() && !call.exchange.client_left()) {
    taken.is_over = co_await end([&store, key]() -> Result<bool> {
      TW_RETURN_IF_ERROR(store.Forget(key));
      return true;
    });
  }
}

}  // namespace tradewind::gateway
