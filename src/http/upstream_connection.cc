#include "http/upstream_connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <poll.h>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "http/fd.h"
#include "http/tcp_state.h"

namespace tradewind::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kNever = steady_clock::time_point::max();

void SetOption(int fd, int level, int name, int value) {
  // A refusal costs speed, not correctness.
  static_cast<void>(::setsockopt(fd, level, name, &value, sizeof(value)));
}

// Also finds upstreams that vanished without a word while they compute.
void TuneSocket(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

socklen_t FillAddress(const IpAddress& address, uint16_t port, sockaddr_storage& out) {
  if (address.is_v6) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    std::memcpy(&v6->sin6_addr, address.bytes.data(), 16);
    return sizeof(sockaddr_in6);
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(port);
  std::memcpy(&v4->sin_addr, address.bytes.data(), 4);
  return sizeof(sockaddr_in);
}

bool WouldBlock(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

class SocketConnection final : public UpstreamConnection,
                               public std::enable_shared_from_this<SocketConnection> {
 public:
  explicit SocketConnection(EventLoop& loop) : socket_(loop.context()), timer_(loop.context()) {}

  Task<Status> Connect(const IpAddress& address, uint16_t port, Deadline deadline) override;
  Task<Status> StartTls(std::shared_ptr<TlsClient> tls, const std::string& host,
                        const std::string& authority, Deadline deadline) override;
  Task<Result<Sent>> Send(std::string_view head, std::string_view body, int64_t progress_ms,
                          Deadline deadline) override;
  Task<Status> AwaitReadable(Deadline deadline) override {
    return Wait(read_wants_write_ ? tcp::socket::wait_write : tcp::socket::wait_read, deadline);
  }
  ReadOutcome Read(char* bytes, size_t size) override;
  bool IsQuiet() override;
  void BeginMessage() override { begun_at_ = WrittenBytes(); }
  bool NothingAcknowledged() override;
  bool is_tls() const override { return tls_ != nullptr; }
  bool tls_session_was_reused() const override {
    return tls_ != nullptr && tls_->session_was_reused();
  }
  void SayGoodbye() override {
    if (tls_ != nullptr && !closed_) {
      tls_->SayGoodbye();
    }
  }
  void Close() override;
  bool is_closed() const override { return closed_; }

 private:
  struct Taken {
    size_t bytes = 0;
    int error = 0;  // 0, EAGAIN, or what broke
    bool wants_read = false;
  };

  Task<Status> Wait(tcp::socket::wait_type what, Deadline deadline);
  Task<Status> AwaitRoom(bool wants_read, Deadline deadline);
  Taken SendSome(std::string_view head, std::string_view body);
  Taken SendSomeTls(std::string_view head, std::string_view body);
  void WatchForAnswer();
  bool HasAnswer();
  int64_t WrittenBytes() const { return is_tls() ? tls_->written_bytes() : written_; }

  void SetDeadline(Deadline deadline);
  void ArmTimer();

  tcp::socket socket_;
  std::unique_ptr<TlsStream> tls_;
  bool read_wants_write_ = false;  // TLS has something to say before it can read on
  bool closed_ = false;
  bool watching_ = false;  // for an answer, while sending
  int64_t written_ = 0;    // plain
  int64_t begun_at_ = 0;   // WrittenBytes before the message

  // One pending timer serves all deadlines: a later deadline only moves `deadline_`, and the timer
  // looks again.
  asio::steady_timer timer_;
  Deadline deadline_ = kNever;
  bool armed_ = false;
  bool late_ = false;
};

// --- Connecting

Task<Status> SocketConnection::Connect(const IpAddress& address, uint16_t port, Deadline deadline) {
  const auto refused = [](int error) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("cannot connect to the upstream: {}", std::strerror(error)));
  };
  if (closed_) {
    co_return Fail(ErrorCode::kCancelled, "the caller cancelled the request");
  }
  Fd fd(
      ::socket(address.is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    co_return refused(errno);
  }
  TuneSocket(fd.get());
  sockaddr_storage storage{};
  const socklen_t size = FillAddress(address, port, storage);
  const bool at_once = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) == 0;
  if (!at_once && errno != EINPROGRESS && errno != EINTR) {
    co_return refused(errno);
  }
  error_code failure;
  // The family matters to Asio only for opening sockets.
  socket_.assign(tcp::v4(), fd.get(), failure);
  if (failure) {
    co_return refused(failure.value());
  }
  fd.Release();
  if (!at_once) {
    TW_CO_RETURN_IF_ERROR(co_await Wait(tcp::socket::wait_write, deadline));
    int error = 0;
    socklen_t length = sizeof(error);
    if (::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
      error = errno;
    }
    if (error != 0) {
      co_return refused(error);
    }
  }
  co_return Status();
}

Task<Status> SocketConnection::StartTls(std::shared_ptr<TlsClient> tls, const std::string& host,
                                        const std::string& authority, Deadline deadline) {
  tls_ = std::make_unique<TlsStream>(std::move(tls), socket_.native_handle(), host, authority);
  while (true) {
    const TlsStream::Need need = tls_->Handshake();
    if (need == TlsStream::Need::kNothing) {
      co_return Status();
    }
    if (need != TlsStream::Need::kRead && need != TlsStream::Need::kWrite) {
      co_return Fail(ErrorCode::kUnavailable,
                     fmt::format("no TLS with the upstream {}: {}", host, tls_->error()));
    }
    TW_CO_RETURN_IF_ERROR(co_await AwaitRoom(need == TlsStream::Need::kRead, deadline));
  }
}

// --- Waiting

Task<Status> SocketConnection::Wait(tcp::socket::wait_type what, Deadline deadline) {
  SetDeadline(deadline);
  if (!closed_ && !late_) {
    co_await socket_.async_wait(what, kAwait);
  }
  deadline_ = kNever;
  if (closed_) {
    co_return Fail(ErrorCode::kCancelled, "the caller cancelled the request");
  }
  if (late_) {
    co_return Fail(ErrorCode::kDeadlineExceeded, "the upstream did not answer in time");
  }
  co_return Status();
}

Task<Status> SocketConnection::AwaitRoom(bool wants_read, Deadline deadline) {
  return Wait(wants_read ? tcp::socket::wait_read : tcp::socket::wait_write, deadline);
}

// --- Sending

Task<Result<UpstreamConnection::Sent>> SocketConnection::Send(std::string_view head,
                                                              std::string_view body,
                                                              int64_t progress_ms,
                                                              Deadline deadline) {
  while (!head.empty() || !body.empty()) {
    if (closed_) {
      co_return Fail(ErrorCode::kCancelled, "the caller cancelled the request");
    }
    const Taken taken = is_tls() ? SendSomeTls(head, body) : SendSome(head, body);
    const size_t of_head = std::min(taken.bytes, head.size());
    head.remove_prefix(of_head);
    body.remove_prefix(taken.bytes - of_head);
    if (taken.error == 0) {
      continue;
    }
    if (!WouldBlock(taken.error)) {
      co_return Sent::kBroken;
    }
    if (HasAnswer()) {
      co_return Sent::kAnswered;
    }
    WatchForAnswer();
    const Deadline progress = steady_clock::now() + milliseconds(progress_ms);
    const Status waited = co_await AwaitRoom(taken.wants_read, std::min(progress, deadline));
    if (!waited.has_value()) {
      co_return Fail(waited.error());
    }
  }
  co_return Sent::kAll;
}

SocketConnection::Taken SocketConnection::SendSome(std::string_view head, std::string_view body) {
  std::array<iovec, 2> parts = {iovec{const_cast<char*>(head.data()), head.size()},
                                iovec{const_cast<char*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = body.empty() ? 1 : 2;
  const ssize_t n = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) {
    return {.error = errno};
  }
  written_ += n;
  return {.bytes = static_cast<size_t>(n)};
}

// A record's worth of both, so that a small request is one record and one packet.
SocketConnection::Taken SocketConnection::SendSomeTls(std::string_view head,
                                                      std::string_view body) {
  thread_local std::array<char, limits::kUpstreamBufferBytes> record;
  std::string_view piece = head.empty() ? body : head;
  if (!head.empty() && head.size() < record.size()) {
    const size_t of_body = std::min(body.size(), record.size() - head.size());
    std::memcpy(record.data(), head.data(), head.size());
    if (of_body > 0) {
      std::memcpy(record.data() + head.size(), body.data(), of_body);
    }
    piece = {record.data(), head.size() + of_body};
  }
  piece = piece.substr(0, record.size());
  const TlsStream::Outcome outcome = tls_->Write(piece.data(), piece.size());
  switch (outcome.need) {
    case TlsStream::Need::kNothing:
      return {.bytes = outcome.bytes};
    case TlsStream::Need::kRead:
      return {.error = EAGAIN, .wants_read = true};
    case TlsStream::Need::kWrite:
      return {.error = EAGAIN};
    case TlsStream::Need::kEnd:
    case TlsStream::Need::kBroken:
      break;
  }
  return {.error = EPIPE};
}

// An upstream may refuse a request that it has not read whole, and then reads no further: waiting
// for room only would end at the deadline.
void SocketConnection::WatchForAnswer() {
  if (std::exchange(watching_, true)) {
    return;
  }
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
    self->watching_ = false;
    if (!error && !self->closed_) {
      error_code ignored;
      self->socket_.cancel(ignored);
    }
  });
}

bool SocketConnection::HasAnswer() {
  char byte = 0;
  if (is_tls()) {
    const auto need = tls_->Peek(&byte, 1).need;
    return need != TlsStream::Need::kRead && need != TlsStream::Need::kWrite;
  }
  const ssize_t n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n >= 0 || !WouldBlock(errno);
}

// --- Reading

UpstreamConnection::ReadOutcome SocketConnection::Read(char* bytes, size_t size) {
  read_wants_write_ = false;
  if (closed_) {
    return {};
  }
  if (is_tls()) {
    const TlsStream::Outcome outcome = tls_->Read(bytes, size);
    read_wants_write_ = outcome.need == TlsStream::Need::kWrite;
    switch (outcome.need) {
      case TlsStream::Need::kNothing:
        return {Got::kBytes, outcome.bytes};
      case TlsStream::Need::kRead:
      case TlsStream::Need::kWrite:
        return {Got::kNothingYet};
      case TlsStream::Need::kEnd:
        return {Got::kEnd};
      case TlsStream::Need::kBroken:
        return {Got::kReset};
    }
  }
  const ssize_t n = ::recv(socket_.native_handle(), bytes, size, MSG_DONTWAIT);
  if (n > 0) {
    return {Got::kBytes, static_cast<size_t>(n)};
  }
  if (n == 0) {
    return {Got::kEnd};
  }
  return {WouldBlock(errno) ? Got::kNothingYet : Got::kReset};
}

bool SocketConnection::IsQuiet() {
  return !closed_ && !HasAnswer();
}

bool SocketConnection::NothingAcknowledged() {
  constexpr int64_t kHandshake = 1;  // counts like a byte
  const auto acknowledged = closed_ ? std::nullopt : AcknowledgedBytes(socket_.native_handle());
  return acknowledged.has_value() && *acknowledged <= begun_at_ + kHandshake;
}

void SocketConnection::Close() {
  if (std::exchange(closed_, true)) {
    return;
  }
  deadline_ = kNever;
  timer_.cancel();
  tls_.reset();
  error_code ignored;
  socket_.close(ignored);
}

// --- Deadlines

void SocketConnection::SetDeadline(Deadline deadline) {
  late_ = false;
  deadline_ = deadline;
  if (deadline_ != kNever && (!armed_ || deadline_ < timer_.expiry())) {
    ArmTimer();
  }
}

void SocketConnection::ArmTimer() {
  armed_ = true;
  timer_.expires_at(deadline_);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (error) {
      return;  // replaced by an earlier one, or the connection is closed
    }
    self->armed_ = false;
    if (steady_clock::now() >= self->deadline_) {
      self->late_ = true;
      error_code ignored;
      self->socket_.cancel(ignored);
    } else if (self->deadline_ != kNever) {
      self->ArmTimer();
    }
  });
}

}  // namespace

std::shared_ptr<UpstreamConnection> UpstreamConnection::Create(EventLoop& loop) {
  return std::make_shared<SocketConnection>(loop);
}

}  // namespace tradewind::http
