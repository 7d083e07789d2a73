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
  std::string id;
};

// "data: {...}\n\n" with exactly one space, one line per line of data.
std::string FormatSseData(std::string_view data);
std::string FormatSseEvent(std::string_view event, std::string_view data);
std::string FormatSseComment(std::string_view text);   // ": text\n\n"

// Incremental: bytes may be cut anywhere (inside a CRLF, inside a character). Bounded by kSseLineBytesMax.
class SseParser {
 public:
  // Appends bytes; complete events are added to `events`. Errors: kPayloadTooLarge.
  Status Push(std::string_view bytes, std::vector<SseEvent>& events);

 private:
  std::string line_;
  SseEvent event_;
  bool has_data_ = false;
  bool last_was_cr_ = false;
  bool at_start_ = true;   // a byte-order mark may stand here
};

}  // namespace tradewind::http
