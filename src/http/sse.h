// Server-sent events, both directions. Source: WHATWG HTML, section 9.2.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tradewind::http {

struct SseEvent {
  std::string event;  // "" = message
  std::string data;   // lines joined by \n
  std::string id;     // the last one seen so far: it stays for the events that follow
};

// "data: {...}\n\n" with exactly one space, one line per line of data.
std::string FormatSseData(std::string_view data);
std::string FormatSseEvent(std::string_view event, std::string_view data);
std::string FormatSseComment(std::string_view text);  // ": text\n\n"

// Incremental: bytes may be cut anywhere (inside a CRLF, inside a character). An event, and each of
// its lines, is bounded by kSseLineBytesMax. An event without its empty line at the end of the
// stream is not an event.
class SseParser {
 public:
  // Appends bytes; complete events are added to `events`. Errors: kPayloadTooLarge, after which the
  // parser is of no use.
  Status Push(std::string_view bytes, std::vector<SseEvent>& events);

 private:
  void TakeLine(std::string_view line, std::vector<SseEvent>& events);
  void TakeField(std::string_view line);

  std::string line_;
  SseEvent event_;  // in the making: its data ends with a line break
  bool has_data_ = false;
  bool last_was_cr_ = false;
  bool at_start_ = true;  // a byte-order mark may stand here
};

}  // namespace tradewind::http
