#include "dialects/openai_chat.h"

#include <iterator>
#include <limits>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "dialects/json_reader.h"
#include "dialects/openai_messages.h"
#include "dialects/openai_request.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

// --- Parsing ---

bool IsText(const json::value* value, std::string_view text) {
  return value != nullptr && value->is_string() &&
         std::string_view(value->get_string().data(), value->get_string().size()) == text;
}

void ReadTools(Fields& fields) {
  const auto read = [&fields](std::string_view list_name, std::string_view choice_name) {
    const json::value* tools = fields.Find(list_name);
    const json::value* choice = fields.Find(choice_name);
    if (tools != nullptr && !tools->is_array()) {
      fields.Wrong(list_name, "must be an array");
      return;
    }
    if (tools != nullptr && !tools->get_array().empty()) {
      if (!IsText(choice, "none")) {
        fields.Refuse(list_name, fmt::format("are not supported yet; leave them out, or send "
                                             "`{}`: \"none\" to have them ignored",
                                             choice_name));
      }
    } else if (choice != nullptr && !IsText(choice, "none") && !IsText(choice, "auto")) {
      fields.Wrong(choice_name, fmt::format("needs non-empty `{}`", list_name));
    }
  };
  read("tools", "tool_choice");
  read("functions", "function_call");
}

void ReadModalities(Fields& fields) {
  const json::value* modalities = fields.Find("modalities");
  if (modalities == nullptr) {
    return;
  }
  if (!modalities->is_array()) {
    fields.Wrong("modalities", "must be an array of strings");
    return;
  }
  for (const json::value& modality : modalities->get_array()) {
    if (!IsText(&modality, "text")) {
      fields.Refuse("modalities", "other than [\"text\"] is not supported");
    }
  }
}

void ReadMaxTokens(Fields& fields, std::optional<int64_t>& out) {
  std::optional<int64_t> old_name;
  std::optional<int64_t> new_name;
  fields.Integer("max_tokens", 1, std::numeric_limits<int64_t>::max(), old_name);
  fields.Integer("max_completion_tokens", 1, std::numeric_limits<int64_t>::max(), new_name);
  if (old_name.has_value() && new_name.has_value() && *old_name != *new_name) {
    fields.Wrong("max_tokens", "contradicts `max_completion_tokens`; send only the latter");
  }
  out = new_name.has_value() ? new_name : old_name;
}

void ReadLogprobs(Fields& fields, int& out) {
  bool logprobs = false;
  fields.Flag("logprobs", logprobs);
  std::optional<int64_t> top;
  if (fields.Integer("top_logprobs", 0, limits::kTopLogprobsMax, top) && *top > 0 && !logprobs) {
    fields.Wrong("top_logprobs", "requires `logprobs`: true");
  }
  out = logprobs ? static_cast<int>(top.value_or(0)) : -1;
}

// Templates that know the variable honour it; the others have nothing to honour.
void ReadReasoningEffort(Fields& fields, std::string& kwargs_json) {
  std::string effort;
  if (!fields.Text("reasoning_effort", effort) || !fields.status().has_value()) {
    return;
  }
  json::object kwargs;
  if (!kwargs_json.empty()) {
    auto parsed = ParseJsonObject(kwargs_json);
    fields.Adopt(parsed.has_value() ? Status() : Fail(parsed.error()));
    kwargs = std::move(parsed).value_or(json::object());
  }
  kwargs.emplace("reasoning_effort", effort);  // an explicit keyword argument wins
  kwargs_json = json::serialize(kwargs);
}

void RefuseVerbosity(Fields& fields) {
  std::string verbosity;
  if (fields.Text("verbosity", verbosity) && verbosity != "medium") {
    fields.Refuse("verbosity", "other than \"medium\" is not supported; ask for it in the prompt");
  }
}

// --- Writing ---

void WriteToken(const chat::TokenLogprob& token, JsonWriter& out) {
  out.Field("token", token.token).Field("logprob", FiniteLogprob(token.logprob)).Key("bytes");
  if (token.bytes.empty()) {
    out.Null();  // a special token: no bytes of the text are its own
    return;
  }
  out.BeginArray();
  for (const char byte : token.bytes) {
    out.Value(static_cast<int>(static_cast<unsigned char>(byte)));
  }
  out.EndArray();
}

void WriteLogprobs(const std::vector<chat::TokenLogprob>& tokens, JsonWriter& out) {
  out.BeginObject().Key("content").BeginArray();
  for (const chat::TokenLogprob& token : tokens) {
    out.BeginObject();
    WriteToken(token, out);
    out.Key("top_logprobs").BeginArray();
    for (const chat::TokenLogprob& alternative : token.top) {
      out.BeginObject();
      WriteToken(alternative, out);
      out.EndObject();
    }
    out.EndArray().EndObject();
  }
  out.EndArray().Key("refusal").Null().EndObject();
}

class OpenAiChatWriter final : public AnswerWriter {
 public:
  OpenAiChatWriter(AnswerHead head, const chat::ChatRequest& request)
      : head_(std::move(head)),
        include_usage_(request.include_usage),
        with_logprobs_(request.top_logprobs >= 0),
        choices_(static_cast<size_t>(request.n)) {}

  void Stream(const chat::ChatEvent& event, std::vector<StreamPart>& out) override {
    Choice& choice = At(event.choice);
    if (!choice.started) {
      choice.started = true;
      Chunk(event.choice, R"({"role":"assistant","content":""})", nullptr, nullptr, out);
    }
    if (!event.text.empty() || !event.logprobs.empty()) {
      JsonWriter delta;
      delta.BeginObject().Field("content", event.text).EndObject();
      Chunk(event.choice, delta.Take(), &event.logprobs, nullptr, out);
    }
    if (event.finish.has_value()) {
      Chunk(event.choice, "{}", nullptr, &*event.finish, out);
    }
    if (event.done) {
      End(event, out);
    }
  }

  void Add(chat::ChatEvent event) override {
    Choice& choice = At(event.choice);
    choice.text += event.text;
    std::move(event.logprobs.begin(), event.logprobs.end(), std::back_inserter(choice.logprobs));
    if (event.finish.has_value()) {
      choice.finish = event.finish;
    }
    if (event.done) {
      usage_ = event.usage;
      receipt_ = event.receipt;
    }
  }

  std::string Whole() override {
    JsonWriter out;
    Begin("chat.completion", out);
    for (size_t i = 0; i < choices_.size(); ++i) {
      const Choice& choice = choices_[i];
      out.BeginObject().Field("index", i).Key("message").BeginObject();
      out.Field("role", "assistant").Field("content", choice.text).Key("refusal").Null();
      out.EndObject().Key("logprobs");
      with_logprobs_ ? WriteLogprobs(choice.logprobs, out) : static_cast<void>(out.Null());
      out.Field("finish_reason",
                FinishReasonName(choice.finish.value_or(chat::FinishReason::kStop)));
      out.EndObject();
    }
    out.EndArray().Key("usage");
    WriteUsage(usage_, out);
    out.Key("tradewind");
    WriteReceipt(head_, usage_, receipt_, static_cast<int>(choices_.size()), out);
    out.EndObject();
    return out.Take();
  }

 private:
  struct Choice {
    bool started = false;
    std::string text;
    std::vector<chat::TokenLogprob> logprobs;
    std::optional<chat::FinishReason> finish;
  };

  Choice& At(int index) {
    TW_CHECK(index >= 0 && static_cast<size_t>(index) < choices_.size());
    return choices_[static_cast<size_t>(index)];
  }

  // Up to and with `"choices":[`.
  void Begin(std::string_view object, JsonWriter& out) const {
    out.BeginObject().Field("id", head_.id).Field("object", object);
    out.Field("created", head_.created).Field("model", head_.model);
    out.Field("system_fingerprint", head_.fingerprint).Key("choices").BeginArray();
  }

  void Chunk(int index, std::string_view delta, const std::vector<chat::TokenLogprob>* logprobs,
             const chat::FinishReason* finish, std::vector<StreamPart>& out) const {
    JsonWriter chunk;
    Begin("chat.completion.chunk", chunk);
    chunk.BeginObject().Field("index", index).Key("delta").Raw(delta).Key("logprobs");
    if (with_logprobs_ && logprobs != nullptr) {
      WriteLogprobs(*logprobs, chunk);
    } else {
      chunk.Null();
    }
    chunk.Key("finish_reason");
    finish != nullptr ? chunk.Value(FinishReasonName(*finish)) : chunk.Null();
    chunk.EndObject().EndArray();
    if (include_usage_) {
      chunk.Key("usage").Null();
    }
    chunk.EndObject();
    out.push_back({StreamPart::Kind::kData, chunk.Take()});
  }

  void End(const chat::ChatEvent& event, std::vector<StreamPart>& out) const {
    JsonWriter receipt;
    WriteReceipt(head_, event.usage, event.receipt, static_cast<int>(choices_.size()), receipt);
    if (include_usage_) {
      JsonWriter chunk;
      Begin("chat.completion.chunk", chunk);
      chunk.EndArray().Key("usage");
      WriteUsage(event.usage, chunk);
      chunk.Key("tradewind").Raw(receipt.Take()).EndObject();
      out.push_back({StreamPart::Kind::kData, chunk.Take()});
    } else {
      out.push_back({StreamPart::Kind::kComment, "tradewind " + receipt.Take()});
    }
    out.push_back({StreamPart::Kind::kData, "[DONE]"});
  }

  AnswerHead head_;
  bool include_usage_;
  bool with_logprobs_;
  std::vector<Choice> choices_;
  chat::Usage usage_;
  chat::Receipt receipt_;
};

}  // namespace

Result<ParsedChat> ParseOpenAiChat(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  Fields fields(object);
  ParsedChat parsed;
  chat::ChatRequest& request = parsed.request;
  ReadGeneration(fields, request);
  ReadMessages(fields, request.messages);
  ReadMaxTokens(fields, request.max_tokens);
  ReadLogprobs(fields, request.top_logprobs);
  ReadTools(fields);
  ReadModalities(fields);
  RefuseVerbosity(fields);
  RefuseUnsupported(fields);
  ReadTemplateKwargs(fields, request.template_kwargs_json);
  ReadReasoningEffort(fields, request.template_kwargs_json);
  fields.Flag("add_generation_prompt", request.add_generation_prompt);
  for (const std::string_view name : {"continue_final_message", "echo"}) {
    bool wanted = false;
    if (fields.Flag(name, wanted) && wanted) {
      fields.Refuse(name, "is not supported here; use /v1/completions");
    }
  }
  TW_RETURN_IF_ERROR(fields.status());
  parsed.ignored = NamedIgnored(fields);
  return parsed;
}

std::unique_ptr<AnswerWriter> MakeOpenAiChatWriter(AnswerHead head,
                                                   const chat::ChatRequest& request) {
  return std::make_unique<OpenAiChatWriter>(std::move(head), request);
}

}  // namespace tradewind::dialects
