// Asks a running server, over its public API.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/client.h"

namespace tradewind::cli {

struct Endpoint {
  std::string host;
  uint16_t port = 0;
  std::string token;  // TRADEWIND_TOKEN, or empty

  std::string Url() const;
};

struct ChatTurn {
  std::string role, content;
};

struct ChatCall {
  std::string model;
  std::vector<ChatTurn> turns;  // ignored when `raw`
  std::string prompt;           // with `raw`: goes to the model as it is
  bool raw = false;
  std::optional<double> temperature, top_p, min_p;
  std::optional<int64_t> top_k, max_tokens, seed;
};

struct ChatOutcome {
  std::string text, finish_reason, model, id;
  bool interrupted = false;
  std::optional<int64_t> prompt_tokens, output_tokens, cached_tokens, cost_nanousd;
  std::optional<double> prefill_ms, decode_ms, output_tokens_per_s;  // from the receipt
  double first_token_ms = 0, total_ms = 0;                           // as seen here
};

// The JSON body of a streamed request.
std::string ChatBody(const ChatCall& call);

// Collects one answer from its server-sent events; no network. Public for tests.
class AnswerReader {
 public:
  explicit AnswerReader(std::function<void(std::string_view)> on_text)
      : on_text_(std::move(on_text)) {}
  // The data of one event. Errors: the server's own, sent in the stream; kInternal for what is not
  // JSON.
  Status Push(std::string_view data);
  bool is_done() const { return is_done_; }
  ChatOutcome& outcome() { return outcome_; }

 private:
  std::function<void(std::string_view)> on_text_;
  ChatOutcome outcome_;
  bool is_done_ = false;
};

// Streams one answer; `on_text` gets each piece. When `stop` turns true the answer is dropped:
// `interrupted`, no error. Errors: the server's, with a fitting code; those of http::FetchStream.
Result<ChatOutcome> StreamChat(const Endpoint& endpoint, const ChatCall& call,
                               const std::atomic<bool>& stop,
                               const std::function<void(std::string_view)>& on_text);

// The error that a reply of status >= 400 means: {"error":{"message","code","param"}}.
Error ErrorFromReply(int status, std::string_view body);

// GET; a status >= 400 is an error, except 503, whose body is returned as `ready` = false.
struct Reply {
  int status = 0;
  std::string body;
};
Result<Reply> Get(const Endpoint& endpoint, std::string target, int64_t timeout_ms = 5000);

// "load 0.0s  prompt 412 tok 61.0/s  first token 6.8s  output 180 tok 9.8/s  total 25.1s  cost
// $0.00". What the server did not tell is left out; an unknown cost says so.
std::string FormatStats(const ChatOutcome& outcome, double load_ms);

}  // namespace tradewind::cli
