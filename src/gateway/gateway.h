// Everything that HTTP can ask for: a table of routes (router.cc), the life of a request (chat.cc),
// and the smaller calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/task.h"
#include "billing/meter.h"
#include "billing/replay_store.h"
#include "catalog/catalog.h"
#include "gateway/admission.h"
#include "gateway/leaving.h"
#include "gateway/order.h"
#include "http/http.h"
#include "identity/principal.h"
#include "identity/provider_secrets.h"
#include "providers/local.h"
#include "providers/worker_pool.h"
#include "routing/market.h"
#include "routing/plan.h"
#include "routing/rate_limit.h"
#include "telemetry/access_log.h"
#include "telemetry/metrics.h"

namespace tradewind::gateway {

// How long a request and its attempts may take.
struct RouteTimes {
  int64_t deadline_ms = limits::kRequestDeadlineMs;      // the whole request
  int64_t first_byte_ms = limits::kUpstreamFirstByteMs;  // an attempt at a stream waits no longer
  // And one at an answer that is no stream, when another route may follow.
  int64_t whole_answer_ms = limits::kUpstreamWholeAnswerMs;
  int64_t stall_ms = limits::kUpstreamIdleMs;  // between two pieces of an answer
};

// What a provider is asked with.
struct UpstreamKey {
  std::string key;  // "" = none is sent
  std::string ref;  // "" = the operator's; "org:ID", "user:ID"
};

// What one attempt is given.
struct AttemptTerms {
  http::UpstreamDeadlines deadlines;  // `overall` is the request's own
  // Of a stream: until then there must be something to see.
  std::chrono::steady_clock::time_point visible_by = std::chrono::steady_clock::time_point::max();
  // Called once, when the first token is there; of an answer that is no stream nobody knows when.
  std::function<void()> on_first_token;
  const UpstreamKey* key = nullptr;   // null: of an answer from here, or one that has begun
  billing::Metered* money = nullptr;  // what is held for it; null: nothing is counted
  bool cost_is_known = true;          // by the usage, all of it
};

class Prober;
class Recounter;

struct GatewayOptions {
  AdmissionPolicy admission;
  std::string default_model;  // catalogue id that /readyz waits for and tokenizer calls without a
                              // model mean; "" = none
  std::chrono::milliseconds idle_exit{
      0};  // whoever runs it ends it after this long without work; 0 = never
  RouteTimes times;
  // Answers the routes of what people manage (keys, provider keys), for callers with the scope for
  // it. Called on worker threads, as is what it has `more` of, with a request that has method,
  // path, query and body only. Null: 404.
  std::function<Result<http::Response>(const http::Request&, const identity::Principal&)> console;
  // Holds and settles the money of attempts; must outlive the gateway. Null: nothing is counted.
  billing::Meter* meter = nullptr;
  // Answers kept under idempotency keys; must outlive the gateway. Null: such keys are refused.
  billing::ReplayStore* replays = nullptr;
  // Keys that callers stored for providers; must outlive the gateway. Null: there are none.
  const identity::ProviderSecrets* provider_secrets = nullptr;
  // Probes on demand, and tells what it is at; must outlive the gateway. Null: there is none.
  Prober* prober = nullptr;
  // Counts answers of providers once more; must outlive the gateway. Null: nobody does.
  Recounter* recounter = nullptr;
};

// One request on its way; lives in Handle's frame.
struct Call {
  http::Exchange& exchange;
  std::string request_id;
  ledger::RequestId receipt;  // names its attempts in the ledger
  std::chrono::steady_clock::time_point started;
  telemetry::AccessRecord record;
  std::string_view route;  // the pattern, for metrics: "/v1/models/{id}", "other"
  std::string_view rest;   // of the path, where the pattern ends in a variable
  // Set: a request on this provider's own path, in its own form (passthrough.cc).
  std::string_view own_path_of = {};
  bool is_work = false;  // asks a model for something; the rest only looks
  std::shared_ptr<const identity::Principal> caller = {};  // null on routes open to all
  std::optional<identity::Membership> bill_to = {};  // the organisation that X-HF-Bill-To names
  http::Headers cors = {};                           // belong into every answer

  const http::Request& request() const { return exchange.request(); }
};

struct ClientStream;
struct Passed;  // pass.h
struct Tries;   // tries.h
struct Begun;

// An attempt at an upstream, before anything of it is shown.
struct Opening {
  std::shared_ptr<providers::UpstreamExchange> upstream;
  std::vector<std::string> dropped;  // fields that the provider does not know
  // What a refusal has to say of a bound that is ours: of one for its names, and of one for its
  // size; "" = none is.
  std::string own_names, own_bound;
  KeyOwner key_owner = KeyOwner::kNobody;
  std::shared_ptr<LeavingClient> leaving;  // of an attempt once it stands alone
};

// Thread-safe: calls run on every event loop at once. What it refers to must outlive it, and it the
// server.
class Gateway {
 public:
  Gateway(GatewayOptions options, providers::LocalProvider& local, routing::Marketplace& market,
          telemetry::Registry& metrics, telemetry::AccessLog* access_log,
          const Clock& clock = SystemClock());

  // The handler of http::Server: answers, logs and counts every request.
  Task<void> Handle(http::Exchange& exchange);
  // For http::Server's `on_error`: errors of the protocol in the body that every other error has.
  http::Response OnProtocolError(const Error& error);

  // Pages of these origins may read answers from now on, and no others.
  void SetCorsOrigins(std::vector<std::string> origins);

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
    Access access;
    Method answer;
  };
  static const std::vector<Route>& Routes();
  static const Route kOwnPaths;  // of providers: where none of the others is, and one is named
  Task<void> Dispatch(Call& call);
  Task<void> Serve(Call& call, const Route& route);

  // chat.cc
  Task<void> Chat(Call& call);
  Task<void> Complete(Call& call);
  Task<void> Embed(Call& call);
  Task<void> Infer(Call& call, providers::Endpoint endpoint);
  Task<void> Fulfil(Call& call, const Order& order);
  Result<routing::Plan> PlanRoutes(const Call& call, const Order& order);
  Task<void> GiveUp(Call& call, const Answered& answered);
  // try_routes.cc
  Task<Answered> TryRoutes(Call& call, const Order& order, const routing::Plan& plan);
  std::optional<Begun> Begin(Tries& tries) const;
  Task<Answered> Attempt(Tries& tries, Begun& begun);
  void CountAttempt(const std::string& slug, std::string_view outcome);
  // hedge.cc
  std::optional<int64_t> HedgeAfterMs(const Tries& tries) const;
  std::optional<Begun> BeginSecond(Tries& tries) const;
  Task<Answered> AttemptHedged(Tries& tries, Begun first, int64_t after_ms);
  // answer_here.cc
  Task<Answered> AnswerHere(Call& call, const Order& order, const std::string& model,
                            const AttemptTerms& terms);
  // answer_upstream.cc
  Task<Answered> AnswerFromUpstream(Call& call, const Order& order,
                                    const routing::PlannedRoute& route, const AttemptTerms& terms,
                                    ClientStream& stream);
  Result<Opening> Prepare(const Call& call, const Order& order, const routing::PlannedRoute& route,
                          const AttemptTerms& terms, const ClientStream& stream) const;
  // Nothing when it is there.
  static Task<std::optional<Answered>> Reach(Opening& opening, bool until_visible);
  http::Headers BeginDelivery(const Call& call, const Order& order,
                              const routing::PlannedRoute& route, const AttemptTerms& terms,
                              const Opening& opening) const;
  Task<Answered> Deliver(Call& call, const Order& order, const routing::PlannedRoute& route,
                         const AttemptTerms& terms, Opening& opening, ClientStream& stream);
  Task<Answered> DeliverStream(Call& call, const Order& order, const routing::PlannedRoute& route,
                               const AttemptTerms& terms, Opening& opening, ClientStream& stream);
  // recount.cc: whether an answer's text is counted once more, and does that when it has ended.
  bool Recounts(const Call& call, const Order& order, const routing::PlannedRoute& route,
                const ClientStream& stream) const;
  void Recount(const Order& order, const routing::PlannedRoute& route, const Passed& passed,
               std::string text, bool is_body) const;
  Task<Answered> DeliverWhole(Call& call, const Order& order, const routing::PlannedRoute& route,
                              const AttemptTerms& terms, Opening& opening);
  // degrade.cc
  Result<routing::Plan> PlanHere(const Call& call, const Order& order);
  // `refused`, or the answer of this device where the budgets have no room and the key wants that.
  Task<Answered> AnswerHereInstead(Call& call, const Order& order, Answered refused);
  // money.cc
  // Holds the most that the attempt can cost; from then on it counts as sent. Errors: those of
  // billing::Meter::Begin.
  Status HoldFor(Tries& tries, Begun& begun) const;
  // Its records are as far on the disk as it asks for (Metered::goes_out_after).
  bool MayGoOut(const billing::Metered& money) const;
  // Waits for that, before anything is sent. Errors: kResourceExhausted; then the attempt has
  // ended.
  Task<Status> AwaitDisk(Tries& tries, Begun& begun) const;
  // once.cc
  // Under an idempotency key: answered once, and again with the same bytes.
  Task<void> FulfilOnce(Call& call, const Order& order, const std::string& name);
  Task<void> Replay(Call& call, const billing::ReplayClaim& claim);
  // passthrough.cc
  bool NamesProvider(std::string_view path) const;
  Task<void> PassThrough(Call& call);
  // models.cc
  Task<void> ListModels(Call& call);
  Task<void> ShowModel(Call& call);
  std::shared_ptr<const catalog::Catalog> CatalogNow() const;
  // rate.cc
  Result<routing::RateLease> AcquireRate(const Call& call, const Order& order);
  // route_state.cc
  Task<void> ExplainRoute(Call& call);
  Task<void> ShowProviders(Call& call);
  Task<void> AskProbes(Call& call);
  void PublishRoutes();
  void PublishMoney();
  // For /readyz, which strangers may read: what does not work though the rest does; "" = nothing.
  std::string ReadyDetail() const;
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

  // identity.cc
  Task<void> WhoAmI(Call& call);
  Task<void> Console(Call& call);
  Status Authorize(Call& call, Access access);
  // What the caller's key allows, and for which providers there is a key of his.
  void Permit(const Call& call, routing::PlanRequest& request) const;
  // The user's own, the organisation's, the operator's.
  UpstreamKey KeyFor(const Call& call, const routing::PlannedRoute& route) const;
  bool MayPayFor(const Tries& tries, const routing::PlannedRoute& route) const;

  // With the CORS origins as they are now.
  std::shared_ptr<const AdmissionPolicy> CorsPolicy() const;

  // Answers, with x-request-id; a client that has left is no error.
  Task<void> Respond(Call& call, http::Response response);
  Task<void> Stream(Call& call, http::Response response);  // what has `more`; likewise
  static void AddHeaders(const Call& call, http::Headers& headers);
  Task<void> RespondJson(Call& call, std::string json, int status = 200);
  Task<void> Refuse(Call& call, Error error);
  void Record(Call& call);

  const GatewayOptions options_;
  mutable std::mutex cors_mutex_;  // held for the copy of one pointer
  std::shared_ptr<const AdmissionPolicy> cors_policy_;
  providers::LocalProvider& local_;
  routing::Marketplace& market_;
  telemetry::Registry& metrics_;
  telemetry::AccessLog* const access_log_;
  const Clock& clock_;
  routing::RateLimiter limiter_;
  ReadOnSlots read_on_;
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> in_flight_{0};
  std::atomic<int64_t> last_active_ns_;
  // Of their own, so that no request waits for a page, or for the preparing of others. Last: what
  // they run refers to what stands before.
  providers::WorkerPool console_workers_;
  providers::WorkerPool replay_workers_;
};

// The response of an error: its row of the table, Retry-After, WWW-Authenticate for 401, and
// X-Error-Message for 401 to 403.
http::Response ErrorResponse(const Error& error);

// The headers of every inference answer; `ignored` names fields that played no part in it.
http::Headers AnswerHeaders(const Call& call, const std::string& inference_id,
                            std::string_view provider, std::string_view model,
                            const std::vector<std::string>& ignored);
void SetStreamHeaders(http::Headers& headers);
// Adds to a failure's words why nothing more was sent after it.
void TellNotRetried(const Answered& answered, std::string& message);

// "live", "staging" or "error": what the last probe and the traffic say, over what the catalogue
// says; staging stays staging.
std::string StatusNow(const catalog::Mapping& mapping, routing::Marketplace& market);

// The one mapping that a request on a provider's own path means. Errors: kInvalidArgument, it asks
// for fallbacks too.
Result<routing::NamedMapping> NamedMappingOf(const Call& call, const Order& order);

// Of a plan without routes: kPermissionDenied when some were left out because the caller's key does
// not allow them, kUnauthenticated when he has none.
Status BlameTheToken(const identity::Principal& caller, const Result<routing::Plan>& plan);

// "site-a/model-x": of the header and the receipt.
std::string RouteName(std::string_view provider, std::string_view model);

// Printable ASCII without spaces; other bytes percent-encoded: for values that come from files or
// requests.
std::string HeaderSafe(std::string_view text);

}  // namespace tradewind::gateway
