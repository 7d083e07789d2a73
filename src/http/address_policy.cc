#include "http/address_policy.h"

#include <algorithm>
#include <span>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace tradewind::http {
namespace {

struct Range {
  std::string_view prefix;
  int bits;
  AddressClass address_class;
};

// The first that fits counts: exceptions stand before what they are cut out of.
constexpr std::array kIpv4Ranges = std::to_array<Range>({
    {"169.254.169.254", 32, AddressClass::kMetadata},  // most clouds
    {"169.254.170.2", 32, AddressClass::kMetadata},    // AWS ECS
    {"100.100.100.200", 32, AddressClass::kMetadata},  // Alibaba
    {"168.63.129.16", 32, AddressClass::kMetadata},    // Azure's wire server
    {"192.0.0.192", 32, AddressClass::kMetadata},      // Oracle
    {"0.0.0.0", 8, AddressClass::kUnspecified},
    {"10.0.0.0", 8, AddressClass::kPrivate},
    {"100.64.0.0", 10, AddressClass::kPrivate},
    {"127.0.0.0", 8, AddressClass::kLoopback},
    {"169.254.0.0", 16, AddressClass::kLinkLocal},
    {"172.16.0.0", 12, AddressClass::kPrivate},
    {"192.0.0.0", 24, AddressClass::kReserved},
    {"192.0.2.0", 24, AddressClass::kReserved},
    {"192.88.99.0", 24, AddressClass::kTranslated},  // 6to4 relays
    {"192.168.0.0", 16, AddressClass::kPrivate},
    {"198.18.0.0", 15, AddressClass::kReserved},
    {"198.51.100.0", 24, AddressClass::kReserved},
    {"203.0.113.0", 24, AddressClass::kReserved},
    {"224.0.0.0", 4, AddressClass::kMulticast},
    {"255.255.255.255", 32, AddressClass::kMulticast},
    {"240.0.0.0", 4, AddressClass::kReserved},
    {"0.0.0.0", 0, AddressClass::kPublic},
});

constexpr std::array kIpv6Ranges = std::to_array<Range>({
    {"fd00:ec2::254", 128, AddressClass::kMetadata},  // AWS
    {"fd00:ec2::23", 128, AddressClass::kMetadata},   // AWS EKS
    {"fd20:ce::254", 128, AddressClass::kMetadata},   // Google
    {"::", 128, AddressClass::kUnspecified},
    {"::1", 128, AddressClass::kLoopback},
    {"::", 96, AddressClass::kTranslated},            // IPv4-compatible
    {"::ffff:0:0", 96, AddressClass::kTranslated},    // IPv4-mapped
    {"::ffff:0:0:0", 96, AddressClass::kTranslated},  // IPv4-translated
    {"64:ff9b::", 96, AddressClass::kTranslated},     // NAT64
    {"64:ff9b:1::", 48, AddressClass::kTranslated},   // NAT64, local
    {"2001::", 32, AddressClass::kTranslated},        // Teredo
    {"2002::", 16, AddressClass::kTranslated},        // 6to4
    {"2001::", 23, AddressClass::kReserved},
    {"2001:db8::", 32, AddressClass::kReserved},
    {"3fff::", 20, AddressClass::kReserved},
    {"fc00::", 7, AddressClass::kPrivate},
    {"fe80::", 10, AddressClass::kLinkLocal},
    {"ff00::", 8, AddressClass::kMulticast},
    {"2000::", 3, AddressClass::kPublic},
    {"::", 0, AddressClass::kReserved},
});

bool HasPrefix(const IpAddress& address, const IpAddress& prefix, int bits) {
  const auto whole = static_cast<size_t>(bits / 8);
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, prefix.bytes.begin())) {
    return false;
  }
  const int rest = bits % 8;
  return rest == 0 || ((address.bytes[whole] ^ prefix.bytes[whole]) >> (8 - rest)) == 0;
}

}  // namespace

std::optional<IpAddress> ParseIpAddress(std::string_view text) {
  const std::string terminated(text);
  if (terminated.size() != std::string_view(terminated.c_str()).size()) {
    return std::nullopt;  // a NUL inside
  }
  IpAddress address;
  // inet_pton, unlike inet_aton, takes four decimal numbers without leading zeros only.
  if (::inet_pton(AF_INET, terminated.c_str(), address.bytes.data()) == 1) {
    return address;
  }
  address = IpAddress{.is_v6 = true};
  if (::inet_pton(AF_INET6, terminated.c_str(), address.bytes.data()) == 1) {
    return address;
  }
  return std::nullopt;
}

std::string FormatIpAddress(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(address.is_v6 ? AF_INET6 : AF_INET, address.bytes.data(), text.data(), text.size());
  return text.data();
}

AddressClass ClassifyAddress(const IpAddress& address) {
  const auto ranges =
      address.is_v6 ? std::span<const Range>(kIpv6Ranges) : std::span<const Range>(kIpv4Ranges);
  for (const Range& range : ranges) {
    if (HasPrefix(address, ParseIpAddress(range.prefix).value_or(IpAddress{}), range.bits)) {
      return range.address_class;
    }
  }
  return AddressClass::kReserved;
}

std::string_view AddressClassName(AddressClass address_class) {
  switch (address_class) {
    case AddressClass::kPublic:
      return "public";
    case AddressClass::kLoopback:
      return "loopback";
    case AddressClass::kPrivate:
      return "private";
    case AddressClass::kLinkLocal:
      return "link-local";
    case AddressClass::kMetadata:
      return "metadata";
    case AddressClass::kUnspecified:
      return "unspecified";
    case AddressClass::kMulticast:
      return "multicast";
    case AddressClass::kTranslated:
      return "translated";
    case AddressClass::kReserved:
      return "reserved";
  }
  return "reserved";
}

Status CheckAddress(const IpAddress& address, bool allow_private) {
  const AddressClass address_class = ClassifyAddress(address);
  const bool may_be_allowed =
      address_class == AddressClass::kLoopback || address_class == AddressClass::kPrivate;
  if (address_class == AddressClass::kPublic || (may_be_allowed && allow_private)) {
    return {};
  }
  return Fail(
      ErrorCode::kPermissionDenied,
      fmt::format("the upstream's name leads to a {} address{}", AddressClassName(address_class),
                  may_be_allowed ? "; its provider needs allow_private = true"
                                 : ", which no provider may use"),
      "base_url");
}

}  // namespace tradewind::http
