#include "dialects/repeated.h"

#include <algorithm>
#include <string>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "dialects/json_reader.h"
#include "dialects/rewritten.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

// How to call tools, in tokens: of DeepSeek V3.2 1,300 characters of English.
constexpr int64_t kInstructionTokens = 512;

std::string_view View(const json::string& text) {
  return {text.data(), text.size()};
}

// Without its spaces: servers join parts with line breaks, or with nothing.
void AddText(std::string_view from, std::string& text) {
  std::ranges::copy_if(from, std::back_inserter(text),
                       [](char c) { return c != ' ' && c != '\n' && c != '\r' && c != '\t'; });
}

std::string TextOf(const json::object& message) {
  std::string text;
  const json::value* content = message.if_contains("content");
  if (content != nullptr && content->is_string()) {
    AddText(View(content->get_string()), text);
  } else if (content != nullptr && content->is_array()) {
    for (const json::value& part : content->get_array()) {
      const json::value* said = part.is_object() ? part.get_object().if_contains("text") : nullptr;
      if (said != nullptr && said->is_string()) {
        AddText(View(said->get_string()), text);
      } else if (part.is_string()) {
        AddText(View(part.get_string()), text);
      }
    }
  }
  return text;
}

// Of `call` itself, or of its `function`.
size_t NameBytesOf(const json::value& call) {
  const json::object* object = call.if_object();
  if (object == nullptr) {
    return 0;
  }
  size_t bytes = 0;
  if (const json::value* name = object->if_contains("name"); name != nullptr) {
    bytes = name->is_string() ? name->get_string().size() : 0;
  }
  const json::value* function = object->if_contains("function");
  return function == nullptr ? bytes : std::max(bytes, NameBytesOf(*function));
}

size_t LongestName(const json::object& message) {
  size_t longest = 0;
  if (const json::value* call = message.if_contains("function_call"); call != nullptr) {
    longest = NameBytesOf(*call);
  }
  const json::value* calls = message.if_contains("tool_calls");
  if (calls != nullptr && calls->is_array()) {
    for (const json::value& call : calls->get_array()) {
      longest = std::max(longest, NameBytesOf(call));
    }
  }
  return longest;
}

void AddTools(const json::object& message, json::array& all) {
  const json::value* tools = message.if_contains("tools");
  if (tools != nullptr && tools->is_array()) {
    all.insert(all.end(), tools->get_array().begin(), tools->get_array().end());
  }
}

// Only who has tools, or calls them, has anything that is repeated; names may be escaped.
bool MayRepeat(std::string_view messages, int64_t tools_bytes) {
  return tools_bytes > 0 || messages.contains("tool_calls") || messages.contains("function_call") ||
         messages.contains("\"tools\"") || messages.contains("\\u00");
}

// Of messages that are read elsewhere and not here (more than a reader of trees takes): the tools
// before each of them, and each written anew.
int64_t UnreadGrowth(std::string_view messages, int64_t tools_bytes) {
  const int64_t most = std::ranges::count(messages, '{');
  int64_t growth = 0;
  return __builtin_mul_overflow(most, tools_bytes + kInstructionTokens, &growth)
             ? INT64_MAX / 4
             : growth + RewrittenGrowth(messages);
}

}  // namespace

MessagesGrowth RepeatedGrowth(std::string_view messages, int64_t tools_bytes) {
  if (!MayRepeat(messages, tools_bytes)) {
    return {};
  }
  const Result<json::value> value = ParseJson(messages);
  if (!value.has_value()) {
    return {.written = UnreadGrowth(messages, tools_bytes)};
  }
  if (!value->is_array()) {
    return {};
  }
  std::vector<std::string> users;
  json::array tools;  // of all messages, as what they take to be measured is bounded together
  int64_t results = 0, instructions = 0;
  size_t name_bytes = 0;
  for (const json::value& one : value->get_array()) {
    const json::object* message = one.if_object();
    const json::value* role = message == nullptr ? nullptr : message->if_contains("role");
    if (message == nullptr) {
      continue;
    }
    name_bytes = std::max(name_bytes, LongestName(*message));
    AddTools(*message, tools);
    if (role != nullptr && (*role == "tool" || *role == "function")) {
      ++results;
    } else if (role != nullptr && (*role == "developer" || *role == "system")) {
      ++instructions;
    } else if (role != nullptr && *role == "user") {
      users.push_back(TextOf(*message));
    }
  }
  const int64_t repeats = users.empty() ? 0 : std::ranges::count(users, users.back()) - 1;
  MessagesGrowth growth;
  growth.written = repeats * tools_bytes + results * static_cast<int64_t>(name_bytes);
  if (tools_bytes > 0) {
    growth.written += std::max<int64_t>(0, instructions - 1) * (tools_bytes + kInstructionTokens);
  }
  if (!tools.empty()) {
    const std::string all = json::serialize(tools);
    growth.written += RewrittenToolsGrowth(all);
    growth.resolved = ResolvedToolsGrowth(all);
  }
  return growth;
}

}  // namespace tradewind::dialects
