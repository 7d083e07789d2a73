// Takes the framing off a response's body, in place: what is left of a buffer is one run of bytes.
// No sockets. Source: RFC 9112, section 7.1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "http/response_head.h"

namespace tradewind::http {

class BodyDecoder {
 public:
  struct Decoded {
    size_t bytes = 0;  // of body, now at the beginning of the buffer
    size_t used = 0;   // of the buffer; less than all only when the body is done
  };

  // Ready for the body of `head`; a body of no bytes is done at once.
  void Begin(const ReceivedHead& head);

  // Errors: kIo (malformed chunks), after which nothing more can be decoded.
  Result<Decoded> Decode(char* bytes, size_t size);
  // The connection ended. Errors: kUnavailable (before the end of the body).
  Status End();

  bool done() const { return done_; }
  int64_t body_bytes() const { return body_bytes_; }

 private:
  enum class State { kSize, kExtension, kSizeLf, kData, kDataCr, kDataLf, kTrailer, kTrailerLf };

  Status TakeFramingByte(char c);
  Status TakeSizeByte(char c);
  Status EndSizeLine();
  Status TakeTrailerByte(char c);

  BodyFraming framing_ = BodyFraming::kNone;
  State state_ = State::kSize;
  int64_t left_ = 0;  // of the chunk, or of the whole body
  int digits_ = 0;
  int64_t line_bytes_ = 0;     // of a size's line, or of all trailers
  bool line_is_empty_ = true;  // of trailers
  bool done_ = true;
  int64_t body_bytes_ = 0;
};

}  // namespace tradewind::http
