#include "providers/prompts.h"

#include <exception>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::providers {
namespace {

namespace json = boost::json;

// OpenAI sends arguments as JSON text; templates print them with tojson and want the object. Text
// that is no object stays.
json::value ToolCalls(const std::string& text) {
  json::parse_options options;
  options.max_depth = limits::kJsonDepthMax;
  json::error_code error;
  json::value calls = json::parse(text, error, {}, options);
  if (error || !calls.is_array()) {
    return json::array();
  }
  for (json::value& call : calls.get_array()) {
    json::value* function = call.is_object() ? call.get_object().if_contains("function") : nullptr;
    json::value* arguments = function != nullptr && function->is_object()
                                 ? function->get_object().if_contains("arguments")
                                 : nullptr;
    if (arguments != nullptr && arguments->is_string()) {
      json::value parsed = json::parse(arguments->get_string(), error, {}, options);
      if (!error && parsed.is_object()) {
        *arguments = std::move(parsed);
      }
    }
  }
  return calls;
}

Result<std::string> JoinText(const chat::Message& message, size_t index) {
  std::string text;
  for (size_t part = 0; part < message.content.size(); ++part) {
    if (message.content[part].kind != chat::ContentPart::Kind::kText) {
      const std::string path = fmt::format("messages[{}].content[{}]", index, part);
      return Fail(
          ErrorCode::kUnsupported,
          fmt::format("`{}` is an image, and this model reads text only; describe it in words.",
                      path),
          path);
    }
    text += part == 0 ? "" : "\n";
    text += message.content[part].text;
  }
  return text;
}

// False when nothing was added: the tokenizer does not want one, or the template wrote it.
bool AddBos(const engine::Tokenizer& tokenizer, std::vector<engine::TokenId>& ids) {
  if (!tokenizer.add_bos() || !tokenizer.bos().has_value() ||
      (!ids.empty() && ids[0] == *tokenizer.bos())) {
    return false;
  }
  ids.insert(ids.begin(), *tokenizer.bos());
  return true;
}

}  // namespace

Result<std::string> TemplateMessages(const std::vector<chat::Message>& messages) {
  try {
    json::array out;
    for (size_t i = 0; i < messages.size(); ++i) {
      const chat::Message& message = messages[i];
      TW_ASSIGN_OR_RETURN(const std::string text, JoinText(message, i));
      json::object object;
      object["role"] = message.role == "developer" ? "system" : message.role;
      object["content"] = text;
      if (!message.name.empty()) {
        object["name"] = message.name;
      }
      if (!message.tool_call_id.empty()) {
        object["tool_call_id"] = message.tool_call_id;
      }
      if (!message.tool_calls_json.empty()) {
        object["tool_calls"] = ToolCalls(message.tool_calls_json);
      }
      out.push_back(std::move(object));
    }
    return json::serialize(out);
  } catch (const std::exception&) {
    return Fail(ErrorCode::kResourceExhausted, "There is not enough memory for these messages.");
  }
}

Result<PreparedPrompt> PrepareChat(const engine::Engine& engine,
                                   const std::vector<chat::Message>& messages,
                                   const std::string& template_kwargs_json,
                                   bool add_generation_prompt) {
  engine::TemplateInputs inputs;
  TW_ASSIGN_OR_RETURN(inputs.messages_json, TemplateMessages(messages));
  inputs.extra_json = template_kwargs_json;
  inputs.add_generation_prompt = add_generation_prompt;
  auto rendered = engine.chat_template().Render(inputs);
  if (!rendered.has_value()) {
    Error error = std::move(rendered).error();
    if (error.param.empty()) {
      error.param = "messages";
    }
    return Fail(std::move(error));
  }
  PreparedPrompt prompt;
  prompt.ids = engine.tokenizer().Encode(rendered->text, rendered->literal_ranges);
  prompt.bos_was_added = AddBos(engine.tokenizer(), prompt.ids);
  if (prompt.ids.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "The chat template made an empty prompt of these messages.", "messages");
  }
  return prompt;
}

Result<PreparedPrompt> PrepareCompletion(const engine::Engine& engine,
                                         const chat::CompletionRequest::Prompt& prompt,
                                         const std::string& path, bool add_special_tokens) {
  const engine::Tokenizer& tokenizer = engine.tokenizer();
  PreparedPrompt out;
  if (!prompt.is_ids) {
    out.text = prompt.text;
    out.ids = tokenizer.EncodeWithSpecial(prompt.text);
    out.bos_was_added = add_special_tokens && AddBos(tokenizer, out.ids);
    if (out.ids.empty() && add_special_tokens && tokenizer.bos().has_value()) {
      out.ids.push_back(
          *tokenizer.bos());  // an empty prompt asks for text from the start of a document
      out.bos_was_added = true;
    }
  } else {
    out.ids.reserve(prompt.ids.size());
    for (size_t i = 0; i < prompt.ids.size(); ++i) {
      if (prompt.ids[i] < 0 || prompt.ids[i] >= tokenizer.vocab_size()) {
        const std::string name = fmt::format("{}[{}]", path, i);
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("`{}` is {}, outside the model's {} tokens.", name, prompt.ids[i],
                                tokenizer.vocab_size()),
                    name);
      }
      out.ids.push_back(static_cast<engine::TokenId>(prompt.ids[i]));
    }
    out.text = tokenizer.Decode(out.ids, true);
  }
  return out;
}

}  // namespace tradewind::providers
