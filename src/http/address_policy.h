// Which addresses an upstream may have: the guard against server-side request forgery. Sources:
// the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190); metadata services
// as the clouds document them.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind::http {

struct IpAddress {
  bool is_v6 = false;
  std::array<uint8_t, 16> bytes{};  // network order; an IPv4 address fills the first four
  auto operator<=>(const IpAddress&) const = default;
};

// Four plain decimal numbers, or IPv6 as RFC 4291 writes it, without brackets or zone.
std::optional<IpAddress> ParseIpAddress(std::string_view text);
std::string FormatIpAddress(const IpAddress& address);

enum class AddressClass {
  kPublic,
  kLoopback,     // 127/8, ::1
  kPrivate,      // RFC 1918, RFC 6598 (shared), RFC 4193 (unique local)
  kLinkLocal,    // 169.254/16, fe80::/10
  kMetadata,     // where clouds keep their machines' credentials, whatever network it lies in
  kUnspecified,  // 0/8, ::
  kMulticast,    // with broadcast
  kTranslated,   // IPv6 that carries an IPv4 address: mapped, compatible, NAT64, 6to4, Teredo
  kReserved,     // all else that is not globally routed
};
AddressClass ClassifyAddress(const IpAddress& address);
std::string_view AddressClassName(AddressClass address_class);  // "link-local"

// Public ones pass always, loopback and private ones only with `allow_private`, all others never.
// Errors: kPermissionDenied, naming the class and the setting, never the resolver's other answers.
Status CheckAddress(const IpAddress& address, bool allow_private);

}  // namespace tradewind::http
