#include "http/url.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "http/address_policy.h"
#include "http/wire.h"

namespace tradewind::http {
namespace {

constexpr size_t kHostBytesMax = 253;
constexpr size_t kLabelBytesMax = 63;

std::unexpected<Error> Bad(std::string_view what) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("the address of an upstream {}", what),
              "base_url");
}

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// WHATWG's "ends in a number": what some reader would take for an IPv4 address, whatever its
// spelling.
bool LooksLikeIpv4(std::string_view host) {
  const std::string_view last = host.substr(host.rfind('.') + 1);
  const bool hexadecimal =
      last.starts_with("0x") && std::ranges::all_of(last.substr(2), [](char c) {
        return IsDigit(c) || (c >= 'a' && c <= 'f');
      });
  return hexadecimal || std::ranges::all_of(last, IsDigit);
}

Status CheckName(std::string_view host) {
  if (host.size() > kHostBytesMax) {
    return Bad("has a host of more than 253 characters");
  }
  if (LooksLikeIpv4(host) && !ParseIpAddress(host).has_value()) {
    return Bad("has a host that looks like an IPv4 address; write it as four decimal numbers");
  }
  for (size_t at = 0; at <= host.size();) {
    const size_t end = std::min(host.find('.', at), host.size());
    const std::string_view label = host.substr(at, end - at);
    const bool allowed = std::ranges::all_of(
        label, [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_'; });
    if (label.empty() || label.size() > kLabelBytesMax || label.front() == '-' ||
        label.back() == '-' || !allowed) {
      return Bad("has a host that is no DNS name; write other alphabets as punycode (xn--...)");
    }
    at = end + 1;
  }
  return {};
}

Result<uint16_t> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || !IsDigit(text.front()) ||
      text.size() > 5 || port < 1 || port > 65535) {
    return Bad("has a port that is not a number from 1 to 65535");
  }
  return static_cast<uint16_t>(port);
}

// "host", "host:port", "[v6]:port".
Status ParseAuthority(std::string_view text, Url& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) {
      return Bad("has a '[' without its ']'");
    }
    url.host = text.substr(1, close - 1);
    const auto address = ParseIpAddress(url.host);
    if (!address.has_value() || !address->is_v6) {
      return Bad("has brackets around what is no IPv6 address");
    }
    url.host = FormatIpAddress(*address);
    port = text.substr(close + 1);
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    url.host = text.substr(0, colon);
    std::ranges::transform(url.host, url.host.begin(), Lower);
    port = text.substr(colon);
    TW_RETURN_IF_ERROR(CheckName(url.host));
  }
  if (port.empty()) {
    return {};
  }
  if (port.size() < 2 || !port.starts_with(':')) {
    return Bad("has a port that is not a number from 1 to 65535");
  }
  TW_ASSIGN_OR_RETURN(url.port, ParsePort(port.substr(1)));
  return {};
}

}  // namespace

std::string Url::Authority() const {
  std::string text = host.contains(':') ? "[" + host + "]" : host;
  if (port != (is_tls() ? 443 : 80)) {
    text += ":" + std::to_string(port);
  }
  return text;
}

Result<Url> ParseUrl(std::string_view text) {
  if (!std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7F && c != '\\'; })) {
    return Bad("has a character that URLs do not allow");
  }
  Url url;
  const size_t scheme_end = text.find("://");
  const std::string_view scheme =
      scheme_end == std::string_view::npos ? std::string_view() : text.substr(0, scheme_end);
  if (!SameToken(scheme, "http") && !SameToken(scheme, "https")) {
    return Bad("must begin with https:// or http://");
  }
  url.scheme = SameToken(scheme, "https") ? "https" : "http";
  url.port = url.is_tls() ? 443 : 80;
  text.remove_prefix(scheme_end + 3);
  if (text.find_first_of("?#") != std::string_view::npos) {
    return Bad("must have neither a query nor a fragment");
  }
  const size_t path = std::min(text.find('/'), text.size());
  const std::string_view authority = text.substr(0, path);
  if (authority.contains('@')) {
    return Bad("must not carry a user or password; keys belong into api_key_env or api_key_file");
  }
  TW_RETURN_IF_ERROR(ParseAuthority(authority, url));
  url.target_prefix = text.substr(path);
  while (url.target_prefix.ends_with('/')) {
    url.target_prefix.pop_back();
  }
  return url;
}

}  // namespace tradewind::http
