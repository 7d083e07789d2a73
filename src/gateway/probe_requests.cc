#include "gateway/probe_requests.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/ids.h"
#include "dialects/json_reader.h"
#include "gateway/upstream_failure.h"
#include "providers/quirks.h"
#include "providers/upstream.h"

namespace tradewind::gateway {
namespace {

namespace json = boost::json;
using providers::Endpoint;
using providers::UpstreamExchange;
using providers::UpstreamFailure;
using routing::ProbedTask;
using routing::ProbeSeen;

constexpr int64_t kProbeDeadlineMs = 60'000;  // of one request
constexpr size_t kWordsMax = 200;             // of what a provider says about its failure

// Long enough for a speed, short enough to cost next to nothing.
constexpr std::string_view kChatBody =
    R"({"model":"m","messages":[{"role":"user","content":"Count from one to twelve in words."}],)"
    R"("max_tokens":64,"stream":true})";
constexpr std::string_view kTextBody =
    R"({"model":"m","prompt":"One, two, three, four,","max_tokens":32,"stream":true})";
constexpr std::string_view kEmbedBody = R"({"model":"m","input":"probe"})";
// `auto`, which every provider takes: the question leaves no doubt.
constexpr std::string_view kToolBody =
    R"({"model":"m","messages":[{"role":"user","content":"What is the weather in Paris? )"
    R"(You must call get_weather."}],"max_tokens":256,"tool_choice":"auto","tools":[{"type":)"
    R"("function","function":{"name":"get_weather","description":"The weather of a city now.",)"
    R"("parameters":{"type":"object","properties":{"city":{"type":"string"}},)"
    R"("required":["city"]}}}]})";
constexpr std::string_view kSchemaBody =
    R"({"model":"m","messages":[{"role":"user","content":"Which city is the capital of France, )"
    R"(and on which continent is it?"}],"max_tokens":256,"response_format":{"type":"json_schema",)"
    R"("json_schema":{"name":"capital","strict":true,"schema":{"type":"object","properties":)"
    R"({"city":{"type":"string"},"continent":{"type":"string"}},"required":["city","continent"],)"
    R"("additionalProperties":false}}}})";

ProbedTask TaskOf(const catalog::Mapping& mapping) {
  return mapping.task == "conversational"    ? ProbedTask::kChat
         : mapping.task == "text-generation" ? ProbedTask::kTextGeneration
                                             : ProbedTask::kOther;
}

std::unique_ptr<UpstreamExchange> Ask(http::UpstreamClient& client,
                                      const routing::MarketPlace& place,
                                      const catalog::Mapping& mapping, Endpoint endpoint,
                                      std::string_view body, bool is_stream, const Clock& clock) {
  dialects::JsonText text = dialects::JsonText::Parse(std::string(body)).value();
  providers::PrepareRequest(*place.upstream->quirks, endpoint, mapping.provider_model, is_stream,
                            text);
  http::UpstreamDeadlines deadlines;
  deadlines.first_byte_ms = kProbeDeadlineMs;
  deadlines.idle_ms = kProbeDeadlineMs;
  deadlines.overall = clock.Now() + std::chrono::milliseconds(kProbeDeadlineMs);
  providers::UpstreamOrder order;
  order.endpoint = endpoint;
  order.body = text.Text();
  order.is_stream = is_stream;
  order.api_key = place.api_key;
  order.request_id = RandomId("probe_", 24);
  order.deadlines = deadlines;
  return std::make_unique<UpstreamExchange>(client, *place.upstream, std::move(order));
}

std::string Shortened(std::string text) {
  if (text.size() > kWordsMax) {
    text.resize(kWordsMax);
    text += "...";
  }
  return text;
}

// A probe has no other deadline than the time that a route may take.
routing::FailureKind KindOfProbe(UpstreamFailure failure) {
  failure.is_deadline = false;
  return KindOf(failure);
}

// An answer that cannot be read is a wrong form, everything else a failure to answer.
void SetFailure(const UpstreamFailure& failure, ProbeSeen& seen) {
  if (failure.stage == UpstreamFailure::Stage::kGarbage) {
    seen.format_words = Shortened(failure.error.message);
    return;
  }
  seen.failure = KindOfProbe(failure);
  const std::string& said = failure.wire.message;
  seen.failure_words = Shortened(failure.status == 0 ? said
                                 : said.empty()      ? fmt::format("{}", failure.status)
                                                     : fmt::format("{} {}", failure.status, said));
}

Task<void> SeeStream(UpstreamExchange& upstream, const Clock& clock, ProbeSeen& seen) {
  const auto started = clock.Now();
  if (const auto opened = co_await upstream.Open(); !opened.has_value()) {
    co_return SetFailure(opened.error(), seen);
  }
  std::optional<std::chrono::steady_clock::time_point> first, last;
  std::string finish_reason;
  while (true) {
    const auto event = co_await upstream.Next();
    if (!event.has_value()) {
      co_return SetFailure(event.error(), seen);
    }
    if (event->done) {
      break;
    }
    if (event->chunk.has_content) {
      last = clock.Now();
      first = first.value_or(*last);
    }
    if (!event->chunk.finish_reason.empty()) {
      finish_reason = event->chunk.finish_reason;
    }
    if (event->chunk.usage.has_value()) {
      seen.output_tokens = event->chunk.usage->output_tokens;
    }
  }
  seen.format_ok = !finish_reason.empty();
  seen.format_words = seen.format_ok ? "" : "the stream ended without a finish reason";
  if (first.has_value()) {
    seen.ttft_ms = MsBetween(started, *first);
    seen.generation_ms = MsBetween(*first, *last);
  }
}

Task<void> SeeEmbedding(UpstreamExchange& upstream, const Clock& clock, ProbeSeen& seen) {
  const auto started = clock.Now();
  if (const auto opened = co_await upstream.Open(); !opened.has_value()) {
    co_return SetFailure(opened.error(), seen);
  }
  const auto whole = co_await upstream.Whole();
  if (!whole.has_value()) {
    co_return SetFailure(whole.error(), seen);
  }
  seen.ttft_ms = MsBetween(started, clock.Now());
  seen.format_ok = true;
}

// A value deep inside an answer; null when the way to it is not there.
const json::value* At(const json::value& root, std::string_view pointer) {
  boost::system::error_code missing;
  return root.find_pointer(pointer, missing);
}

bool IsObjectWithTexts(const json::value* text, std::initializer_list<std::string_view> names) {
  if (text == nullptr || !text->is_string()) {
    return false;
  }
  const auto value = dialects::ParseJsonObject(std::string_view(text->get_string()));
  if (!value.has_value() || value->size() != names.size()) {
    return false;
  }
  for (const std::string_view name : names) {
    const json::value* field = value->if_contains(name);
    if (field == nullptr || !field->is_string()) {
      return false;
    }
  }
  return true;
}

bool CalledTheTool(const json::value& root) {
  const json::value* name = At(root, "/choices/0/message/tool_calls/0/function/name");
  return name != nullptr && name->is_string() && name->get_string() == "get_weather" &&
         IsObjectWithTexts(At(root, "/choices/0/message/tool_calls/0/function/arguments"),
                           {"city"});
}

bool FollowedTheSchema(const json::value& root) {
  return IsObjectWithTexts(At(root, "/choices/0/message/content"), {"city", "continent"});
}

// Nothing when the answer was cut off at its length: a model that thinks aloud was not done.
Task<std::optional<ProbeSeen::Further>> SeeOne(std::unique_ptr<UpstreamExchange> upstream,
                                               bool (*is_as_asked)(const json::value&)) {
  ProbeSeen::Further further;
  if (const auto opened = co_await upstream->Open(); !opened.has_value()) {
    further.failure = KindOfProbe(opened.error());
    co_return further;
  }
  const auto whole = co_await upstream->Whole();
  if (!whole.has_value()) {
    further.failure = KindOfProbe(whole.error());
    co_return further;
  }
  if (whole->finish_reason == "length") {
    co_return std::nullopt;
  }
  const auto root = dialects::ParseJson(whole->body);
  further.as_asked = root.has_value() && is_as_asked(*root);
  co_return further;
}

}  // namespace

Task<ProbeSeen> SeeFirst(http::UpstreamClient& client, const routing::MarketPlace& place,
                         const catalog::Mapping& mapping, const Clock& clock) {
  ProbeSeen seen;
  seen.task = TaskOf(mapping);
  if (seen.task == ProbedTask::kOther) {
    const auto upstream =
        Ask(client, place, mapping, Endpoint::kEmbeddings, kEmbedBody, false, clock);
    co_await SeeEmbedding(*upstream, clock, seen);
    co_return seen;
  }
  const bool is_chat = seen.task == ProbedTask::kChat;
  const auto upstream =
      Ask(client, place, mapping, is_chat ? Endpoint::kChat : Endpoint::kCompletions,
          is_chat ? kChatBody : kTextBody, true, clock);
  co_await SeeStream(*upstream, clock, seen);
  co_return seen;
}

Task<void> SeeFurther(http::UpstreamClient& client, const routing::MarketPlace& place,
                      const catalog::Mapping& mapping, const Clock& clock, ProbeSeen& seen) {
  if (seen.task != ProbedTask::kChat) {
    co_return;
  }
  seen.tools = co_await SeeOne(
      Ask(client, place, mapping, Endpoint::kChat, kToolBody, false, clock), CalledTheTool);
  seen.structured_output = co_await SeeOne(
      Ask(client, place, mapping, Endpoint::kChat, kSchemaBody, false, clock), FollowedTheSchema);
}

}  // namespace tradewind::gateway
