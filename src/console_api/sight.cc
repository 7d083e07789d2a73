#include "console_api/sight.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "console_api/keys_json.h"

namespace tradewind::console_api {

Sight SightOf(const identity::Principal& caller) {
  if (caller.is_admin_token) {
    return {};
  }
  if (caller.scopes.Has(identity::Scope::kManage)) {
    return {caller.org_id, std::nullopt};
  }
  return {std::nullopt, caller.key_id};  // also what another organisation paid for
}

Result<identity::KeyInfo> FindKey(identity::Store& store, const std::string& name,
                                  const Sight& sight) {
  TW_ASSIGN_OR_RETURN(const std::vector<identity::KeyInfo> keys, store.ListKeys({sight.org_id}));
  const auto found = std::ranges::find_if(keys, [&](const identity::KeyInfo& key) {
    return (key.name == name || key.id == name) && (!sight.key_id || key.id == *sight.key_id);
  });
  if (found == keys.end()) {
    return Fail(ErrorCode::kNotFound, fmt::format("There is no key \"{}\".", name.substr(0, 80)),
                "key");
  }
  return *found;
}

identity::Store::Label OwnerOfScope(identity::Store& store, std::string_view scope) {
  const std::string_view owner = scope.substr(0, scope.find('/'));
  for (const std::string_view kind : {"key", "org", "project", "user"}) {
    if (owner.starts_with(kind) && owner.substr(kind.size()).starts_with(':')) {
      return store.LabelOf(kind, owner.substr(kind.size() + 1)).value_or(identity::Store::Label());
    }
  }
  return {};
}

Result<int64_t> TimeOf(const http::Query& query, std::string_view name, int64_t otherwise,
                       int64_t now_s) {
  return ReadTime(http::First(query, name), name, otherwise, now_s);
}

Result<int64_t> ReadTime(std::string_view text, std::string_view name, int64_t otherwise,
                         int64_t now_s) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  if (text.empty()) {
    return otherwise;
  }
  if (const auto span_s = ReadSpan(text)) {
    return std::max<int64_t>(0, now_s - *span_s) * kNanosPerSecond;
  }
  const Result<int64_t> seconds = ParseExpiry(text, 0);
  if (!seconds.has_value()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("`{}` is a date or a time, like 2026-12-31, or how long ago, like 7d.", name),
        std::string(name));
  }
  // Beyond what nanoseconds of 64 bits reach (2262) is the end of time: "9999-12-31" means all.
  return *seconds > INT64_MAX / kNanosPerSecond ? INT64_MAX : *seconds * kNanosPerSecond;
}

Status CheckFields(const http::Query& query, std::span<const std::string_view> fields) {
  for (const auto& [name, value] : query) {
    if (std::ranges::find(fields, name) == fields.end()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("`{}` is not a field of this query; there are {}.",
                              name.substr(0, 80), fmt::join(fields, ", ")),
                  name.substr(0, 80));
    }
  }
  return {};
}

Result<std::string> ReadOwner(identity::Store& store, const identity::Principal& caller,
                              const http::Query& query, std::string_view kind) {
  const std::string text = http::First(query, kind);
  if (text.empty()) {
    return text;
  }
  const Result<std::string> id = store.AccountId(kind, text);
  const std::string_view prefix = kind == "org" ? "org_" : kind == "user" ? "usr_" : "prj_";
  // A token that sees less than everything learns no more than what it may list.
  if (!id.has_value() && caller.is_admin_token && !text.starts_with(prefix)) {
    return Fail(id.error().code, id.error().message, std::string(kind));
  }
  return id.value_or(text);
}

Result<std::string> ReadOrg(identity::Store& store, const identity::Principal& caller,
                            const http::Query& query) {
  TW_ASSIGN_OR_RETURN(std::string org_id, ReadOwner(store, caller, query, "org"));
  const Sight sight = SightOf(caller);
  if (sight.org_id.has_value() && !org_id.empty() && org_id != *sight.org_id) {
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("There is no organisation \"{}\".", http::First(query, "org").substr(0, 80)),
        "org");
  }
  return sight.org_id.value_or(org_id);
}

}  // namespace tradewind::console_api
