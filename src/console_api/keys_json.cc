#include "console_api/keys_json.h"

#include <charconv>
#include <chrono>
#include <ctime>

#include <fmt/format.h>

#include "base/limits.h"
#include "console_api/bodies.h"
#include "console_api/money_api.h"
#include "dialects/json_reader.h"

namespace tradewind::console_api {
namespace {

using dialects::Fields;
using dialects::JsonWriter;

bool ReadNumber(std::string_view text, int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && text.front() != '-';
}

std::optional<int64_t> ReadDate(std::string_view text) {
  int64_t year = 0, month = 0, day = 0;
  if (text.size() != 10 || text[4] != '-' || text[7] != '-' ||
      !ReadNumber(text.substr(0, 4), year) || !ReadNumber(text.substr(5, 2), month) ||
      !ReadNumber(text.substr(8, 2), day)) {
    return std::nullopt;
  }
  using namespace std::chrono;  // NOLINT: calendar words
  const year_month_day date{std::chrono::year(static_cast<int>(year)),
                            std::chrono::month(static_cast<unsigned>(month)),
                            std::chrono::day(static_cast<unsigned>(day))};
  return date.ok() && year >= 1970
             ? std::optional(duration_cast<seconds>(sys_days{date}.time_since_epoch()).count())
             : std::nullopt;
}

std::optional<int64_t> ReadTimeOfDay(std::string_view text) {  // "23:59:59Z"
  int64_t hour = 0, minute = 0, second = 0;
  if (text.size() != 9 || text[2] != ':' || text[5] != ':' || text[8] != 'Z' ||
      !ReadNumber(text.substr(0, 2), hour) || !ReadNumber(text.substr(3, 2), minute) ||
      !ReadNumber(text.substr(6, 2), second) || hour > 23 || minute > 59 || second > 59) {
    return std::nullopt;
  }
  return (hour * 60 + minute) * 60 + second;
}

void OptionalTime(JsonWriter& json, std::string_view name, const std::optional<int64_t>& unix_s) {
  json.Key(name);
  unix_s.has_value() ? json.Value(FormatTime(*unix_s)) : json.Null();
}

void OptionalNumber(JsonWriter& json, std::string_view name, const std::optional<int64_t>& value) {
  json.Key(name);
  value.has_value() ? json.Value(*value) : json.Null();
}

// No list means no bound: null, so that nobody takes it for "none".
void List(JsonWriter& json, std::string_view name, const std::vector<std::string>& entries) {
  json.Key(name);
  if (entries.empty()) {
    json.Null();
    return;
  }
  json.BeginArray();
  for (const std::string& entry : entries) {
    json.Value(entry);
  }
  json.EndArray();
}

std::string_view StateOf(const identity::KeyInfo& key, int64_t now_unix_s) {
  const bool expired = key.expires_unix_s.has_value() && *key.expires_unix_s <= now_unix_s;
  return key.revoked_unix_s.has_value() ? "revoked" : expired ? "expired" : "live";
}

Status CheckOfABudget(const BudgetFields& fields) {
  if (fields.budget.has_value()) {
    return {};
  }
  for (const auto& [name, is_named] :
       {std::pair("period", !fields.period.empty()), std::pair("zone", !fields.zone.empty()),
        std::pair("week_start", !fields.week_start.empty()),
        std::pair("cycle_day", fields.cycle_day.has_value()),
        std::pair("of", !fields.of.empty())}) {
    if (is_named) {
      return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}` belongs to a `budget`.", name),
                  name);
    }
  }
  return {};
}

}  // namespace

void ReadTexts(Fields& fields, std::string_view name, std::vector<std::string>& out) {
  const boost::json::value* value = fields.Find(name);
  if (value == nullptr) {
    return;
  }
  if (value->is_string()) {
    std::string_view rest(value->get_string());
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      out.emplace_back(rest.substr(0, comma));
      rest = comma == rest.npos ? "" : rest.substr(comma + 1);
    }
    return;
  }
  if (!value->is_array()) {
    return fields.Wrong(name, "must be a list of texts");
  }
  for (const boost::json::value& entry : value->get_array()) {
    if (!entry.is_string()) {
      return fields.Wrong(name, "must be a list of texts");
    }
    out.emplace_back(entry.get_string());
  }
  if (out.empty()) {  // "none" or "all"? Nobody should have to guess
    fields.Wrong(name, "must not be an empty list; leave it out to allow all");
  }
}

std::optional<int64_t> ReadSpan(std::string_view text) {
  constexpr int64_t kDaysMax = 36'500;
  const int64_t unit_s = text.ends_with('d')   ? 86'400
                         : text.ends_with('h') ? 3'600
                         : text.ends_with('m') ? 60
                                               : 0;
  int64_t count = 0;
  if (unit_s == 0 || text.size() < 2 || !ReadNumber(text.substr(0, text.size() - 1), count) ||
      count > kDaysMax * 86'400 / unit_s) {
    return std::nullopt;
  }
  return count * unit_s;
}

Result<int64_t> ParseExpiry(std::string_view text, int64_t now_unix_s) {
  if (const auto span = ReadSpan(text)) {
    return now_unix_s + *span;
  }
  const bool has_time = text.size() == 20 && text[10] == 'T';
  const auto date = ReadDate(text.substr(0, has_time ? 10 : text.size()));
  const auto time = has_time ? ReadTimeOfDay(text.substr(11)) : std::optional<int64_t>(0);
  if (!date || !time) {
    return Fail(
        ErrorCode::kInvalidArgument,
        "`expires` must be a time from now such as 30d or 12h, or a date such as 2027-01-31 "
        "or 2027-01-31T12:00:00Z.",
        "expires");
  }
  return *date + *time;
}

Result<NewKey> ParseNewKey(std::string_view body, int64_t now_unix_s) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  Fields fields(object);
  NewKey key;
  identity::KeySpec& spec = key.spec;
  std::vector<std::string> scopes;
  std::string role, expires, on_exhausted;
  BudgetFields budget;
  fields.Text("name", spec.name);
  fields.Text("org", spec.org);
  fields.Text("project", spec.project);
  fields.Text("user", spec.user);
  fields.Text("role", role);
  ReadTexts(fields, "scopes", scopes);
  ReadTexts(fields, "models", spec.models);
  ReadTexts(fields, "providers", spec.providers);
  fields.Text("expires", expires);
  fields.Integer("rpm", 1, limits::kKeyLimitMax, spec.limits.requests_per_minute);
  fields.Integer("tpm", 1, limits::kKeyLimitMax, spec.limits.tokens_per_minute);
  fields.Integer("concurrency", 1, limits::kKeyLimitMax, spec.limits.concurrency);
  fields.Integer("max_output", 1, limits::kKeyLimitMax, spec.limits.max_output);
  budget.Read(fields);
  fields.Text("on_exhausted", on_exhausted);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a key"));
  if (fields.Find("scopes") != nullptr) {
    TW_ASSIGN_OR_RETURN(spec.scopes,
                        identity::Scopes::Parse(fmt::format("{}", fmt::join(scopes, ","))));
  }
  if (!role.empty()) {
    spec.role = identity::RoleFromName(role);
    if (!spec.role) {
      return Fail(ErrorCode::kInvalidArgument, "`role` must be viewer, member or admin.", "role");
    }
  }
  if (!on_exhausted.empty() && on_exhausted != "refuse" && on_exhausted != "local") {
    return Fail(ErrorCode::kInvalidArgument, "`on_exhausted` must be refuse or local.",
                "on_exhausted");
  }
  spec.local_when_exhausted = on_exhausted == "local";
  if (!expires.empty()) {
    TW_ASSIGN_OR_RETURN(spec.expires_unix_s, ParseExpiry(expires, now_unix_s));
  }
  TW_RETURN_IF_ERROR(CheckOfABudget(budget));
  if (budget.budget.has_value()) {
    TW_ASSIGN_OR_RETURN(key.budget, BudgetFromFields(budget, {}));
  }
  return key;
}

std::string FormatTime(int64_t unix_s) {
  const auto seconds = static_cast<std::time_t>(unix_s);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

void WriteKey(const identity::KeyInfo& key, int64_t now_unix_s, JsonWriter& json) {
  json.Field("id", key.id).Field("name", key.name);
  json.Field("org", key.org).Field("org_id", key.org_id);
  json.Field("project", key.project).Field("project_id", key.project_id);
  json.Field("user", key.user).Field("user_id", key.user_id);
  json.Field("role", identity::RoleName(key.role)).Key("scopes").BeginArray();
  for (const identity::Scope scope : key.scopes.All()) {
    json.Value(identity::ScopeName(scope));
  }
  json.EndArray();
  List(json, "models", key.models);
  List(json, "providers", key.providers);
  OptionalNumber(json, "rpm", key.limits.requests_per_minute);
  OptionalNumber(json, "tpm", key.limits.tokens_per_minute);
  OptionalNumber(json, "concurrency", key.limits.concurrency);
  OptionalNumber(json, "max_output", key.limits.max_output);
  json.Field("on_exhausted", key.local_when_exhausted ? "local" : "refuse");
  json.Field("admin", key.is_admin_token).Field("state", StateOf(key, now_unix_s));
  json.Field("created", FormatTime(key.created_unix_s));
  OptionalTime(json, "expires", key.expires_unix_s);
  OptionalTime(json, "rotated", key.rotated_unix_s);
  OptionalTime(json, "old_secret_expires", key.old_secret_expires_unix_s);
  OptionalTime(json, "revoked", key.revoked_unix_s);
  OptionalTime(json, "last_used", key.last_used_unix_s);
}

void WriteProviderKey(const identity::ProviderKeyInfo& key, JsonWriter& json) {
  json.Field("provider", key.provider).Field("owner", identity::OwnerKindName(key.owner));
  json.Key("owner_name");
  key.owner_name.empty() ? json.Null() : json.Value(key.owner_name);
  json.Field("set", true).Field("fingerprint", key.fingerprint);
  json.Field("created", FormatTime(key.created_unix_s));
}

}  // namespace tradewind::console_api
