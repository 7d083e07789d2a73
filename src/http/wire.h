// The text of HTTP/1.1 that we write ourselves, and request targets. Source: RFC 9110, RFC 9112,
// RFC 3986.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/http.h"

namespace tradewind::http {

bool SameToken(std::string_view a, std::string_view b);  // ASCII, without case
bool IsFieldName(std::string_view name);                 // a token
bool IsFieldValue(
    std::string_view value);  // no control characters but tabs: nothing can end the line

// Fields that say how long a message is and what becomes of the connection: ours to decide, never a
// handler's or caller's.
bool FramesTheMessage(std::string_view name);

// "/v1/a%2Fb?x=1" -> "/v1/a/b", "x=1".
struct Target {
  std::string path;
  std::string query;
  std::optional<std::string> authority;  // of "http://host/path", which overrules Host
};

// Errors: kInvalidArgument (neither "/path" nor "http://host/path" nor "*", a bad escape, a path
// that is not UTF-8 or holds control characters).
Result<Target> ParseTarget(std::string_view text);

enum class Framing {
  kNone,  // the status allows no body
  kContentLength,
  kChunked,
  kUntilClose,  // HTTP/1.0 and a length that is not known
};

struct ResponseHead {
  int status = 200;
  const Headers* headers = nullptr;  // the handler's; fields that frame the message are left out
  Framing framing = Framing::kNone;
  int64_t content_length = 0;
  bool keep_alive = true;
  bool http_1_0 = false;  // such a client has to be told that the connection stays
};

bool StatusAllowsBody(int status);

// Up to and with the empty line. Errors: kInvalidArgument (a status outside 200..599, a field name
// or value that could break out of its line).
Result<std::string> FormatResponseHead(const ResponseHead& head);

struct RequestHead {
  std::string_view method;
  std::string_view target_prefix;  // stands before the target
  std::string_view target;
  std::string_view authority;        // for Host
  const Headers* headers = nullptr;  // the caller's; Host and fields that frame are left out
  std::optional<int64_t> content_length;
  bool keep_alive = true;
  bool asks_for_identity = false;  // Accept-Encoding: identity, in place of the caller's
};

// Up to and with the empty line; User-Agent is added if missing. Errors: kInvalidArgument (a
// character in method, target, field name or value that HTTP does not allow there).
Result<std::string> FormatRequestHead(const RequestHead& head);

// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string FormatHttpDate(int64_t unix_seconds);

}  // namespace tradewind::http
