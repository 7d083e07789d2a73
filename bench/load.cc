// An HTTP/1.1 load for compare_gateways.py and ledger_cost.py: one thread, kept connections. It
// shares no code with src/.
//
//   load --port P --path /v1/chat/completions --body FILE [--header "Name: value"]...
//        [--connections N] [--requests M] [--warm K] [--rate R] [--hold]
//
// Prints one JSON object. A streamed answer counts as good when its end mark arrived. Each
// connection sends its next request when its last answer is whole; with `--rate`, when the next
// one of R a second is due, and its latency counts from then, also when no connection was free.
// `--hold` sends one request on each connection, prints "held" once each has bytes of a body, and
// keeps them open until standard input ends.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int port = 0;
  std::string path = "/", body_file;
  std::vector<std::string> headers;
  int64_t connections = 1, requests = 1000, warm = 0;
  double rate = 0;  // requests a second; 0: as fast as answers come
  bool hold = false;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "load: %s%s%s\n", what.c_str(), errno != 0 ? ": " : "",
               errno != 0 ? std::strerror(errno) : "");
  std::exit(1);
}

// An answer as it arrives: its length is announced, or it comes in chunks.
class Answer {
 public:
  // True once it is whole; whatever does not look like one ends the program.
  bool Add(std::string_view bytes) {
    if (!has_head_) {
      head_ += bytes;
      const size_t end = head_.find("\r\n\r\n");
      if (end == std::string::npos) {
        return false;
      }
      ReadHead(std::string_view(head_).substr(0, end + 2));
      const std::string rest = head_.substr(end + 4);
      return Body(rest);
    }
    return Body(bytes);
  }
  bool has_body() const { return body_bytes_ > 0; }
  bool is_good() const { return status_ == 200 && (!is_stream_ || tail_.contains("[DONE]")); }

 private:
  void ReadHead(std::string_view head) {
    has_head_ = true;
    status_ = std::atoi(std::string(head.substr(9, 3)).c_str());
    std::string lower(head);
    std::ranges::transform(lower, lower.begin(), [](char c) { return std::tolower(c); });
    is_stream_ = lower.contains("content-type: text/event-stream");
    if (const size_t at = lower.find("\r\ncontent-length: "); at != std::string::npos) {
      missing_ = std::atoll(lower.c_str() + at + 18);
    } else if (lower.contains("\r\ntransfer-encoding: chunked")) {
      is_chunked_ = true;
    } else {
      Die("an answer of unknown length");
    }
  }

  bool Body(std::string_view bytes) {
    if (!is_chunked_) {
      Take(bytes);
      missing_ -= static_cast<int64_t>(bytes.size());
      return missing_ <= 0;
    }
    while (!bytes.empty()) {
      if (missing_ > 0) {  // of the chunk and the line break behind it
        const auto part = bytes.substr(0, static_cast<size_t>(missing_));
        Take(part);
        missing_ -= static_cast<int64_t>(part.size());
        bytes.remove_prefix(part.size());
        continue;
      }
      line_ += bytes.front();
      bytes.remove_prefix(1);
      if (line_.ends_with('\n')) {
        const int64_t size = std::strtoll(line_.c_str(), nullptr, 16);
        line_.clear();
        missing_ = size + 2;
        is_last_ = size == 0;
      }
      if (is_last_ && bytes.size() >= 2) {
        return true;
      }
    }
    return is_last_ && missing_ == 0;
  }

  void Take(std::string_view bytes) {
    body_bytes_ += static_cast<int64_t>(bytes.size());
    if (is_stream_) {
      tail_ += bytes;
      tail_.erase(0, tail_.size() - std::min<size_t>(tail_.size(), 32));  // the end mark fits
    }
  }

  std::string head_, line_, tail_;
  bool has_head_ = false, is_chunked_ = false, is_stream_ = false, is_last_ = false;
  int status_ = 0;
  int64_t missing_ = 0, body_bytes_ = 0;
};

struct Connection {
  int fd = -1;
  size_t sent = 0;
  Answer answer;
  Clock::time_point started;
  bool is_held = false;
  bool is_busy = false;  // between its request and the end of the answer
};

class Load {
 public:
  explicit Load(Options options) : options_(std::move(options)) {
    std::ifstream file(options_.body_file, std::ios::binary);
    const std::string body{std::istreambuf_iterator<char>(file), {}};
    request_ = "POST " + options_.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    request_ += "Content-Type: application/json\r\n";
    for (const std::string& header : options_.headers) {
      request_ += header + "\r\n";
    }
    request_ += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    epoll_ = ::epoll_create1(0);
  }

  void Run() {
    if (options_.hold) {
      options_.requests = options_.connections;
      options_.warm = 0;
    }
    for (int64_t i = 0; i < options_.connections; ++i) {
      Open(connections_.emplace_back());
    }
    started_ = first_due_ = Clock::now();
    for (Connection& connection : connections_) {
      idle_.push_back(&connection);
    }
    std::vector<epoll_event> events(256);
    while (done_ < options_.requests + options_.warm && held_ < options_.connections) {
      const std::chrono::nanoseconds wait = BeginDue();
      const timespec until{.tv_sec = 0, .tv_nsec = wait.count()};
      const int count = ::epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()),
                                       wait.count() < 0 ? nullptr : &until, nullptr);
      for (int i = 0; i < count; ++i) {
        auto& connection = *static_cast<Connection*>(events[static_cast<size_t>(i)].data.ptr);
        Send(connection);
        Receive(connection);
      }
    }
    if (options_.hold) {
      std::puts("held");
      std::fflush(stdout);
      while (std::getchar() != EOF) {
      }
      return;
    }
    Report();
  }

 private:
  void Open(Connection& connection) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection.fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    ::setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      Die("connect");
    }
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = &connection}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
  }

  // How long until the next one is due; negative: no time brings it, but the end of another.
  std::chrono::nanoseconds BeginDue() {
    while (!idle_.empty() && begun_ < options_.requests + options_.warm) {
      const auto now = Clock::now();
      auto due = now;
      if (options_.rate > 0) {
        due = first_due_ + std::chrono::nanoseconds(static_cast<int64_t>(
                               static_cast<double>(begun_) / options_.rate * 1e9));
      }
      if (due > now) {
        return std::min<std::chrono::nanoseconds>(due - now, std::chrono::milliseconds(100));
      }
      Connection& connection = *idle_.front();
      idle_.pop_front();
      Begin(connection, due);
    }
    return std::chrono::nanoseconds(-1);
  }

  void Begin(Connection& connection, Clock::time_point due) {
    ++begun_;
    connection.is_busy = true;
    connection.sent = 0;
    connection.answer = Answer();
    connection.started = due;
    Send(connection);
  }

  void Send(Connection& connection) {
    while (connection.sent < request_.size()) {
      const ssize_t n = ::send(connection.fd, request_.data() + connection.sent,
                               request_.size() - connection.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0) {
        if (errno == EAGAIN) {
          return;
        }
        Die("send");
      }
      connection.sent += static_cast<size_t>(n);
    }
  }

  void Receive(Connection& connection) {
    static std::vector<char> buffer(256 << 10);
    while (true) {
      const ssize_t n = ::recv(connection.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) {
        return;
      }
      if (n <= 0) {
        if (!connection.is_busy) {
          return;  // the others are still at it, and the server does not wait for this one
        }
        Die("the server closed a connection");
      }
      const bool is_whole = connection.answer.Add({buffer.data(), static_cast<size_t>(n)});
      if (options_.hold) {
        held_ += connection.answer.has_body() && !std::exchange(connection.is_held, true) ? 1 : 0;
      } else if (is_whole) {
        End(connection);
      }
    }
  }

  void End(Connection& connection) {
    const auto now = Clock::now();
    if (++done_ > options_.warm) {
      nanoseconds_.push_back((now - connection.started).count());
    } else if (done_ == options_.warm) {
      started_ = now;
    }
    failed_ += connection.answer.is_good() ? 0 : 1;
    connection.is_busy = false;
    idle_.push_back(&connection);
  }

  double Percentile(double share) const {
    const auto at = static_cast<size_t>(share * static_cast<double>(nanoseconds_.size() - 1));
    return static_cast<double>(nanoseconds_[at]) / 1000;
  }

  void Report() {
    const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
    std::ranges::sort(nanoseconds_);
    std::printf(
        "{\"requests\": %zu, \"failed\": %lld, \"seconds\": %.6f, \"p50_us\": %.1f, "
        "\"p90_us\": %.1f, \"p99_us\": %.1f}\n",
        nanoseconds_.size(), static_cast<long long>(failed_), seconds, Percentile(0.5),
        Percentile(0.9), Percentile(0.99));
  }

  Options options_;
  std::string request_;
  int epoll_ = -1;
  std::deque<Connection> connections_;  // events point into it
  std::deque<Connection*> idle_;        // the one that has rested longest first
  std::vector<int64_t> nanoseconds_;
  int64_t begun_ = 0, done_ = 0, failed_ = 0, held_ = 0;
  Clock::time_point started_, first_due_;
};

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--hold") {
      options.hold = true;
      continue;
    }
    if (++i == argc) {
      Die("a value is missing after " + std::string(name));
    }
    const std::string value = argv[i];
    if (name == "--path") {
      options.path = value;
    } else if (name == "--body") {
      options.body_file = value;
    } else if (name == "--header") {
      options.headers.push_back(value);
    } else if (name == "--port") {
      options.port = std::atoi(value.c_str());
    } else if (name == "--connections") {
      options.connections = std::atoll(value.c_str());
    } else if (name == "--requests") {
      options.requests = std::atoll(value.c_str());
    } else if (name == "--warm") {
      options.warm = std::atoll(value.c_str());
    } else if (name == "--rate") {
      options.rate = std::atof(value.c_str());
    } else {
      Die("unknown flag " + std::string(name));
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  Load(Parse(argc, argv)).Run();
}
