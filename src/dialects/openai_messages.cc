#include "dialects/openai_messages.h"

#include <algorithm>
#include <array>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                    "tool"};

void ReadPart(const json::value& value, const std::string& path, Fields& fields,
              std::vector<chat::ContentPart>& parts) {
  if (!value.is_object()) {
    fields.Wrong(path, "must be an object with a `type`");
    return;
  }
  Fields part(value.get_object(), fields.Path(path) + ".");
  std::string type;
  chat::ContentPart out;
  if (!part.Text("type", type)) {
    part.Wrong("type", "is required: \"text\"");
  } else if (type == "text" || type == "refusal") {
    if (!part.Text(type, out.text)) {
      part.Wrong(type, "is required: a string");
    }
  } else if (type == "image_url") {
    out.kind = chat::ContentPart::Kind::kImageUrl;
    const json::value* image = part.Find("image_url");
    const json::value* url =
        image != nullptr && image->is_object() ? image->get_object().if_contains("url") : image;
    if (url == nullptr || !url->is_string()) {
      part.Wrong("image_url.url", "is required: a string");
    } else {
      out.text.assign(url->get_string().data(), url->get_string().size());
    }
  } else {
    part.Refuse("type", fmt::format("\"{}\" is not supported; send text", type.substr(0, 32)));
  }
  fields.Adopt(part.status());
  parts.push_back(std::move(out));
}

void ReadContent(Fields& message, chat::Message& out) {
  const json::value* content = message.Find("content");
  if (content == nullptr) {
    if (out.role != "assistant") {
      message.Wrong("content", "is required: a string or an array of parts");
    }
  } else if (content->is_string()) {
    out.content.push_back(
        {chat::ContentPart::Kind::kText,
         std::string(content->get_string().data(), content->get_string().size())});
  } else if (content->is_array()) {
    for (size_t i = 0; i < content->get_array().size(); ++i) {
      ReadPart(content->get_array()[i], fmt::format("content[{}]", i), message, out.content);
    }
  } else {
    message.Wrong("content", "must be a string or an array of parts");
  }
}

void ReadToolCalls(Fields& message, chat::Message& out) {
  const json::value* calls = message.Find("tool_calls");
  if (calls == nullptr) {
    return;
  }
  if (!calls->is_array()) {
    message.Wrong("tool_calls", "must be an array");
    return;
  }
  for (size_t i = 0; i < calls->get_array().size(); ++i) {
    const json::value& call = calls->get_array()[i];
    const json::value* function =
        call.is_object() ? call.get_object().if_contains("function") : nullptr;
    const json::value* name = function != nullptr && function->is_object()
                                  ? function->get_object().if_contains("name")
                                  : nullptr;
    if (name == nullptr || !name->is_string()) {
      message.Wrong(fmt::format("tool_calls[{}].function.name", i), "is required: a string");
      return;
    }
  }
  if (!calls->get_array().empty()) {
    out.tool_calls_json = json::serialize(*calls);
  }
}

chat::Message ReadMessage(const json::value& value, const std::string& path, Fields& fields) {
  chat::Message out;
  if (!value.is_object()) {
    fields.Wrong(path, "must be an object with `role` and `content`");
    return out;
  }
  Fields message(value.get_object(), fields.Path(path) + ".");
  if (!message.Text("role", out.role)) {
    message.Wrong("role", "is required: a string");
  } else if (std::find(kRoles.begin(), kRoles.end(), out.role) == kRoles.end()) {
    message.Wrong("role", "must be one of system, developer, user, assistant, tool");
  }
  message.Text("name", out.name);
  ReadContent(message, out);
  if (out.role == "assistant") {
    ReadToolCalls(message, out);
  } else if (out.role == "tool" && !message.Text("tool_call_id", out.tool_call_id)) {
    message.Wrong("tool_call_id", "is required in a message with role tool");
  }
  fields.Adopt(message.status());
  return out;
}

}  // namespace

void ReadMessages(Fields& fields, std::vector<chat::Message>& messages) {
  const json::value* value = fields.Find("messages");
  if (value == nullptr || !value->is_array()) {
    fields.Wrong("messages", "is required: an array of messages");
    return;
  }
  const json::array& array = value->get_array();
  if (array.empty() || array.size() > limits::kMessagesMax) {
    fields.Wrong("messages", fmt::format("must have 1 to {} messages", limits::kMessagesMax));
    return;
  }
  messages.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    messages.push_back(ReadMessage(array[i], fmt::format("messages[{}]", i), fields));
  }
}

void ReadTemplateKwargs(Fields& fields, std::string& out) {
  const json::value* kwargs = fields.Find("chat_template_kwargs");
  if (kwargs == nullptr) {
    return;
  }
  if (!kwargs->is_object()) {
    fields.Wrong("chat_template_kwargs", "must be an object");
    return;
  }
  out = json::serialize(*kwargs);
}

}  // namespace tradewind::dialects
