// However a connection's bytes are cut, the same requests come out of them; whatever is in them
// cannot break out of the head of a response.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "http/request_reader.h"
#include "http/response_reader.h"
#include "http/wire.h"

namespace {

using namespace tradewind;
using namespace tradewind::http;

constexpr int64_t kHeadBytesMax = 512;
constexpr int64_t kBodyBytesMax = 256;

void CheckRequest(const Request& request) {
  TW_CHECK(IsFieldName(request.method));
  TW_CHECK(request.path == "*" || request.path.starts_with('/'));
  TW_CHECK(IsValidUtf8(request.path));
  TW_CHECK(IsFieldValue(request.path));
  TW_CHECK(static_cast<int64_t>(request.body.size()) <= kBodyBytesMax);
  for (const auto& [name, value] : request.headers.all()) {
    TW_CHECK(IsFieldName(name) && IsFieldValue(value));
  }
}

// All requests as one text. Not the error that ends them: a malformed head is noticed at once in
// one piece, but in several perhaps only with its end.
std::string Read(std::string_view bytes, size_t step) {
  RequestReader reader(kHeadBytesMax, kBodyBytesMax);
  std::string out;
  while (!bytes.empty()) {
    reader.Append(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
    while (true) {
      const auto progress = reader.Advance();
      if (!progress.has_value()) {
        TW_CHECK(reader.error_status() >= 400);
        return out;
      }
      if (*progress != RequestReader::Progress::kComplete) {
        break;
      }
      out += reader.keep_alive() ? "+" : "-";
      const Request request = reader.Take();
      CheckRequest(request);
      out += request.method + " " + request.path + "?" + request.query + "\n" + request.body + "\n";
      for (const auto& [name, value] : request.headers.all()) {
        out.append(name).append(":").append(value).append("\n");
      }
    }
  }
  return out;
}

void CheckResponseHead(std::string_view text) {
  Headers headers;
  headers.Add("X-Text", std::string(text));
  headers.Add(std::string(text.substr(0, 8)), "value");
  ResponseHead head;
  head.headers = &headers;
  head.framing = Framing::kContentLength;
  const auto formatted = FormatResponseHead(head);
  if (formatted.has_value()) {
    TW_CHECK(formatted->find("\r\n\r\n") == formatted->size() - 4);
    TW_CHECK(std::ranges::count(*formatted, '\n') <= 6);
    TW_CHECK(std::ranges::count(*formatted, '\n') == std::ranges::count(*formatted, '\r'));
  }
}

void ReadAsResponse(std::string_view bytes, size_t step) {
  size_t body_bytes = 0;
  ResponseReader reader(false, {}, [&body_bytes](std::string_view body) {
    body_bytes += body.size();
    return true;
  });
  const size_t all = bytes.size();
  while (!bytes.empty() && !reader.done()) {
    if (!reader.Push(bytes.substr(0, step)).has_value()) {
      return;
    }
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  TW_CHECK(!reader.PushEnd().has_value() || reader.done());
  TW_CHECK(body_bytes <= all);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const size_t step = 1 + data[0] % 32;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  TW_CHECK(Read(bytes, bytes.size() + 1) == Read(bytes, step));
  CheckResponseHead(bytes);
  ReadAsResponse(bytes, step);
  return 0;
}
