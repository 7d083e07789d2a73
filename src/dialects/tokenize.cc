#include "dialects/tokenize.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "dialects/openai_messages.h"

namespace tradewind::dialects {

namespace json = boost::json;

Result<TokenizeRequest> ParseTokenize(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  Fields fields(object);
  TokenizeRequest request;
  fields.Text("model", request.model);
  request.is_chat = fields.Find("messages") != nullptr;
  if (request.is_chat) {
    ReadMessages(fields, request.chat.messages);
    ReadTemplateKwargs(fields, request.chat.template_kwargs_json);
    fields.Flag("add_generation_prompt", request.chat.add_generation_prompt);
    request.add_special_tokens = false;
  } else if (!fields.Text("prompt", request.prompt)) {
    fields.Wrong("prompt", "or `messages` is required");
  }
  fields.Flag("add_special_tokens", request.add_special_tokens);
  fields.Flag("return_token_strs", request.return_token_strs);
  TW_RETURN_IF_ERROR(fields.status());
  return request;
}

Result<DetokenizeRequest> ParseDetokenize(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  Fields fields(object);
  DetokenizeRequest request;
  fields.Text("model", request.model);
  const json::value* tokens = fields.Find("tokens");
  if (tokens == nullptr || !tokens->is_array()) {
    fields.Wrong("tokens", "is required: a list of token ids");
  } else {
    for (size_t i = 0; i < tokens->get_array().size(); ++i) {
      const std::optional<int64_t> id = AsInteger(tokens->get_array()[i]);
      if (!id.has_value() || *id < 0) {
        fields.Wrong(fmt::format("tokens[{}]", i), "must be a token id: an integer from 0");
        break;
      }
      request.tokens.push_back(*id);
    }
  }
  TW_RETURN_IF_ERROR(fields.status());
  return request;
}

std::string FormatTokenize(std::span<const int64_t> tokens, const std::vector<std::string>* strings,
                           int64_t context) {
  JsonWriter out;
  out.BeginObject().Field("count", tokens.size()).Field("max_model_len", context);
  out.Key("tokens").BeginArray();
  for (const int64_t id : tokens) {
    out.Value(id);
  }
  out.EndArray().Key("token_strs");
  if (strings == nullptr) {
    out.Null();
  } else {
    out.BeginArray();
    for (const std::string& text : *strings) {
      out.Value(text);
    }
    out.EndArray();
  }
  out.EndObject();
  return out.Take();
}

std::string FormatDetokenize(std::string_view text) {
  JsonWriter out;
  out.BeginObject().Field("prompt", text).EndObject();
  return out.Take();
}

std::string FormatTokenizerInfo(const TokenizerInfo& info) {
  JsonWriter out;
  const auto optional_id = [&out](std::string_view name, int64_t id) {
    out.Key(name);
    id >= 0 ? out.Value(id) : out.Null();
  };
  const auto optional_text = [&out](std::string_view name, std::string_view text) {
    out.Key(name);
    text.empty() ? out.Null() : out.Value(text);
  };
  out.BeginObject().Field("tokenizer_class", info.model).Field("pre_tokenizer", info.pre_tokenizer);
  out.Field("vocab_size", info.vocab_size).Field("model_max_length", info.context);
  optional_id("bos_token_id", info.bos);
  optional_id("eos_token_id", info.eos);
  out.Field("add_bos_token", info.add_bos);
  optional_text("bos_token", info.bos_token);
  optional_text("eos_token", info.eos_token);
  out.EndObject();
  return out.Take();
}

}  // namespace tradewind::dialects
