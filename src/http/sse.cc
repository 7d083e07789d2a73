#include "http/sse.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::http {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Finds line breaks one behind the other. Whichever way lines end, each byte is looked at twice: a
// text of CRs alone is not searched to its end for a LF again and again.
class LineBreaks {
 public:
  explicit LineBreaks(std::string_view text)
      : text_(text), cr_(text.find('\r')), lf_(text.find('\n')) {}

  // The first one at `from` or behind it, which never goes back; npos: there is none.
  size_t Next(size_t from) {
    if (cr_ < from) {
      cr_ = text_.find('\r', from);
    }
    if (lf_ < from) {
      lf_ = text_.find('\n', from);
    }
    return std::min(cr_, lf_);
  }

 private:
  std::string_view text_;
  size_t cr_, lf_;
};

// Appends `prefix` + line for every line of `text`, whichever way its lines end: a line break in
// the text must never become one in the stream.
void AppendLines(std::string_view prefix, std::string_view text, std::string& out) {
  LineBreaks breaks(text);
  for (size_t at = 0;;) {
    const size_t end = breaks.Next(at);
    out.append(prefix).append(text.substr(at, end - at)).append("\n");
    if (end == std::string_view::npos) {
      return;
    }
    at = end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
  }
}

}  // namespace

std::string FormatSseData(std::string_view data) {
  return FormatSseEvent("", data);
}

std::string FormatSseEvent(std::string_view event, std::string_view data) {
  std::string out;
  out.reserve(data.size() + event.size() + 32);
  if (!event.empty()) {
    out.append("event: ").append(event.substr(0, event.find_first_of("\r\n"))).append("\n");
  }
  AppendLines("data: ", data, out);
  out += '\n';
  return out;
}

std::string FormatSseComment(std::string_view text) {
  std::string out;
  AppendLines(": ", text, out);
  out += '\n';
  return out;
}

Status SseParser::Push(std::string_view bytes, std::vector<SseEvent>& events) {
  LineBreaks breaks(bytes);
  for (size_t at = 0; at < bytes.size();) {
    if (std::exchange(last_was_cr_, false) && bytes[at] == '\n') {
      ++at;  // the second half of a CRLF
      continue;
    }
    const size_t end = breaks.Next(at);
    const std::string_view part = bytes.substr(at, end - at);
    if (line_.size() + part.size() + event_.data.size() >
        static_cast<size_t>(limits::kSseLineBytesMax)) {
      return Fail(
          ErrorCode::kPayloadTooLarge,
          fmt::format("a server-sent event is larger than {} bytes", limits::kSseLineBytesMax));
    }
    if (end == std::string_view::npos) {
      line_.append(part);
      return {};
    }
    last_was_cr_ = bytes[end] == '\r';
    at = end + 1;
    if (line_.empty()) {
      TakeLine(part, events);
    } else {
      line_.append(part);
      TakeLine(line_, events);
      line_.clear();
    }
  }
  return {};
}

void SseParser::TakeLine(std::string_view line, std::vector<SseEvent>& events) {
  if (std::exchange(at_start_, false) && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  if (!line.empty()) {
    return TakeField(line);
  }
  if (has_data_) {
    event_.data.pop_back();  // the line break behind the last line
    events.push_back(event_);
  }
  // The last id stays: it belongs to the stream.
  event_.event.clear();
  event_.data.clear();
  has_data_ = false;
}

void SseParser::TakeField(std::string_view line) {
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value =
      colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) {
    value.remove_prefix(1);
  }
  if (name == "data") {
    event_.data.append(value).append("\n");
    has_data_ = true;
  } else if (name == "event") {
    event_.event = value;
  } else if (name == "id" && !value.contains('\0')) {
    event_.id = value;
  }
  // Comments have an empty name; `retry` is for browsers that reconnect; others are to be ignored.
}

}  // namespace tradewind::http
