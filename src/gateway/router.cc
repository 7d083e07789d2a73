// The table of routes, and what every request has in common: an id, an answer to errors, a line in
// the log, a count.
#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "dialects/openai_errors.h"
#include "gateway/gateway.h"
#include "telemetry/log.h"

namespace tradewind::gateway {
namespace {

bool IsRequestIdChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

std::string RequestId(const http::Request& request) {
  const auto given = request.headers.Find("x-request-id");
  const bool usable = given.has_value() && !given->empty() && given->size() <= 64 &&
                      std::all_of(given->begin(), given->end(), IsRequestIdChar);
  return usable ? std::string(*given) : RandomId("req_", 24);
}

int64_t Nanoseconds(std::chrono::steady_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

const std::vector<Gateway::Route>& Gateway::Routes() {
  // clang-format off
  static const std::vector<Route> kRoutes = {
      {"POST", "/v1/chat/completions", "/v1/chat/completions", Access::kInference, &Gateway::Chat},
      {"POST", "/v1/completions", "/v1/completions", Access::kInference, &Gateway::Complete},
      {"POST", "/v1/embeddings", "/v1/embeddings", Access::kInference, &Gateway::Embed},
      {"GET", "/v1/models", "/v1/models", Access::kRead, &Gateway::ListModels},
      {"GET", "/v1/models/*", "/v1/models/{id}", Access::kRead, &Gateway::ShowModel},
      {"GET", "/api/models", "/api/models", Access::kRead, &Gateway::ListHubModels},
      {"GET", "/api/models/*", "/api/models/{id}", Access::kRead, &Gateway::ShowHubModel},
      {"GET", "/api/partners/*", "/api/partners/{slug}/models", Access::kRead, &Gateway::ListPartnerModels},
      {"POST", "/tokenize", "/tokenize", Access::kInference, &Gateway::Tokenize},
      {"POST", "/detokenize", "/detokenize", Access::kInference, &Gateway::Detokenize},
      {"GET", "/tokenizer_info", "/tokenizer_info", Access::kRead, &Gateway::TokenizerInfo},
      {"GET", "/api/whoami-v2", "/api/whoami-v2", Access::kRead, &Gateway::WhoAmI},
      {"GET", "/tw/v1/engine", "/tw/v1/engine", Access::kRead, &Gateway::Engine},
      {"GET", "/tw/v1/route", "/tw/v1/route", Access::kRead, &Gateway::ExplainRoute},
      {"GET", "/tw/v1/providers", "/tw/v1/providers", Access::kRead, &Gateway::ShowProviders},
      {"POST", "/tw/v1/probes", "/tw/v1/probes", Access::kManage, &Gateway::AskProbes},
      {"GET", "/tw/v1/keys", "/tw/v1/keys", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/keys", "/tw/v1/keys", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/keys/*", "/tw/v1/keys/{id}/rotate", Access::kManage, &Gateway::Console},
      {"DELETE", "/tw/v1/keys/*", "/tw/v1/keys/{id}", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/provider-keys", "/tw/v1/provider-keys", Access::kManage, &Gateway::Console},
      {"PUT", "/tw/v1/provider-keys/*", "/tw/v1/provider-keys/{slug}", Access::kManage,
       &Gateway::Console},
      {"DELETE", "/tw/v1/provider-keys/*", "/tw/v1/provider-keys/{slug}", Access::kManage,
       &Gateway::Console},
      {"GET", "/tw/v1/orgs", "/tw/v1/orgs", Access::kManage, &Gateway::Console},
      {"PUT", "/tw/v1/orgs/*", "/tw/v1/orgs/{name}", Access::kManage, &Gateway::Console},
      {"DELETE", "/tw/v1/orgs/*", "/tw/v1/orgs/{name}", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/bill", "/tw/v1/bill", Access::kRead, &Gateway::Console},
      {"GET", "/tw/v1/bill/*", "/tw/v1/bill/{what}", Access::kRead, &Gateway::Console},
      {"GET", "/tw/v1/prices", "/tw/v1/prices", Access::kRead, &Gateway::Console},
      {"GET", "/tw/v1/invoices", "/tw/v1/invoices", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/invoices", "/tw/v1/invoices", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/invoices/*", "/tw/v1/invoices/{number}", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/invoices/*", "/tw/v1/invoices/{number}/{what}", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/backup", "/tw/v1/backup", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/usage", "/tw/v1/usage", Access::kRead, &Gateway::Console},
      {"GET", "/tw/v1/requests", "/tw/v1/requests", Access::kRead, &Gateway::Console},
      {"GET", "/v1/receipts/*", "/v1/receipts/{id}", Access::kRead, &Gateway::Console},
      {"GET", "/tw/v1/reconcile", "/tw/v1/reconcile", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/reconcile/*", "/tw/v1/reconcile/{action}", Access::kManage,
       &Gateway::Console},
      {"POST", "/tw/v1/corrections", "/tw/v1/corrections", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/corrections/*", "/tw/v1/corrections/{action}", Access::kManage,
       &Gateway::Console},
      {"POST", "/v1/billing/requests", "/v1/billing/requests", Access::kRead, &Gateway::Console},
      {"GET", "/tw/v1/budgets", "/tw/v1/budgets", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/budgets/*", "/tw/v1/budgets/{scope}", Access::kManage, &Gateway::Console},
      {"PUT", "/tw/v1/budgets/*", "/tw/v1/budgets/{scope}", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/budgets/*", "/tw/v1/budgets/{scope}", Access::kManage, &Gateway::Console},
      {"DELETE", "/tw/v1/budgets/*", "/tw/v1/budgets/{scope}", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/credits", "/tw/v1/credits", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/credits", "/tw/v1/credits", Access::kManage, &Gateway::Console},
      {"PUT", "/tw/v1/credits/*", "/tw/v1/credits/{org}", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/alerts", "/tw/v1/alerts", Access::kManage, &Gateway::Console},
      {"POST", "/tw/v1/alerts/*", "/tw/v1/alerts/{id}/acknowledge", Access::kManage, &Gateway::Console},
      {"GET", "/tw/v1/forecasts", "/tw/v1/forecasts", Access::kManage, &Gateway::Console},
      {"GET", "/metrics", "/metrics", Access::kServer, &Gateway::Metrics},
      {"GET", "/healthz", "/healthz", Access::kOpen, &Gateway::Health},
      {"GET", "/readyz", "/readyz", Access::kOpen, &Gateway::Ready},
  };
  // clang-format on
  return kRoutes;
}

const Gateway::Route Gateway::kOwnPaths = {"POST", "/{provider}/*", "/{provider}/{path}",
                                           Access::kInference, &Gateway::PassThrough};

Gateway::Gateway(GatewayOptions options, providers::LocalProvider& local,
                 routing::Marketplace& market, telemetry::Registry& metrics,
                 telemetry::AccessLog* access_log, const Clock& clock)
    : options_(std::move(options)),
      cors_policy_(std::make_shared<AdmissionPolicy>(options_.admission)),
      local_(local),
      market_(market),
      metrics_(metrics),
      access_log_(access_log),
      clock_(clock),
      limiter_(clock),
      last_active_ns_(Nanoseconds(clock.Now())),
      console_workers_({"console-worker", limits::kConsoleThreads, limits::kConsoleJobsMax,
                        "Too many pages wait to be made; try again soon.",
                        "Making this page took too long."}),
      replay_workers_({"replay-worker", limits::kReplayThreads, limits::kReplayJobsMax,
                       "Too many requests with an Idempotency-Key wait; try again soon.",
                       "Finding the Idempotency-Key took too long."}) {}

std::chrono::steady_clock::time_point Gateway::last_active() const {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(last_active_ns_.load()));
}

Task<void> Gateway::Handle(http::Exchange& exchange) {
  struct InFlight {
    explicit InFlight(Gateway& in) : gateway(in) { ++gateway.in_flight_; }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    ~InFlight() { --gateway.in_flight_; }
    Gateway& gateway;
  };
  const InFlight counted(*this);
  Call call{exchange,
            RequestId(exchange.request()),
            ledger::RequestId::Make(clock_.UnixMs()),
            clock_.Now(),
            {},
            "other",
            {}};
  bool failed = false;
  try {
    co_await Dispatch(call);
  } catch (const std::exception& bug) {  // memory, at most: our own code throws nothing
    telemetry::Log(telemetry::Level::kError, fmt::format("{}: {}", call.route, bug.what()));
    failed = true;
  }
  if (failed && exchange.status() == 0 && !exchange.client_left()) {
    co_await Refuse(call, {ErrorCode::kInternal, "The server failed to answer this request."});
  }
  Record(call);
  if (call.is_work) {
    last_active_ns_ = Nanoseconds(clock_.Now());
  }
}

Task<void> Gateway::Dispatch(Call& call) {
  const http::Request& request = call.request();
  const std::shared_ptr<const AdmissionPolicy> cors = CorsPolicy();
  call.cors = CorsHeaders(request, *cors);
  if (IsPreflight(request)) {
    co_return co_await Respond(call, AnswerPreflight(request, *cors));
  }
  std::string allowed;
  for (const Route& route : Routes()) {
    const bool open_ended = route.path.ends_with('*');
    const std::string_view fixed = route.path.substr(0, route.path.size() - (open_ended ? 1 : 0));
    const bool matches = open_ended
                             ? request.path.starts_with(fixed) && request.path.size() > fixed.size()
                             : request.path == fixed;
    if (!matches) {
      continue;
    }
    if (route.method == request.method) {
      call.rest = std::string_view(request.path).substr(fixed.size());
      co_return co_await Serve(call, route);
    }
    call.route = route.label;
    allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
  }
  if (allowed.empty() && NamesProvider(request.path)) {
    if (request.method == kOwnPaths.method) {
      co_return co_await Serve(call, kOwnPaths);
    }
    call.route = kOwnPaths.label;
    allowed = kOwnPaths.method;
  }
  if (allowed.empty()) {
    co_return co_await Refuse(
        call, {ErrorCode::kNotFound, fmt::format("There is nothing at {}.", request.path)});
  }
  Error error{ErrorCode::kMethodNotAllowed, fmt::format("{} takes {}.", request.path, allowed)};
  call.record.outcome = ErrorCodeName(error.code);
  http::Response response = ErrorResponse(error);
  response.headers.Set("Allow", allowed);
  co_await Respond(call, std::move(response));
}

Task<void> Gateway::Serve(Call& call, const Route& route) {
  call.route = route.label;
  if (Status admitted = Authorize(call, route.access); !admitted.has_value()) {
    co_return co_await Refuse(call, std::move(admitted).error());
  }
  call.is_work = route.access == Access::kInference;
  co_await (this->*route.answer)(call);
}

void Gateway::AddHeaders(const Call& call, http::Headers& headers) {
  headers.Set("x-request-id", call.request_id);
  if (!call.record.receipt.empty()) {  // a failure too: its attempts may be billed
    headers.Set("x-tradewind-receipt", call.record.receipt);
  }
  for (const auto& [name, value] : call.cors.all()) {
    headers.Set(name, value);
  }
}

Task<void> Gateway::Respond(Call& call, http::Response response) {
  AddHeaders(call, response.headers);
  if (const Status sent = co_await call.exchange.Respond(std::move(response)); !sent.has_value()) {
    call.record.outcome = ErrorCodeName(sent.error().code);
  }
}

Task<void> Gateway::RespondJson(Call& call, std::string json, int status) {
  http::Response response;
  response.status = status;
  response.headers.Set("Content-Type", "application/json");
  response.body = std::move(json);
  co_await Respond(call, std::move(response));
}

Task<void> Gateway::Refuse(Call& call, Error error) {
  call.record.outcome = ErrorCodeName(error.code);
  http::Response response = ErrorResponse(error);
  if (options_.meter != nullptr && options_.meter->is_handed_over()) {
    response.headers.Set("Connection", "close");  // the next one reaches the process that serves
  }
  co_await Respond(call, std::move(response));
}

void Gateway::Record(Call& call) {
  telemetry::AccessRecord& record = call.record;
  record.request_id = call.request_id;
  record.method = call.request().method;
  record.path = call.request().path;
  if (call.caller != nullptr) {
    record.key = call.caller->key_id;
  }
  record.status = call.exchange.status();
  record.bytes_sent = call.exchange.bytes_sent();
  record.duration_ms = MsBetween(call.started, clock_.Now());
  metrics_
      .GetCounter("tradewind_requests_total",
                  "Requests by path and status; 0: the client left first.",
                  {{"path", call.route}, {"status", std::to_string(record.status)}})
      .Increment();
  metrics_
      .GetHistogram("tradewind_request_duration_seconds",
                    "From the request to the end of the answer.", telemetry::SecondsBuckets(),
                    {{"path", call.route}})
      .Observe(record.duration_ms / 1000);
  if (access_log_ != nullptr) {
    access_log_->Write(record);
  }
}

http::Response Gateway::OnProtocolError(const Error& error) {
  http::Response response = ErrorResponse(error);
  response.headers.Set("x-request-id", RandomId("req_", 24));
  metrics_
      .GetCounter("tradewind_protocol_errors_total",
                  "Requests that were no proper HTTP, too large or too slow, or found no room.")
      .Increment();
  return response;
}

void Gateway::SetCorsOrigins(std::vector<std::string> origins) {
  auto next = std::make_shared<AdmissionPolicy>(options_.admission);
  next->cors_origins = std::move(origins);
  const std::lock_guard lock(cors_mutex_);
  cors_policy_ = std::move(next);
}

std::shared_ptr<const AdmissionPolicy> Gateway::CorsPolicy() const {
  const std::lock_guard lock(cors_mutex_);
  return cors_policy_;
}

void Gateway::Drain() {
  draining_ = true;
  local_.Drain();
}

http::Response ErrorResponse(const Error& error) {
  const dialects::OpenAiError row = dialects::OpenAiErrorOf(error);
  http::Response response;
  response.status = row.status;
  response.headers.Set("Content-Type", "application/json");
  if (const auto seconds = dialects::RetryAfterSeconds(error); seconds.has_value()) {
    response.headers.Set("Retry-After", *seconds);
  }
  if (row.status == 401) {
    response.headers.Set("WWW-Authenticate",
                         "Bearer realm=\"Authentication required\", charset=\"UTF-8\"");
  }
  if (row.status >= 401 && row.status <= 403) {
    response.headers.Set("X-Error-Message",
                         error.message);  // our own sentence, nothing of the request in it
  }
  response.body = dialects::FormatOpenAiError(error);
  return response;
}

std::string HeaderSafe(std::string_view text) {
  const auto is_safe = [](char c) { return c > 0x20 && c < 0x7f && c != '%'; };
  if (std::ranges::all_of(text, is_safe)) {
    return std::string(text);
  }
  std::string out;
  for (const char c : text) {
    if (is_safe(c)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

}  // namespace tradewind::gateway
