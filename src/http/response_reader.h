// Bytes of a connection -> one response, without a socket. Source: RFC 9112; the grammar is
// Beast's.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "http/http.h"

namespace tradewind::http {

class ResponseReader {
 public:
  // `on_head`, if given, sees the final response's status and headers as soon as they are whole.
  // `on_body` gets the body's bytes in order, without their framing; false stops the reading.
  // `answers_head`: to a HEAD request, whose response has no body whatever its headers say.
  ResponseReader(bool answers_head, std::function<void(const Response&)> on_head,
                 std::function<bool(std::string_view)> on_body);
  ~ResponseReader();
  ResponseReader(const ResponseReader&) = delete;
  ResponseReader& operator=(const ResponseReader&) = delete;

  // Errors: kIo (not HTTP), kPayloadTooLarge (the head).
  Status Push(std::string_view bytes);
  // The connection ended. Errors: kIo (in the middle of the response).
  Status PushEnd();

  bool done() const;     // the response is whole
  bool stopped() const;  // on_body said so
  Response Take();       // status and headers

 private:
  class Parser;
  void Restart();

  const bool answers_head_;
  std::function<void(const Response&)> on_head_;
  std::function<bool(std::string_view)> on_body_;
  std::string buffer_;  // a head or a chunk's first line that is not whole yet
  std::unique_ptr<Parser> parser_;
};

}  // namespace tradewind::http
