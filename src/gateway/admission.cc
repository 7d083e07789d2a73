#include "gateway/admission.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>

namespace tradewind::gateway {
namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

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
  const std::string type = Lower(content_type.substr(0, content_type.find(';')));
  const size_t end = type.find_last_not_of(" \t");
  const std::string_view name =
      std::string_view(type).substr(0, end == std::string::npos ? 0 : end + 1);
  return name == "application/json" ||
         (name.starts_with("application/") && name.ends_with("+json"));
}

}  // namespace

bool IsLoopbackHost(std::string_view host) {
  const size_t colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && IsDigits(host.substr(colon + 1));
  const std::string name = Lower(has_port ? host.substr(0, colon) : host);
  return name == "localhost" || name == "[::1]" || IsLoopbackV4(name);
}

Status Admit(const http::Request& request, const AdmissionPolicy& policy) {
  if (!policy.listener_is_loopback || !request.peer_is_loopback) {
    return Fail(ErrorCode::kUnauthenticated,
                "Calls without a token are taken from this device only; connect to 127.0.0.1, or "
                "restart the server "
                "without --host.");
  }
  const auto host = request.headers.Find("Host");
  if (!host.has_value() || !IsLoopbackHost(*host)) {
    return Fail(ErrorCode::kPermissionDenied,
                "The Host header must be localhost, 127.0.0.1 or [::1] for calls without a token.");
  }
  const auto& fields = request.headers.all();
  const bool forwarded = std::any_of(fields.begin(), fields.end(), [](const auto& field) {
    const std::string name = Lower(field.first);
    return name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-");
  });
  if (forwarded) {
    return Fail(ErrorCode::kPermissionDenied,
                "This request came through a proxy, and calls without a token are taken from this "
                "device only.");
  }
  const auto origin = request.headers.Find("Origin");
  if (origin.has_value() && Lower(*origin) != "http://" + Lower(*host)) {
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
