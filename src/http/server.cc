#include "http/server.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <future>
#include <netdb.h>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/check.h"
#include "http/connection.h"
#include "http/event_loop.h"
#include "http/fd.h"
#include "http/open_files.h"
#include "telemetry/log.h"

namespace tradewind::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::milliseconds;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kAcceptPause = milliseconds(50);  // at the bound of connections or descriptors
constexpr auto kCutGrace = milliseconds(1000);   // for handlers to see that their client is gone

std::string WithoutBrackets(std::string_view host) {
  if (host == "localhost") {
    return "127.0.0.1";
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  return std::string(host);
}

Status SystemError(std::string_view what, const ServerOptions& options) {
  const int number = errno;
  const ErrorCode code = number == EADDRINUSE      ? ErrorCode::kAddressInUse
                         : number == EADDRNOTAVAIL ? ErrorCode::kInvalidArgument
                                                   : ErrorCode::kIo;
  return Fail(code, fmt::format("cannot {} {}:{}: {}", what, options.host, options.port,
                                std::strerror(number)));
}

Result<Fd> Listen(const ServerOptions& options) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(WithoutBrackets(options.host).c_str(), std::to_string(options.port).c_str(),
                    &hints, &found) != 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("cannot listen on \"{}\": it is neither an IP address nor localhost",
                            options.host),
                "host");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> address(found, ::freeaddrinfo);
  Fd fd(::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return std::unexpected(SystemError("open a socket for", options).error());
  }
  // SO_REUSEADDR: a restart need not wait for the old connections' TIME_WAIT. Never SO_REUSEPORT:
  // with it a second server would share the port silently, each getting half of the requests.
  const int on = 1;
  const int off = 0;
  static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
  if (address->ai_family == AF_INET6) {
    static_cast<void>(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)));
  }
  if (::bind(fd.get(), address->ai_addr, address->ai_addrlen) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return std::unexpected(SystemError("listen on", options).error());
  }
  return fd;
}

sockaddr_storage BoundAddress(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  TW_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return address;
}

uint16_t PortOf(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

bool HasOption(int fd, int name, int expected) {
  int value = 0;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 && value == expected;
}

// A socket that somebody else has opened, as ours are.
Result<Fd> Adopt(int listener) {
  Fd fd(listener);
  TW_RETURN_IF_ERROR(AddressOfListener(listener));
  if (::fcntl(listener, F_SETFD, FD_CLOEXEC) != 0 ||
      ::fcntl(listener, F_SETFL, ::fcntl(listener, F_GETFL) | O_NONBLOCK) != 0) {
    return Fail(ErrorCode::kIo,
                fmt::format("cannot use the socket that was passed: {}", std::strerror(errno)));
  }
  return fd;
}

bool IsLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&address)->sin_addr.s_addr) >> 24) == 127;
  }
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&ip) || (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == 127);
}

// One socket listens, and its loop deals connections out to all loops in turn: streams last for
// minutes, so an even number of them counts for more than accepting in parallel.
class ListeningServer final : public Server {
 public:
  ListeningServer(std::shared_ptr<ServerShared> shared, Fd listener)
      : shared_(std::move(shared)),
        port_(PortOf(BoundAddress(listener.get()))),
        listener_(listener.get()) {
    for (int i = 0; i < shared_->options.threads; ++i) {
      loops_.push_back(EventLoop::Start());
    }
    // Asio waits on it; the family given here matters only for opening sockets.
    acceptor_ =
        std::make_unique<tcp::acceptor>(loops_[0]->context(), tcp::v4(), listener.Release());
    asio::co_spawn(loops_[0]->context(), AcceptLoop(), asio::detached);
  }

  ~ListeningServer() override {
    for (const auto& loop : loops_) {
      loop->Stop();
    }
    acceptor_.reset();
    for (const auto& loop : loops_) {
      loop->Destroy();
    }
  }

  uint16_t port() const override { return port_; }

  int64_t connections() const override {
    const std::lock_guard lock(shared_->mutex);
    return shared_->connections;
  }

  int listener() const override { return listener_; }
  void SetAccepting(bool accepts) override { accepts_ = accepts; }
  bool Drain(int64_t deadline_ms, int64_t idle_grace_ms) override;

 private:
  Task<void> AcceptLoop();
  int AcceptOne(EventLoop& loop);
  void OnEveryConnection(void (Connection::*method)());
  bool AwaitNoConnections(milliseconds timeout);

  const std::shared_ptr<ServerShared> shared_;
  const uint16_t port_;
  const int listener_;  // acceptor_ owns it
  std::atomic<bool> accepts_{true};
  std::vector<std::shared_ptr<EventLoop>> loops_;
  std::unique_ptr<tcp::acceptor> acceptor_;  // on the first loop's thread
};

Task<void> ListeningServer::AcceptLoop() {
  asio::steady_timer pause(loops_[0]->context());
  size_t next = 0;
  while (acceptor_->is_open()) {
    const bool full = !accepts_ || connections() >= shared_->options.connections_max;
    const int error = full ? 0 : AcceptOne(*loops_[next % loops_.size()]);
    if (error == EAGAIN || error == EWOULDBLOCK) {
      co_await acceptor_->async_wait(tcp::acceptor::wait_read, kAwait);
    } else if (full || error != 0) {
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kAwait);
    } else {
      ++next;
    }
  }
}

// 0, or the errno of the refusal.
int ListeningServer::AcceptOne(EventLoop& loop) {
  sockaddr_storage peer{};
  socklen_t size = sizeof(peer);
  Fd socket(::accept4(acceptor_->native_handle(), reinterpret_cast<sockaddr*>(&peer), &size,
                      SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) {
    return errno;
  }
  loop.Post([&loop, shared = shared_, slot = ConnectionSlot(shared_), socket = std::move(socket),
             loopback = IsLoopback(peer)]() mutable {
    StartConnection(loop, std::move(shared), std::move(slot), std::move(socket), loopback);
  });
  return 0;
}

void ListeningServer::OnEveryConnection(void (Connection::*method)()) {
  for (const auto& loop : loops_) {
    loop->Post([raw = loop.get(), method] {
      // A copy: the method may end connections.
      const std::vector<Connection*> connections(raw->connections().begin(),
                                                 raw->connections().end());
      for (Connection* connection : connections) {
        if (raw->connections().contains(connection)) {
          (connection->*method)();
        }
      }
    });
  }
}

bool ListeningServer::AwaitNoConnections(milliseconds timeout) {
  std::unique_lock lock(shared_->mutex);
  return shared_->changed.wait_for(lock, timeout, [this] { return shared_->connections == 0; });
}

bool ListeningServer::Drain(int64_t deadline_ms, int64_t idle_grace_ms) {
  TW_CHECK(EventLoop::Current() == nullptr);
  shared_->idle_grace_ms = idle_grace_ms;
  shared_->draining = true;
  // On the accepting loop, so that every connection it has dealt out stands in the queues before
  // what follows.
  std::promise<void> stopped;
  std::future<void> accepts_no_more = stopped.get_future();
  loops_[0]->Post([this, stopped = std::move(stopped)]() mutable {
    if (!acceptor_->is_open()) {
      OnEveryConnection(&Connection::OnDrain);
      return stopped.set_value();
    }
    // Taken out of the loop's poll set first: closing alone leaves it there for as long as another
    // process has the socket too.
    boost::system::error_code ignored;
    ::close(acceptor_->release(ignored));
    OnEveryConnection(&Connection::OnDrain);
    stopped.set_value();
  });
  accepts_no_more.wait();  // or one that is accepted meanwhile would be missed below
  if (AwaitNoConnections(milliseconds(deadline_ms))) {
    return true;
  }
  OnEveryConnection(&Connection::Cut);
  return AwaitNoConnections(kCutGrace) && shared_->exchanges_cut == 0;
}

}  // namespace

Result<ListenerAddress> AddressOfListener(int listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      (address.ss_family != AF_INET && address.ss_family != AF_INET6) ||
      !HasOption(listener, SO_TYPE, SOCK_STREAM) || !HasOption(listener, SO_ACCEPTCONN, 1)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("open file {} was passed to listen on, but it is not a TCP socket that "
                            "listens",
                            listener));
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* ip =
      address.ss_family == AF_INET6
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr)
          : &reinterpret_cast<const sockaddr_in*>(&address)->sin_addr;
  TW_CHECK(::inet_ntop(address.ss_family, ip, text.data(), text.size()) != nullptr);
  return ListenerAddress{text.data(), PortOf(address)};
}

Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Handler handler,
                                              std::function<Response(const Error&)> on_error) {
  TW_ASSIGN_OR_RETURN(Fd listener,
                      options.listener >= 0 ? Adopt(options.listener) : Listen(options));
  if (options.threads < 1 || options.threads > limits::kThreadsMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} event loops are too few or too many", options.threads), "threads");
  }
  ServerOptions own = options;
  own.connections_max = ConnectionsFor(options.connections_max, RaiseOpenFilesMax());
  auto shared = std::make_shared<ServerShared>(own);
  shared->handler = std::move(handler);
  shared->on_error = std::move(on_error);
  return std::make_unique<ListeningServer>(std::move(shared), std::move(listener));
}

}  // namespace tradewind::http
