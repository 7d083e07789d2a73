// The reading of responses without sockets: heads, chunks, compression.
#include "http/response_head.h"

#include <zlib.h>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "http/body_decoder.h"
#include "http/inflater.h"

namespace tradewind::http {
namespace {

Result<ReceivedHead> Head(std::string_view text, bool answers_head = false) {
  return ParseResponseHead(text, answers_head);
}

TEST(ResponseHead, SaysHowLongTheBodyIsAndWhetherTheConnectionStays) {
  const auto length = Head("HTTP/1.1 200 OK\r\ncontent-LENGTH:  12 \r\n\r\n");
  ASSERT_TRUE(length.has_value()) << length.error().message;
  EXPECT_EQ(length->framing, BodyFraming::kContentLength);
  EXPECT_EQ(length->content_length, 12);
  EXPECT_TRUE(length->keep_alive);
  EXPECT_EQ(Head("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n")->framing,
            BodyFraming::kChunked);
  EXPECT_EQ(Head("HTTP/1.1 200 \r\n\r\n")->framing, BodyFraming::kUntilClose);
  EXPECT_FALSE(Head("HTTP/1.1 200 \r\n\r\n")->keep_alive);
  EXPECT_EQ(Head("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n")->framing, BodyFraming::kNone);
  EXPECT_EQ(Head("HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\n", true)->framing, BodyFraming::kNone);
  EXPECT_FALSE(
      Head("HTTP/1.1 200 x\r\nConnection: a, Close\r\nContent-Length: 9\r\n\r\n")->keep_alive);
  EXPECT_EQ(Head("HTTP/1.1 200 x\r\nKeep-Alive: max=9, timeout=5\r\n\r\n")->keep_alive_timeout_s,
            5);
  EXPECT_EQ(
      Head("HTTP/1.1 200 x\r\nContent-Length: 9\r\nContent-Length: 9\r\n\r\n")->content_length, 9);
}

TEST(ResponseHead, EndsAtItsEmptyLineWhereverItIsCut) {
  const std::string bytes = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody";
  const size_t end = bytes.size() - 4;
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const size_t first = FindHeadEnd(std::string_view(bytes).substr(0, cut), 0);
    EXPECT_EQ(first, cut >= end ? end : std::string_view::npos);
    EXPECT_EQ(FindHeadEnd(bytes, std::min(cut, end - 1)), end);
  }
}

// --- Bodies

// What `wire` decodes to in pieces of `step`; an error's name otherwise.
std::string Decode(std::string wire, size_t step) {
  BodyDecoder decoder;
  ReceivedHead head;
  head.framing = BodyFraming::kChunked;
  decoder.Begin(head);
  std::string body;
  for (size_t at = 0; at < wire.size() && !decoder.done(); at += step) {
    const size_t size = std::min(step, wire.size() - at);
    const auto decoded = decoder.Decode(wire.data() + at, size);
    if (!decoded.has_value()) {
      return std::string(ErrorCodeName(decoded.error().code));
    }
    body.append(wire, at, decoded->bytes);
  }
  return decoder.End().has_value() ? body : "cut";
}

TEST(BodyDecoder, GivesTheSameWhereverChunksAreCut) {
  for (size_t step = 1; step < 60; ++step) {
    EXPECT_EQ(Decode("3\r\nhel\r\n00A ; a=b\r\nlo, world!\r\n0\r\nT: x\r\n\r\nmore", step),
              "hello, world!");
    EXPECT_EQ(Decode("3\r\nhel\r\n0\r\n", step), "cut");
    EXPECT_EQ(Decode("3\r\nhelX", step), "io");
    EXPECT_EQ(Decode("3\nhel\r\n0\r\n\r\n", step), "io");
    EXPECT_EQ(Decode("g\r\n", step), "io");
    EXPECT_EQ(Decode("10000000000000000\r\n", step), "io");
  }
  EXPECT_EQ(Decode("1;" + std::string(limits::kChunkLineBytesMax, 'e') + "\r\nx", 100), "io");
  EXPECT_EQ(Decode("0\r\n" + std::string(limits::kHeaderBytesMax + 1, 't'), 100), "io");
}

// --- Compression

std::string Gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// All that `bytes` inflate to, in pieces of `step`; an error's name otherwise.
std::string Inflate(std::string_view bytes, size_t step) {
  Inflater inflater;
  std::string out;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    std::string_view piece = bytes.substr(0, step);
    while (true) {
      const auto inflated = inflater.Next(piece);
      if (!inflated.has_value()) {
        return std::string(ErrorCodeName(inflated.error().code));
      }
      if (inflated->empty()) {
        break;
      }
      out += *inflated;
    }
    EXPECT_TRUE(piece.empty());
  }
  return inflater.End().has_value() ? out : "cut";
}

TEST(Inflater, GivesTheSameWhereverItsInputIsCut) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) {
    text += "data: {\"token\":" + std::to_string(i * 7919) + "}\n\n";
  }
  const std::string packed = Gzip(text);
  for (const size_t step : {1, 7, 1000, 1 << 20}) {
    EXPECT_EQ(Inflate(packed, step), text);
    EXPECT_EQ(Inflate(packed + Gzip("more"), step), text + "more") << "members follow each other";
    EXPECT_EQ(Inflate(packed.substr(0, packed.size() - 9), step), "cut");
    EXPECT_EQ(Inflate("no gzip at all", step), "io");
  }
}

TEST(Inflater, RefusesABomb) {
  const std::string bomb = Gzip(std::string(100 << 20, '\0'));
  EXPECT_LT(bomb.size(), 200'000u);
  EXPECT_EQ(Inflate(bomb, 1000), "payload_too_large");
}

}  // namespace
}  // namespace tradewind::http
