// Decides what a request is answered: route, key, faults, checks, answer. Knows no sockets.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "provider_sim/behaviour.h"
#include "provider_sim/books.h"
#include "provider_sim/provider.h"
#include "provider_sim/reply.h"

namespace provider_sim {

// A request as the connection read it; views live until Handle returns.
struct Incoming {
  std::string_view method, target, authorization;
  std::vector<std::pair<std::string_view, std::string_view>> headers;  // all but Authorization
  std::string body;
  bool keep_alive = true, http_1_1 = true;
};

// What the connection then does.
struct Reply {
  std::string head;  // with its blank line
  std::string body;  // framed as the head says; of a stream: empty
  std::unique_ptr<EventSource> events;
  Behaviour how;
  bool chunked = false;  // the framing of `events`
  bool close_after = false;
  uint64_t body_tokens = 0;  // for pacing what is no stream
  Used used = {};            // of the whole answer

  // For Finish.
  const Provider* provider = nullptr;
  const Model* model = nullptr;
  const Model* priced_as = nullptr;  // at its service tier
  std::string tier;                  // which it was; "": nobody asked for one
  std::string key, billing_id, client_id, default_outcome = "ok";
  Charge whole;  // what a full answer costs; nothing billed when `billable` is false
  bool billable = false;
  std::shared_ptr<LogEntry> entry;
};

// How it went.
struct Ending {
  uint64_t bytes_sent = 0;
  bool client_closed = false;
  std::string outcome;  // empty: the reply's own
};

struct SimOptions {
  std::vector<std::pair<std::string, std::string>>
      keys;                             // provider (empty: any), key; none: any key
  std::vector<std::string> admin_keys;  // that may ask for usage and costs; none: any
  bool keep_log = true;
  int64_t created_s = 0;  // 0: now
};

class Sim {
 public:
  Sim(std::vector<std::unique_ptr<Provider>> providers, const std::string& root,
      SimOptions options);

  Reply Handle(Incoming& request);
  void Finish(const Reply& reply, const Ending& ending);

  Rules& rules() { return rules_; }
  std::atomic<int64_t> connections{0}, streams{0}, streams_max{0}, accepted{0};

 private:
  struct Route {
    const Provider* provider;
    Endpoint endpoint;
  };
  struct Exchange;

  void AddRoutes(const Provider& provider, const std::string& prefix);
  std::optional<Route> FindRoute(std::string_view path, std::string_view& model_id) const;
  bool KeyFits(const Provider* provider, std::string_view authorization) const;
  void Answer(Exchange& x);
  void Bill(Exchange& x, const Ask& ask);
  void AnswerPost(Exchange& x);
  void AnswerInference(Exchange& x, const Ask& ask);
  void AnswerBilling(Exchange& x, const boost::json::value& body);
  void AnswerModels(Exchange& x);
  void AnswerReport(Exchange& x);
  bool MayReport(const Incoming& request) const;
  bool Fault(Exchange& x);
  void Refuse(Exchange& x, std::string_view error, std::string_view message,
              std::string_view param);
  void Send(Exchange& x, int status, std::string_view content_type, std::string body,
            const std::vector<std::pair<std::string, Template>>& headers);
  Reply Control(Incoming& request, std::string_view path, std::string_view query);
  std::pair<int, std::string> ControlAnswer(const Incoming& request, std::string_view path,
                                            std::string_view query);
  boost::json::value State() const;

  const std::vector<std::unique_ptr<Provider>> providers_;
  const SimOptions options_;
  std::unordered_map<std::string, Route> routes_;
  Rules rules_;
  Books books_;
  std::atomic<uint64_t> number_{0};
};

// Parts of heads, shared with the control replies.
std::string StatusLine(int status, bool http_1_1);
std::string DateHeader();

}  // namespace provider_sim
