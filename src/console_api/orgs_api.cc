#include "console_api/orgs_api.h"

#include "base/limits.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"

namespace tradewind::console_api {
namespace {

using dialects::Fields;
using dialects::JsonWriter;
using identity::OrgChange;
using identity::OrgInfo;

void WriteOrg(const OrgInfo& org, JsonWriter& json) {
  const auto number = [&json](std::string_view name, const std::optional<int64_t>& value) {
    json.Key(name);
    value ? json.Value(*value) : json.Null();
  };
  json.Field("id", org.id).Field("name", org.name);
  number("rpm", org.limits.requests_per_minute);
  number("tpm", org.limits.tokens_per_minute);
  number("concurrency", org.limits.concurrency);
  number("max_output", org.limits.max_output);
  json.Field("strict", org.is_strict);
  json.Field("created", FormatTime(org.created_unix_s)).Key("members").BeginArray();
  for (const identity::MemberInfo& member : org.members) {
    json.BeginObject().Field("user", member.user).Field("user_id", member.user_id);
    json.Field("role", identity::RoleName(member.role)).Field("added", member.is_added);
    json.EndObject();
  }
  json.EndArray();
}

Result<http::Response> One(const Result<OrgInfo>& org) {
  if (!org) {
    return Fail(org.error());
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.org/v1");
  WriteOrg(*org, json);
  return JsonResponse(json.EndObject().Take());
}

// A field that is there and null takes the limit away.
Result<OrgChange> ReadChange(std::string_view body) {
  OrgChange change;
  if (body.empty()) {
    return change;
  }
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  Fields fields(object);
  const auto read = [&](std::string_view name, std::optional<std::optional<int64_t>>& out) {
    std::optional<int64_t> number;
    fields.Integer(name, 1, limits::kKeyLimitMax, number);
    if (object.contains(name)) {
      out = number;
    }
  };
  read("rpm", change.requests_per_minute);
  read("tpm", change.tokens_per_minute);
  read("concurrency", change.concurrency);
  read("max_output", change.max_output);
  if (bool is_strict = false; fields.Flag("strict", is_strict)) {
    change.is_strict = is_strict;
  }
  TW_RETURN_IF_ERROR(CheckKnown(fields, "an organisation"));
  return change;
}

Result<identity::Role> ReadRole(std::string_view body) {
  if (body.empty()) {
    return identity::Role::kMember;
  }
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  Fields fields(object);
  std::string text = "member";
  fields.Text("role", text);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a member"));
  const auto role = identity::RoleFromName(text);
  if (!role) {
    return Fail(ErrorCode::kInvalidArgument, "`role` must be viewer, member or admin.", "role");
  }
  return *role;
}

}  // namespace

Result<http::Response> AnswerOrgs(identity::Store& store, const http::Request& request,
                                  std::string_view rest, const identity::Reach& reach) {
  if (rest.empty()) {
    if (request.method != "GET") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET.");
    }
    TW_ASSIGN_OR_RETURN(const std::vector<OrgInfo> orgs, store.ListOrgs(reach));
    JsonWriter json;
    json.BeginObject().Field("schema", "tradewind.orgs/v1").Key("orgs").BeginArray();
    for (const OrgInfo& org : orgs) {
      json.BeginObject();
      WriteOrg(org, json);
      json.EndObject();
    }
    return JsonResponse(json.EndArray().EndObject().Take());
  }
  constexpr std::string_view kMembers = "/members/";
  const std::string_view names = rest.substr(1);
  const size_t members = names.find(kMembers);
  if (members == names.npos) {
    if (request.method != "PUT") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes PUT.");
    }
    TW_ASSIGN_OR_RETURN(const OrgChange change, ReadChange(request.body));
    return One(store.PutOrg(names, change, reach));
  }
  const std::string_view org = names.substr(0, members);
  const std::string_view user = names.substr(members + kMembers.size());
  if (request.method == "DELETE") {
    return One(store.RemoveMember(org, user, reach));
  }
  if (request.method != "PUT") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes PUT, DELETE.");
  }
  TW_ASSIGN_OR_RETURN(const identity::Role role, ReadRole(request.body));
  return One(store.PutMember(org, user, role, reach));
}

}  // namespace tradewind::console_api
