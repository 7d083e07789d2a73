// Vectors for the guard against server-side request forgery.
#include "http/address_policy.h"

#include <gtest/gtest.h>

#include "http/url.h"

namespace tradewind::http {
namespace {

struct Vector {
  std::string_view address;
  AddressClass expected;
};

constexpr std::array kVectors = std::to_array<Vector>({
    {"1.1.1.1", AddressClass::kPublic},
    {"9.255.255.255", AddressClass::kPublic},
    {"11.0.0.0", AddressClass::kPublic},
    {"100.63.255.255", AddressClass::kPublic},
    {"100.128.0.0", AddressClass::kPublic},
    {"126.255.255.255", AddressClass::kPublic},
    {"128.0.0.0", AddressClass::kPublic},
    {"172.15.255.255", AddressClass::kPublic},
    {"172.32.0.0", AddressClass::kPublic},
    {"192.167.255.255", AddressClass::kPublic},
    {"192.169.0.0", AddressClass::kPublic},
    {"198.17.255.255", AddressClass::kPublic},
    {"223.255.255.255", AddressClass::kPublic},
    {"127.0.0.1", AddressClass::kLoopback},
    {"127.255.255.255", AddressClass::kLoopback},
    {"10.0.0.1", AddressClass::kPrivate},
    {"10.255.255.255", AddressClass::kPrivate},
    {"100.64.0.1", AddressClass::kPrivate},
    {"100.127.255.255", AddressClass::kPrivate},
    {"172.16.0.1", AddressClass::kPrivate},
    {"172.31.255.255", AddressClass::kPrivate},
    {"192.168.255.255", AddressClass::kPrivate},
    {"169.254.0.1", AddressClass::kLinkLocal},
    {"169.254.169.253", AddressClass::kLinkLocal},
    {"169.254.169.254", AddressClass::kMetadata},
    {"169.254.170.2", AddressClass::kMetadata},
    {"100.100.100.200", AddressClass::kMetadata},
    {"168.63.129.16", AddressClass::kMetadata},
    {"192.0.0.192", AddressClass::kMetadata},
    {"0.0.0.0", AddressClass::kUnspecified},
    {"0.1.2.3", AddressClass::kUnspecified},
    {"192.0.0.1", AddressClass::kReserved},
    {"192.0.2.1", AddressClass::kReserved},
    {"198.18.0.1", AddressClass::kReserved},
    {"198.19.255.255", AddressClass::kReserved},
    {"198.51.100.1", AddressClass::kReserved},
    {"203.0.113.1", AddressClass::kReserved},
    {"240.0.0.1", AddressClass::kReserved},
    {"192.88.99.1", AddressClass::kTranslated},
    {"224.0.0.1", AddressClass::kMulticast},
    {"239.255.255.255", AddressClass::kMulticast},
    {"255.255.255.255", AddressClass::kMulticast},
    {"2606:4700:4700::1111", AddressClass::kPublic},
    {"2a00:1450:4001::1", AddressClass::kPublic},
    {"::1", AddressClass::kLoopback},
    {"::", AddressClass::kUnspecified},
    {"fc00::1", AddressClass::kPrivate},
    {"fdff:ffff::1", AddressClass::kPrivate},
    {"fd00:ec2::254", AddressClass::kMetadata},
    {"fd20:ce::254", AddressClass::kMetadata},
    {"fe80::1", AddressClass::kLinkLocal},
    {"febf::1", AddressClass::kLinkLocal},
    {"fec0::1", AddressClass::kReserved},
    {"ff02::1", AddressClass::kMulticast},
    {"::ffff:127.0.0.1", AddressClass::kTranslated},
    {"::ffff:8.8.8.8", AddressClass::kTranslated},
    {"::127.0.0.1", AddressClass::kTranslated},
    {"::ffff:0:127.0.0.1", AddressClass::kTranslated},
    {"64:ff9b::a9fe:a9fe", AddressClass::kTranslated},
    {"64:ff9b:1::1", AddressClass::kTranslated},
    {"2002:7f00:1::", AddressClass::kTranslated},
    {"2001:0:7f00:1::", AddressClass::kTranslated},
    {"2001:db8::1", AddressClass::kReserved},
    {"2001:2::1", AddressClass::kReserved},
    {"3fff::1", AddressClass::kReserved},
    {"5f00::1", AddressClass::kReserved},
    {"100::1", AddressClass::kReserved},
    {"4000::1", AddressClass::kReserved},
});

TEST(AddressPolicy, KnowsTheClassOfEveryVector) {
  for (const Vector& vector : kVectors) {
    const auto address = ParseIpAddress(vector.address);
    ASSERT_TRUE(address.has_value()) << vector.address;
    EXPECT_EQ(AddressClassName(ClassifyAddress(*address)), AddressClassName(vector.expected))
        << vector.address;
  }
}

TEST(AddressPolicy, LetsPrivateAddressesPassOnlyWhereAllowedAndTheRestNever) {
  for (const Vector& vector : kVectors) {
    const IpAddress address = *ParseIpAddress(vector.address);
    const bool is_public = vector.expected == AddressClass::kPublic;
    const bool is_private =
        vector.expected == AddressClass::kPrivate || vector.expected == AddressClass::kLoopback;
    EXPECT_EQ(CheckAddress(address, false).has_value(), is_public) << vector.address;
    EXPECT_EQ(CheckAddress(address, true).has_value(), is_public || is_private) << vector.address;
  }
  const Status refused = CheckAddress(*ParseIpAddress("10.0.0.1"), false);
  EXPECT_TRUE(refused.error().message.contains("allow_private")) << refused.error().message;
}

TEST(AddressPolicy, TakesOnePlainSpellingOnly) {
  for (const std::string_view text :
       {"127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5",
        "256.1.1.1", " 1.1.1.1", "1.1.1.1 ", "1.1.1.", "[::1]", "::1%lo", "fe80::1%eth0", "",
        "1.1.1.1\n", "example.com"}) {
    EXPECT_FALSE(ParseIpAddress(text).has_value()) << text;
  }
  EXPECT_FALSE(ParseIpAddress(std::string_view("1.1.1.1\0", 8)).has_value());
}

// --- URLs

TEST(ParseUrl, ReadsSchemeHostPortAndPrefix) {
  const auto url = ParseUrl("HTTPS://API.Example.com/inference/v1/");
  ASSERT_TRUE(url.has_value()) << url.error().message;
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "api.example.com");
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(url->target_prefix, "/inference/v1");
  EXPECT_EQ(url->Authority(), "api.example.com");
  EXPECT_EQ(ParseUrl("http://127.0.0.1:9001/v1")->Authority(), "127.0.0.1:9001");
  EXPECT_EQ(ParseUrl("http://h")->port, 80);
  EXPECT_EQ(ParseUrl("http://h")->target_prefix, "");
  const auto v6 = ParseUrl("https://[2606:4700:0::1111]:8443");
  ASSERT_TRUE(v6.has_value()) << v6.error().message;
  EXPECT_EQ(v6->host, "2606:4700::1111");
  EXPECT_EQ(v6->Authority(), "[2606:4700::1111]:8443");
}

TEST(ParseUrl, RefusesWhatTwoReadersCouldTakeForDifferentHosts) {
  for (const std::string_view text : {"",
                                      "example.com",
                                      "//example.com",
                                      "ftp://example.com",
                                      "file:///etc/passwd",
                                      "https://",
                                      "https:///v1",
                                      "https://user@example.com",
                                      "https://user:pw@example.com",
                                      "https://example.com@evil.example",
                                      "https://example.com#@evil.example",
                                      "https://example.com?x=1",
                                      "https://example.com/v1#f",
                                      "https://exa mple.com",
                                      "https://example.com\\@evil.example",
                                      "https://example.com:",
                                      "https://example.com:0",
                                      "https://example.com:65536",
                                      "https://example.com:+80",
                                      "https://example.com:080000",
                                      "https://example.com.",
                                      "https://.example.com",
                                      "https://a..b",
                                      "https://-a.example",
                                      "https://ex\xC3\xA4mple.com",
                                      "https://2130706433",
                                      "https://0x7f000001",
                                      "https://0x7f.1",
                                      "https://0177.0.0.1",
                                      "https://127.1",
                                      "https://127.0.0.1.",
                                      "https://1.2.3",
                                      "https://256.256.256.256",
                                      "https://a.0x",
                                      "https://[::1",
                                      "https://::1",
                                      "https://[127.0.0.1]",
                                      "https://[::1%25lo]",
                                      "https://[::1]x",
                                      "https://[::1]:",
                                      "https://exam%70le.com",
                                      "https://example.com\n"}) {
    const auto url = ParseUrl(text);
    EXPECT_FALSE(url.has_value()) << text << " -> " << url->host;
  }
  EXPECT_FALSE(ParseUrl("https://" + std::string(64, 'a') + ".example").has_value());
}

}  // namespace
}  // namespace tradewind::http
