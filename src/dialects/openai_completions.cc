#include "dialects/openai_completions.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "dialects/json_reader.h"
#include "dialects/openai_request.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;
using Prompt = chat::CompletionRequest::Prompt;

// --- Parsing ---

Prompt TextPrompt(const json::value& value) {
  return {std::string(value.get_string().data(), value.get_string().size()), {}, false};
}

bool ReadIds(const json::array& array, const std::string& path, Fields& fields, Prompt& out) {
  out.is_ids = true;
  out.ids.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const std::optional<int64_t> id = AsInteger(array[i]);
    if (!id.has_value() || *id < 0) {
      fields.Wrong(fmt::format("{}[{}]", path, i), "must be a token id: an integer from 0");
      return false;
    }
    out.ids.push_back(*id);
  }
  if (out.ids.empty()) {
    fields.Wrong(path, "must not be an empty list of ids");
    return false;
  }
  return true;
}

// A string, ids, or a list of either. A list whose first element is a number is one prompt of ids.
void ReadPrompts(Fields& fields, std::vector<Prompt>& prompts) {
  const json::value* value = fields.Find("prompt");
  if (value == nullptr || !(value->is_string() || value->is_array())) {
    fields.Wrong("prompt", "is required: a string, a list of token ids, or a list of these");
    return;
  }
  if (value->is_string()) {
    prompts.push_back(TextPrompt(*value));
    return;
  }
  const json::array& array = value->get_array();
  if (array.empty()) {
    fields.Wrong("prompt", "must not be an empty list");
    return;
  }
  if (array[0].is_number()) {
    Prompt prompt;
    ReadIds(array, "prompt", fields, prompt);
    prompts.push_back(std::move(prompt));
    return;
  }
  if (array.size() > limits::kPromptsMax) {
    fields.Wrong("prompt", fmt::format("has more than {} prompts; send several requests",
                                       limits::kPromptsMax));
    return;
  }
  for (size_t i = 0; i < array.size(); ++i) {
    const std::string path = fmt::format("prompt[{}]", i);
    if (array[i].is_string()) {
      prompts.push_back(TextPrompt(array[i]));
    } else if (array[i].is_array()) {
      Prompt prompt;
      if (!ReadIds(array[i].get_array(), path, fields, prompt)) {
        return;
      }
      prompts.push_back(std::move(prompt));
    } else {
      fields.Wrong(path, "must be a string or a list of token ids");
      return;
    }
  }
}

void ReadBestOf(Fields& fields, int n) {
  std::optional<int64_t> best_of;
  if (!fields.Integer("best_of", 1, limits::kChoicesMax, best_of)) {
    return;
  }
  if (*best_of > n) {
    fields.Refuse("best_of",
                  "above `n` is not supported; ask for `n` answers with `logprobs` and "
                  "choose yourself");
  } else if (*best_of < n) {
    fields.Wrong("best_of", "must not be below `n`");
  }
}

void ReadSuffix(Fields& fields) {
  std::string suffix;
  if (fields.Text("suffix", suffix) && !suffix.empty()) {
    fields.Refuse("suffix", "is not supported: this server does not fill in the middle");
  }
}

// --- Writing ---

std::string TokenName(const chat::TokenLogprob& token) {
  if (IsValidUtf8(token.bytes)) {
    return token.token;
  }
  std::string name = "bytes:";
  for (const char byte : token.bytes) {
    fmt::format_to(std::back_inserter(name), "\\x{:02x}",
                   static_cast<unsigned>(static_cast<unsigned char>(byte)));
  }
  return name;
}

int64_t CodePoints(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

void WriteTop(const chat::TokenLogprob& token, JsonWriter& out) {
  if (!token.has_value) {
    out.Null();
    return;
  }
  // Different ids can have one name; the likelier one keeps it, so that the largest value is the
  // model's first choice.
  std::map<std::string, double> named;
  const auto add = [&named](const chat::TokenLogprob& entry) {
    const double logprob = FiniteLogprob(entry.logprob);
    const auto [at, added] = named.emplace(TokenName(entry), logprob);
    if (!added) {
      at->second = std::max(at->second, logprob);
    }
  };
  std::for_each(token.top.begin(), token.top.end(), add);
  add(token);
  out.BeginObject();
  for (const auto& [name, logprob] : named) {
    out.Field(name, logprob);
  }
  out.EndObject();
}

// Writes {"tokens","token_logprobs","top_logprobs","text_offset"}; `offset` goes on from part to
// part of a stream.
void WriteLogprobs(const std::vector<chat::TokenLogprob>& tokens, int64_t& offset,
                   JsonWriter& out) {
  out.BeginObject().Key("tokens").BeginArray();
  for (const chat::TokenLogprob& token : tokens) {
    out.Value(TokenName(token));
  }
  out.EndArray().Key("token_logprobs").BeginArray();
  for (const chat::TokenLogprob& token : tokens) {
    token.has_value ? out.Value(FiniteLogprob(token.logprob)) : out.Null();
  }
  out.EndArray().Key("top_logprobs").BeginArray();
  for (const chat::TokenLogprob& token : tokens) {
    WriteTop(token, out);
  }
  out.EndArray().Key("text_offset").BeginArray();
  for (const chat::TokenLogprob& token : tokens) {
    out.Value(offset);
    offset += CodePoints(token.bytes);
  }
  out.EndArray().EndObject();
}

class OpenAiCompletionWriter final : public AnswerWriter {
 public:
  OpenAiCompletionWriter(AnswerHead head, const chat::CompletionRequest& request)
      : head_(std::move(head)),
        include_usage_(request.include_usage),
        with_logprobs_(request.top_logprobs >= 0),
        choices_(request.prompts.size() * static_cast<size_t>(request.n)) {}

  void Stream(const chat::ChatEvent& event, std::vector<StreamPart>& out) override {
    Choice& choice = At(event.choice);
    std::vector<chat::TokenLogprob> tokens = event.prompt_logprobs;
    tokens.insert(tokens.end(), event.logprobs.begin(), event.logprobs.end());
    if (!event.text.empty() || !tokens.empty() || event.finish.has_value()) {
      JsonWriter chunk;
      Begin(chunk);
      WriteChoice(event.choice, event.text, tokens, event.finish, choice.offset, chunk);
      chunk.EndArray();
      if (include_usage_) {
        chunk.Key("usage").Null();
      }
      chunk.EndObject();
      out.push_back({StreamPart::Kind::kData, chunk.Take()});
    }
    if (event.done) {
      End(event, out);
    }
  }

  void Add(chat::ChatEvent event) override {
    Choice& choice = At(event.choice);
    choice.text += event.text;
    std::move(event.prompt_logprobs.begin(), event.prompt_logprobs.end(),
              std::back_inserter(choice.logprobs));
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
    Begin(out);
    for (size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      WriteChoice(static_cast<int>(i), choice.text, choice.logprobs,
                  choice.finish.value_or(chat::FinishReason::kStop), choice.offset, out);
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
    std::string text;
    std::vector<chat::TokenLogprob> logprobs;
    std::optional<chat::FinishReason> finish;
    int64_t offset = 0;  // code points before the next token
  };

  Choice& At(int index) {
    TW_CHECK(index >= 0 && static_cast<size_t>(index) < choices_.size());
    return choices_[static_cast<size_t>(index)];
  }

  void Begin(JsonWriter& out) const {
    out.BeginObject().Field("id", head_.id).Field("object", "text_completion");
    out.Field("created", head_.created).Field("model", head_.model);
    out.Field("system_fingerprint", head_.fingerprint).Key("choices").BeginArray();
  }

  void WriteChoice(int index, std::string_view text, const std::vector<chat::TokenLogprob>& tokens,
                   const std::optional<chat::FinishReason>& finish, int64_t& offset,
                   JsonWriter& out) const {
    out.BeginObject().Field("index", index).Field("text", text).Key("logprobs");
    with_logprobs_ ? WriteLogprobs(tokens, offset, out) : static_cast<void>(out.Null());
    out.Key("finish_reason");
    finish.has_value() ? out.Value(FinishReasonName(*finish)) : out.Null();
    out.EndObject();
  }

  void End(const chat::ChatEvent& event, std::vector<StreamPart>& out) const {
    JsonWriter receipt;
    WriteReceipt(head_, event.usage, event.receipt, static_cast<int>(choices_.size()), receipt);
    if (include_usage_) {
      JsonWriter chunk;
      Begin(chunk);
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

Result<ParsedCompletion> ParseOpenAiCompletion(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  Fields fields(object);
  ParsedCompletion parsed;
  chat::CompletionRequest& request = parsed.request;
  ReadGeneration(fields, request);
  ReadPrompts(fields, request.prompts);
  request.max_tokens = kCompletionMaxTokensDefault;
  fields.Integer("max_tokens", 0, std::numeric_limits<int64_t>::max(), request.max_tokens);
  std::optional<int64_t> top_logprobs;
  if (fields.Integer("logprobs", 0, limits::kTopLogprobsMax, top_logprobs)) {
    request.top_logprobs = static_cast<int>(*top_logprobs);
  }
  fields.Flag("echo", request.echo);
  ReadBestOf(fields, request.n);
  ReadSuffix(fields);
  RefuseUnsupported(fields);
  if (request.prompts.size() * static_cast<size_t>(request.n) > limits::kSequencesPerRequestMax) {
    fields.Wrong("n", fmt::format("times the number of prompts is above {}; send several requests",
                                  limits::kSequencesPerRequestMax));
  }
  TW_RETURN_IF_ERROR(fields.status());
  parsed.ignored = NamedIgnored(fields);
  return parsed;
}

std::unique_ptr<AnswerWriter> MakeOpenAiCompletionWriter(AnswerHead head,
                                                         const chat::CompletionRequest& request) {
  return std::make_unique<OpenAiCompletionWriter>(std::move(head), request);
}

}  // namespace tradewind::dialects
