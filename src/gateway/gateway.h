// Everything that HTTP can ask for: a table of routes (router.cc), the life of a request (chat.cc),
// and the smaller calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "catalog/catalog.h"
#include "gateway/admission.h"
#include "http/http.h"
#include "providers/local.h"
#include "telemetry/access_log.h"
#include "telemetry/metrics.h"

namespace tradewind::gateway {

struct GatewayOptions {
  AdmissionPolicy admission;
  std::string default_model;  // catalogue id that /readyz waits for and tokenizer calls without a
                              // model mean; "" = none
  std::shared_ptr<const catalog::CatalogBoard> catalog;  // null: only the models of this device
  std::chrono::milliseconds idle_exit{
      0};  // whoever runs it ends it after this long without work; 0 = never
};

// One request on its way; lives in Handle's frame.
struct Call {
  http::Exchange& exchange;
  std::string request_id;
  std::chrono::steady_clock::time_point started;
  telemetry::AccessRecord record;
  std::string_view route;  // the pattern, for metrics: "/v1/models/{id}", "other"
  std::string_view rest;   // of the path, where the pattern ends in a variable
  bool is_work = false;    // asks a model for something; the rest only looks

  const http::Request& request() const { return exchange.request(); }
};

enum class InferenceDialect { kOpenAiChat, kOpenAiCompletions };

// Thread-safe: calls run on every event loop at once. What it refers to must outlive it, and it the
// server.
class Gateway {
 public:
  Gateway(GatewayOptions options, providers::LocalProvider& local, telemetry::Registry& metrics,
          telemetry::AccessLog* access_log, const Clock& clock = SystemClock());

  // The handler of http::Server: answers, logs and counts every request.
  Task<void> Handle(http::Exchange& exchange);
  // For http::Server's `on_error`: errors of the protocol in the body that every other error has.
  http::Response OnProtocolError(const Error& error);

  void Drain();  // /readyz says 503 and the engines admit nothing more; running answers go on

  int64_t in_flight() const { return in_flight_.load(); }
  // When the last request that was work ended; the start when there was none. Whoever only looks (a
  // monitor, `ps`) keeps no server awake that ends when idle.
  std::chrono::steady_clock::time_point last_active() const;

 private:
  using Method = Task<void> (Gateway::*)(Call&);
  struct Route {
    std::string_view method, path;  // a path that ends in '*' takes every non-empty rest
    std::string_view label;
    bool is_open;  // answered to anyone who can connect: probes
    Method answer;
  };
  static const std::vector<Route>& Routes();
  Task<void> Dispatch(Call& call);

  // chat.cc
  Task<void> Chat(Call& call);
  Task<void> Complete(Call& call);
  Task<void> Infer(Call& call, InferenceDialect dialect);
  // models.cc
  Task<void> ListModels(Call& call);
  Task<void> ShowModel(Call& call);
  std::shared_ptr<const catalog::Catalog> CatalogNow() const;  // never null
  // hub.cc
  Task<void> ListHubModels(Call& call);
  Task<void> ShowHubModel(Call& call);
  Task<void> ListPartnerModels(Call& call);
  // tokenize.cc
  Task<void> Tokenize(Call& call);
  Task<void> Detokenize(Call& call);
  Task<void> TokenizerInfo(Call& call);
  Result<std::string> ResolveOrDefault(const std::string& model) const;
  // health.cc
  Task<void> Health(Call& call);
  Task<void> Ready(Call& call);
  Task<void> Metrics(Call& call);
  Task<void> Engine(Call& call);
  void PublishEngines();
  // How long until idle_exit if no work comes; nullopt: never.
  std::optional<int64_t> ExitsInMs() const;

  // Answers, with x-request-id; a client that has left is no error.
  Task<void> Respond(Call& call, http::Response response);
  Task<void> RespondJson(Call& call, std::string json, int status = 200);
  Task<void> Refuse(Call& call, Error error);
  void Record(Call& call);

  const GatewayOptions options_;
  providers::LocalProvider& local_;
  telemetry::Registry& metrics_;
  telemetry::AccessLog* const access_log_;
  const Clock& clock_;
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> in_flight_{0};
  std::atomic<int64_t> last_active_ns_;
};

// The response of an error: its row of the table, Retry-After, and X-Error-Message for 401 to 403.
http::Response ErrorResponse(const Error& error);

// Printable ASCII without spaces; other bytes percent-encoded: for values that come from files or
// requests.
std::string HeaderSafe(std::string_view text);

}  // namespace tradewind::gateway
