// The head of a response, read strictly: where two readers could disagree about where the body
// ends, the answer is refused. No sockets, no copies of bodies. Source: RFC 9112; its slow twin is
// ResponseReader, against which the fuzzer holds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "http/http.h"

namespace tradewind::http {

enum class BodyFraming { kNone, kContentLength, kChunked, kUntilClose };

struct ReceivedHead {
  int status = 0;
  Headers headers;
  BodyFraming framing = BodyFraming::kNone;
  int64_t content_length = 0;
  bool keep_alive = false;           // by version, Connection and framing
  int64_t keep_alive_timeout_s = 0;  // of the Keep-Alive field; 0 = not named
};

// The size of the head that `bytes` begins with, its empty line included; npos while it is not
// whole. `searched` says how much of `bytes` an earlier call has seen.
size_t FindHeadEnd(std::string_view bytes, size_t searched);

// `text` is a whole head. `answers_head`: to a HEAD request, whose response has no body. Errors:
// kIo (not HTTP/1.x, a malformed field, contradicting lengths), kUnsupported (a transfer coding
// other than chunked), kPayloadTooLarge (more than kUpstreamHeaderFieldsMax fields).
Result<ReceivedHead> ParseResponseHead(std::string_view text, bool answers_head);

}  // namespace tradewind::http
