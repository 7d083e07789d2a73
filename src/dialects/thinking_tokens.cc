#include "dialects/thinking_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/text.h"
#include "dialects/json_reader.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 6> kBudgets = {"budget_tokens",    "max_tokens",
                                                      "thinking_budget",  "thinking_token_budget",
                                                      "reasoning_budget", "thinking_budget_tokens"};
// They have these as members.
constexpr std::array<std::string_view, 4> kObjects = {"thinking", "reasoning",
                                                      "chat_template_kwargs", "chat_template_args"};

bool IsOf(const auto& names, std::string_view name) {
  return std::ranges::find(names, CaseFolded(name)) != names.end();
}

// Anthropic's form.
bool IsDisabled(const json::object& thinking) {
  const json::value* type = thinking.if_contains("type");
  return type != nullptr && type->is_string() && type->get_string() == "disabled";
}

// Some servers take a number in quotes for one.
int64_t Tokens(const json::value& value) {
  constexpr double kMost = 1e9;
  double tokens = 0;
  if (value.is_number()) {
    tokens = value.to_number<double>();
  } else if (value.is_string()) {
    const json::string& text = value.get_string();
    std::from_chars(text.data(), text.data() + text.size(), tokens);
  }
  return tokens > 0 ? static_cast<int64_t>(std::ceil(std::min(tokens, kMost))) : 0;
}

}  // namespace

int64_t ThinkingTokens(const JsonText& request) {
  int64_t most = 0;
  for (const std::string_view name : request.names()) {
    // Of the whole request max_tokens is no thought's.
    const bool is_budget = IsOf(kBudgets, name) && CaseFolded(name) != "max_tokens";
    if (!is_budget && !IsOf(kObjects, name)) {
      continue;
    }
    const Result<json::value> value = ParseJson(request.Raw(name));
    if (!value.has_value()) {
      continue;
    }
    if (is_budget) {
      most = std::max(most, Tokens(*value));
    } else if (const json::object* object = value->if_object();
               object != nullptr && !IsDisabled(*object)) {
      for (const auto& member : *object) {
        if (IsOf(kBudgets, member.key())) {
          most = std::max(most, Tokens(member.value()));
        }
      }
    }
  }
  return most;
}

}  // namespace tradewind::dialects
