// Bytes of a connection -> requests, without a socket: the server feeds it, and so does the fuzzer.
// Source: RFC 9112; the grammar is Beast's, stricter here where two readers of one request could
// disagree about where it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/http.h"

namespace tradewind::http {

class RequestReader {
 public:
  enum class Progress {
    kIdle,
    kHead,
    kBody,
    kComplete
  };  // kIdle: nothing of the next request is here yet

  // Bounds in bytes, of the head and of the body.
  RequestReader(int64_t head_bytes_max, int64_t body_bytes_max);
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // Appends what arrived. Bytes behind the end of the request are kept: they belong to the next
  // one.
  void Append(std::string_view bytes);

  // Reads as far as the bytes go. After an error nothing further can be read and error_status()
  // says what to answer. Errors: kInvalidArgument (400), kPayloadTooLarge (413, 431), kUnsupported
  // (501).
  Result<Progress> Advance();
  int error_status() const { return error_status_; }

  // From kBody on.
  bool keep_alive() const;
  bool http_1_0() const;
  bool expects_continue() const;  // the client waits for 100 before it sends its body

  int64_t body_bytes() const;            // arrived so far, without their framing
  int64_t announced_body_bytes() const;  // its Content-Length; 0 when chunked

  // After kComplete; the reader is then ready for the next request. `peer_is_loopback` is left to
  // the caller.
  Request Take();
  bool has_pending_bytes() const { return offset_ < buffer_.size(); }

 private:
  class Parser;

  std::unexpected<Error> Refuse(int status, ErrorCode code, std::string message);
  Status CheckHead();
  Result<Progress> AdvanceParser();

  const int64_t head_bytes_max_;
  const int64_t body_bytes_max_;
  std::string buffer_;
  size_t offset_ = 0;  // buffer_ before it is used up
  bool head_checked_ = false;
  size_t head_bytes_ = 0;  // used up so far
  int error_status_ = 0;
  std::unique_ptr<Parser> parser_;  // null between requests
};

}  // namespace tradewind::http
