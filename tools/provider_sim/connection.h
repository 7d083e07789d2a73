// One connection: reads requests, sends what Sim decides, and breaks off, stalls or paces where it
// is told to. Over TCP or TLS; a coroutine on one event loop. Included by server.cc alone: Beast is
// dear to compile.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "provider_sim/gzip.h"
#include "provider_sim/sim.h"

namespace provider_sim {

namespace asio = boost::asio;
namespace http = boost::beast::http;

inline constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
inline constexpr uint64_t kRequestBytesMax = 64 << 20;
inline constexpr size_t kWriteBytesMax = 16 << 10;

template <class Stream>
inline constexpr bool kIsTls = false;
template <class Socket>
inline constexpr bool kIsTls<asio::ssl::stream<Socket>> = true;

template <class Stream>
class Connection {
 public:
  static constexpr bool kTls = kIsTls<Stream>;
  using Clock = std::chrono::steady_clock;

  Connection(Stream stream, Sim& sim)
      : stream_(std::move(stream)), timer_(stream_.get_executor()), sim_(sim) {
    ++sim_.connections;
  }
  Connection(const Connection&) = delete;
  ~Connection() { --sim_.connections; }

  asio::awaitable<void> Run() {
    if constexpr (kTls) {
      const auto [error] = co_await stream_.async_handshake(asio::ssl::stream_base::server, kAwait);
      if (error) {
        co_return;
      }
    }
    while (std::optional<Reply> reply = co_await ReadOne()) {
      const bool streams = reply->events != nullptr;
      CountStream(streams ? 1 : 0);
      Ending ending;
      const bool alive = co_await SendOne(*reply, ending);
      EndWatch();
      sim_.Finish(*reply, ending);
      CountStream(streams ? -1 : 0);
      if (!alive || reply->close_after) {
        break;
      }
    }
    boost::system::error_code ignored;
    if constexpr (kTls) {
      if (socket().is_open() && !broken_) {
        co_await stream_.async_shutdown(kAwait);
      }
    }
    socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }

 private:
  // Set when the client has gone while nothing is written; wakes the timer.
  struct Watch {
    bool active = true, gone = false;
  };

  auto& socket() {
    if constexpr (kTls) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }

  void CountStream(int64_t by) {
    const int64_t now = sim_.streams += by;
    int64_t max = sim_.streams_max;
    while (now > max && !sim_.streams_max.compare_exchange_weak(max, now)) {
    }
  }

  // A request and what to answer it; nothing when the connection is over. The request's memory ends
  // here.
  asio::awaitable<std::optional<Reply>> ReadOne() {
    http::request_parser<http::string_body> parser;
    parser.body_limit(kRequestBytesMax);
    parser.header_limit(64 << 10);
    auto [error, bytes] = co_await http::async_read_header(stream_, buffer_, parser, kAwait);
    if (!error && parser.get()[http::field::expect] == "100-continue") {
      co_await asio::async_write(stream_, asio::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25),
                                 kAwait);
    }
    if (!error && !parser.is_done()) {
      std::tie(error, bytes) = co_await http::async_read(stream_, buffer_, parser, kAwait);
    }
    if (error) {
      if (error.category() == http::make_error_code(http::error::bad_method).category() &&
          error != http::error::end_of_stream && error != http::error::partial_message) {
        co_await Write(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
      }
      co_return std::nullopt;
    }
    if (buffer_.size() == 0 && buffer_.capacity() > 1024) {
      buffer_.shrink_to_fit();
    }
    auto& message = parser.get();
    Incoming incoming;
    incoming.method = message.method_string();
    incoming.target = message.target();
    incoming.http_1_1 = message.version() >= 11;
    incoming.keep_alive = message.keep_alive();
    for (const auto& field : message) {
      if (field.name() == http::field::authorization) {
        incoming.authorization = field.value();
      } else {
        incoming.headers.emplace_back(field.name_string(), field.value());
      }
    }
    incoming.body = std::move(message.body());
    co_return sim_.Handle(incoming);
  }

  void BeginWatch() {
    watch_ = std::make_shared<Watch>();
    socket().async_wait(asio::ip::tcp::socket::wait_read,
                        [this, watch = watch_](const boost::system::error_code& error) {
                          if (error || !watch->active) {
                            return;
                          }
                          char byte;
                          const ssize_t read =
                              ::recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
                          // Over TLS the only thing that a client in wait sends is its goodbye.
                          if (read <= 0 || kTls) {
                            watch->gone = true;
                            timer_.cancel();
                          }
                        });
  }

  void EndWatch() {
    if (watch_ != nullptr) {
      watch_->active = false;
      watch_.reset();
      boost::system::error_code ignored;
      socket().cancel(ignored);
    }
  }

  // False when the client went meanwhile.
  asio::awaitable<bool> WaitUntil(Clock::time_point when) {
    if (watch_ == nullptr) {
      BeginWatch();
    }
    if (!watch_->gone) {
      timer_.expires_at(when);
      co_await timer_.async_wait(kAwait);
    }
    co_return !watch_->gone;
  }

  asio::awaitable<bool> Write(std::string_view bytes) {
    const auto [error, sent] =
        co_await asio::async_write(stream_, asio::buffer(bytes.data(), bytes.size()), kAwait);
    sent_ += sent;
    co_return !error;
  }

  // Sends and empties `out`, in pieces where that is asked.
  asio::awaitable<bool> Flush(std::string& out, int64_t split_bytes) {
    bool well = true;
    const size_t piece = split_bytes > 0 ? static_cast<size_t>(split_bytes) : out.size();
    for (size_t at = 0; well && at < out.size(); at += piece) {
      well = co_await Write(std::string_view(out).substr(at, piece));
    }
    out.clear();
    co_return well;
  }

  void Break(const std::string& how) {
    boost::system::error_code ignored;
    if (how == "rst") {
      socket().set_option(asio::socket_base::linger(true, 0), ignored);
    } else {
      socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    }
    EndWatch();
    socket().close(ignored);
    broken_ = true;
  }

  // Silence, then the end of the connection.
  asio::awaitable<void> Stall(const Behaviour& how, Ending& ending) {
    const bool waited = co_await WaitUntil(Clock::now() + std::chrono::milliseconds(how.stall_ms));
    ending.outcome = "stalled";
    ending.client_closed = !waited;
    Break(how.cut);
  }

  bool LeftEarly(Ending& ending) {
    ending.client_closed = true;
    ending.outcome = "client_closed";
    return false;
  }

  // True when the connection may carry another request.
  asio::awaitable<bool> SendOne(Reply& reply, Ending& ending) {
    const Behaviour& how = reply.how;
    sent_ = 0;
    if (how.first_byte_ms > 0 &&
        !co_await WaitUntil(Clock::now() + std::chrono::milliseconds(how.first_byte_ms))) {
      co_return LeftEarly(ending);
    }
    bool well = false;
    if (!how.close.empty()) {
      Break(how.close);
    } else if (reply.events != nullptr) {
      well = co_await SendEvents(reply, ending);
    } else {
      well = co_await SendBody(reply, ending);
    }
    ending.bytes_sent = sent_;
    co_return well;
  }

  asio::awaitable<bool> SendBody(Reply& reply, Ending& ending) {
    const Behaviour& how = reply.how;
    if (how.tokens_per_s > 0 && reply.body_tokens > 0 &&
        !co_await WaitUntil(Clock::now() + After(reply.body_tokens, how))) {
      co_return LeftEarly(ending);
    }
    const bool breaks_off = how.cut_after >= 0 || how.stall_after >= 0;
    std::string out = std::move(reply.head);
    out.append(reply.body, 0, breaks_off ? reply.body.size() / 2 : reply.body.size());
    reply.body = {};
    if (!co_await Flush(out, how.split_bytes)) {
      co_return LeftEarly(ending);
    }
    if (how.stall_after >= 0) {
      co_await Stall(how, ending);
    } else if (how.cut_after >= 0) {
      ending.outcome = "cut";
      Break(how.cut);
    }
    co_return !breaks_off;
  }

  static Clock::duration After(uint64_t tokens, const Behaviour& how) {
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(static_cast<double>(tokens) / how.tokens_per_s));
  }

  static void AppendChunk(const Reply& reply, std::string_view bytes, std::string& out) {
    if (!reply.chunked) {
      out += bytes;
    } else if (!bytes.empty()) {
      fmt::format_to(std::back_inserter(out), "{:x}\r\n{}\r\n", bytes.size(), bytes);
    }
  }

  asio::awaitable<bool> SendEvents(Reply& reply, Ending& ending) {
    const Behaviour& how = reply.how;
    EventSource& events = *reply.events;
    std::optional<GzipStream> gzip;
    if (how.gzip) {
      gzip.emplace();
    }
    std::string out = std::move(reply.head), event;
    const Clock::time_point begin = Clock::now();
    for (int64_t sent = 0;; ++sent) {
      if (sent == how.cut_after || sent == how.stall_after) {
        co_await Flush(out, how.split_bytes);
        if (sent == how.stall_after) {
          co_await Stall(how, ending);
        } else {
          ending.outcome = "cut";
          Break(how.cut);
        }
        co_return false;
      }
      const uint64_t tokens = events.tokens_sent();
      event.clear();
      if (!events.Next(event)) {
        break;
      }
      if (how.tokens_per_s > 0 && events.tokens_sent() > tokens) {
        if (!co_await Flush(out, how.split_bytes) ||
            !co_await WaitUntil(begin + After(tokens, how))) {
          co_return LeftEarly(ending);
        }
      }
      AppendChunk(reply, gzip ? gzip->Write(event, false) : event, out);
      if (((sent + 1) % std::max<int64_t>(how.events_per_write, 1) == 0 ||
           out.size() > kWriteBytesMax) &&
          !co_await Flush(out, how.split_bytes)) {
        co_return LeftEarly(ending);
      }
    }
    AppendChunk(reply, gzip ? gzip->Write("", true) : std::string(), out);
    out += reply.chunked ? "0\r\n\r\n" : "";
    if (!co_await Flush(out, how.split_bytes)) {
      co_return LeftEarly(ending);
    }
    ending.outcome = events.ended_in_error() ? "error_event" : "";
    co_return true;
  }

  Stream stream_;
  asio::steady_timer timer_;
  Sim& sim_;
  boost::beast::flat_buffer buffer_;
  std::shared_ptr<Watch> watch_;
  uint64_t sent_ = 0;
  bool broken_ = false;
};

}  // namespace provider_sim
