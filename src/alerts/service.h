// Looks for alerts, tells the log, sends them out, and slows down who is too fast: a thread of its
// own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alerts/alert.h"
#include "alerts/watch.h"
#include "base/clock.h"
#include "base/task.h"
#include "billing/books.h"
#include "http/event_loop.h"
#include "http/upstream.h"
#include "http/url.h"

namespace tradewind::alerts {

// [alerts] of the config.
struct Config {
  Policy policy;  // `wants` follows from the rest
  std::optional<http::Url> webhook;
  std::string secret;          // signs webhooks
  bool allow_private = false;  // the webhook's host may be loopback or private
  std::vector<std::string> command;
};

// Owns one event-loop thread, which may wait for the disk. What it refers to must outlive it.
class Service {
 public:
  Service(Config config, Watch& watch, billing::Books& books, http::UpstreamClient& upstreams,
          const Clock& clock = SystemClock());
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

 private:
  // On the loop's thread:
  Task<void> LookNowAndThen();
  Task<void> SendNowAndThen(Channel channel);
  void Look();
  void LookAtLedger(bool is_kept);
  Task<void> SendDue(Channel channel);
  Task<Status> Post(const Alert& alert);
  Task<Status> RunCommand(const Alert& alert);
  void Note(const Alert& alert, Channel channel, const Status& sent);
  void Keep(const Alert& alert, Channel channel, const Sent& sent, const std::string& trouble);
  int64_t NowNs() const;

  const Config config_;
  Watch& watch_;
  billing::Books& books_;
  http::UpstreamClient& upstreams_;
  const Clock& clock_;
  std::string trouble_;          // told once
  std::string ledger_scope_;     // of the ledger's own trouble, told once
  std::optional<Alert> unkept_;  // of that, where it cannot be kept
  // By alert: what came of deliveries that could not be noted.
  std::map<std::pair<int64_t, Channel>, Sent> unnoted_;

  std::shared_ptr<http::EventLoop> loop_;  // the last: its thread uses all of the above
};

}  // namespace tradewind::alerts
