// Loaded into the server (LD_PRELOAD): kills it with SIGKILL right before or right behind the n-th
// call of one kind, as test_crash_points.py names it.
//
//   TW_CRASH_AT=before:fdatasync:journal:3     WHEN:CALL:WHAT:N; WHAT is upstream or client (by the
//   TW_CRASH_UPSTREAM_PORT=4711                peer's port, or the own one), journal, ledger.db or
//                                              ledger.db-wal
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <string_view>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace {

struct Order {
  std::string when, call, what;
  long nth = 0;
  int upstream_port = 0;
};

const Order& TheOrder() {
  static const Order order = [] {
    Order out;
    const char* at = std::getenv("TW_CRASH_AT");
    std::string text = at == nullptr ? "" : at;
    for (std::string* part : {&out.when, &out.call, &out.what}) {
      const size_t colon = text.find(':');
      *part = text.substr(0, colon);
      text = colon == std::string::npos ? "" : text.substr(colon + 1);
    }
    out.nth = std::atol(text.c_str());
    const char* port = std::getenv("TW_CRASH_UPSTREAM_PORT");
    out.upstream_port = port == nullptr ? 0 : std::atoi(port);
    return out;
  }();
  return order;
}

int PortOf(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (name(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return 0;
  }
  return address.ss_family == AF_INET    ? ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port)
         : address.ss_family == AF_INET6 ? ntohs(reinterpret_cast<sockaddr_in6&>(address).sin6_port)
                                         : 0;
}

std::string_view WhatIs(int fd, const sockaddr* peer) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    return "";
  }
  if (S_ISSOCK(status.st_mode)) {
    const int port = peer != nullptr && peer->sa_family == AF_INET
                         ? ntohs(reinterpret_cast<const sockaddr_in*>(peer)->sin_port)
                         : PortOf(fd, ::getpeername);
    return port == 0 ? "" : port == TheOrder().upstream_port ? "upstream" : "client";
  }
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), path, sizeof(path));
  const std::string_view name(path, size < 0 ? 0 : static_cast<size_t>(size));
  return name.ends_with("/ledger.db")       ? "ledger.db"
         : name.ends_with("/ledger.db-wal") ? "ledger.db-wal"
         : name.contains("/journal")        ? "journal"
                                            : "";
}

[[noreturn]] void Die() {
  ::kill(::getpid(), SIGKILL);
  while (true) {
    ::pause();
  }
}

// Around one call.
class Point {
 public:
  Point(std::string_view call, int fd, const sockaddr* peer = nullptr) {
    static std::atomic<long> seen{0};
    if (TheOrder().call != call || WhatIs(fd, peer) != TheOrder().what) {
      return;
    }
    is_it_ = ++seen == TheOrder().nth;
    if (is_it_ && TheOrder().when == "before") {
      Die();
    }
  }
  Point(const Point&) = delete;
  Point& operator=(const Point&) = delete;
  ~Point() {
    if (is_it_) {
      Die();
    }
  }

 private:
  bool is_it_ = false;
};

template <class F>
F* Real(F* /*of this type*/, const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

#define TW_CRASH_POINT(result, name, parameters, arguments, ...)                     \
  extern "C" result name parameters {                                                \
    static result(*const real) parameters = Real<result parameters>(nullptr, #name); \
    const Point point(__VA_ARGS__);                                                  \
    return real arguments;                                                           \
  }

TW_CRASH_POINT(int, connect, (int fd, const sockaddr* peer, socklen_t size), (fd, peer, size),
               "connect", fd, peer)
TW_CRASH_POINT(ssize_t, send, (int fd, const void* data, size_t size, int flags),
               (fd, data, size, flags), "send", fd)
TW_CRASH_POINT(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags),
               "send", fd)
TW_CRASH_POINT(ssize_t, writev, (int fd, const iovec* parts, int count), (fd, parts, count), "send",
               fd)
TW_CRASH_POINT(ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size), "send",
               fd)
TW_CRASH_POINT(ssize_t, recv, (int fd, void* data, size_t size, int flags), (fd, data, size, flags),
               "recv", fd)
TW_CRASH_POINT(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags), "recv",
               fd)
TW_CRASH_POINT(ssize_t, readv, (int fd, const iovec* parts, int count), (fd, parts, count), "recv",
               fd)
TW_CRASH_POINT(ssize_t, read, (int fd, void* data, size_t size), (fd, data, size), "recv", fd)
TW_CRASH_POINT(int, fdatasync, (int fd), (fd), "fdatasync", fd)
TW_CRASH_POINT(int, fsync, (int fd), (fd), "fsync", fd)
TW_CRASH_POINT(ssize_t, pwrite, (int fd, const void* data, size_t size, off_t at),
               (fd, data, size, at), "pwrite", fd)
TW_CRASH_POINT(ssize_t, pwrite64, (int fd, const void* data, size_t size, off64_t at),
               (fd, data, size, at), "pwrite", fd)
TW_CRASH_POINT(int, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size), "fallocate",
               fd)
TW_CRASH_POINT(int, renameat, (int from, const char* old_name, int to, const char* name),
               (from, old_name, to, name), "rename", from)
TW_CRASH_POINT(int, unlinkat, (int folder, const char* name, int flags), (folder, name, flags),
               "unlink", folder)
TW_CRASH_POINT(int, ftruncate, (int fd, off_t size), (fd, size), "truncate", fd)
TW_CRASH_POINT(int, ftruncate64, (int fd, off64_t size), (fd, size), "truncate", fd)
