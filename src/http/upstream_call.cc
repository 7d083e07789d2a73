// Whole because one call is one state machine, and every further file that includes Asio costs
// seconds to compile.
#include "http/upstream_call.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "http/body_decoder.h"
#include "http/inflater.h"
#include "http/response_head.h"
#include "http/upstream_connection.h"
#include "http/wire.h"

namespace tradewind::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Deadline = UpstreamConnection::Deadline;
using Got = UpstreamConnection::Got;
using Sent = UpstreamConnection::Sent;

std::unexpected<Error> Cancelled() {
  return Fail(ErrorCode::kCancelled, "the caller cancelled the request");
}

// Bytes that have arrived and are not used yet. Holds memory only while it is not empty, or while
// somebody still reads what was taken from it.
class Inbox {
 public:
  explicit Inbox(UpstreamPool& pool) : pool_(pool) {}
  ~Inbox() { Free(); }
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  char* begin() { return data_ + begin_; }
  size_t size() const { return end_ - begin_; }
  std::string_view view() const { return {data_ + begin_, end_ - begin_}; }
  void Use(size_t bytes) { begin_ += bytes; }

  // Room for more: moved to the front, or into a larger place when a head does not fit.
  std::pair<char*, size_t> Room() {
    if (data_ == nullptr) {
      small_ = pool_.TakeBuffer();
      data_ = small_->data();
      capacity_ = small_->size();
    }
    if (begin_ > 0) {
      std::memmove(data_, data_ + begin_, size());
      end_ -= std::exchange(begin_, 0);
    }
    if (end_ == capacity_) {
      const size_t larger = limits::kHeaderBytesMax + limits::kUpstreamBufferBytes;
      TW_CHECK(capacity_ < larger);
      auto grown = std::make_unique_for_overwrite<char[]>(larger);
      std::memcpy(grown.get(), data_, end_);
      Free();
      large_ = std::move(grown);
      data_ = large_.get();
      capacity_ = larger;
    }
    return {data_ + end_, capacity_ - end_};
  }
  void Add(size_t bytes) { end_ += bytes; }

  void FreeIfEmpty() {
    if (begin_ == end_) {
      Free();
      begin_ = end_ = 0;
    }
  }

 private:
  void Free() {
    if (small_ != nullptr) {
      pool_.PutBuffer(std::move(small_));
    }
    large_.reset();
    data_ = nullptr;
    capacity_ = 0;
  }

  UpstreamPool& pool_;
  std::unique_ptr<UpstreamBuffer> small_;
  std::unique_ptr<char[]> large_;
  char* data_ = nullptr;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

class PooledCall final : public UpstreamCall {
 public:
  PooledCall(std::shared_ptr<UpstreamShared> shared, std::shared_ptr<UpstreamPool> pool,
             EventLoop& loop, UpstreamRequest request)
      : shared_(std::move(shared)),
        pool_(std::move(pool)),
        loop_(loop),
        request_(std::move(request)),
        authority_(request_.url.Authority()),
        key_(std::string(request_.url.is_tls() ? "s" : "p")
                 .append(request_.allow_private ? "+" : "-")
                 .append(authority_)),
        inbox_(*pool_) {}
  ~PooledCall() override { DropConnection(); }

  Task<Status> AwaitHead() override;
  int status() const override { return head_.status; }
  const Headers& headers() const override { return head_.headers; }
  Task<Result<std::string_view>> Read() override;
  void ReadBy(Deadline by) override { read_by_ = by; }
  void Cancel() override;
  Reached reached() const override { return reached_; }
  bool used_kept_connection() const override { return kept_; }
  int64_t body_bytes_received() const override { return decoder_.body_bytes(); }

 private:
  Result<std::string> FormatHead() const;
  Task<Status> Connect();
  Task<Status> ConnectToOneOf(Addresses addresses, Deadline deadline);
  Task<Result<Addresses>> Resolve(Deadline deadline);
  Task<Status> SendAndReadHead(std::string_view head_text);
  Task<Status> ReadHead(Deadline deadline);
  Result<bool> TakeHead();
  Status BeginBody();
  Task<Result<Got>> Receive(Deadline deadline);
  Result<std::string_view> TakeBody();
  Status EndOfConnection(Got got);
  void EndBody();
  void HoldConnection(std::shared_ptr<UpstreamConnection> connection);
  void DropConnection();
  std::unexpected<Error> FailRead(Error error);

  Deadline After(int64_t ms) const {
    return std::min(steady_clock::now() + milliseconds(ms), request_.deadlines.overall);
  }

  const std::shared_ptr<UpstreamShared> shared_;
  const std::shared_ptr<UpstreamPool> pool_;
  EventLoop& loop_;
  UpstreamRequest request_;
  const std::string authority_;
  const std::string key_;

  std::shared_ptr<UpstreamConnection> connection_;  // null before and after
  std::shared_ptr<Wakeup> wakeup_;                  // while a name is looked up
  Deadline read_by_ = Deadline::max();
  bool started_ = false;
  bool cancelled_ = false;
  bool kept_ = false;            // the connection was used before
  bool may_send_again_ = false;  // the request cannot have been received
  bool reusable_ = true;         // the connection, after this
  bool is_drained_ = false;      // the last read left nothing behind: waiting comes before reading
  Reached reached_ = Reached::kNotSent;

  Inbox inbox_;
  size_t searched_ = 0;  // for the end of the head
  int interim_ = 0;
  ReceivedHead head_;
  BodyDecoder decoder_;
  std::unique_ptr<Inflater> inflater_;
  std::string_view deflated_;  // in inbox_
  bool is_inflating_ = false;  // there may be more of what was taken
  std::optional<Error> failed_;
};

// --- The life of a call

Task<Status> PooledCall::AwaitHead() {
  TW_CHECK(!std::exchange(started_, true));
  if (!request_.url.is_tls() && !request_.allow_private) {
    co_return Fail(ErrorCode::kPermissionDenied,
                   "plain http would show the key to everybody on the way; use https, or set "
                   "allow_private = true for this provider",
                   "base_url");
  }
  if (cancelled_) {
    co_return Cancelled();
  }
  if (shared_->shut_down) {
    co_return Fail(ErrorCode::kUnavailable, "the server is stopping");
  }
  TW_CO_ASSIGN_OR_RETURN(const std::string head_text, FormatHead());
  if (auto connection = pool_->Take(key_)) {
    kept_ = true;
    UpstreamCounters::Add(pool_->counters().reused, 1);
    HoldConnection(std::move(connection));
    const Status answered = co_await SendAndReadHead(head_text);
    if (answered.has_value() || !may_send_again_ || cancelled_) {
      co_return answered;
    }
    UpstreamCounters::Add(pool_->counters().retries, 1);
    kept_ = false;
    reached_ = Reached::kNotSent;
    reusable_ = true;
  }
  TW_CO_RETURN_IF_ERROR(co_await Connect());
  co_return co_await SendAndReadHead(head_text);
}

Result<std::string> PooledCall::FormatHead() const {
  RequestHead head{.method = request_.method,
                   .target_prefix = request_.url.target_prefix,
                   .target = request_.target,
                   .authority = authority_,
                   .headers = &request_.headers,
                   .content_length = {},
                   .asks_for_identity = true};
  if (!request_.body.empty() || request_.method == "POST" || request_.method == "PUT" ||
      request_.method == "PATCH") {
    head.content_length = static_cast<int64_t>(request_.body.size());
  }
  return FormatRequestHead(head);
}

void PooledCall::Cancel() {
  if (std::exchange(cancelled_, true)) {
    return;
  }
  if (connection_ != nullptr) {
    connection_->Close();
  }
  if (wakeup_ != nullptr) {
    wakeup_->Notify();
  }
}

// --- Connecting

void PooledCall::HoldConnection(std::shared_ptr<UpstreamConnection> connection) {
  connection_ = std::move(connection);
  is_drained_ = false;
  UpstreamCounters::Add(pool_->counters().in_use, 1);
}

void PooledCall::DropConnection() {
  if (const auto connection = std::exchange(connection_, nullptr)) {
    connection->Close();
    UpstreamCounters::Add(pool_->counters().in_use, -1);
  }
}

Task<Status> PooledCall::Connect() {
  const Deadline deadline = After(request_.deadlines.connect_ms);
  TW_CO_ASSIGN_OR_RETURN(Addresses addresses, co_await Resolve(deadline));
  // Every one, before the first connection: a name that leads to a forbidden address among others
  // is not to be trusted. What was checked is what is connected to, so a second answer of the name
  // server changes nothing.
  for (const IpAddress& address : addresses) {
    TW_CO_RETURN_IF_ERROR(CheckAddress(address, request_.allow_private));
  }
  Status connected = co_await ConnectToOneOf(std::move(addresses), deadline);
  if (connected.has_value() && request_.url.is_tls()) {
    auto tls = shared_->Tls();
    connected = tls.has_value()
                    ? co_await connection_->StartTls(*tls, request_.url.host, authority_, deadline)
                    : Status(Fail(tls.error()));
  }
  if (cancelled_) {
    connected = Cancelled();
  }
  if (!connected.has_value()) {
    DropConnection();
  }
  co_return connected;
}

Task<Result<Addresses>> PooledCall::Resolve(Deadline deadline) {
  if (const auto literal = ParseIpAddress(request_.url.host)) {
    co_return Addresses{*literal};
  }
  wakeup_ = Wakeup::Create();
  auto addresses =
      co_await shared_->resolver.Resolve(request_.url.host, wakeup_, deadline, cancelled_);
  wakeup_ = nullptr;
  if (cancelled_) {
    co_return Cancelled();
  }
  co_return addresses;
}

Task<Status> PooledCall::ConnectToOneOf(Addresses addresses, Deadline deadline) {
  const size_t count =
      std::min(addresses.size(), static_cast<size_t>(limits::kUpstreamAddressesMax));
  Status connected = Fail(ErrorCode::kUnavailable, "the upstream's name has no address");
  for (size_t i = 0; i < count && !connected.has_value() && !cancelled_; ++i) {
    DropConnection();
    HoldConnection(UpstreamConnection::Create(loop_));
    // One that does not answer leaves time for those behind it.
    const auto now = steady_clock::now();
    const Deadline share = now + (deadline - now) / static_cast<int64_t>(count - i);
    connected = co_await connection_->Connect(addresses[i], request_.url.port, share);
  }
  if (connected.has_value()) {
    UpstreamCounters::Add(pool_->counters().opened, 1);
  } else if (!cancelled_) {
    connected =
        Fail(connected.error().code, fmt::format("{}: {}", authority_, connected.error().message));
  }
  co_return connected;
}

// --- The request, and the head of its answer

Task<Status> PooledCall::SendAndReadHead(std::string_view head_text) {
  connection_->BeginMessage();
  const auto sent = co_await connection_->Send(
      head_text, request_.body, request_.deadlines.first_byte_ms, request_.deadlines.overall);
  Status answered;
  if (!sent.has_value()) {
    answered = sent.error().code == ErrorCode::kDeadlineExceeded
                   ? Fail(ErrorCode::kDeadlineExceeded, "the upstream did not take the request")
                   : Fail(sent.error());
  } else {
    reached_ = *sent == Sent::kAll ? Reached::kSent : Reached::kNotSent;
    reusable_ = *sent == Sent::kAll;
    is_drained_ = *sent == Sent::kAll && !connection_->is_tls();
    answered = co_await ReadHead(After(request_.deadlines.first_byte_ms));
  }
  if (answered.has_value()) {
    // Not sent again from here on: no memory is kept for it while the answer streams.
    request_.headers = Headers();
    request_.body = {};
    answered = BeginBody();
  }
  if (!answered.has_value()) {
    DropConnection();
  }
  co_return answered;
}

Task<Status> PooledCall::ReadHead(Deadline deadline) {
  while (true) {
    TW_CO_ASSIGN_OR_RETURN(const bool is_whole, TakeHead());
    if (is_whole) {
      co_return Status();
    }
    const auto got = co_await Receive(deadline);
    if (!got.has_value()) {
      co_return got.error().code == ErrorCode::kDeadlineExceeded
          ? Fail(ErrorCode::kDeadlineExceeded,
                 fmt::format("the upstream did not answer within {} ms",
                             request_.deadlines.first_byte_ms))
          : Fail(got.error());
    }
    if (*got == Got::kBytes) {
      continue;
    }
    const bool is_silent = inbox_.size() == 0 && interim_ == 0;
    if (is_silent && *got == Got::kEnd && reached_ == Reached::kSent &&
        connection_->NothingAcknowledged()) {
      // It closed before the request came to it.
      reached_ = Reached::kNotSent;
    }
    may_send_again_ = is_silent && reached_ == Reached::kNotSent;
    co_return Fail(ErrorCode::kUnavailable,
                   is_silent ? "the upstream closed the connection without an answer"
                             : "the upstream closed the connection in the head of its answer");
  }
}

// True: the final head is whole.
Result<bool> PooledCall::TakeHead() {
  constexpr std::string_view kStart = "HTTP/1.";
  while (inbox_.size() > 0) {
    const std::string_view bytes = inbox_.view();
    if (!kStart.starts_with(bytes.substr(0, kStart.size()))) {
      return Fail(ErrorCode::kIo, "the upstream's answer is not HTTP/1");
    }
    const size_t size = FindHeadEnd(bytes, searched_);
    searched_ = bytes.size();
    if (std::min(size, bytes.size()) > limits::kHeaderBytesMax) {
      return Fail(ErrorCode::kPayloadTooLarge,
                  fmt::format("the head of the upstream's answer is larger than {} bytes",
                              limits::kHeaderBytesMax));
    }
    if (size == std::string_view::npos) {
      return false;
    }
    TW_ASSIGN_OR_RETURN(head_, ParseResponseHead(bytes.substr(0, size), request_.method == "HEAD"));
    inbox_.Use(size);
    searched_ = 0;
    if (head_.status >= 200) {
      reached_ = Reached::kHead;
      return true;
    }
    if (head_.status == 101 || ++interim_ > limits::kInterimResponsesMax) {
      return Fail(ErrorCode::kIo, "the upstream switches protocols, or only says to wait");
    }
  }
  return false;
}

// "chunked" is no content coding, but a provider sends it, also beside a real one.
std::vector<std::string_view> CodingsOf(const Headers& headers) {
  std::vector<std::string_view> codings;
  for (const auto& [name, value] : headers.all()) {
    if (SameToken(name, "Content-Encoding") && !value.empty() && !SameToken(value, "identity") &&
        !SameToken(value, "chunked")) {
      codings.push_back(value);
    }
  }
  return codings;
}

Status PooledCall::BeginBody() {
  decoder_.Begin(head_);
  if (const std::vector<std::string_view> codings = CodingsOf(head_.headers); !codings.empty()) {
    if (codings.size() > 1 || (!SameToken(codings[0], "gzip") && !SameToken(codings[0], "x-gzip") &&
                               !SameToken(codings[0], "deflate"))) {
      return Fail(ErrorCode::kUnsupported,
                  "the upstream's answer is compressed in a way that was not asked for");
    }
    if (!decoder_.done()) {
      inflater_ = std::make_unique<Inflater>();
    }
    head_.headers.Remove("Content-Encoding");
    head_.headers.Remove("Content-Length");
  }
  if (decoder_.done()) {
    EndBody();
  }
  return {};
}

// --- The body

// kBytes: there are more in inbox_.
Task<Result<Got>> PooledCall::Receive(Deadline deadline) {
  while (true) {
    if (cancelled_) {
      co_return Cancelled();
    }
    if (!is_drained_) {
      const auto [bytes, size] = inbox_.Room();
      const auto outcome = connection_->Read(bytes, size);
      if (outcome.got == Got::kBytes) {
        inbox_.Add(outcome.bytes);
        is_drained_ = outcome.bytes < size && !connection_->is_tls();
      }
      if (outcome.got != Got::kNothingYet) {
        co_return outcome.got;
      }
    }
    is_drained_ = false;
    inbox_.FreeIfEmpty();  // who waits holds no buffer
    TW_CO_RETURN_IF_ERROR(co_await connection_->AwaitReadable(deadline));
  }
}

Task<Result<std::string_view>> PooledCall::Read() {
  if (failed_.has_value()) {
    co_return Fail(*failed_);
  }
  if (cancelled_) {
    co_return FailRead(Cancelled().error());
  }
  TW_CHECK(reached_ == Reached::kHead);
  while (true) {
    auto bytes = TakeBody();
    if (!bytes.has_value()) {
      co_return FailRead(bytes.error());
    }
    if (!bytes->empty() || decoder_.done()) {
      co_return bytes;
    }
    const auto got = co_await Receive(std::min(After(request_.deadlines.idle_ms), read_by_));
    if (!got.has_value()) {
      co_return FailRead(got.error().code == ErrorCode::kDeadlineExceeded
                             ? Error{ErrorCode::kDeadlineExceeded,
                                     fmt::format("the upstream stalled {} bytes into its answer",
                                                 decoder_.body_bytes())}
                             : got.error());
    }
    if (*got != Got::kBytes) {
      const Status ended = EndOfConnection(*got);
      if (!ended.has_value()) {
        co_return FailRead(ended.error());
      }
    }
  }
}

// What can be given without waiting. Empty: more has to arrive, or the body is done.
Result<std::string_view> PooledCall::TakeBody() {
  while (true) {
    if (is_inflating_) {
      TW_ASSIGN_OR_RETURN(const std::string_view inflated, inflater_->Next(deflated_));
      if (!inflated.empty()) {
        return inflated;
      }
      is_inflating_ = false;
    }
    if (decoder_.done()) {
      if (inflater_ != nullptr) {
        TW_RETURN_IF_ERROR(inflater_->End());
      }
      return std::string_view();
    }
    if (inbox_.size() == 0) {
      return std::string_view();
    }
    char* const begin = inbox_.begin();
    TW_ASSIGN_OR_RETURN(const auto decoded, decoder_.Decode(begin, inbox_.size()));
    inbox_.Use(decoded.used);
    if (decoder_.body_bytes() > limits::kUpstreamBodyBytesMax) {
      return Fail(ErrorCode::kPayloadTooLarge, "the upstream's answer does not end");
    }
    if (decoder_.done()) {
      EndBody();
    }
    const std::string_view body(begin, decoded.bytes);
    if (inflater_ == nullptr) {
      if (!body.empty()) {
        return body;
      }
    } else if (!body.empty()) {
      deflated_ = body;
      is_inflating_ = true;
    }
  }
}

Status PooledCall::EndOfConnection(Got got) {
  if (got == Got::kEnd) {
    TW_RETURN_IF_ERROR(decoder_.End());
    EndBody();
    return {};
  }
  return Fail(ErrorCode::kUnavailable,
              fmt::format("the upstream cut the connection {} bytes into its answer's body",
                          decoder_.body_bytes()));
}

// The connection can serve the next call, unless something is wrong with it. The bytes last taken
// stay where they are.
void PooledCall::EndBody() {
  const bool is_good = reusable_ && head_.keep_alive && inbox_.size() == 0 && !cancelled_ &&
                       !connection_->is_closed();
  if (!is_good) {
    DropConnection();
    return;
  }
  constexpr int64_t kMargin_s = 1;  // the answer's way, and the next request's
  const int64_t keep_ms =
      head_.keep_alive_timeout_s > 0
          ? std::min<int64_t>(head_.keep_alive_timeout_s - kMargin_s, 1 << 20) * 1000
          : -1;
  UpstreamCounters::Add(pool_->counters().in_use, -1);
  pool_->Put(key_, std::exchange(connection_, nullptr), keep_ms);
}

std::unexpected<Error> PooledCall::FailRead(Error error) {
  DropConnection();
  failed_ = error;
  return std::unexpected(std::move(error));
}

}  // namespace

std::unique_ptr<UpstreamCall> MakeUpstreamCall(std::shared_ptr<UpstreamShared> shared,
                                               std::shared_ptr<UpstreamPool> pool, EventLoop& loop,
                                               UpstreamRequest request) {
  return std::make_unique<PooledCall>(std::move(shared), std::move(pool), loop, std::move(request));
}

}  // namespace tradewind::http
