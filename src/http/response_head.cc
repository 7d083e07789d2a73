#include "http/response_head.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/limits.h"
#include "http/wire.h"

namespace tradewind::http {
namespace {

std::unexpected<Error> Malformed(std::string_view what) {
  return Fail(ErrorCode::kIo, std::string("malformed HTTP response: ").append(what));
}

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<int64_t> Number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || !IsDigit(text.front()) || error != std::errc() ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

// Calls `use` for every element of a comma-separated list.
template <class Use>
void ForEachElement(std::string_view list, Use use) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    use(Trim(list.substr(0, comma)));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

// What the fields say about the connection and the length of the body.
struct FramingFields {
  bool says_close = false;
  bool says_keep_alive = false;
  bool is_chunked = false;
  std::optional<int64_t> content_length;
};

// The length of a name decides first: this runs for every field of every answer.
Status TakeFramingField(std::string_view name, std::string_view value, FramingFields& fields,
                        ReceivedHead& head) {
  if (name.size() == 10 && SameToken(name, "connection")) {
    ForEachElement(value, [&fields](std::string_view token) {
      fields.says_close = fields.says_close || SameToken(token, "close");
      fields.says_keep_alive = fields.says_keep_alive || SameToken(token, "keep-alive");
    });
  } else if (name.size() == 10 && SameToken(name, "keep-alive")) {
    ForEachElement(value, [&head](std::string_view element) {
      if (element.size() > 8 && SameToken(element.substr(0, 8), "timeout=")) {
        head.keep_alive_timeout_s = Number(element.substr(8)).value_or(0);
      }
    });
  } else if (name.size() == 14 && SameToken(name, "content-length")) {
    const auto length = Number(value);
    if (!length.has_value() || fields.content_length.value_or(*length) != *length) {
      return Malformed("its Content-Length is not one number");
    }
    fields.content_length = length;
  } else if (name.size() == 17 && SameToken(name, "transfer-encoding")) {
    if (fields.is_chunked || !SameToken(value, "chunked")) {
      return Fail(ErrorCode::kUnsupported,
                  "the response has a transfer coding other than chunked, which was not asked for");
    }
    fields.is_chunked = true;
  }
  return {};
}

Status TakeField(std::string_view line, FramingFields& fields, ReceivedHead& head) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) {
    return Malformed("a header line has no colon");
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = Trim(line.substr(colon + 1));
  if (!IsFieldName(name) || !IsFieldValue(value)) {  // a folded line has a space in its name
    return Malformed("a header field has a character that HTTP does not allow");
  }
  if (head.headers.all().size() >= limits::kUpstreamHeaderFieldsMax) {
    return Fail(ErrorCode::kPayloadTooLarge, "the response has too many header fields");
  }
  TW_RETURN_IF_ERROR(TakeFramingField(name, value, fields, head));
  head.headers.Add(std::string(name), std::string(value));
  return {};
}

Status DecideFraming(const FramingFields& fields, bool is_http_1_0, bool answers_head,
                     ReceivedHead& head) {
  if (fields.is_chunked && (fields.content_length.has_value() || is_http_1_0)) {
    return Malformed("it is chunked and has a Content-Length, or is HTTP/1.0");
  }
  head.keep_alive = !fields.says_close && (!is_http_1_0 || fields.says_keep_alive);
  if (answers_head || !StatusAllowsBody(head.status)) {
    head.framing = BodyFraming::kNone;
  } else if (fields.is_chunked) {
    head.framing = BodyFraming::kChunked;
  } else if (fields.content_length.has_value()) {
    head.framing = BodyFraming::kContentLength;
    head.content_length = *fields.content_length;
  } else {
    head.framing = BodyFraming::kUntilClose;
    head.keep_alive = false;
  }
  return {};
}

}  // namespace

size_t FindHeadEnd(std::string_view bytes, size_t searched) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  const size_t at = bytes.find(kEnd, searched < kEnd.size() ? 0 : searched - kEnd.size() + 1);
  return at == std::string_view::npos ? at : at + kEnd.size();
}

Result<ReceivedHead> ParseResponseHead(std::string_view text, bool answers_head) {
  size_t end = text.find("\r\n");
  const std::string_view status_line = text.substr(0, end);
  // "HTTP/1.1 200 OK"; the phrase may be missing, and its space with it.
  const bool is_http = status_line.size() >= 12 && status_line.starts_with("HTTP/1.") &&
                       (status_line[7] == '0' || status_line[7] == '1') && status_line[8] == ' ' &&
                       IsDigit(status_line[9]) && IsDigit(status_line[10]) &&
                       IsDigit(status_line[11]) &&
                       (status_line.size() == 12 || status_line[12] == ' ');
  if (!is_http || !IsFieldValue(status_line)) {
    return Malformed("it does not begin with HTTP/1.1 and a status");
  }
  ReceivedHead head;
  head.status = (status_line[9] - '0') * 100 + (status_line[10] - '0') * 10 + status_line[11] - '0';
  if (head.status < 100) {
    return Malformed("its status is below 100");
  }
  FramingFields fields;
  text.remove_prefix(std::min(end + 2, text.size()));
  while (true) {
    end = text.find("\r\n");
    if (end == std::string_view::npos) {
      return Malformed("its head does not end with an empty line");
    }
    if (end == 0) {
      break;
    }
    TW_RETURN_IF_ERROR(TakeField(text.substr(0, end), fields, head));
    text.remove_prefix(end + 2);
  }
  TW_RETURN_IF_ERROR(DecideFraming(fields, status_line[7] == '0', answers_head, head));
  return head;
}

}  // namespace tradewind::http
