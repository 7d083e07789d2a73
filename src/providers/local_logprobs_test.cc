// How many log-probabilities a request, and all of them together, may hold.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "providers/local.h"
#include "providers/test_support.h"

namespace tradewind::providers {
namespace {

using testing::ChatOf;
using testing::Collected;
using testing::CompletionOf;
using testing::FakeSequence;
using testing::LocalProviderTest;
using testing::RunTask;

// 1024 sequences of this many tokens each.
chat::CompletionRequest ManyLogprobs(int64_t max_tokens) {
  chat::CompletionRequest request = CompletionOf(std::vector<std::string>(8, "a"));
  request.n = 128;
  request.top_logprobs = 0;
  request.max_tokens = max_tokens;
  return request;
}

class LocalLogprobsTest : public LocalProviderTest {};

TEST_F(LocalLogprobsTest, RefusesMoreLogprobsThanARequestMayHold) {
  world_.context = 2048;
  ASSERT_EQ(limits::kLogprobEntriesMax, 1024 * 1024);
  EXPECT_FALSE(Complete(ManyLogprobs(1024)).error.has_value());
  const size_t before = world_.Seen().size();

  const auto expect_refused = [&](const chat::CompletionRequest& request) {
    const Collected out = Complete(request);
    ASSERT_TRUE(out.error.has_value());
    EXPECT_EQ(out.error->code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(out.error->param, "logprobs");
    EXPECT_NE(out.error->message.find("1048576"), std::string::npos) << out.error->message;
    EXPECT_NE(out.error->message.find("lower `n`"), std::string::npos) << out.error->message;
  };
  expect_refused(ManyLogprobs(1025));
  chat::CompletionRequest alternatives = ManyLogprobs(512);
  alternatives.top_logprobs = 1;
  EXPECT_FALSE(Complete(alternatives).error.has_value());
  const size_t accepted = world_.Seen().size();
  EXPECT_EQ(accepted, before + 1024);
  alternatives.top_logprobs = 2;
  expect_refused(alternatives);
  chat::CompletionRequest echo = ManyLogprobs(1024);
  echo.echo = true;  // one prompt token more per sequence
  expect_refused(echo);
  chat::CompletionRequest open = ManyLogprobs(0);
  open.max_tokens.reset();  // up to the context
  expect_refused(open);
  EXPECT_EQ(world_.Seen().size(), accepted) << "refused before the engine heard of it";
}

TEST_F(LocalLogprobsTest, CountsOfAStreamOnlyThePromptsLogprobs) {
  world_.context = 2048;
  chat::CompletionRequest request = ManyLogprobs(2000);
  request.stream = true;
  request.echo = true;
  EXPECT_FALSE(Complete(request).error.has_value());
  for (chat::CompletionRequest::Prompt& prompt : request.prompts) {
    prompt.text = std::string(1025, 'a');
  }
  request.max_tokens = 0;
  const Collected out = Complete(request);
  ASSERT_TRUE(out.error.has_value());
  EXPECT_EQ(out.error->param, "logprobs");
  EXPECT_NE(out.error->message.find("fewer prompts"), std::string::npos) << out.error->message;
  request.echo = false;  // nothing to hold
  EXPECT_FALSE(Complete(request).error.has_value());
}

TEST_F(LocalLogprobsTest, NamesTheFieldOfChatForTooManyLogprobs) {
  world_.context = 2048;
  chat::ChatRequest request = ChatOf("hi");
  request.n = 128;
  request.top_logprobs = 20;
  Collected out = Chat(request);
  ASSERT_TRUE(out.error.has_value());
  EXPECT_EQ(out.error->param, "top_logprobs");
  EXPECT_NE(out.error->message.find("set `max_tokens`"), std::string::npos) << out.error->message;
  request.max_tokens = 100;
  EXPECT_FALSE(Chat(request).error.has_value());
}

TEST_F(LocalLogprobsTest, BoundsTheLogprobsOfAllRequestsTogether) {
  world_.context = 2048;
  world_.play = [](FakeSequence&) {};  // answers that do not end
  RunTask([&]() -> Task<void> {
    std::vector<std::unique_ptr<ChatStream>> held;
    for (int64_t i = 0; i < limits::kLogprobEntriesInFlightMax / limits::kLogprobEntriesMax; ++i) {
      auto stream = co_await Provider().Complete(ManyLogprobs(1024));
      EXPECT_TRUE(stream.has_value());
      held.push_back(std::move(*stream));
    }
    chat::CompletionRequest one_more = ManyLogprobs(1);
    const auto full = co_await Provider().Complete(one_more);
    EXPECT_FALSE(full.has_value());
    EXPECT_EQ(full.error().code, ErrorCode::kTooManyRequests);
    EXPECT_GT(full.error().retry_after_ms.value_or(0), 0);
    one_more.top_logprobs = -1;
    EXPECT_TRUE((co_await Provider().Complete(one_more)).has_value()) << "needs none";
    held.pop_back();
    EXPECT_TRUE((co_await Provider().Complete(ManyLogprobs(1024))).has_value());
  });
}

}  // namespace
}  // namespace tradewind::providers
