// Whole because one connection is one state machine, and every further file that includes Asio
// costs seconds to compile.
#include "http/connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <poll.h>
#include <string>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/check.h"
#include "http/request_reader.h"
#include "http/wire.h"
#include "telemetry/log.h"

namespace tradewind::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kNever = steady_clock::time_point::max();
constexpr size_t kReadBytes = 64 << 10;
constexpr uint64_t kSendsInARow = 16;  // without a turn of the loop
constexpr auto kPipelinedPeekInterval = milliseconds(200);

std::string_view View(const std::string& text) {
  return text;
}

void SetOption(int fd, int level, int name, int value) {
  // A refusal costs speed, not correctness.
  static_cast<void>(::setsockopt(fd, level, name, &value, sizeof(value)));
}

void TuneSocket(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // Bytes that the kernel takes from us before it has sent them: what bounds a slow reader's
  // memory.
  SetOption(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 128 << 10);
  // Finds peers that vanished without a word while an answer is being computed.
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

bool WouldBlock(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

// Takes what was sent out of `parts`. Negative: errno.
ssize_t SendSome(int fd, std::array<std::string_view, 3>& parts) {
  std::array<iovec, 3> pieces{};
  for (size_t i = 0; i < parts.size(); ++i) {
    pieces[i] = {const_cast<char*>(parts[i].data()), parts[i].size()};
  }
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  const ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  auto left = static_cast<size_t>(std::max<ssize_t>(sent, 0));
  for (std::string_view& part : parts) {
    const size_t used = std::min(part.size(), left);
    part.remove_prefix(used);
    left -= used;
  }
  return sent;
}

enum class Peer { kSilent, kTalking, kGone };

Peer LookAtPeer(int fd) {
  char byte = 0;
  const ssize_t n = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n > 0) {
    return Peer::kTalking;
  }
  return n < 0 && WouldBlock(errno) ? Peer::kSilent : Peer::kGone;
}

// Also when unread bytes stand before the end.
bool PeerHungUp(int fd) {
  pollfd entry{fd, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

class TcpConnection final : public Connection,
                            public Exchange,
                            public std::enable_shared_from_this<TcpConnection> {
 public:
  TcpConnection(EventLoop& loop, std::shared_ptr<ServerShared> shared, ConnectionSlot slot,
                tcp::socket socket, bool peer_is_loopback)
      : loop_(loop),
        shared_(std::move(shared)),
        slot_(std::move(slot)),
        socket_(std::move(socket)),
        deadline_timer_(loop.context()),
        peek_timer_(loop.context()),
        reader_(shared_->options.header_bytes_max, shared_->options.body_bytes_max),
        body_share_(shared_->body_bytes),
        peer_is_loopback_(peer_is_loopback) {
    loop_.connections().insert(this);
  }
  ~TcpConnection() override { loop_.connections().erase(this); }

  static Task<void> Run(std::shared_ptr<TcpConnection> self);

  void OnDrain() override;
  void Cut() override;

  const Request& request() const override { return request_; }
  Task<Status> Respond(Response response) override;
  Task<Status> StartStream(int status, Headers headers) override;
  Task<Status> Write(std::string_view bytes) override;
  Task<Status> Finish() override;
  bool client_left() const override { return left_; }
  void OnClientLeft(std::function<void()> on_left) override;
  int status() const override { return status_; }
  int64_t bytes_sent() const override { return bytes_sent_; }

 private:
  enum class Phase { kIdle, kReading, kServing, kClosing };
  enum class Answer { kNone, kStreaming, kDone };
  enum class Arrival { kBytes, kEnd, kLate };

  Task<bool> ReadRequest();
  Task<Arrival> AwaitBytes();
  bool HoldBody();
  Task<void> Refuse(int status, Error error);
  Task<void> Serve();
  Task<void> RunHandler();
  Task<void> Close();

  void BeginExchange(Request request, bool keep_alive, bool http_1_0);
  Response ErrorResponse(const Error& error) const;
  Task<Status> SendHead(const ResponseHead& head, std::string_view body);
  Task<Status> Send(std::array<std::string_view, 3> parts);

  void WatchPeer();
  void PeekLater();
  void MarkLeft();

  void SetDeadline(int64_t ms);
  void ClearDeadline() { deadline_ = kNever; }
  void ArmDeadlineTimer();

  EventLoop& loop_;
  const std::shared_ptr<ServerShared> shared_;
  const ConnectionSlot slot_;
  tcp::socket socket_;

  // One pending timer serves all deadlines: a later deadline only moves `deadline_`, and the timer
  // looks again.
  asio::steady_timer deadline_timer_;
  steady_clock::time_point deadline_ = kNever;
  bool deadline_armed_ = false;
  bool late_ = false;  // the deadline passed and the socket's operations were cancelled

  asio::steady_timer peek_timer_;
  RequestReader reader_;
  BudgetShare body_share_;  // of the body in reader_ or request_
  const bool peer_is_loopback_;
  Phase phase_ = Phase::kIdle;
  bool is_drained_ = false;  // the last read left nothing behind: waiting comes before reading
  uint64_t sends_ = 0;

  // The exchange.
  uint64_t exchange_ = 0;  // tells a watch of an earlier exchange from this one's
  Request request_;
  Answer answer_ = Answer::kNone;
  Framing framing_ = Framing::kNone;
  bool keep_alive_ = true;
  bool http_1_0_ = false;
  bool send_body_ = true;
  bool refused_ = false;  // in the middle of its request; more of that may be on its way
  bool left_ = false;
  std::function<void()> on_left_;
  int status_ = 0;
  int64_t bytes_sent_ = 0;
};

// --- Life of a connection

Task<void> TcpConnection::Run(std::shared_ptr<TcpConnection> self) {
  while (co_await self->ReadRequest()) {
    co_await self->Serve();
    const bool again = self->answer_ == Answer::kDone && self->keep_alive_ && !self->left_;
    // Where a head that was sent before the drain promised to keep the connection, a next request
    // may be on its way.
    if (!again || (self->shared_->draining && self->shared_->idle_grace_ms == 0)) {
      break;
    }
  }
  co_await self->Close();
}

// True: a whole request is in reader_. False: there is no more to serve, and what had to be said
// was said.
Task<bool> TcpConnection::ReadRequest() {
  phase_ = Phase::kIdle;
  const int64_t grace_ms = shared_->idle_grace_ms;
  if (left_ || (shared_->draining && grace_ms == 0 && !reader_.has_pending_bytes())) {
    co_return false;
  }
  SetDeadline(shared_->draining && grace_ms > 0 ? grace_ms
                                                : shared_->options.read_head_deadline_ms);
  auto before = RequestReader::Progress::kIdle;
  while (true) {
    auto progress = reader_.Advance();
    if (!progress.has_value()) {
      co_await Refuse(reader_.error_status(), progress.error());
      co_return false;
    }
    if (*progress >= RequestReader::Progress::kBody && !HoldBody()) {
      Error error{ErrorCode::kUnavailable,
                  "other large requests leave no room for this one; try again soon", "", 1000};
      co_await Refuse(503, std::move(error));
      co_return false;
    }
    if (*progress == RequestReader::Progress::kComplete) {
      ClearDeadline();
      co_return true;
    }
    if (before == RequestReader::Progress::kIdle && *progress != before) {
      // From the first byte on: a client cannot hold the connection by trickling.
      phase_ = Phase::kReading;
      SetDeadline(shared_->options.read_head_deadline_ms);
    }
    if (before != RequestReader::Progress::kBody && *progress == RequestReader::Progress::kBody) {
      SetDeadline(shared_->options.read_body_deadline_ms);
      if (reader_.expects_continue()) {
        std::array<std::string_view, 3> parts = {"HTTP/1.1 100 Continue\r\n\r\n"};
        if (!(co_await Send(parts)).has_value()) {
          co_return false;
        }
        SetDeadline(shared_->options.read_body_deadline_ms);
      }
    }
    before = *progress;
    const Arrival arrival = co_await AwaitBytes();
    if (arrival == Arrival::kLate && phase_ == Phase::kReading) {
      Error error{ErrorCode::kDeadlineExceeded, "the request did not arrive in time"};
      co_await Refuse(408, std::move(error));
    }
    if (arrival != Arrival::kBytes) {
      co_return false;
    }
  }
}

// Counts what has arrived of the body. What a client announces is not held for it, or a few idle
// ones could keep all others out; but when there is no room for that now, it hears so before it
// sends it.
bool TcpConnection::HoldBody() {
  const int64_t uncounted = shared_->options.body_bytes_uncounted;
  const int64_t missing =
      reader_.announced_body_bytes() - std::max(uncounted, reader_.body_bytes());
  return missing <= shared_->body_bytes.max() - shared_->body_bytes.used() &&
         body_share_.GrowTo(reader_.body_bytes() - uncounted);
}

// Reads what is there into reader_, waiting for it when nothing is. Waiting needs no buffer, so
// idle connections cost almost no memory.
Task<TcpConnection::Arrival> TcpConnection::AwaitBytes() {
  thread_local std::array<char, kReadBytes> scratch;
  while (!late_ && !left_) {
    if (!std::exchange(is_drained_, false)) {
      const ssize_t n =
          ::recv(socket_.native_handle(), scratch.data(), scratch.size(), MSG_DONTWAIT);
      if (n > 0) {
        reader_.Append({scratch.data(), static_cast<size_t>(n)});
        is_drained_ = static_cast<size_t>(n) < scratch.size();
        co_return Arrival::kBytes;
      }
      if (n == 0 || !WouldBlock(errno)) {
        co_return Arrival::kEnd;
      }
    }
    co_await socket_.async_wait(tcp::socket::wait_read, kAwait);
  }
  co_return late_ ? Arrival::kLate : Arrival::kEnd;
}

// Answers an error of the protocol itself; the connection closes after it.
Task<void> TcpConnection::Refuse(int status, Error error) {
  refused_ = true;
  BeginExchange(Request(), false, false);
  Response response = ErrorResponse(error);
  response.status = status;  // one error code can stand for several of these
  static_cast<void>(co_await Respond(std::move(response)));
}

Task<void> TcpConnection::Serve() {
  const bool keep_alive = reader_.keep_alive();
  const bool http_1_0 = reader_.http_1_0();
  BeginExchange(reader_.Take(), keep_alive, http_1_0);
  phase_ = Phase::kServing;
  WatchPeer();
  co_await RunHandler();
  if (answer_ == Answer::kNone && !left_) {
    const Error error{ErrorCode::kInternal, "the request was not answered"};
    static_cast<void>(co_await Respond(ErrorResponse(error)));
  }
  on_left_ = nullptr;
  peek_timer_.cancel();
  error_code ignored;
  socket_.cancel(ignored);  // the watch; a late one finds another exchange number
  ++exchange_;
  request_ = Request();  // idle connections hold no bodies
  body_share_.Release();
}

Task<void> TcpConnection::RunHandler() {
  try {
    co_await shared_->handler(*this);
  } catch (const std::exception& e) {
    telemetry::Log(telemetry::Level::kError, fmt::format("{} {}: handler threw: {}",
                                                         request_.method, request_.path, e.what()));
  } catch (...) {
    telemetry::Log(telemetry::Level::kError,
                   fmt::format("{} {}: handler threw", request_.method, request_.path));
  }
}

Task<void> TcpConnection::Close() {
  phase_ = Phase::kClosing;
  error_code ignored;
  if (answer_ == Answer::kStreaming && framing_ == Framing::kUntilClose) {
    // Here the end of the connection is the end of the body: only a reset tells the client that the
    // body is cut.
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  } else if (!left_) {
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    // Closing while bytes are unread resets the connection, which may destroy the answer before the
    // client reads it.
    if (refused_ || LookAtPeer(socket_.native_handle()) == Peer::kTalking) {
      SetDeadline(shared_->options.linger_ms);
      thread_local std::array<char, kReadBytes> scratch;
      while (!late_ && !left_ && LookAtPeer(socket_.native_handle()) != Peer::kGone) {
        while (::recv(socket_.native_handle(), scratch.data(), scratch.size(), MSG_DONTWAIT) > 0) {
        }
        co_await socket_.async_wait(tcp::socket::wait_read, kAwait);
      }
    }
  }
  ClearDeadline();
  deadline_timer_.cancel();
  socket_.close(ignored);
}

void TcpConnection::OnDrain() {
  // A request that has arrived, though nobody has read it yet, is still answered.
  if (phase_ != Phase::kIdle || LookAtPeer(socket_.native_handle()) == Peer::kTalking) {
    return;
  }
  if (const int64_t grace_ms = shared_->idle_grace_ms; grace_ms > 0) {
    SetDeadline(grace_ms);
  } else {
    Cut();
  }
}

void TcpConnection::Cut() {
  if (phase_ == Phase::kServing && !left_) {
    ++shared_->exchanges_cut;
  }
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  MarkLeft();
}

// --- The exchange

void TcpConnection::BeginExchange(Request request, bool keep_alive, bool http_1_0) {
  ++exchange_;
  request_ = std::move(request);
  request_.peer_is_loopback = peer_is_loopback_;
  answer_ = Answer::kNone;
  framing_ = Framing::kNone;
  keep_alive_ = keep_alive;
  http_1_0_ = http_1_0;
  send_body_ = request_.method != "HEAD";
  status_ = 0;
  bytes_sent_ = 0;
  late_ = false;
}

Response TcpConnection::ErrorResponse(const Error& error) const {
  try {
    return shared_->on_error(error);
  } catch (const std::exception& e) {
    telemetry::Log(telemetry::Level::kError, fmt::format("the error response threw: {}", e.what()));
  }
  Response response;
  response.status = 500;
  return response;
}

Task<Status> TcpConnection::Respond(Response response) {
  TW_CHECK(answer_ == Answer::kNone);
  ResponseHead head;
  head.status = response.status;
  head.headers = &response.headers;
  head.framing = StatusAllowsBody(response.status) ? Framing::kContentLength : Framing::kNone;
  head.content_length = static_cast<int64_t>(response.body.size());
  const auto connection = response.headers.Find("Connection");
  keep_alive_ = keep_alive_ && !(connection.has_value() && SameToken(*connection, "close"));
  const bool send_body = send_body_ && head.framing == Framing::kContentLength;
  auto sent = co_await SendHead(head, send_body ? View(response.body) : std::string_view());
  if (sent.has_value()) {
    answer_ = Answer::kDone;
  }
  co_return sent;
}

Task<Status> TcpConnection::StartStream(int status, Headers headers) {
  TW_CHECK(answer_ == Answer::kNone);
  ResponseHead head;
  head.status = status;
  head.headers = &headers;
  head.framing = !StatusAllowsBody(status) ? Framing::kNone
                 : http_1_0_               ? Framing::kUntilClose
                                           : Framing::kChunked;
  keep_alive_ = keep_alive_ && head.framing != Framing::kUntilClose;
  auto sent = co_await SendHead(head, {});
  if (sent.has_value()) {
    answer_ = Answer::kStreaming;
    framing_ = head.framing;
    send_body_ = send_body_ && framing_ != Framing::kNone;
  }
  co_return sent;
}

// A head that cannot be written leaves the exchange unanswered. One that was begun does not: what
// follows it on this connection would be taken for its body.
Task<Status> TcpConnection::SendHead(const ResponseHead& head, std::string_view body) {
  keep_alive_ = keep_alive_ && !shared_->draining;
  ResponseHead own = head;
  own.keep_alive = keep_alive_;
  own.http_1_0 = http_1_0_;
  TW_CO_ASSIGN_OR_RETURN(const std::string text, FormatResponseHead(own));
  status_ = head.status;
  std::array<std::string_view, 3> parts = {text, body};
  co_return co_await Send(parts);
}

Task<Status> TcpConnection::Write(std::string_view bytes) {
  if (left_) {
    co_return Fail(ErrorCode::kCancelled, "the client left");
  }
  TW_CHECK(answer_ == Answer::kStreaming);
  if (bytes.empty() || !send_body_) {
    co_return Status();  // an empty chunk would end the body
  }
  std::array<std::string_view, 3> parts = {bytes};
  std::array<char, 20> size{};
  if (framing_ == Framing::kChunked) {
    const auto end = fmt::format_to_n(size.data(), size.size(), "{:x}\r\n", bytes.size()).out;
    parts = {std::string_view(size.data(), end), bytes, "\r\n"};
  }
  co_return co_await Send(parts);
}

Task<Status> TcpConnection::Finish() {
  if (left_) {
    co_return Fail(ErrorCode::kCancelled, "the client left");
  }
  TW_CHECK(answer_ == Answer::kStreaming);
  Status sent;
  if (framing_ == Framing::kChunked && send_body_) {
    std::array<std::string_view, 3> parts = {"0\r\n\r\n"};
    sent = co_await Send(parts);
  }
  if (sent.has_value()) {
    answer_ = Answer::kDone;
  }
  co_return sent;
}

void TcpConnection::OnClientLeft(std::function<void()> on_left) {
  if (!left_) {
    on_left_ = std::move(on_left);
  } else if (on_left) {
    on_left();
  }
}

// Hands all parts to the operating system, which mostly takes them at once. Now and then a turn of
// the loop comes first, so that a handler that always has more to write cannot starve the loop's
// other connections.
Task<Status> TcpConnection::Send(std::array<std::string_view, 3> parts) {
  if (++sends_ % kSendsInARow == 0) {
    co_await asio::post(loop_.context(), asio::use_awaitable);
  }
  bool is_waiting = false;  // and the deadline with it
  while (!left_ && !(parts[0].empty() && parts[1].empty() && parts[2].empty())) {
    const ssize_t sent = SendSome(socket_.native_handle(), parts);
    if (sent < 0 && !WouldBlock(errno)) {
      MarkLeft();
      break;
    }
    bytes_sent_ += std::max<ssize_t>(sent, 0);
    if (sent < 0) {
      if (!std::exchange(is_waiting, true)) {
        SetDeadline(shared_->options.write_deadline_ms);
      }
      co_await socket_.async_wait(tcp::socket::wait_write, kAwait);
      if (late_) {
        ClearDeadline();
        MarkLeft();
        co_return Fail(ErrorCode::kDeadlineExceeded, "the client stopped reading");
      }
    } else if (is_waiting) {
      SetDeadline(shared_->options.write_deadline_ms);  // that was progress
    }
  }
  ClearDeadline();
  if (left_) {
    co_return Fail(ErrorCode::kCancelled, "the client left");
  }
  co_return Status();
}

// --- Watching the peer

// While the handler runs, nobody reads; this notices that the client went away all the same. The
// end of what the client sends counts as leaving, as in nginx and Go: a client that half-closes and
// still wants its answer cannot be told from one that died, and an answer for nobody costs tokens.
void TcpConnection::WatchPeer() {
  auto on_readable = [self = shared_from_this(), exchange = exchange_](error_code error) {
    if (error || exchange != self->exchange_ || self->left_) {
      return;
    }
    switch (LookAtPeer(self->socket_.native_handle())) {
      case Peer::kGone:
        self->MarkLeft();
        return;
      case Peer::kTalking:
        self->PeekLater();
        return;
      case Peer::kSilent:
        self->WatchPeer();
        return;
    }
  };
  socket_.async_wait(tcp::socket::wait_read, std::move(on_readable));
}

// A pipelined request stays in the kernel until its turn (which bounds it), and hides the end
// behind it from recv.
void TcpConnection::PeekLater() {
  peek_timer_.expires_after(kPipelinedPeekInterval);
  auto on_time = [self = shared_from_this(), exchange = exchange_](error_code error) {
    if (error || exchange != self->exchange_ || self->left_) {
      return;
    }
    if (PeerHungUp(self->socket_.native_handle())) {
      self->MarkLeft();
    } else {
      self->PeekLater();
    }
  };
  peek_timer_.async_wait(std::move(on_time));
}

void TcpConnection::MarkLeft() {
  if (left_) {
    return;
  }
  left_ = true;
  error_code ignored;
  socket_.cancel(ignored);
  const auto on_left = std::exchange(on_left_, nullptr);
  if (on_left) {
    on_left();
  }
}

// --- Deadlines

void TcpConnection::SetDeadline(int64_t ms) {
  late_ = false;
  deadline_ = steady_clock::now() + milliseconds(ms);
  if (!deadline_armed_ || deadline_ < deadline_timer_.expiry()) {
    ArmDeadlineTimer();
  }
}

void TcpConnection::ArmDeadlineTimer() {
  deadline_armed_ = true;
  deadline_timer_.expires_at(deadline_);
  auto on_time = [self = shared_from_this()](error_code error) {
    if (error) {
      return;  // replaced by an earlier one, or the connection has ended
    }
    self->deadline_armed_ = false;
    if (steady_clock::now() >= self->deadline_) {
      self->late_ = true;
      error_code ignored;
      self->socket_.cancel(ignored);
    } else if (self->deadline_ != kNever) {
      self->ArmDeadlineTimer();
    }
  };
  deadline_timer_.async_wait(std::move(on_time));
}

}  // namespace

void StartConnection(EventLoop& loop, std::shared_ptr<ServerShared> shared, ConnectionSlot slot,
                     Fd fd, bool peer_is_loopback) {
  TuneSocket(fd.get());
  tcp::socket socket(loop.context());
  error_code error;
  // The protocol's family matters to Asio only for opening sockets.
  socket.assign(tcp::v4(), fd.get(), error);
  if (error) {
    telemetry::Log(telemetry::Level::kWarn,
                   fmt::format("a connection was dropped: {}", error.message()));
    return;
  }
  fd.Release();
  auto connection = std::make_shared<TcpConnection>(loop, std::move(shared), std::move(slot),
                                                    std::move(socket), peer_is_loopback);
  auto on_end = [](const std::exception_ptr& thrown) {
    if (thrown) {
      telemetry::Log(telemetry::Level::kError, "a connection ended by an exception");
    }
  };
  asio::co_spawn(loop.context(), TcpConnection::Run(std::move(connection)), std::move(on_end));
}

}  // namespace tradewind::http
