#include "http/request_reader.h"

#include <algorithm>
#include <utility>

#include <boost/beast/http/basic_parser.hpp>
#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "http/least_input.h"
#include "http/wire.h"

namespace tradewind::http {

namespace beast = boost::beast;
using beast::error_code;
using BeastError = beast::http::error;

// Writes straight into a Request. Trailers of a chunked body are dropped: they come after the head
// was judged, and must not add an Authorization or Host to it.
class RequestReader::Parser final : public beast::http::basic_parser<true> {
 public:
  Request request;
  std::string target;
  bool http_1_0 = false;

 private:
  void on_request_impl(beast::http::verb, beast::string_view method,
                       beast::string_view request_target, int version, error_code&) override {
    request.method = std::string(method);
    target = std::string(request_target);
    http_1_0 = version == 10;
  }
  void on_field_impl(beast::http::field, beast::string_view name, beast::string_view value,
                     error_code&) override {
    if (!is_header_done_) {
      request.headers.Add(std::string(name), std::string(value));
    }
  }
  void on_header_impl(error_code&) override { is_header_done_ = true; }
  // The announced length is only a claim: memory grows with what really arrives.
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(beast::string_view body, error_code&) override {
    request.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, beast::string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body, error_code&) override {
    request.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code&) override {}
  void on_response_impl(int, beast::string_view, int, error_code&) override {}

  bool is_header_done_ = false;
};

RequestReader::RequestReader(int64_t head_bytes_max, int64_t body_bytes_max)
    : head_bytes_max_(head_bytes_max), body_bytes_max_(body_bytes_max) {}

RequestReader::~RequestReader() = default;

void RequestReader::Append(std::string_view bytes) {
  if (offset_ == buffer_.size()) {
    buffer_.clear();
    offset_ = 0;
  }
  buffer_.append(bytes);
}

std::unexpected<Error> RequestReader::Refuse(int status, ErrorCode code, std::string message) {
  error_status_ = status;
  return Fail(code, std::move(message));
}

Result<RequestReader::Progress> RequestReader::Advance() {
  TW_CHECK(error_status_ == 0);
  if (parser_ == nullptr) {
    // Empty lines before a request are noise of old clients (RFC 9112, 2.2).
    while (offset_ < buffer_.size() && (buffer_[offset_] == '\r' || buffer_[offset_] == '\n')) {
      ++offset_;
    }
    if (offset_ == buffer_.size()) {
      return Progress::kIdle;
    }
    parser_ = std::make_unique<Parser>();
    // Beast counts the head with or without its first line, depending on how it arrived; we count
    // it whole below.
    parser_->header_limit(static_cast<std::uint32_t>(2 * head_bytes_max_));
    parser_->body_limit(static_cast<std::uint64_t>(body_bytes_max_));
    head_checked_ = false;
    head_bytes_ = 0;
  }
  return AdvanceParser();
}

Result<RequestReader::Progress> RequestReader::AdvanceParser() {
  while (!parser_->is_done() && buffer_.size() - offset_ >= LeastInput(*parser_)) {
    error_code error;
    const size_t used = parser_->put({buffer_.data() + offset_, buffer_.size() - offset_}, error);
    offset_ += used;
    if (error == BeastError::body_limit) {
      return Refuse(413, ErrorCode::kPayloadTooLarge,
                    fmt::format("the request body is larger than {} bytes", body_bytes_max_));
    }
    if (!head_checked_) {
      head_bytes_ += used;
    }
    // Beast waits for the end of a head or of a chunk's first line: what waits needs a bound too.
    const size_t waiting = (head_checked_ ? 0 : head_bytes_) + buffer_.size() - offset_;
    const auto bound = static_cast<size_t>(head_bytes_max_);
    if (error == BeastError::header_limit || head_bytes_ > bound ||
        (error == BeastError::need_more && waiting >= bound)) {
      return Refuse(431, ErrorCode::kPayloadTooLarge,
                    fmt::format("the request's head is larger than {} bytes", head_bytes_max_));
    }
    if (error && error != BeastError::need_more) {
      return Refuse(400, ErrorCode::kInvalidArgument,
                    fmt::format("malformed HTTP request: {}", error.message()));
    }
    if (parser_->is_header_done() && !head_checked_) {
      TW_RETURN_IF_ERROR(CheckHead());
      head_checked_ = true;
    }
    if (error || used == 0) {
      break;
    }
  }
  if (parser_->is_done()) {
    return Progress::kComplete;
  }
  return parser_->is_header_done() ? Progress::kBody : Progress::kHead;
}

Status RequestReader::CheckHead() {
  Request& request = parser_->request;
  const auto named = [&request](std::string_view name) {
    return std::ranges::count_if(
        request.headers.all(), [name](const auto& field) { return SameToken(field.first, name); });
  };
  if (named("Transfer-Encoding") > 0) {
    if (parser_->http_1_0) {
      return Refuse(400, ErrorCode::kInvalidArgument, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (!SameToken(*request.headers.Find("Transfer-Encoding"), "chunked")) {
      return Refuse(501, ErrorCode::kUnsupported,
                    "the only Transfer-Encoding understood is chunked");
    }
  }
  auto target = ParseTarget(parser_->target);
  if (!target.has_value()) {
    return Refuse(400, target.error().code, target.error().message);
  }
  // Who trusts Host must not find a second one, and a browser cannot leave it out.
  const auto hosts = named("Host");
  if (hosts > 1 || (hosts == 0 && !parser_->http_1_0)) {
    return Refuse(400, ErrorCode::kInvalidArgument,
                  "the request must have exactly one Host header");
  }
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  if (target->authority.has_value()) {
    request.headers.Set("Host", std::move(*target->authority));
  }
  return {};
}

bool RequestReader::keep_alive() const {
  return parser_->keep_alive();
}

bool RequestReader::http_1_0() const {
  return parser_->http_1_0;
}

bool RequestReader::expects_continue() const {
  const auto expect = parser_->request.headers.Find("Expect");
  return !parser_->http_1_0 && expect.has_value() && SameToken(*expect, "100-continue");
}

int64_t RequestReader::body_bytes() const {
  return static_cast<int64_t>(parser_->request.body.size());
}

// Never above body_bytes_max_: a longer one has been refused.
int64_t RequestReader::announced_body_bytes() const {
  return static_cast<int64_t>(parser_->content_length().value_or(0));
}

Request RequestReader::Take() {
  TW_CHECK(parser_ != nullptr && parser_->is_done());
  Request request = std::move(parser_->request);
  parser_.reset();
  // A stream may last for hours: it keeps no room for a large request that has been read.
  if (buffer_.capacity() > limits::kKeptRequestBytes) {
    buffer_ = buffer_.substr(offset_);
  } else {
    buffer_.erase(0, offset_);
  }
  offset_ = 0;
  return request;
}

}  // namespace tradewind::http
