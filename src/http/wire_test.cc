#include "http/wire.h"

#include <gtest/gtest.h>

#include "http/request_reader.h"

namespace tradewind::http {
namespace {

TEST(Headers, NamesCompareWithoutCase) {
  Headers headers;
  headers.Add("X-A", "1");
  headers.Add("x-a", "2");
  EXPECT_EQ(headers.Find("X-a"), "1");
  headers.Set("x-A", "3");
  EXPECT_EQ(headers.all().size(), 1u);
  EXPECT_EQ(headers.Find("X-A"), "3");
  EXPECT_FALSE(headers.Find("X-B").has_value());
}

TEST(Target, IsSplitAndItsPathDecoded) {
  const auto target = ParseTarget("/v1/models/org%2Fname%20%C3%A9?q=%2F&x=/?");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->path, "/v1/models/org/name \xC3\xA9");
  EXPECT_EQ(target->query, "q=%2F&x=/?");
  EXPECT_FALSE(target->authority.has_value());
}

TEST(Target, MayBeAbsolute) {
  const auto target = ParseTarget("HTTP://example.org:80/a?b");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->path, "/a");
  EXPECT_EQ(target->query, "b");
  EXPECT_EQ(target->authority, "example.org:80");
  EXPECT_EQ(ParseTarget("http://example.org")->path, "/");
  EXPECT_EQ(ParseTarget("http://example.org?x")->query, "x");
  EXPECT_EQ(ParseTarget("*")->path, "*");
}

TEST(Target, ThatIsWrongIsRefused) {
  for (const std::string text :
       {"", "a", "http://", "http:///a", "https://a/b", "example.org:443", "/%", "/%a", "/%g0",
        "/%+1", "/%0a", "/%7F", "/%FF", "/%C3", "/a#b", "*a"}) {
    const auto target = ParseTarget(text);
    ASSERT_FALSE(target.has_value()) << text;
    EXPECT_EQ(target.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(RequestReader, AbsoluteTargetsOverruleTheHost) {
  RequestReader reader(1000, 1000);
  reader.Append("GET http://127.0.0.1/a HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kComplete);
  const Request request = reader.Take();
  EXPECT_EQ(request.path, "/a");
  EXPECT_EQ(request.headers.Find("Host"), "127.0.0.1");
}

TEST(RequestReader, AnnouncedBodiesCostNoMemoryUntilTheyArrive) {
  RequestReader reader(1000, int64_t{1} << 40);
  reader.Append("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\nabc");
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kBody);
}

TEST(RequestReader, TellsHowFarItIs) {
  RequestReader reader(1000, 1000);
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kIdle);
  reader.Append("\r\n");
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kIdle);
  reader.Append("P");
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kHead);
  reader.Append("OST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n");
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kBody);
  EXPECT_TRUE(reader.expects_continue());
  EXPECT_TRUE(reader.keep_alive());
  reader.Append("bGET");
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kComplete);
  EXPECT_EQ(reader.Take().body, "b");
  EXPECT_TRUE(reader.has_pending_bytes());
  EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kHead);
}

TEST(RequestReader, ChunksMayArriveByteByByte) {
  for (const std::string end : {"0\r\n\r\n", "0\r\nD: x\r\n\r\n"}) {
    RequestReader reader(1000, 1000);
    const std::string text =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;e\r\nbc\r\n" +
        end;
    for (size_t i = 0; i < text.size(); ++i) {
      ASSERT_NE(reader.Advance().value(), RequestReader::Progress::kComplete) << i;
      reader.Append(text.substr(i, 1));
    }
    EXPECT_EQ(reader.Advance().value(), RequestReader::Progress::kComplete);
    const Request request = reader.Take();
    EXPECT_EQ(request.body, "abc");
    EXPECT_FALSE(request.headers.Find("D").has_value());
  }
}

TEST(ResponseHead, DateIsTheFormOfTheRfc) {
  EXPECT_EQ(FormatHttpDate(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(FormatHttpDate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
}

TEST(ResponseHead, StatusesThatAreNoAnswerAreRefused) {
  const Headers headers;
  for (const int status : {-1, 0, 100, 199, 600, 1000}) {
    ResponseHead head;
    head.status = status;
    head.headers = &headers;
    EXPECT_FALSE(FormatResponseHead(head).has_value()) << status;
  }
}

}  // namespace
}  // namespace tradewind::http
