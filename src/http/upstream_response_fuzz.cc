// Any bytes as an upstream's answer. They mean the same however they are cut; and where Beast's
// parser, the slow twin, takes the answer too, it reads the same status, fields and body.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "http/body_decoder.h"
#include "http/inflater.h"
#include "http/response_head.h"
#include "http/response_reader.h"

namespace {

using namespace tradewind;
using namespace tradewind::http;

struct Answer {
  int status = 0;
  std::string fields;
  std::string body;
  bool operator==(const Answer&) const = default;
};

std::string Fields(const Headers& headers) {
  std::string text;
  for (const auto& [name, value] : headers.all()) {
    text.append(name).append(":").append(value).append("\n");
  }
  return text;
}

// The whole answer; nothing where it is malformed or cut.
std::optional<Answer> Read(std::string_view bytes, size_t step) {
  for (size_t seen = 0;;) {
    const size_t arrived = std::min(bytes.size(), seen + step);
    const size_t size = FindHeadEnd(bytes.substr(0, arrived), seen);
    if (size == std::string_view::npos) {
      if (arrived == bytes.size()) {
        return std::nullopt;
      }
      seen = arrived;
      continue;
    }
    auto head = ParseResponseHead(bytes.substr(0, size), false);
    if (!head.has_value()) {
      return std::nullopt;
    }
    bytes.remove_prefix(size);
    seen = 0;
    if (head->status < 200) {
      continue;
    }
    Answer answer{head->status, Fields(head->headers), {}};
    BodyDecoder decoder;
    decoder.Begin(*head);
    while (!bytes.empty() && !decoder.done()) {
      std::string piece(bytes.substr(0, step));
      const auto decoded = decoder.Decode(piece.data(), piece.size());
      if (!decoded.has_value()) {
        return std::nullopt;
      }
      TW_CHECK(decoded->bytes <= decoded->used && decoded->used <= piece.size());
      TW_CHECK(decoded->used == piece.size() || decoder.done());
      answer.body.append(piece, 0, decoded->bytes);
      bytes.remove_prefix(decoded->used);
    }
    TW_CHECK(decoder.body_bytes() == static_cast<int64_t>(answer.body.size()));
    return decoder.End().has_value() ? std::optional(answer) : std::nullopt;
  }
}

std::optional<Answer> ReadByTwin(std::string_view bytes) {
  Answer answer;
  ResponseReader reader(false, {}, [&answer](std::string_view body) {
    answer.body += body;
    return true;
  });
  if (!reader.Push(bytes).has_value() || !reader.PushEnd().has_value()) {
    return std::nullopt;
  }
  const Response head = reader.Take();
  answer.status = head.status;
  answer.fields = Fields(head.headers);
  return answer;
}

void InflateAny(std::string_view bytes) {
  Inflater inflater;
  int64_t made = 0;
  while (true) {
    const size_t before = bytes.size();
    const auto inflated = inflater.Next(bytes);
    if (!inflated.has_value()) {
      return;
    }
    made += static_cast<int64_t>(inflated->size());
    TW_CHECK(made <= limits::kInflatedBytesFree +
                         limits::kInflateFactorMax * static_cast<int64_t>(before + (1 << 20)));
    if (inflated->empty()) {
      TW_CHECK(bytes.empty());
      return;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto whole = Read(bytes, bytes.size() + 1);
  TW_CHECK(whole == Read(bytes, 1 + data[0] % 32));
  const auto twin = ReadByTwin(bytes);
  if (whole.has_value() && twin.has_value()) {
    TW_CHECK(*whole == *twin);
  }
  InflateAny(bytes);
  return 0;
}
