#include "gateway/admission.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/text.h"
#include "telemetry/log.h"

namespace tradewind::gateway {
namespace {

bool IsDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Four decimal numbers up to 255, the first of them 127: "127.evil.example" is a name.
bool IsLoopbackV4(std::string_view host) {
  int parts = 0;
  while (true) {
    const size_t dot = host.find('.');
    const std::string_view part = host.substr(0, dot);
    int value = 256;
    if (!IsDigits(part) || part.size() > 3) {
      return false;
    }
    std::from_chars(part.data(), part.data() + part.size(), value);
    if (value > 255 || (parts == 0 && value != 127)) {
      return false;
    }
    ++parts;
    if (dot == std::string_view::npos) {
      return parts == 4;
    }
    host.remove_prefix(dot + 1);
  }
}

bool IsJson(std::string_view content_type) {
  const std::string type = AsciiLower(content_type.substr(0, content_type.find(';')));
  const size_t end = type.find_last_not_of(" \t");
  const std::string_view name =
      std::string_view(type).substr(0, end == std::string::npos ? 0 : end + 1);
  return name == "application/json" ||
         (name.starts_with("application/") && name.ends_with("+json"));
}

identity::Scope ScopeFor(Access access) {
  return access == Access::kManage      ? identity::Scope::kManage
         : access == Access::kInference ? identity::Scope::kInference
                                        : identity::Scope::kRead;
}

// Hugging Face's sentence, which people search for, and the scope that is missing.
Status CheckScope(const identity::Principal& caller, Access access) {
  if (access == Access::kServer) {
    return caller.MaySeeServer()
               ? Status()
               : Fail(ErrorCode::kPermissionDenied,
                      "This is of the whole server: for the admin token, and for a key of the "
                      "organisation default with the scope manage.");
  }
  const identity::Scope scope = ScopeFor(access);
  if (caller.scopes.Has(scope)) {
    return {};
  }
  const std::string_view what = access == Access::kInference ? "call Inference Providers"
                                : access == Access::kManage  ? "manage keys"
                                                             : "read";
  return Fail(ErrorCode::kPermissionDenied,
              fmt::format("This authentication method does not have sufficient permissions to {} "
                          "on behalf of user {}: the scope {} is missing.",
                          what, caller.user_name(), identity::ScopeName(scope)));
}

std::unexpected<Error> NoGoodToken(bool has_token) {
  return Fail(ErrorCode::kUnauthenticated,
              has_token ? "Invalid username or password."
                        : "A token is needed: send it as `Authorization: Bearer TOKEN`.");
}

void LogRefusal(const identity::KeyRing::Lookup& lookup) {
  if (!lookup.key_id.empty() && telemetry::LogEnabled(telemetry::Level::kDebug)) {
    telemetry::Log(
        telemetry::Level::kDebug,
        fmt::format("refused {}: it is {}", lookup.key_id,
                    lookup.state == identity::TokenState::kExpired ? "expired" : "revoked"));
  }
}

const std::string* AllowedOrigin(const http::Request& request, const AdmissionPolicy& policy) {
  const auto origin = request.headers.Find("Origin");
  const auto found = std::find(policy.cors_origins.begin(), policy.cors_origins.end(),
                               origin.value_or(std::string_view()));
  return origin.has_value() && found != policy.cors_origins.end() ? &*found : nullptr;
}

// The names that the page wants to send, in a form that can go into a header; nothing that is no
// list of names. SDKs send many of their own (x-stainless-lang ...), and an origin that may call
// could send any of them from elsewhere.
std::string AllowedHeaders(const http::Request& request) {
  constexpr std::string_view kAlways =
      "authorization, content-type, x-api-key, x-hf-bill-to, x-request-id";
  constexpr size_t kBytesMax = 4096;
  constexpr std::string_view kNameBytes =
      "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~, \t";  // RFC 9110, 5.6.2
  const std::string asked =
      AsciiLower(request.headers.Find("Access-Control-Request-Headers").value_or(""));
  const bool is_good = !asked.empty() && asked.size() <= kBytesMax &&
                       asked.find_first_not_of(kNameBytes) == std::string::npos;
  return is_good ? fmt::format("{}, {}", kAlways, asked) : std::string(kAlways);
}

}  // namespace

std::string_view TokenOf(const http::Request& request) {
  constexpr std::string_view kScheme = "bearer ";
  if (const auto field = request.headers.Find("Authorization");
      field.has_value() && AsciiLower(field->substr(0, kScheme.size())) == kScheme) {
    std::string_view token = field->substr(kScheme.size());
    token.remove_prefix(std::min(token.find_first_not_of(' '), token.size()));
    return token;
  }
  return request.headers.Find("x-api-key").value_or(std::string_view());
}

Result<std::shared_ptr<const identity::Principal>> Admit(const http::Request& request,
                                                         Access access,
                                                         const AdmissionPolicy& policy) {
  if (access == Access::kOpen) {
    return nullptr;
  }
  const std::string_view token = TokenOf(request);
  if (!token.empty() && policy.keys != nullptr) {
    identity::KeyRing::Lookup lookup = policy.keys->Check(token);
    if (lookup.principal != nullptr) {
      TW_RETURN_IF_ERROR(CheckScope(*lookup.principal, access));
      return std::move(lookup.principal);
    }
    LogRefusal(lookup);
  }
  // SDKs insist on some token: one that is not ours is as good as none, and no better.
  const bool is_closed = policy.keys != nullptr && policy.keys->is_closed();
  if (is_closed || access == Access::kManage) {
    return NoGoodToken(!token.empty());
  }
  TW_RETURN_IF_ERROR(AdmitWithoutToken(request, policy));
  return identity::AnonymousPrincipal();
}

Status CheckAllowed(const identity::Principal* caller, std::string_view model,
                    std::string_view provider) {
  if (caller != nullptr && !caller->MayUseModel(model)) {
    return Fail(ErrorCode::kPermissionDenied,
                "This token may not use this model; its allow-list names others.", "model");
  }
  if (caller != nullptr && !caller->MayUseProvider(provider)) {
    return Fail(ErrorCode::kPermissionDenied,
                fmt::format("This token may not use the provider {}.", provider), "model");
  }
  return {};
}

Result<std::optional<identity::Membership>> BillTo(const http::Request& request,
                                                   const identity::Principal& caller) {
  const auto named = request.headers.Find("X-HF-Bill-To");
  if (!named.has_value()) {
    return std::nullopt;
  }
  TW_ASSIGN_OR_RETURN(identity::Membership membership, identity::BillTo(caller, *named));
  return std::optional(std::move(membership));
}

http::Headers CorsHeaders(const http::Request& request, const AdmissionPolicy& policy) {
  http::Headers headers;
  if (policy.cors_origins.empty()) {
    return headers;
  }
  headers.Set("Vary", "Origin");
  if (const std::string* origin = AllowedOrigin(request, policy)) {
    headers.Set("Access-Control-Allow-Origin", *origin);
    headers.Set("Access-Control-Expose-Headers",
                "x-request-id, Inference-Id, x-inference-provider, x-tradewind-route, "
                "x-tradewind-cost-nanousd, x-tradewind-price-version, x-tradewind-receipt, "
                "x-tradewind-ignored, x-tradewind-hold-nanousd, x-tradewind-max-tokens-applied, "
                "Idempotent-Replayed, Retry-After, X-Error-Message");
  }
  return headers;
}

bool IsPreflight(const http::Request& request) {
  return request.method == "OPTIONS" && request.headers.Find("Origin").has_value() &&
         request.headers.Find("Access-Control-Request-Method").has_value();
}

http::Response AnswerPreflight(const http::Request& request, const AdmissionPolicy& policy) {
  http::Response response;
  const std::string* origin = AllowedOrigin(request, policy);
  response.status = origin == nullptr ? 403 : 204;
  response.headers.Set("Vary", "Origin");
  if (origin != nullptr) {
    response.headers.Set("Access-Control-Allow-Origin", *origin);
    response.headers.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE");
    response.headers.Set("Access-Control-Allow-Headers", AllowedHeaders(request));
    response.headers.Set("Access-Control-Max-Age", "600");
  }
  return response;
}

bool IsLoopbackHost(std::string_view host) {
  const size_t colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && IsDigits(host.substr(colon + 1));
  const std::string name = AsciiLower(has_port ? host.substr(0, colon) : host);
  return name == "localhost" || name == "[::1]" || IsLoopbackV4(name);
}

Status AdmitWithoutToken(const http::Request& request, const AdmissionPolicy& policy) {
  if (!policy.listener_is_loopback || !request.peer_is_loopback) {
    return Fail(ErrorCode::kUnauthenticated,
                "A token is needed: send it as `Authorization: Bearer TOKEN`.");
  }
  const auto host = request.headers.Find("Host");
  if (!host.has_value() || !IsLoopbackHost(*host)) {
    return Fail(ErrorCode::kPermissionDenied,
                "The Host header must be localhost, 127.0.0.1 or [::1] for calls without a token.");
  }
  const auto& fields = request.headers.all();
  const bool forwarded = std::any_of(fields.begin(), fields.end(), [](const auto& field) {
    const std::string name = AsciiLower(field.first);
    return name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-");
  });
  if (forwarded) {
    return Fail(ErrorCode::kPermissionDenied,
                "This request came through a proxy, and calls without a token are taken from this "
                "device only.");
  }
  const auto origin = request.headers.Find("Origin");
  if (origin.has_value() && AsciiLower(*origin) != "http://" + AsciiLower(*host)) {
    return Fail(ErrorCode::kPermissionDenied,
                "Web pages of other origins may not call this server.");
  }
  if (request.method == "POST") {
    const auto type = request.headers.Find("Content-Type");
    if (!type.has_value() || !IsJson(*type)) {
      return Fail(ErrorCode::kUnsupportedMediaType,
                  "Send the body with Content-Type: application/json.");
    }
  }
  return {};
}

}  // namespace tradewind::gateway
