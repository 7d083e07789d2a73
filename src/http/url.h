// Where an upstream is. Source: RFC 3986; hosts as WHATWG URL reads them, but stricter: what two
// readers could take for different hosts is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind::http {

struct Url {
  std::string scheme;         // "http" or "https"
  std::string host;           // lower case; an IPv6 address without its brackets
  uint16_t port = 0;          // the scheme's own when the text has none
  std::string target_prefix;  // "" or "/v1": what stands before every target, without a last '/'

  bool is_tls() const { return scheme == "https"; }
  // "host", "host:8443", "[::1]:80": as the Host field has it, without the scheme's own port.
  std::string Authority() const;
};

// "https://api.example.com/v1". Errors: kInvalidArgument: another scheme, no host, user or
// password, query, fragment, characters outside of visible ASCII, a bad port; a host that looks
// like an IPv4 address but is not four plain decimal numbers ("2130706433", "0x7f.1", "127.1",
// "010.0.0.1"); one with a dot at its end.
Result<Url> ParseUrl(std::string_view text);

}  // namespace tradewind::http
