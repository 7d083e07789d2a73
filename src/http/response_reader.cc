#include "http/response_reader.h"

#include <string>
#include <utility>

#include <boost/beast/http/basic_parser.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "http/least_input.h"

namespace tradewind::http {

namespace beast = boost::beast;
using beast::error_code;
using BeastError = beast::http::error;

class ResponseReader::Parser final : public beast::http::basic_parser<false> {
 public:
  Parser(const std::function<void(const Response&)>& on_head,
         const std::function<bool(std::string_view)>& on_body)
      : on_head_(on_head), on_body_(on_body) {}

  Response response;
  bool stopped = false;

 private:
  void on_response_impl(int status, beast::string_view, int, error_code&) override {
    response.status = status;
  }
  void on_field_impl(beast::http::field, beast::string_view name, beast::string_view value,
                     error_code&) override {
    if (!is_header_done_) {  // what comes later are trailers
      response.headers.Add(std::string(name), std::string(value));
    }
  }
  void on_header_impl(error_code&) override {
    is_header_done_ = true;
    if (on_head_ && response.status >= 200) {
      on_head_(response);
    }
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(beast::string_view body, error_code&) override { return Deliver(body); }
  void on_chunk_header_impl(std::uint64_t, beast::string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body, error_code&) override {
    return Deliver(body);
  }
  void on_finish_impl(error_code&) override {}
  void on_request_impl(beast::http::verb, beast::string_view, beast::string_view, int,
                       error_code&) override {}

  std::size_t Deliver(beast::string_view body) {
    if (!stopped && !body.empty()) {
      stopped = !on_body_({body.data(), body.size()});
    }
    return body.size();
  }

  const std::function<void(const Response&)>& on_head_;
  const std::function<bool(std::string_view)>& on_body_;
  bool is_header_done_ = false;
};

ResponseReader::ResponseReader(bool answers_head, std::function<void(const Response&)> on_head,
                               std::function<bool(std::string_view)> on_body)
    : answers_head_(answers_head), on_head_(std::move(on_head)), on_body_(std::move(on_body)) {
  Restart();
}

ResponseReader::~ResponseReader() = default;

void ResponseReader::Restart() {
  parser_ = std::make_unique<Parser>(on_head_, on_body_);
  parser_->header_limit(static_cast<std::uint32_t>(limits::kHeaderBytesMax));
  parser_->body_limit(boost::none);  // bounded by who takes the bytes
  parser_->skip(answers_head_);
}

Status ResponseReader::Push(std::string_view bytes) {
  buffer_.append(bytes);
  size_t offset = 0;
  while (!done() && !stopped() && buffer_.size() - offset >= LeastInput(*parser_)) {
    error_code error;
    const size_t used = parser_->put({buffer_.data() + offset, buffer_.size() - offset}, error);
    offset += used;
    const bool overlong = buffer_.size() - offset >= static_cast<size_t>(limits::kHeaderBytesMax);
    if (error == BeastError::header_limit || (error == BeastError::need_more && overlong)) {
      return Fail(
          ErrorCode::kPayloadTooLarge,
          fmt::format("the response's head is larger than {} bytes", limits::kHeaderBytesMax));
    }
    if (error && error != BeastError::need_more) {
      return Fail(ErrorCode::kIo, fmt::format("malformed HTTP response: {}", error.message()));
    }
    if (error || used == 0) {
      break;
    }
    if (parser_->is_done() && parser_->response.status < 200) {
      Restart();  // 100 Continue and its like come before the response
    }
  }
  buffer_.erase(0, offset);
  return {};
}

Status ResponseReader::PushEnd() {
  if (done()) {
    return {};
  }
  error_code error = BeastError::partial_message;
  if (parser_->got_some()) {
    parser_->put_eof(error);
  }
  if (error || !done()) {
    return Fail(ErrorCode::kIo, "the server closed the connection in the middle of its answer");
  }
  return {};
}

bool ResponseReader::done() const {
  return parser_->is_done();
}

bool ResponseReader::stopped() const {
  return parser_->stopped;
}

Response ResponseReader::Take() {
  return std::move(parser_->response);
}

}  // namespace tradewind::http
