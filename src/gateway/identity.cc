// Who calls: authorization of every route, GET /api/whoami-v2, and the way to what people manage.
#include <chrono>
#include <ctime>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "dialects/json_writer.h"
#include "gateway/gateway.h"

namespace tradewind::gateway {
namespace {

using identity::Membership;
using identity::Principal;
using identity::Scope;

std::string IsoTime(int64_t unix_s) {
  const auto seconds = static_cast<std::time_t>(unix_s);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

// The first second of the next month: budgets and invoices are by the month, in UTC.
int64_t PeriodEnd(std::chrono::system_clock::time_point now) {
  using namespace std::chrono;  // NOLINT: calendar words
  const year_month_day today{floor<days>(now)};
  const year_month next = year_month{today.year(), today.month()} + months{1};
  return duration_cast<seconds>(sys_days{next / day{1}}.time_since_epoch()).count();
}

// Hugging Face's spelling where there is one.
void WritePermissions(const Principal& caller, dialects::JsonWriter& json) {
  json.BeginArray();
  for (const Scope scope : caller.scopes.All()) {
    json.Value(scope == Scope::kInference ? std::string_view("inference.serverless.write")
                                          : identity::ScopeName(scope));
  }
  json.EndArray();
}

void WriteOrgs(const Principal& caller, int64_t period_end, dialects::JsonWriter& json) {
  json.Key("orgs").BeginArray();
  if (caller.user != nullptr) {
    for (const Membership& one : caller.user->memberships) {
      if (!caller.MayBill(one)) {
        continue;
      }
      json.BeginObject().Field("type", "org").Field("id", one.org_id).Field("name", one.org);
      json.Field("fullname", one.org).Key("email").Null().Field("canPay", true);
      json.Field("periodEnd", period_end).Field("avatarUrl", "");
      json.Field("roleInOrg", identity::RoleName(one.role)).Field("isEnterprise", false);
      json.EndObject();
    }
  }
  json.EndArray();
}

// Source of the shape: GET https://huggingface.co/api/whoami-v2, which the SDKs parse.
std::string FormatWhoAmI(const Principal& caller, std::chrono::system_clock::time_point now) {
  const int64_t period_end = PeriodEnd(now);
  dialects::JsonWriter json;
  json.BeginObject().Field("type", "user").Field("id", caller.user_id());
  json.Field("name", caller.user_name()).Field("fullname", caller.user_name());
  json.Key("email").Null().Field("emailVerified", false).Field("canPay", true);
  json.Field("billingMode", "postpaid").Field("periodEnd", period_end).Field("isPro", false);
  json.Field("avatarUrl", "");
  WriteOrgs(caller, period_end, json);
  json.Key("auth").BeginObject().Field("type", "access_token").Key("accessToken").BeginObject();
  json.Field("displayName", caller.key_name).Field("role", "fineGrained");
  json.Field("createdAt", IsoTime(caller.created_unix_s));
  if (caller.expires_unix_s.has_value()) {
    json.Field("expiresAt", IsoTime(*caller.expires_unix_s));
  }
  json.Key("fineGrained").BeginObject().Field("canReadGatedRepos", false).Key("global");
  WritePermissions(caller, json);
  json.Key("scoped").BeginArray().BeginObject().Key("entity").BeginObject();
  json.Field("_id", caller.org_id).Field("type", "org").Field("name", caller.org).EndObject();
  json.Key("permissions");
  WritePermissions(caller, json);
  json.EndObject().EndArray().EndObject().EndObject().EndObject().EndObject();
  return json.Take();
}

// The organisation that the header names, or else the key's own.
std::string PayingOrg(const Call& call) {
  return call.bill_to.has_value() ? call.bill_to->org_id : call.caller->org_id;
}

// How routing tells own keys apart; nothing for the operator's.
std::optional<std::string> OwnKeyRef(const std::optional<identity::ProviderSecret>& stored,
                                     std::string_view org, std::string_view user) {
  if (!stored.has_value() || stored->owner == identity::OwnerKind::kServer) {
    return std::nullopt;
  }
  return identity::OwnerRef(stored->owner, stored->owner == identity::OwnerKind::kOrg ? org : user);
}

}  // namespace

Status Gateway::Authorize(Call& call, Access access) {
  TW_ASSIGN_OR_RETURN(call.caller, Admit(call.request(), access, options_.admission));
  if (access == Access::kInference) {
    TW_ASSIGN_OR_RETURN(call.bill_to, BillTo(call.request(), *call.caller));
  }
  return {};
}

void Gateway::Permit(const Call& call, routing::PlanRequest& request) const {
  if (call.caller == nullptr) {
    return;
  }
  const Principal& caller = *call.caller;
  if (!caller.models.empty()) {
    request.needs.allowed_models = caller.models;
  }
  if (!caller.providers.empty()) {
    request.needs.allowed_providers = caller.providers;
  }
  if (options_.provider_secrets != nullptr) {
    request.own_key_ref = [&secrets = *options_.provider_secrets, org = PayingOrg(call),
                           user = std::string(caller.user_id())](std::string_view slug) {
      return OwnKeyRef(secrets.Find(org, user, slug), org, user);
    };
  }
}

UpstreamKey Gateway::KeyFor(const Call& call, const routing::PlannedRoute& route) const {
  UpstreamKey out;
  if (route.is_local()) {
    return out;
  }
  out.key = route.place->api_key;
  if (call.caller == nullptr || options_.provider_secrets == nullptr) {
    return out;
  }
  const std::string org = PayingOrg(call);
  const std::string_view user = call.caller->user_id();
  const auto stored = options_.provider_secrets->Find(org, user, route.slug());
  if (!stored.has_value() || stored->owner == identity::OwnerKind::kServer) {
    return out;  // the place has the operator's
  }
  out.key = std::string(stored->secret->Reveal());
  out.ref = OwnKeyRef(stored, org, user).value_or(std::string());
  return out;
}

Status BlameTheToken(const Principal& caller, const Result<routing::Plan>& plan) {
  if (!plan.has_value()) {
    return {};  // whatever that was, it was not the token
  }
  for (const routing::LeftOut& one : plan->ranking.left_out) {
    if (one.code == routing::Exclusion::kModelNotAllowed) {
      return Fail(ErrorCode::kPermissionDenied,
                  "This token may not use this model; its allow-list names others.", "model");
    }
    const bool is_elsewhere = one.code == routing::Exclusion::kProviderNotAllowed;
    if (is_elsewhere && caller.is_anonymous) {
      return Fail(ErrorCode::kUnauthenticated,
                  "A token is needed to ask providers: `tradewind keys create --name NAME` makes "
                  "one.");
    }
    if (is_elsewhere) {
      return Fail(ErrorCode::kPermissionDenied,
                  "This token may not use the providers that could answer; its allow-list names "
                  "others.",
                  "model");
    }
  }
  return {};
}

Task<void> Gateway::WhoAmI(Call& call) {
  if (call.caller->is_anonymous) {  // there is nobody to speak of
    co_return co_await Refuse(call, {ErrorCode::kUnauthenticated, "Invalid username or password."});
  }
  co_await RespondJson(call, FormatWhoAmI(*call.caller, clock_.WallNow()));
}

Task<void> Gateway::Console(Call& call) {
  if (!options_.console) {
    co_return co_await Refuse(call, {ErrorCode::kNotFound, "There is nothing to manage here."});
  }
  // It waits for the disk: not on this thread. Header values, the token among them, stay behind.
  http::Request request;
  request.method = call.request().method;
  request.path = call.request().path;
  request.query = call.request().query;
  request.body = call.request().body;
  std::function<Result<http::Response>()> job = [console = options_.console, caller = call.caller,
                                                 request = std::move(request)] {
    return console(request, *caller);
  };
  Result<http::Response> response = co_await console_workers_.Run(std::move(job));
  if (!response.has_value()) {
    co_return co_await Refuse(call, std::move(response).error());
  }
  response->headers.Set("Cache-Control", "no-store");  // a new token may be in it
  if (response->more) {
    co_return co_await Stream(call, std::move(*response));
  }
  co_await Respond(call, std::move(*response));
}

// What fails half-way is not finished: the client sees that its answer is not whole.
Task<void> Gateway::Stream(Call& call, http::Response response) {
  AddHeaders(call, response.headers);
  Status sent = co_await call.exchange.StartStream(response.status, std::move(response.headers));
  std::string piece = std::move(response.body);
  while (sent.has_value() && !piece.empty()) {
    sent = co_await call.exchange.Write(piece);
    if (!sent.has_value()) {
      break;
    }
    std::function<Result<std::string>()> job = response.more;
    Result<std::string> next = co_await console_workers_.Run(std::move(job));
    if (!next.has_value()) {
      sent = Fail(std::move(next).error());
      break;
    }
    piece = std::move(*next);
  }
  if (sent.has_value()) {
    sent = co_await call.exchange.Finish();
  }
  if (!sent.has_value()) {
    call.record.outcome = ErrorCodeName(sent.error().code);
  }
}

}  // namespace tradewind::gateway
