#include "console_api/keys_api.h"

#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "billing/meter.h"
#include "console_api/bodies.h"
#include "console_api/catalog_names.h"
#include "console_api/keys_json.h"
#include "console_api/orgs_api.h"
#include "dialects/json_reader.h"

namespace tradewind::console_api {
namespace {

using dialects::Fields;
using dialects::JsonWriter;
using identity::Reach;

constexpr std::string_view kKeys = "/tw/v1/keys";
constexpr std::string_view kOrgs = "/tw/v1/orgs";
constexpr std::string_view kProviderKeys = "/tw/v1/provider-keys";

// What stands behind `prefix`: "" or "/x"; nullopt for another path.
std::optional<std::string_view> Rest(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) {
    return std::nullopt;
  }
  const std::string_view rest = path.substr(prefix.size());
  return rest.empty() || rest.front() == '/' ? std::optional(rest) : std::nullopt;
}

JsonWriter Begin(std::string_view thing) {
  JsonWriter json;
  json.BeginObject().Field("schema", fmt::format("tradewind.{}/v1", thing));
  return json;
}

// The one answer that has the token.
http::Response Minted(const identity::MintedKey& key, int64_t now, int status) {
  JsonWriter json = Begin("key");
  json.Field("token", key.token.Reveal());
  WriteKey(key.info, now, json);
  return JsonResponse(json.EndObject().Take(), status);
}

std::unexpected<Error> NotFound(std::string_view path) {
  return Fail(ErrorCode::kNotFound, fmt::format("There is nothing at {}.", path));
}
std::unexpected<Error> WrongMethod(std::string_view allowed) {
  return Fail(ErrorCode::kMethodNotAllowed, fmt::format("This path takes {}.", allowed));
}

// {"grace_s":N}, or no body at all.
Result<int64_t> ReadGrace(std::string_view body) {
  if (body.empty()) {
    return 0;
  }
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  Fields fields(object);
  std::optional<int64_t> grace_s;
  fields.Integer("grace_s", 0, limits::kRotationGraceMaxS, grace_s);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a rotation"));
  return grace_s.value_or(0);
}

Result<identity::Secret> ReadProviderKey(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  Fields fields(object);
  std::string key;
  fields.Text("key", key);
  identity::Secret secret = identity::Secret::TakeFrom(key);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a provider's key"));
  return secret;
}

// "/groq" (the server's), "/groq/org/acme", "/groq/user/ada".
Result<ProviderKeyPath> ReadProviderKeyPath(std::string_view rest) {
  ProviderKeyPath out;
  rest.remove_prefix(1);
  const size_t first = rest.find('/');
  out.provider = std::string(rest.substr(0, first));
  if (first == rest.npos) {
    return out;
  }
  rest.remove_prefix(first + 1);
  const size_t second = rest.find('/');
  const auto kind = identity::OwnerKindFromName(rest.substr(0, second));
  if (!kind || *kind == identity::OwnerKind::kServer || second == rest.npos) {
    return Fail(ErrorCode::kInvalidArgument,
                "A provider's key belongs to the server, or to org/NAME or user/NAME behind it.",
                "owner");
  }
  out.owner = {*kind, std::string(rest.substr(second + 1))};
  return out;
}

}  // namespace

Result<http::Response> KeysApi::Answer(const http::Request& request,
                                       const identity::Principal& caller) const {
  const Reach reach{caller.is_admin_token ? std::nullopt : std::optional(caller.org_id)};
  if (const auto rest = Rest(request.path, kKeys)) {
    return AnswerKeys(request, *rest, reach);
  }
  if (const auto rest = Rest(request.path, kProviderKeys)) {
    return AnswerProviderKeys(request, *rest, reach);
  }
  if (const auto rest = Rest(request.path, kOrgs)) {
    return AnswerOrgs(store_, request, *rest, reach);
  }
  return NotFound(request.path);
}

// Nobody has the token before the budget is on the disk: a key never lives a moment without it.
Result<http::Response> KeysApi::CreateKey(const http::Request& request, const Reach& reach) const {
  const int64_t now = clock_.UnixSeconds();
  TW_ASSIGN_OR_RETURN(const NewKey wanted, ParseNewKey(request.body, now));
  if (wanted.budget.has_value() && money_ == nullptr) {
    return Fail(ErrorCode::kUnsupported, "Nothing here counts what keys spend.", "budget");
  }
  TW_ASSIGN_OR_RETURN(const identity::MintedKey key, store_.CreateKey(wanted.spec, reach));
  if (wanted.budget.has_value()) {
    const Status defined = money_->DefineKeyBudget(key.info.id, *wanted.budget);
    if (!defined.has_value()) {
      static_cast<void>(store_.RevokeKey(key.info.id, reach));
      return Fail(defined.error());
    }
  }
  return Minted(key, now, 201);
}

Result<http::Response> KeysApi::AnswerKeys(const http::Request& request, std::string_view rest,
                                           const Reach& reach) const {
  const int64_t now = clock_.UnixSeconds();
  if (rest.empty()) {
    if (request.method == "POST") {
      return CreateKey(request, reach);
    }
    if (request.method != "GET") {
      return WrongMethod("GET, POST");
    }
    TW_ASSIGN_OR_RETURN(const std::vector<identity::KeyInfo> keys, store_.ListKeys(reach));
    JsonWriter json = Begin("keys");
    json.Key("keys").BeginArray();
    for (const identity::KeyInfo& key : keys) {
      json.BeginObject();
      WriteKey(key, now, json);
      json.EndObject();
    }
    return JsonResponse(json.EndArray().EndObject().Take());
  }
  constexpr std::string_view kRotate = "/rotate";
  std::string_view key = rest.substr(1);
  if (request.method == "DELETE") {
    TW_ASSIGN_OR_RETURN(const identity::KeyInfo revoked, store_.RevokeKey(key, reach));
    JsonWriter json = Begin("key");
    WriteKey(revoked, now, json);
    return JsonResponse(json.EndObject().Take());
  }
  if (request.method != "POST" || !key.ends_with(kRotate)) {
    return request.method == "POST" ? NotFound(request.path) : WrongMethod("DELETE");
  }
  key.remove_suffix(kRotate.size());
  TW_ASSIGN_OR_RETURN(const int64_t grace_s, ReadGrace(request.body));
  TW_ASSIGN_OR_RETURN(const identity::MintedKey rotated, store_.RotateKey(key, grace_s, reach));
  return Minted(rotated, now, 200);
}

// Whose own key is stored under a name that nobody has is asked with the server's, and charged. The
// server's may be there before its provider is configured: of that a warning says so, "" = none.
Result<std::string> KeysApi::CheckProvider(const ProviderKeyPath& path) const {
  if (money_ == nullptr || !money_->names()) {
    return std::string();
  }
  const bool is_servers = path.owner.kind == identity::OwnerKind::kServer;
  const auto catalog = money_->names()();
  if (!catalog.has_value()) {
    return is_servers ? Result<std::string>("") : Fail(catalog.error());
  }
  const Result<std::string> name =
      NameInCatalog(**catalog, billing::kProviderScope, path.provider, "provider");
  if (name.has_value()) {
    return std::string();
  }
  return is_servers ? Result<std::string>(name.error().message +
                                          " This key waits until the config has one.")
                    : Fail(name.error());
}

Result<http::Response> KeysApi::AnswerProviderKeys(const http::Request& request,
                                                   std::string_view rest,
                                                   const Reach& reach) const {
  if (rest.empty()) {
    if (request.method != "GET") {
      return WrongMethod("GET");
    }
    TW_ASSIGN_OR_RETURN(const std::vector<identity::ProviderKeyInfo> keys,
                        store_.ListProviderKeys(reach));
    JsonWriter json = Begin("provider_keys");
    json.Key("provider_keys").BeginArray();
    for (const identity::ProviderKeyInfo& key : keys) {
      json.BeginObject();
      WriteProviderKey(key, json);
      json.EndObject();
    }
    return JsonResponse(json.EndArray().EndObject().Take());
  }
  TW_ASSIGN_OR_RETURN(const ProviderKeyPath path, ReadProviderKeyPath(rest));
  if (request.method == "PUT") {
    TW_ASSIGN_OR_RETURN(const identity::Secret secret, ReadProviderKey(request.body));
    TW_ASSIGN_OR_RETURN(const std::string warning, CheckProvider(path));
    TW_ASSIGN_OR_RETURN(const identity::ProviderKeyInfo key,
                        store_.PutProviderKey(path.owner, path.provider, secret, reach));
    JsonWriter json = Begin("provider_key");
    WriteProviderKey(key, json);
    json.Key("warning");
    warning.empty() ? json.Null() : json.Value(warning);
    return JsonResponse(json.EndObject().Take());
  }
  if (request.method != "DELETE") {
    return WrongMethod("PUT, DELETE");
  }
  TW_RETURN_IF_ERROR(store_.RemoveProviderKey(path.owner, path.provider, reach));
  JsonWriter json = Begin("provider_key");
  json.Field("provider", path.provider);
  json.Field("owner", identity::OwnerKindName(path.owner.kind)).Field("set", false);
  return JsonResponse(json.EndObject().Take());
}

}  // namespace tradewind::console_api
