#include "http/wire.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <string>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/utf8.h"

namespace tradewind::http {
namespace {

constexpr char LowerAscii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool IsTokenChar(char c) {
  const bool alphanumeric =
      (c >= '0' && c <= '9') || (LowerAscii(c) >= 'a' && LowerAscii(c) <= 'z');
  return alphanumeric || (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").contains(c));
}

// Every name of every message is looked at, on its way in and out.
constexpr auto kIsTokenChar = [] {
  std::array<bool, 256> table{};
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = IsTokenChar(static_cast<char>(i));
  }
  return table;
}();

bool IsControl(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = LowerAscii(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// No value when an escape is cut or not hexadecimal.
std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) {
      return std::nullopt;
    }
    const int high = HexDigit(text[i + 1]);
    const int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) {
      return std::nullopt;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 402:
      return "Payment Required";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "";  // the phrase may be empty, and clients ignore it
  }
}

// One formatting per thread and second: the head of every response carries it.
std::string_view CurrentHttpDate() {
  thread_local int64_t second = -1;
  thread_local std::string text;
  const int64_t now = SystemClock().UnixSeconds();
  if (now != second) {
    second = now;
    text = FormatHttpDate(now);
  }
  return text;
}

}  // namespace

bool SameToken(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return LowerAscii(x) == LowerAscii(y); });
}

bool IsFieldName(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return kIsTokenChar[static_cast<unsigned char>(c)];
  });
}

bool IsFieldValue(std::string_view value) {
  return std::ranges::none_of(value, [](char c) { return IsControl(c) && c != '\t'; });
}

bool FramesTheMessage(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "content-length", "transfer-encoding", "connection", "keep-alive", "date", "te", "trailer",
      "upgrade"};
  return std::ranges::any_of(kNames, [name](std::string_view own) {
    return own.size() == name.size() && SameToken(own, name);
  });
}

Result<Target> ParseTarget(std::string_view text) {
  const auto bad = [](std::string_view what) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("the request target {}", what));
  };
  Target target;
  constexpr std::string_view kScheme = "http://";
  if (SameToken(text.substr(0, kScheme.size()), kScheme)) {
    text.remove_prefix(kScheme.size());
    const size_t end = std::min(text.find_first_of("/?"), text.size());
    target.authority = std::string(text.substr(0, end));
    text.remove_prefix(end);
    if (target.authority->empty()) {
      return bad("names no host");
    }
  } else if (!text.starts_with('/') && text != "*") {
    return bad("must start with '/'");
  }
  if (text.contains('#')) {
    return bad("must not have a fragment");
  }
  const size_t question = std::min(text.find('?'), text.size());
  std::optional<std::string> path = PercentDecode(text.substr(0, question));
  if (!path.has_value()) {
    return bad("has a percent escape that is not two hexadecimal digits");
  }
  if (std::ranges::any_of(*path, IsControl) || !IsValidUtf8(*path)) {
    return bad("must be UTF-8 without control characters");
  }
  target.path = path->empty() ? "/" : std::move(*path);
  target.query = text.substr(std::min(question + 1, text.size()));
  return target;
}

bool StatusAllowsBody(int status) {
  return status >= 200 && status != 204 && status != 304;
}

Result<std::string> FormatResponseHead(const ResponseHead& head) {
  if (head.status < 200 || head.status > 599) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is not the status of a response", head.status));
  }
  std::string text;
  text.reserve(512);
  text.append("HTTP/1.1 ").append(std::to_string(head.status)).append(" ");
  text.append(ReasonPhrase(head.status)).append("\r\nDate: ").append(CurrentHttpDate());
  text.append("\r\n");
  for (const auto& [name, value] : head.headers->all()) {
    if (!IsFieldName(name) || !IsFieldValue(value)) {
      return Fail(ErrorCode::kInvalidArgument,
                  "a response header has a character that HTTP does not allow");
    }
    if (!FramesTheMessage(name)) {
      text.append(name).append(": ").append(value).append("\r\n");
    }
  }
  if (head.framing == Framing::kContentLength) {
    text.append("Content-Length: ").append(std::to_string(head.content_length)).append("\r\n");
  } else if (head.framing == Framing::kChunked) {
    text += "Transfer-Encoding: chunked\r\n";
  }
  if (!head.keep_alive) {
    text += "Connection: close\r\n";
  } else if (head.http_1_0) {
    text += "Connection: keep-alive\r\n";
  }
  text += "\r\n";
  return text;
}

namespace {

bool IsVisible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7F; });
}

Status AppendRequestFields(const RequestHead& head, std::string& text) {
  bool names_agent = false;
  for (const auto& [name, value] : head.headers->all()) {
    if (!IsFieldName(name) || !IsFieldValue(value)) {
      return Fail(ErrorCode::kInvalidArgument,
                  "a request header has a character that HTTP does not allow");
    }
    if (FramesTheMessage(name) || SameToken(name, "Host") ||
        (head.asks_for_identity && SameToken(name, "Accept-Encoding"))) {
      continue;
    }
    names_agent = names_agent || SameToken(name, "User-Agent");
    text.append(name).append(": ").append(value).append("\r\n");
  }
  if (!names_agent) {
    text += "User-Agent: tradewind/" TW_VERSION "\r\n";
  }
  return {};
}

}  // namespace

Result<std::string> FormatRequestHead(const RequestHead& head) {
  const std::string_view start = head.target_prefix.empty() ? head.target : head.target_prefix;
  if (!IsFieldName(head.method) || start.empty() || !IsVisible(head.target_prefix) ||
      !IsVisible(head.target) || !IsVisible(head.authority)) {
    return Fail(ErrorCode::kInvalidArgument,
                "the request's method or target has a character that HTTP does not allow");
  }
  std::string text;
  text.reserve(512);
  text.append(head.method).append(" ").append(head.target_prefix).append(head.target);
  text.append(" HTTP/1.1\r\nHost: ").append(head.authority).append("\r\n");
  if (!head.keep_alive) {
    text += "Connection: close\r\n";
  }
  TW_RETURN_IF_ERROR(AppendRequestFields(head, text));
  if (head.asks_for_identity) {
    text += "Accept-Encoding: identity\r\n";
  }
  if (head.content_length.has_value()) {
    text.append("Content-Length: ").append(std::to_string(*head.content_length)).append("\r\n");
  }
  text += "\r\n";
  return text;
}

std::string FormatHttpDate(int64_t unix_seconds) {
  static constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                            "Thu", "Fri", "Sat"};
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                     kDays[static_cast<size_t>(utc.tm_wday)], utc.tm_mday,
                     kMonths[static_cast<size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                     utc.tm_min, utc.tm_sec);
}

}  // namespace tradewind::http
