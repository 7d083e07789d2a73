#include "provider_sim/behaviour.h"

#include <charconv>
#include <initializer_list>
#include <type_traits>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

namespace provider_sim {
namespace {

namespace json = boost::json;

using Member = std::variant<int64_t Behaviour::*, double Behaviour::*, bool Behaviour::*,
                            std::string Behaviour::*>;

struct Field {
  std::string_view name;
  Member member;
  std::vector<std::string_view> allowed = {};  // of a string; none: any
};

const std::vector<Field>& Fields() {
  using B = Behaviour;
  static const std::vector<Field> fields = {
      {"status", &B::status},
      {"retry_after", &B::retry_after},
      {"message", &B::message},
      {"close", &B::close, {"", "fin", "rst"}},
      {"first_byte_ms", &B::first_byte_ms},
      {"cut_after", &B::cut_after},
      {"cut", &B::cut, {"fin", "rst"}},
      {"stall_after", &B::stall_after},
      {"stall_ms", &B::stall_ms},
      {"malformed_after", &B::malformed_after},
      {"broken_line_after", &B::broken_line_after},
      {"error_after", &B::error_after},
      {"gzip", &B::gzip},
      {"body", &B::body, {"", "empty", "html", "garbage", "truncated"}},
      {"content_type", &B::content_type},
      {"usage",
       &B::usage,
       {"", "missing", "zero", "duplicate", "cumulative", "delta", "negative", "huge", "inflated",
        "padded", "cached_over", "reasoning_over", "text", "after_done", "half", "padded_half",
        "early", "total_alone", "no_cost"}},
      {"id", &B::id, {"", "missing", "reused"}},
      {"redirect", &B::redirect},
      {"huge_header_bytes", &B::huge_header_bytes},
      {"tokens_per_s", &B::tokens_per_s},
      {"tokens", &B::tokens},
      {"reasoning_tokens", &B::reasoning_tokens},
      {"thinks_beyond_cap", &B::thinks_beyond_cap},
      {"cached_tokens", &B::cached_tokens},
      {"cache_write_tokens", &B::cache_write_tokens},
      {"service_tier", &B::service_tier},
      {"tier_told", &B::tier_told, {"", "usage", "first", "none"}},
      {"spoken", &B::spoken},
      {"choices", &B::choices},
      {"finish", &B::finish},
      {"done", &B::done, {"", "none", "nospace"}},
      {"prefix", &B::prefix, {"", "continue"}},
      {"comments", &B::comments},
      {"crlf", &B::crlf},
      {"split_bytes", &B::split_bytes},
      {"events_per_write", &B::events_per_write},
      {"bill", &B::bill, {"", "none", "generated", "whole"}},
      {"bill_refused", &B::bill_refused},
      {"bill_percent", &B::bill_percent},
      {"costs",
       &B::costs,
       {"", "forget", "null", "negative", "fraction", "text", "huge", "stray", "twice",
        "changing"}},
      {"page_days", &B::page_days},
      {"report",
       &B::report,
       {"", "inflated", "empty", "stray", "negative", "loop", "lost", "twice"}},
  };
  return fields;
}

const Field* FindField(std::string_view name) {
  for (const Field& field : Fields()) {
    if (field.name == name) {
      return &field;
    }
  }
  return nullptr;
}

std::string WrongType(std::string_view name) {
  return "\"" + std::string(name) + "\" has a value of the wrong kind";
}

bool IsAllowed(const Field& field, std::string_view value) {
  for (const std::string_view word : field.allowed) {
    if (word == value) {
      return true;
    }
  }
  // A header or address must not break the head apart.
  return field.allowed.empty() && value.find_first_of("\r\n") == value.npos;
}

template <class T>
std::optional<T> Number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                  : std::nullopt;
}

// The selectors of a rule; an error message, or empty.
std::string ReadRule(const json::object& object, Rule& rule) {
  Behaviour scratch;
  for (const auto& [key, value] : object) {
    const std::string_view name = key;
    std::string* const text = name == "provider"   ? &rule.provider
                              : name == "model"    ? &rule.model
                              : name == "endpoint" ? &rule.endpoint
                                                   : nullptr;
    if (text != nullptr && value.is_string()) {
      *text = std::string_view(value.get_string());
    } else if (name == "probability" && value.is_number()) {
      rule.probability = value.to_number<double>();
    } else if (name == "seed" && value.is_int64()) {
      rule.seed = static_cast<uint64_t>(value.get_int64());
    } else if (name == "count" && value.is_int64()) {
      rule.count = value.get_int64();
    } else if (name == "accept_close" && value.is_bool()) {
      rule.accept_close = value.get_bool();
    } else if (std::string error = Set(scratch, name, value); !error.empty()) {
      return error;
    } else {
      rule.settings.emplace_back(name, value);
    }
  }
  return {};
}

}  // namespace

std::string Set(Behaviour& behaviour, std::string_view name, const Setting& value) {
  const Field* const field = FindField(name);
  if (field == nullptr) {
    return "\"" + std::string(name) + "\" is no setting; see tools/provider_sim/README.md";
  }
  return std::visit(
      [&]<class T>(T Behaviour::* member) -> std::string {
        if (const T* const same = std::get_if<T>(&value)) {
          if constexpr (std::is_same_v<T, std::string>) {
            if (!IsAllowed(*field, *same)) {
              return "\"" + std::string(name) + "\" may not be \"" + *same + "\"";
            }
          }
          behaviour.*member = *same;
          return {};
        }
        if constexpr (std::is_same_v<T, double>) {
          if (const int64_t* const whole = std::get_if<int64_t>(&value)) {
            behaviour.*member = static_cast<double>(*whole);
            return {};
          }
        }
        if constexpr (std::is_same_v<T, std::string>) {
          if (const int64_t* const whole = std::get_if<int64_t>(&value); whole != nullptr) {
            behaviour.*member = std::to_string(*whole);  // "retry_after": 2
            return field->allowed.empty() ? std::string() : WrongType(name);
          }
        }
        return WrongType(name);
      },
      field->member);
}

std::string Set(Behaviour& behaviour, std::string_view name, const json::value& value) {
  switch (value.kind()) {
    case json::kind::bool_:
      return Set(behaviour, name, Setting(value.get_bool()));
    case json::kind::int64:
      return Set(behaviour, name, Setting(value.get_int64()));
    case json::kind::double_:
      return Set(behaviour, name, Setting(value.get_double()));
    case json::kind::string:
      return Set(behaviour, name, Setting(std::string(value.get_string())));
    default:
      return WrongType(name);
  }
}

std::string SetFromText(Behaviour& behaviour, std::string_view name, std::string_view value) {
  if (value == "true" || value == "false") {
    return Set(behaviour, name, Setting(value == "true"));
  }
  if (const auto whole = Number<int64_t>(value)) {
    return Set(behaviour, name, Setting(*whole));
  }
  if (const auto number = Number<double>(value)) {
    return Set(behaviour, name, Setting(*number));
  }
  return Set(behaviour, name, Setting(std::string(value)));
}

std::string Rules::Add(const json::value& rules) {
  std::vector<std::shared_ptr<Rule>> made;
  const auto add_one = [&](const json::value& value) -> std::string {
    if (!value.is_object()) {
      return "a rule is a JSON object";
    }
    made.push_back(std::make_shared<Rule>());
    return ReadRule(value.get_object(), *made.back());
  };
  if (!rules.is_array()) {
    if (std::string error = add_one(rules); !error.empty()) {
      return error;
    }
  } else {
    for (const json::value& value : rules.get_array()) {
      if (std::string error = add_one(value); !error.empty()) {
        return error;
      }
    }
  }
  const std::lock_guard lock(mutex_);
  rules_.insert(rules_.end(), made.begin(), made.end());
  empty_ = rules_.empty();
  return {};
}

void Rules::Clear() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
  empty_ = true;
}

json::value Rules::List() const {
  json::array list;
  const std::lock_guard lock(mutex_);
  for (const auto& rule : rules_) {
    json::object row{{"provider", rule->provider},  {"model", rule->model},
                     {"endpoint", rule->endpoint},  {"probability", rule->probability},
                     {"seed", rule->seed},          {"count", rule->count},
                     {"draws", rule->draws.load()}, {"hits", rule->hits.load()}};
    if (rule->accept_close) {
      row["accept_close"] = true;
    }
    for (const auto& [name, value] : rule->settings) {
      row[name] = value;
    }
    list.push_back(std::move(row));
  }
  return list;
}

// The n-th draw of a rule depends on its seed and n alone.
bool Rules::Strikes(Rule& rule) const {
  constexpr double kTwoTo53 = 9007199254740992.0;
  const uint64_t draw = rule.draws.fetch_add(1);
  if (rule.probability < 1 &&
      static_cast<double>(Mix(rule.seed + draw) >> 11) / kTwoTo53 >= rule.probability) {
    return false;
  }
  const uint64_t hit = rule.hits.fetch_add(1);
  if (rule.count >= 0 && hit >= static_cast<uint64_t>(rule.count)) {
    rule.hits.fetch_sub(1);
    return false;
  }
  return true;
}

std::vector<std::shared_ptr<Rule>> Rules::Snapshot() const {
  const std::lock_guard lock(mutex_);
  return rules_;
}

void Rules::Apply(std::string_view provider, std::string_view model, std::string_view endpoint,
                  Behaviour& behaviour) {
  if (empty_) {
    return;
  }
  const auto matches = [](const std::string& wanted, std::string_view is) {
    return wanted.empty() || wanted == is;
  };
  for (const auto& rule : Snapshot()) {
    if (rule->accept_close || !matches(rule->provider, provider) || !matches(rule->model, model) ||
        !matches(rule->endpoint, endpoint) || !Strikes(*rule)) {
      continue;
    }
    for (const auto& [name, value] : rule->settings) {
      Set(behaviour, name, value);
    }
  }
}

bool Rules::CloseAccepted() {
  if (empty_) {
    return false;
  }
  for (const auto& rule : Snapshot()) {
    if (rule->accept_close && Strikes(*rule)) {
      return true;
    }
  }
  return false;
}

void ApplyDirectives(std::string_view text, std::string_view provider, Behaviour& behaviour) {
  for (size_t at = text.find("sim:"); at != text.npos; at = text.find("sim:", at)) {
    at += 4;
    std::string_view word = text.substr(at, text.find_first_of(" \n\t", at) - at);
    if (const size_t colon = word.find(':'); colon != word.npos && colon < word.find('=')) {
      if (word.substr(0, colon) != provider) {
        continue;
      }
      word.remove_prefix(colon + 1);
    }
    if (const size_t equals = word.find('='); equals != word.npos) {
      SetFromText(behaviour, word.substr(0, equals), word.substr(equals + 1));
    }
  }
}

uint64_t Mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

}  // namespace provider_sim
