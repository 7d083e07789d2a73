// However a stream is cut, its events are the same; and what is formatted is read back as one
// event.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "http/sse.h"

namespace {

using tradewind::http::SseEvent;
using tradewind::http::SseParser;

std::vector<SseEvent> Parse(std::string_view bytes, size_t step) {
  SseParser parser;
  std::vector<SseEvent> events;
  while (!bytes.empty()) {
    TW_CHECK(parser.Push(bytes.substr(0, step), events).has_value());
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  return events;
}

bool Same(const SseEvent& a, const SseEvent& b) {
  return a.event == b.event && a.data == b.data && a.id == b.id;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const size_t step = 1 + data[0] % 16;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<SseEvent> whole = Parse(bytes, bytes.size() + 1);
  const std::vector<SseEvent> pieces = Parse(bytes, step);
  TW_CHECK(whole.size() == pieces.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    TW_CHECK(Same(whole[i], pieces[i]));
    TW_CHECK(!whole[i].event.contains('\n') && !whole[i].data.contains('\r'));
  }
  const std::vector<SseEvent> own = Parse(tradewind::http::FormatSseEvent(bytes, bytes), step);
  TW_CHECK(own.size() == 1);
  TW_CHECK(Parse(tradewind::http::FormatSseComment(bytes), step).empty());
  return 0;
}
