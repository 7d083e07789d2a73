#include "http/sse.h"

#include <utility>

#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::http {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Appends `prefix` + line for every line of `text`, whichever way its lines end: a line break in
// the text must never become one in the stream.
void AppendLines(std::string_view prefix, std::string_view text, std::string& out) {
  while (true) {
    const size_t end = text.find_first_of("\r\n");
    out.append(prefix).append(text.substr(0, end)).append("\n");
    if (end == std::string_view::npos) {
      return;
    }
    const bool crlf = text.substr(end, 2) == "\r\n";
    text.remove_prefix(end + (crlf ? 2 : 1));
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
  while (!bytes.empty()) {
    if (std::exchange(last_was_cr_, false) && bytes[0] == '\n') {
      bytes.remove_prefix(1);  // the second half of a CRLF
      continue;
    }
    const size_t end = bytes.find_first_of("\r\n");
    line_.append(bytes.substr(0, end));
    if (line_.size() + event_.data.size() > static_cast<size_t>(limits::kSseLineBytesMax)) {
      return Fail(
          ErrorCode::kPayloadTooLarge,
          fmt::format("a server-sent event is larger than {} bytes", limits::kSseLineBytesMax));
    }
    if (end == std::string_view::npos) {
      return {};
    }
    last_was_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    EndLine(events);
  }
  return {};
}

void SseParser::EndLine(std::vector<SseEvent>& events) {
  std::string_view line = line_;
  if (std::exchange(at_start_, false) && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  if (line.empty()) {
    if (has_data_) {
      event_.data.pop_back();  // the line break behind the last line
      events.push_back(event_);
    }
    // The last id stays: it belongs to the stream.
    event_.event.clear();
    event_.data.clear();
    has_data_ = false;
  } else {
    TakeField(line);
  }
  line_.clear();
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
