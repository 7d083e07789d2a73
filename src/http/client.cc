#include "http/client.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <optional>
#include <poll.h>

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "http/fd.h"
#include "http/response_reader.h"
#include "http/wire.h"

namespace tradewind::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool IsStopped(const ClientRequest& request) {
  return request.stop != nullptr && request.stop->load(std::memory_order_relaxed);
}

// Waits for `events` on the socket, errors included. False: the deadline passed, or the caller
// stopped the request.
bool AwaitSocket(int fd, short events, steady_clock::time_point deadline,
                 const ClientRequest& request) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0 || IsStopped(request)) {
      return false;
    }
    const int64_t slice = request.stop == nullptr ? 1 << 30 : limits::kClientStopCheckMs;
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min(left, slice)));
    if (ready > 0 || (ready < 0 && errno != EINTR)) {
      return true;
    }
  }
}

steady_clock::time_point IdleDeadline(const ClientRequest& request) {
  return steady_clock::now() + milliseconds(request.idle_timeout_ms);
}

Status Late(std::string_view what) {
  return Fail(ErrorCode::kDeadlineExceeded, fmt::format("the server {} in time", what));
}

// One address; the errno of the refusal otherwise.
int ConnectTo(const addrinfo& address, steady_clock::time_point deadline,
              const ClientRequest& request, Fd& connected) {
  Fd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return errno;
  }
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) {
      return errno;
    }
    if (!AwaitSocket(fd.get(), POLLOUT, deadline, request)) {
      return ETIMEDOUT;
    }
    int error = 0;
    socklen_t size = sizeof(error);
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
      return error != 0 ? error : errno;
    }
  }
  const int on = 1;
  static_cast<void>(::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
  connected = std::move(fd);
  return 0;
}

Result<Fd> Connect(const ClientRequest& request) {
  const auto refused = [&request](std::string_view why) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("cannot connect to {}:{}: {}", request.host, request.port, why));
  };
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure =
      ::getaddrinfo(request.host.c_str(), std::to_string(request.port).c_str(), &hints, &found);
  if (failure != 0) {
    return refused(::gai_strerror(failure));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  const auto deadline = steady_clock::now() + milliseconds(request.connect_timeout_ms);
  int error = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    Fd fd;
    error = ConnectTo(*address, deadline, request, fd);
    if (error == 0) {
      return fd;
    }
  }
  return refused(std::strerror(error));
}

Result<std::string> FormatRequest(const ClientRequest& request) {
  const bool ipv6 = request.host.contains(':');
  const std::string authority =
      fmt::format("{}{}{}:{}", ipv6 ? "[" : "", request.host, ipv6 ? "]" : "", request.port);
  RequestHead head{.method = request.method,
                   .target_prefix = {},
                   .target = request.target,
                   .authority = authority,
                   .headers = &request.headers,
                   .content_length = {},
                   .keep_alive = false};
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
      request.method == "PATCH") {
    head.content_length = static_cast<int64_t>(request.body.size());
  }
  return FormatRequestHead(head);
}

// A server may refuse a request before it has read it whole: a failed send is no failure as long as
// there is an answer.
Status SendAll(int fd, std::string_view bytes, const ClientRequest& request) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!AwaitSocket(fd, POLLOUT, IdleDeadline(request), request)) {
        return Late("did not take the request");
      }
    } else if (errno != EINTR) {
      return {};
    }
  }
  return {};
}

Status ReceiveAll(int fd, const ClientRequest& request, ResponseReader& reader) {
  std::array<char, 16384> bytes;
  while (!reader.done() && !reader.stopped()) {
    const ssize_t n = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (n > 0) {
      TW_RETURN_IF_ERROR(reader.Push({bytes.data(), static_cast<size_t>(n)}));
    } else if (n == 0) {
      return reader.PushEnd();
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!AwaitSocket(fd, POLLIN, IdleDeadline(request), request)) {
        return Late("did not answer");
      }
    } else if (errno != EINTR) {
      return Fail(ErrorCode::kIo, fmt::format("the connection broke: {}", std::strerror(errno)));
    }
  }
  return {};
}

Result<Response> Converse(const ClientRequest& request,
                          const std::function<bool(std::string_view)>& on_bytes,
                          const std::function<void(const Response&)>& on_head) {
  TW_ASSIGN_OR_RETURN(const std::string head, FormatRequest(request));
  TW_ASSIGN_OR_RETURN(const Fd fd, Connect(request));
  TW_RETURN_IF_ERROR(SendAll(fd.get(), head, request));
  TW_RETURN_IF_ERROR(SendAll(fd.get(), request.body, request));
  ResponseReader reader(request.method == "HEAD", on_head, on_bytes);
  TW_RETURN_IF_ERROR(ReceiveAll(fd.get(), request, reader));
  return reader.Take();
}

}  // namespace

Result<Response> FetchStream(const ClientRequest& request,
                             const std::function<bool(std::string_view)>& on_bytes,
                             const std::function<void(const Response&)>& on_head) {
  auto response = Converse(request, on_bytes, on_head);
  if (!response.has_value() && IsStopped(request)) {
    return Fail(ErrorCode::kCancelled, "the caller stopped the request");
  }
  return response;
}

Result<Response> Fetch(const ClientRequest& request) {
  std::string body;
  bool too_large = false;
  const auto take = [&](std::string_view bytes) {
    too_large = body.size() + bytes.size() > static_cast<size_t>(limits::kClientBodyBytesMax);
    if (!too_large) {
      body.append(bytes);
    }
    return !too_large;
  };
  TW_ASSIGN_OR_RETURN(Response response, FetchStream(request, take));
  if (too_large) {
    return Fail(ErrorCode::kPayloadTooLarge,
                fmt::format("the answer is larger than {} bytes", limits::kClientBodyBytesMax));
  }
  response.body = std::move(body);
  return response;
}

}  // namespace tradewind::http
