#include "gateway/probe_requests.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/ids.h"
#include "billing/ending.h"
#include "dialects/json_reader.h"
#include "gateway/prompt_bounds.h"
#include "gateway/tries.h"
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

// One of the up to three; each is an attempt of the ledger with its own number.
struct Question {
  uint16_t attempt = 1;
  Endpoint endpoint = Endpoint::kChat;
  int64_t output_tokens_max = 0;  // as the body says
  bool is_stream = false;
  std::string_view body;
};

// Long enough for a speed, short enough to cost next to nothing.
constexpr Question kChat{
    .output_tokens_max = 64,
    .is_stream = true,
    .body = R"({"model":"m","messages":[{"role":"user","content":"Count from one to twelve )"
            R"(in words."}],)"
            R"("max_tokens":64,"stream":true})"};
constexpr Question kText{
    .endpoint = Endpoint::kCompletions,
    .output_tokens_max = 32,
    .is_stream = true,
    .body = R"({"model":"m","prompt":"One, two, three, four,","max_tokens":32,"stream":true})"};
constexpr Question kEmbedding{.endpoint = Endpoint::kEmbeddings,
                              .body = R"({"model":"m","input":"probe"})"};
// `auto`, which every provider takes: the question leaves no doubt.
constexpr Question kTool{
    .attempt = 2,
    .output_tokens_max = 256,
    .body =
        R"({"model":"m","messages":[{"role":"user","content":"What is the weather in Paris? )"
        R"(You must call get_weather."}],"max_tokens":256,"tool_choice":"auto","tools":[{"type":)"
        R"("function","function":{"name":"get_weather","description":"The weather of a city now.",)"
        R"("parameters":{"type":"object","properties":{"city":{"type":"string"}},)"
        R"("required":["city"]}}}]})"};
constexpr Question kSchema{
    .attempt = 3,
    .output_tokens_max = 256,
    .body =
        R"({"model":"m","messages":[{"role":"user","content":"Which city is the capital of )"
        R"(France, and on which continent is it?"}],"max_tokens":256,"response_format":{)"
        R"("type":"json_schema","json_schema":{"name":"capital","strict":true,"schema":{)"
        R"("type":"object","properties":{"city":{"type":"string"},"continent":{"type":"string"}},)"
        R"("required":["city","continent"],"additionalProperties":false}}}})"};

ProbedTask TaskOf(const catalog::Mapping& mapping) {
  return mapping.task == "conversational"    ? ProbedTask::kChat
         : mapping.task == "text-generation" ? ProbedTask::kTextGeneration
                                             : ProbedTask::kOther;
}

// A question that is asked, and its money: a hold before it goes out, which its end settles.
class Asking {
 public:
  Asking(const Probe& probe, const Question& question) : probe_(probe), question_(question) {}
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  // Nothing is sent where it fails.
  Task<Status> Hold() {
    deadline_ = probe_.clock.Now() + std::chrono::milliseconds(kProbeDeadlineMs);
    if (probe_.meter == nullptr) {
      co_return Status();
    }
    billing::Purchase buyer;
    buyer.key_id = billing::kProbesScope;
    billing::Offer offer = OfferOf(probe_.mapping, probe_.place, std::move(buyer));
    offer.id = {probe_.receipt, question_.attempt};
    offer.input_tokens_likely = billing::TextTokens(static_cast<int64_t>(question_.body.size()));
    offer.input_tokens_max = static_cast<int64_t>(question_.body.size()) + kTemplateTokens;
    offer.output_tokens_max = question_.output_tokens_max;
    offer.charges_nobody = true;
    TW_CO_ASSIGN_OR_RETURN(money_, probe_.meter->Begin(std::move(offer), ledger::Send::kNow));
    if (!co_await AwaitDurable(*probe_.meter, money_.goes_out_after(), deadline_)) {
      End(NotSent());
      co_return Fail(ErrorCode::kResourceExhausted,
                     "what it may cost could not be kept on the disk");
    }
    co_return Status();
  }

  Task<providers::UpstreamResult<void>> Open() {
    dialects::JsonText text = dialects::JsonText::Parse(std::string(question_.body)).value();
    providers::NameBound(probe_.place.upstream->bound_name, question_.endpoint, text);
    providers::PrepareRequest(*probe_.place.upstream->quirks, question_.endpoint,
                              probe_.mapping.provider_model, question_.is_stream, text);
    providers::UpstreamOrder order;
    order.endpoint = question_.endpoint;
    order.body = text.Text();
    order.is_stream = question_.is_stream;
    order.api_key = probe_.place.api_key;
    order.request_id = RandomId("probe_", 24);
    order.deadlines.first_byte_ms = order.deadlines.idle_ms = kProbeDeadlineMs;
    order.deadlines.overall = deadline_;
    if (probe_.place.upstream->keeps_own_ids) {
      order.attempt_id = money_.own_id();
    }
    upstream_.emplace(probe_.client, *probe_.place.upstream, std::move(order));
    providers::UpstreamResult<void> opened = co_await upstream_->Open();
    if (opened.has_value()) {
      money_.UpstreamId(upstream_->upstream_request_id());
    }
    co_return opened;
  }
  UpstreamExchange& upstream() { return *upstream_; }

  void Failed(const UpstreamFailure& failure, int64_t delivered_bytes = 0) {
    Answered answered;
    SetFailure(failure, delivered_bytes == 0, answered);
    answered.delivered_bytes = delivered_bytes;
    End(std::move(answered));
  }
  void Ended(const std::optional<chat::Usage>& usage, int64_t delivered_bytes,
             std::string finish_reason) {
    Answered answered;
    answered.usage = usage;
    answered.delivered_bytes = delivered_bytes;
    answered.finish_reason = std::move(finish_reason);
    End(std::move(answered));
  }

 private:
  void End(Answered answered) { static_cast<void>(money_.End(EndedOf(answered))); }

  const Probe& probe_;
  const Question& question_;
  std::chrono::steady_clock::time_point deadline_;
  billing::Metered money_;
  std::optional<UpstreamExchange> upstream_;
};

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

Task<void> SeeStream(Asking& asking, const Clock& clock, ProbeSeen& seen) {
  const auto started = clock.Now();
  if (const auto opened = co_await asking.Open(); !opened.has_value()) {
    asking.Failed(opened.error());
    co_return SetFailure(opened.error(), seen);
  }
  std::optional<std::chrono::steady_clock::time_point> first, last;
  std::string finish_reason;
  std::optional<chat::Usage> usage;
  int64_t delivered_bytes = 0;
  while (true) {
    const auto event = co_await asking.upstream().Next();
    if (!event.has_value()) {
      asking.Failed(event.error(), delivered_bytes);
      co_return SetFailure(event.error(), seen);
    }
    if (event->done) {
      finish_reason = finish_reason.empty() ? event->chunk.finish_reason : finish_reason;
      break;
    }
    delivered_bytes += event->chunk.written_bytes;
    if (event->chunk.has_content) {
      last = clock.Now();
      first = first.value_or(*last);
    }
    if (!event->chunk.finish_reason.empty()) {
      finish_reason = event->chunk.finish_reason;
    }
    if (event->chunk.usage.has_value()) {
      usage = event->chunk.usage;
      seen.output_tokens = usage->output_tokens;
    }
  }
  asking.Ended(usage, delivered_bytes, finish_reason);
  seen.format_ok = true;
  if (first.has_value()) {
    seen.ttft_ms = MsBetween(started, *first);
    seen.generation_ms = MsBetween(*first, *last);
  }
}

// A whole answer, and what it cost.
Task<providers::UpstreamResult<dialects::WireWhole>> Whole(Asking& asking) {
  if (auto opened = co_await asking.Open(); !opened.has_value()) {
    asking.Failed(opened.error());
    co_return std::unexpected(std::move(opened).error());
  }
  auto whole = co_await asking.upstream().Whole();
  if (whole.has_value()) {
    asking.Ended(whole->usage, whole->written_bytes, whole->finish_reason);
  } else {
    asking.Failed(whole.error());
  }
  co_return whole;
}

Task<void> SeeEmbedding(Asking& asking, const Clock& clock, ProbeSeen& seen) {
  const auto started = clock.Now();
  if (const auto whole = co_await Whole(asking); !whole.has_value()) {
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

// Nothing when it may not be asked, or its answer was cut off at its length: a model that thinks
// aloud was not done.
Task<std::optional<ProbeSeen::Further>> SeeOne(const Probe& probe, const Question& question,
                                               bool (*is_as_asked)(const json::value&)) {
  Asking asking(probe, question);
  if (!(co_await asking.Hold()).has_value()) {
    co_return std::nullopt;
  }
  ProbeSeen::Further further;
  const auto whole = co_await Whole(asking);
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

Task<ProbeSeen> SeeFirst(const Probe& probe) {
  ProbeSeen seen;
  seen.task = TaskOf(probe.mapping);
  const bool is_stream = seen.task != ProbedTask::kOther;
  Asking asking(probe, !is_stream ? kEmbedding : seen.task == ProbedTask::kChat ? kChat : kText);
  if (const Status held = co_await asking.Hold(); !held.has_value()) {
    seen.not_asked = held.error().message;
    co_return seen;
  }
  if (is_stream) {
    co_await SeeStream(asking, probe.clock, seen);
  } else {
    co_await SeeEmbedding(asking, probe.clock, seen);
  }
  co_return seen;
}

Task<void> SeeFurther(const Probe& probe, ProbeSeen& seen) {
  if (seen.task != ProbedTask::kChat) {
    co_return;
  }
  seen.tools = co_await SeeOne(probe, kTool, CalledTheTool);
  seen.structured_output = co_await SeeOne(probe, kSchema, FollowedTheSchema);
}

}  // namespace tradewind::gateway
