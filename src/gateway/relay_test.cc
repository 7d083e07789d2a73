#include "gateway/relay.h"

#include <deque>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "dialects/openai_chat.h"
#include "providers/test_support.h"

namespace tradewind::gateway {
namespace {

using providers::testing::RunTask;

// An answer that is all there from the start.
class ScriptedStream final : public providers::ChatStream {
 public:
  explicit ScriptedStream(std::deque<Result<chat::ChatEvent>> events)
      : events_(std::move(events)) {}
  Task<Result<chat::ChatEvent>> Next() override {
    if (cancelled || events_.empty()) {
      co_return Fail(ErrorCode::kCancelled, "cancelled");
    }
    auto event = std::move(events_.front());
    events_.pop_front();
    ++taken;
    co_return event;
  }
  void Cancel() override { cancelled = true; }
  chat::Usage usage() const override { return {3, taken, 0}; }
  const std::string& fingerprint() const override { return fingerprint_; }

  bool cancelled = false;
  int taken = 0;

 private:
  std::deque<Result<chat::ChatEvent>> events_;
  std::string fingerprint_ = "fp_x";
};

// Records what is sent; fails from the `leaves_after`-th write on, as if the client had left. As
// strict as a connection: nothing is written to a stream that did not start.
class RecordingExchange final : public http::Exchange {
 public:
  const http::Request& request() const override { return request_; }
  Task<Status> Respond(http::Response response) override {
    status_ = response.status;
    body += response.body;
    co_return Status();
  }
  Task<Status> StartStream(int status, http::Headers headers) override {
    if (left) {
      co_return Fail(ErrorCode::kCancelled, "the client left");
    }
    status_ = status;
    head = std::move(headers);
    co_return Status();
  }
  Task<Status> Write(std::string_view bytes) override {
    EXPECT_NE(status_, 0) << "a stream that did not start is written to";
    if (takes_no_more_after >= 0 && writes >= takes_no_more_after) {
      co_return Fail(ErrorCode::kDeadlineExceeded, "the client takes nothing");
    }
    if (leaves_after >= 0 && writes >= leaves_after) {
      left = true;
      if (on_left_) {
        std::exchange(on_left_, nullptr)();
      }
      co_return Fail(ErrorCode::kCancelled, "the client left");
    }
    ++writes;
    body += bytes;
    co_return Status();
  }
  Task<Status> Finish() override {
    EXPECT_NE(status_, 0) << "a stream that did not start is finished";
    finished = true;
    co_return Status();
  }
  bool client_left() const override { return left; }
  void OnClientLeft(std::function<void()> on_left) override { on_left_ = std::move(on_left); }
  int status() const override { return status_; }
  int64_t bytes_sent() const override { return static_cast<int64_t>(body.size()); }
  void Leave() {
    left = true;
    on_left_();
  }

  http::Headers head;
  std::string body;
  int leaves_after = -1;
  int takes_no_more_after = -1;  // a reader without progress: its writes end in time
  int writes = 0;
  bool left = false;
  bool finished = false;

 private:
  http::Request request_;
  std::function<void()> on_left_;
  int status_ = 0;
};

chat::ChatEvent Text(const std::string& text) {
  chat::ChatEvent event;
  event.text = text;
  return event;
}

chat::ChatEvent Done() {
  chat::ChatEvent event;
  event.finish = chat::FinishReason::kStop;
  event.done = true;
  return event;
}

struct Ran {
  Relayed relayed;
  std::shared_ptr<ScriptedStream> stream;
};

Ran Relay(RecordingExchange& exchange, std::deque<Result<chat::ChatEvent>> events) {
  Ran ran;
  ran.stream = std::make_shared<ScriptedStream>(std::move(events));
  const auto writer = dialects::MakeOpenAiChatWriter({"id", 1, "m", "fp"}, chat::ChatRequest());
  FakeClock clock;
  RunTask([&]() -> Task<void> {
    ran.relayed = co_await RelayStream(exchange, ran.stream, *writer, {}, clock);
  });
  return ran;
}

TEST(RelayStream, SendsEachEventAsItComesAndThenDone) {
  RecordingExchange exchange;
  const Ran ran = Relay(exchange, {Text("a"), Text("b"), Done()});
  EXPECT_EQ(exchange.status(), 200);
  EXPECT_EQ(exchange.writes, 3);
  EXPECT_TRUE(exchange.finished);
  EXPECT_TRUE(exchange.body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(ran.relayed.finish, chat::FinishReason::kStop);
  EXPECT_EQ(ran.relayed.usage.output_tokens, 3);
  EXPECT_TRUE(ran.relayed.first_token_at.has_value());
}

TEST(RelayStream, LeavesAnErrorBeforeTheFirstByteToTheCaller) {
  RecordingExchange exchange;
  const Ran ran = Relay(exchange, {Fail(ErrorCode::kInternal, "broken")});
  EXPECT_EQ(exchange.status(), 0);
  EXPECT_TRUE(exchange.body.empty());
  EXPECT_EQ(ran.relayed.failed_before_first_byte->code, ErrorCode::kInternal);
}

TEST(RelayStream, SendsALaterErrorAsAnEventAndNoDone) {
  RecordingExchange exchange;
  const Ran ran = Relay(exchange, {Text("a"), Fail(ErrorCode::kInternal, "broken")});
  EXPECT_TRUE(exchange.body.ends_with(
      "data: {\"error\":{\"message\":\"broken\",\"type\":\"server_error\",\"param\":null,"
      "\"code\":\"internal_error\"}}\n\n"))
      << exchange.body;
  EXPECT_EQ(exchange.body.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(exchange.finished);
  EXPECT_EQ(ran.relayed.failed_after_first_byte->code, ErrorCode::kInternal);
}

TEST(RelayStream, CancelsTheProviderWhenTheClientLeaves) {
  RecordingExchange exchange;
  exchange.leaves_after = 1;
  const Ran ran = Relay(exchange, {Text("a"), Text("b"), Text("c"), Done()});
  EXPECT_TRUE(ran.stream->cancelled);
  EXPECT_EQ(ran.relayed.failed_after_first_byte->code, ErrorCode::kCancelled);
  EXPECT_EQ(ran.relayed.usage.output_tokens, 2);  // what was used counts, delivered or not
  EXPECT_EQ(exchange.writes, 1);
}

TEST(RelayStream, WritesNothingToAClientThatLeftBeforeTheFirstByte) {
  RecordingExchange exchange;
  exchange.left = true;
  const Ran ran = Relay(exchange, {Text("a"), Done()});
  EXPECT_TRUE(ran.stream->cancelled);
  EXPECT_EQ(ran.relayed.failed_after_first_byte->code, ErrorCode::kCancelled);
  EXPECT_EQ(exchange.status(), 0);
  EXPECT_FALSE(exchange.finished);
}

TEST(RelayStream, RowSlowReader) {
  RecordingExchange exchange;
  exchange.takes_no_more_after = 1;
  const Ran ran = Relay(exchange, {Text("a"), Text("b"), Text("c"), Done()});
  EXPECT_TRUE(ran.stream->cancelled);
  EXPECT_EQ(ran.stream->taken, 2) << "it was not read further";
  EXPECT_EQ(ran.relayed.failed_after_first_byte->code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(exchange.body.find("[DONE]"), std::string::npos);
}

TEST(RelayStream, LetsALateDepartureFindNoStream) {
  RecordingExchange exchange;
  {
    const Ran ran = Relay(exchange, {Text("a"), Done()});
  }
  exchange.Leave();  // the stream is gone; nothing to cancel
}

}  // namespace
}  // namespace tradewind::gateway
