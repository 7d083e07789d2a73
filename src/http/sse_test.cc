#include "http/sse.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace tradewind::http {
namespace {

// One line per event, so that cases can be compared as text: "type|id|data".
std::string Shown(const std::vector<SseEvent>& events) {
  std::string out;
  for (const SseEvent& event : events) {
    out += event.event + "|" + event.id + "|" + event.data + ";";
  }
  return out;
}

// Pushes `first` bytes, then `second`, then the rest.
std::string Parse(std::string_view bytes, size_t first = 0, size_t second = 0) {
  SseParser parser;
  std::vector<SseEvent> events;
  EXPECT_TRUE(parser.Push(bytes.substr(0, first), events).has_value());
  EXPECT_TRUE(parser.Push(bytes.substr(first, second), events).has_value());
  EXPECT_TRUE(parser.Push(bytes.substr(first + second), events).has_value());
  return Shown(events);
}

struct SseCase {
  const char* name;
  std::string stream;
  std::string events;
};

class SseParserCase : public ::testing::TestWithParam<SseCase> {};

TEST_P(SseParserCase, GivesTheSameEventsHoweverItIsCut) {
  const std::string& stream = GetParam().stream;
  EXPECT_EQ(Parse(stream), GetParam().events);
  for (size_t first = 0; first <= stream.size(); ++first) {
    for (size_t second = 0; second <= stream.size() - first; ++second) {
      ASSERT_EQ(Parse(stream, first, second), GetParam().events) << first << " + " << second;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Streams, SseParserCase,
    ::testing::Values(
        SseCase{"empty", "", ""}, SseCase{"line_feeds", "data: a\n\ndata: b\n\n", "||a;||b;"},
        SseCase{"carriage_returns", "data: a\r\rdata: b\r\r", "||a;||b;"},
        SseCase{"both", "data: a\r\n\r\ndata: b\r\n\r\n", "||a;||b;"},
        SseCase{"mixed", "data: a\r\n\ndata: b\n\r\ndata: c\r\n\rdata: d\n\r", "||a;||b;||c;||d;"},
        SseCase{"byte_order_mark",
                "\xEF\xBB\xBF"
                "data: a\n\n",
                "||a;"},
        SseCase{"second_byte_order_mark",
                "data: a\n\n\xEF\xBB\xBF"
                "data: b\n\n",
                "||a;"},
        SseCase{"several_lines", "data: a\ndata:\ndata: b\n\n", "||a\n\nb;"},
        SseCase{"one_space_only", "data:  a\n\ndata:a\n\ndata:\ta\n\n", "|| a;||a;||\ta;"},
        SseCase{"empty_data", "data\n\ndata:\n\n", "||;||;"},
        SseCase{"comments", ": ping\n\n:\ndata: a\n: x\n\n", "||a;"},
        SseCase{"event_type", "event: error\ndata: a\n\ndata: b\n\n", "error||a;||b;"},
        SseCase{"event_without_data", "event: error\n\ndata: b\n\n", "||b;"},
        SseCase{"id_stays", "id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "|7|a;|7|b;||c;"},
        SseCase{"id_with_null", std::string("id: 7\nid: a\0b\ndata: c\n\n", 23), "|7|c;"},
        SseCase{"unknown_fields", "retry: 5\nfoo: bar\nDATA: x\n data: y\ndata: a\n\n", "||a;"},
        SseCase{"colons_in_data", "data: {\"a\": \"b: c\"}\n\n", "||{\"a\": \"b: c\"};"},
        SseCase{"many_bytes_per_character", "data: \xE2\x82\xAC\xF0\x9F\x98\x80\n\n",
                "||\xE2\x82\xAC\xF0\x9F\x98\x80;"},
        SseCase{"cut_short", "data: a\n\ndata: b\n", "||a;"},
        SseCase{"openai", "data: {\"x\":1}\n\ndata: [DONE]\n\n", "||{\"x\":1};||[DONE];"}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(SseParser, AnEndlessLineIsRefusedWithoutKeepingIt) {
  SseParser parser;
  std::vector<SseEvent> events;
  const std::string piece(1 << 20, 'x');
  Status status;
  int pushed = 0;
  while (status.has_value() && pushed < 100) {
    status = parser.Push(piece, events);
    ++pushed;
  }
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kPayloadTooLarge);
  EXPECT_EQ(pushed, limits::kSseLineBytesMax / (1 << 20) + 1);
}

TEST(SseParser, AnEndlessEventIsRefusedToo) {
  SseParser parser;
  std::vector<SseEvent> events;
  const std::string line = "data: " + std::string(1 << 20, 'x') + "\n";
  Status status;
  int pushed = 0;
  while (status.has_value() && pushed < 100) {
    status = parser.Push(line, events);
    ++pushed;
  }
  EXPECT_EQ(pushed, limits::kSseLineBytesMax / (1 << 20));
}

TEST(SseFormat, HasOneSpaceAndOneLinePerLine) {
  EXPECT_EQ(FormatSseData("{}"), "data: {}\n\n");
  EXPECT_EQ(FormatSseData(""), "data: \n\n");
  EXPECT_EQ(FormatSseData("a\nb"), "data: a\ndata: b\n\n");
  EXPECT_EQ(FormatSseEvent("ping", "a"), "event: ping\ndata: a\n\n");
  EXPECT_EQ(FormatSseComment("ping"), ": ping\n\n");
}

TEST(SseFormat, TextCannotForgeAnEvent) {
  EXPECT_EQ(FormatSseData("a\r\n\r\ndata: forged"), "data: a\ndata: \ndata: data: forged\n\n");
  EXPECT_EQ(FormatSseData("a\rb\r"), "data: a\ndata: b\ndata: \n\n");
  EXPECT_EQ(FormatSseEvent("x\ndata: forged", "a"), "event: x\ndata: a\n\n");
  EXPECT_EQ(FormatSseComment("a\ndata: forged\n"), ": a\n: data: forged\n: \n\n");
}

TEST(SseFormat, IsReadBackAsItWasWritten) {
  for (const std::string text : {"", " a", "a\nb", "\n", "a\n\nb", ": x", "data: y"}) {
    EXPECT_EQ(Parse(FormatSseEvent("kind", text)), "kind||" + text + ";");
  }
}

}  // namespace
}  // namespace tradewind::http
