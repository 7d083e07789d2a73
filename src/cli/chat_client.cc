#include "cli/chat_client.h"

#include <chrono>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/clock.h"
#include "billing/usd.h"
#include "cli/exit_codes.h"
#include "cli/terminal.h"
#include "dialects/json_writer.h"
#include "dialects/openai_errors.h"
#include "http/sse.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using Steady = std::chrono::steady_clock;

constexpr std::string_view kStartServer =
    "start a server with `tradewind serve`, or check --host and --port";
constexpr size_t kErrorBodyBytesMax = 64 << 10;

const json::value* Member(const json::value* value, std::string_view name) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

std::optional<std::string> Text(const json::value* value) {
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::nullopt : std::optional<std::string>(std::string(*text));
}

std::optional<double> Number(const json::value* value) {
  if (value == nullptr || !value->is_number()) {
    return std::nullopt;
  }
  return value->to_number<double>();
}

// An integer, or the string of digits in which money comes.
std::optional<int64_t> Integer(const json::value* value) {
  if (const auto text = Text(value)) {
    char* end = nullptr;
    errno = 0;
    const int64_t number = std::strtoll(text->c_str(), &end, 10);
    return text->empty() || *end != '\0' || errno != 0 ? std::nullopt
                                                       : std::optional<int64_t>(number);
  }
  const int64_t* number = value == nullptr ? nullptr : value->if_int64();
  return number == nullptr ? std::nullopt : std::optional<int64_t>(*number);
}

// The code says more than the status; an error inside a stream has no status of its own.
ErrorCode CodeOfReply(int status, std::string_view code) {
  if (const auto known = dialects::ErrorCodeOfOpenAi(code)) {
    return *known;
  }
  switch (status) {
    case 401:
      return ErrorCode::kUnauthenticated;
    case 402:
      return ErrorCode::kPaymentRequired;
    case 403:
      return ErrorCode::kPermissionDenied;
    case 404:
      return ErrorCode::kModelNotSupported;
    case 413:
      return ErrorCode::kPayloadTooLarge;
    case 429:
      return ErrorCode::kTooManyRequests;
    case 502:
      return ErrorCode::kUpstreamFailed;
    case 503:
      return ErrorCode::kUnavailable;
    case 408:
    case 504:
      return ErrorCode::kDeadlineExceeded;
    case 507:
      return ErrorCode::kResourceExhausted;
    default:
      return status >= 500 ? ErrorCode::kInternal : ErrorCode::kInvalidArgument;
  }
}

http::ClientRequest RequestTo(const Endpoint& endpoint) {
  http::ClientRequest request;
  request.host = endpoint.host;
  request.port = endpoint.port;
  if (!endpoint.token.empty()) {
    request.headers.Set("Authorization", "Bearer " + endpoint.token);
  }
  return request;
}

void ReadUsage(const json::value* usage, const json::value* receipt, ChatOutcome& out) {
  out.prompt_tokens = Integer(Member(usage, "prompt_tokens"));
  out.output_tokens = Integer(Member(usage, "completion_tokens"));
  out.cached_tokens = Integer(Member(Member(usage, "prompt_tokens_details"), "cached_tokens"));
  out.cost_nanousd = Integer(Member(receipt, "cost_nanousd"));
  out.prefill_ms = Number(Member(receipt, "prefill_ms"));
  out.decode_ms = Number(Member(receipt, "decode_ms"));
  out.output_tokens_per_s = Number(Member(receipt, "output_tokens_per_s"));
}

}  // namespace

std::string Endpoint::Url() const {
  return host.find(':') == host.npos ? fmt::format("http://{}:{}", host, port)
                                     : fmt::format("http://[{}]:{}", host, port);
}

std::string ChatBody(const ChatCall& call) {
  dialects::JsonWriter body;
  body.BeginObject().Field("model", call.model).Field("stream", true);
  body.Key("stream_options").BeginObject().Field("include_usage", true).EndObject();
  if (call.raw) {
    body.Field("prompt", call.prompt);
  } else {
    body.Key("messages").BeginArray();
    for (const ChatTurn& turn : call.turns) {
      body.BeginObject().Field("role", turn.role).Field("content", turn.content).EndObject();
    }
    body.EndArray();
  }
  const auto field = [&body](std::string_view name, const auto& value) {
    if (value) {
      body.Field(name, *value);
    }
  };
  field("temperature", call.temperature);
  field("top_p", call.top_p);
  field("min_p", call.min_p);
  field("top_k", call.top_k);
  field("max_tokens", call.max_tokens);
  field("seed", call.seed);
  body.EndObject();
  return body.Take();
}

Status AnswerReader::Push(std::string_view data) {
  if (data == "[DONE]") {
    is_done_ = true;
    return {};
  }
  boost::system::error_code failed;
  const json::value root = json::parse(data, failed);
  if (failed || !root.is_object()) {
    return Fail(ErrorCode::kInternal,
                "the server sent an event that is not JSON; is it a tradewind server?");
  }
  if (Member(&root, "error") != nullptr) {
    return Fail(ErrorFromReply(500, data));
  }
  outcome_.model = Text(Member(&root, "model")).value_or(outcome_.model);
  outcome_.id = Text(Member(&root, "id")).value_or(outcome_.id);
  const json::value* choices = Member(&root, "choices");
  if (choices != nullptr && choices->is_array() && !choices->get_array().empty()) {
    const json::value* choice = &choices->get_array()[0];
    const auto chat_text = Text(Member(Member(choice, "delta"), "content"));
    const auto text = chat_text ? chat_text : Text(Member(choice, "text"));
    if (text && !text->empty()) {
      outcome_.text += *text;
      on_text_(*text);
    }
    outcome_.finish_reason = Text(Member(choice, "finish_reason")).value_or(outcome_.finish_reason);
  }
  if (const json::value* usage = Member(&root, "usage"); usage != nullptr && usage->is_object()) {
    const json::value* own = Member(&root, "tradewind");
    ReadUsage(usage, own != nullptr ? own : Member(usage, "tradewind"), outcome_);
  }
  return {};
}

Error ErrorFromReply(int status, std::string_view body) {
  boost::system::error_code failed;
  const json::value root = json::parse(body, failed);
  const json::value* error = failed ? nullptr : Member(&root, "error");
  const std::string code = Text(Member(error, "code")).value_or("");
  const std::string message =
      Text(Member(error, "message"))
          .value_or(
              fmt::format("the server answered with status {} and no reason; see its log", status));
  return {CodeOfReply(status, code), message, Text(Member(error, "param")).value_or(""), {}};
}

Result<ChatOutcome> StreamChat(const Endpoint& endpoint, const ChatCall& call,
                               const std::atomic<bool>& stop,
                               const std::function<void(std::string_view)>& on_text) {
  http::ClientRequest request = RequestTo(endpoint);
  request.method = "POST";
  request.target = call.raw ? "/v1/completions" : "/v1/chat/completions";
  request.headers.Set("Content-Type", "application/json");
  request.headers.Set("Accept", "text/event-stream");
  request.body = ChatBody(call);
  request.stop = &stop;

  const auto begin = Steady::now();
  std::optional<Steady::time_point> first;
  AnswerReader answer([&](std::string_view text) {
    first = first ? first : Steady::now();
    on_text(text);
  });
  http::SseParser parser;
  Status failed;
  bool is_refused = false;
  std::string refusal;
  const auto take = [&](std::string_view bytes) {
    if (is_refused) {
      refusal.append(
          bytes.substr(0, kErrorBodyBytesMax - std::min(refusal.size(), kErrorBodyBytesMax)));
      return true;
    }
    std::vector<http::SseEvent> events;
    failed = parser.Push(bytes, events);
    for (size_t i = 0; i < events.size() && failed; ++i) {
      failed = answer.Push(events[i].data);
    }
    return failed.has_value() && !stop.load();
  };
  const auto response = http::FetchStream(
      request, take, [&](const http::Response& head) { is_refused = head.status >= 400; });
  ChatOutcome& outcome = answer.outcome();
  outcome.interrupted = stop.load() && !answer.is_done();
  outcome.total_ms = MsBetween(begin, Steady::now());
  outcome.first_token_ms = first ? MsBetween(begin, *first) : 0;
  if (outcome.interrupted) {
    return outcome;
  }
  if (!response) {
    return Fail(WithNextStep(response.error(), kStartServer));
  }
  if (is_refused) {
    return Fail(ErrorFromReply(response->status, refusal));
  }
  TW_RETURN_IF_ERROR(failed);
  if (!answer.is_done()) {
    return Fail(ErrorCode::kUnavailable,
                "the server ended the answer in the middle; see its log and ask again");
  }
  return outcome;
}

Result<Reply> Get(const Endpoint& endpoint, std::string target, int64_t timeout_ms) {
  http::ClientRequest request = RequestTo(endpoint);
  request.target = std::move(target);
  request.connect_timeout_ms = timeout_ms;
  request.idle_timeout_ms = timeout_ms;
  auto response = http::Fetch(request);
  if (!response) {
    return Fail(WithNextStep(response.error(), kStartServer));
  }
  if (response->status >= 400 && response->status != 503) {
    return Fail(ErrorFromReply(response->status, response->body));
  }
  return Reply{response->status, std::move(response->body)};
}

std::string FormatStats(const ChatOutcome& outcome, double load_ms) {
  std::string line = fmt::format("load {:.1f}s", load_ms / 1000);
  if (outcome.prompt_tokens) {
    line += fmt::format("  prompt {} tok", *outcome.prompt_tokens);
    const double computed =
        static_cast<double>(*outcome.prompt_tokens - outcome.cached_tokens.value_or(0));
    if (outcome.prefill_ms && *outcome.prefill_ms > 0) {
      line += fmt::format(" {:.1f}/s", computed * 1000 / *outcome.prefill_ms);
    }
  }
  if (outcome.first_token_ms > 0) {
    line += fmt::format("  first token {:.1f}s", outcome.first_token_ms / 1000);
  }
  if (outcome.output_tokens) {
    line += fmt::format("  output {} tok", *outcome.output_tokens);
    if (outcome.output_tokens_per_s) {
      line += fmt::format(" {:.1f}/s", *outcome.output_tokens_per_s);
    }
  }
  line += fmt::format("  total {:.1f}s  cost {}", outcome.total_ms / 1000,
                      outcome.cost_nanousd ? billing::FormatUsd(*outcome.cost_nanousd) : "unknown");
  return line;
}

}  // namespace tradewind::cli
