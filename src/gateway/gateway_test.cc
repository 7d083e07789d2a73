// The early exits of chat.cc by their rows, and every route, over real connections with an engine
// that follows a script.
#include "gateway/gateway.h"

#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "base/ids.h"
#include "catalog/catalog.h"
#include "dialects/json_reader.h"
#include "gateway/test_support.h"
#include "http/test_support.h"
#include "providers/test_support.h"

namespace tradewind::gateway {
namespace {

using engine::FinishReason;
using http::testing::TestSocket;
using providers::testing::Eventually;
using providers::testing::FakeModels;
using providers::testing::FakeOptions;
using providers::testing::FakeSequence;
using providers::testing::FakeWorld;
using providers::testing::FinishEvent;
using providers::testing::TextEvent;

class GatewayTest : public ::testing::Test {
 protected:
  void Start() {
    local_ = std::make_unique<providers::LocalProvider>(files_.models, FakeOptions(world_),
                                                        MakeLoader(world_));
    GatewayOptions options;
    options.default_model = "org-m";
    market_ = std::make_unique<routing::Marketplace>(OnlyThisDevice(files_.models), nullptr,
                                                     SystemClock(), SystemRandom());
    gateway_ = std::make_unique<Gateway>(options, *local_, *market_, metrics_, &log_);
    http::ServerOptions server;
    server.port = 0;
    auto started = http::Server::Start(
        server, [this](http::Exchange& exchange) { return gateway_->Handle(exchange); },
        [this](const Error& error) { return gateway_->OnProtocolError(error); });
    ASSERT_TRUE(started.has_value());
    server_ = std::move(*started);
  }
  void TearDown() override { server_.reset(); }

  http::Response Send(const std::string& method, const std::string& target,
                      const std::string& body = "",
                      const std::vector<std::pair<std::string, std::string>>& headers = {}) {
    if (!server_) {
      Start();
    }
    http::ClientRequest request;
    request.port = server_->port();
    request.method = method;
    request.target = target;
    request.body = body;
    request.headers.Set("Content-Type", "application/json");
    for (const auto& [name, value] : headers) {
      request.headers.Set(name, value);
    }
    auto response = http::Fetch(request);
    EXPECT_TRUE(response.has_value()) << response.error().message;
    return response.value_or(http::Response{});
  }
  http::Response Chat(const std::string& fields = "") {
    return Send("POST", "/v1/chat/completions", ChatBody(fields));
  }
  static std::string ChatBody(const std::string& fields = "") {
    return R"({"model":"org-m","messages":[{"role":"user","content":"hi"}])" +
           (fields.empty() ? "" : "," + fields) + "}";
  }
  // Checks status, code and that the log has the outcome.
  void ExpectError(const http::Response& response, int status, const std::string& code,
                   const std::string& outcome) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_NE(response.body.find("\"code\":\"" + code + "\""), std::string::npos) << response.body;
    // The line is written after the answer is sent.
    const std::string id(response.headers.Find("x-request-id").value_or("none"));
    std::optional<telemetry::AccessRecord> record;
    EXPECT_TRUE(Eventually([&] {
      for (const telemetry::AccessRecord& one : log_.records()) {
        record = one.request_id == id ? one : record;
      }
      return record.has_value();
    })) << "no line in the log";
    EXPECT_EQ(record->outcome, outcome);
    EXPECT_EQ(record->status, status);
  }

  FakeWorld world_;
  FakeModels files_{{"org-m", "other"}};
  telemetry::Registry metrics_;
  MemoryLog log_;
  std::unique_ptr<providers::LocalProvider> local_;
  std::unique_ptr<routing::Marketplace> market_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(GatewayTest, AnswersAChatWithItsReceipt) {
  const http::Response response = Chat();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Find("Content-Type"), "application/json");
  EXPECT_EQ(response.headers.Find("x-inference-provider"), "local");
  EXPECT_EQ(response.headers.Find("x-tradewind-route"), "local/org-m");
  EXPECT_EQ(response.headers.Find("x-tradewind-cost-nanousd"), "0");
  const auto body = dialects::ParseJsonObject(response.body);
  ASSERT_TRUE(body.has_value()) << response.body;
  EXPECT_EQ(response.headers.Find("Inference-Id"), std::string_view(body->at("id").as_string()));
  EXPECT_EQ(body->at("model").as_string(), "org-m");
  EXPECT_EQ(body->at("choices").as_array().at(0).at("message").at("content").as_string(), "ok");
  EXPECT_EQ(body->at("tradewind").at("cost_nanousd").as_string(), "0");
  ASSERT_TRUE(Eventually([&] { return log_.records().size() == 1; }));
  const telemetry::AccessRecord record = log_.records()[0];
  EXPECT_EQ(record.path, "/v1/chat/completions");
  EXPECT_EQ(record.outcome, "stop");
  EXPECT_EQ(record.model, "org-m");
  EXPECT_EQ(record.output_tokens, 2);
  EXPECT_TRUE(record.ttft_ms.has_value());
}

TEST_F(GatewayTest, StreamsAChat) {
  const http::Response response = Chat(R"("stream":true,"stream_options":{"include_usage":true})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Find("Content-Type"), "text/event-stream");
  EXPECT_EQ(response.headers.Find("Cache-Control"), "no-cache");
  EXPECT_EQ(response.headers.Find("X-Accel-Buffering"), "no");
  EXPECT_FALSE(response.headers.Find("x-tradewind-cost-nanousd").has_value());
  EXPECT_TRUE(response.headers.Find("Inference-Id")->starts_with("chatcmpl-"));
  EXPECT_TRUE(response.body.starts_with("data: {\"id\":\"chatcmpl-")) << response.body;
  EXPECT_NE(response.body.find(R"("delta":{"content":"ok"})"), std::string::npos);
  EXPECT_NE(response.body.find(R"("choices":[],"usage":{"prompt_tokens":)"), std::string::npos);
  EXPECT_TRUE(response.body.ends_with("data: [DONE]\n\n"));
}

TEST_F(GatewayTest, AnswersABatchOfCompletions) {
  const http::Response response = Send(
      "POST", "/v1/completions", R"({"model":"org-m","prompt":["a",[98]],"n":2,"max_tokens":5})");
  ASSERT_EQ(response.status, 200) << response.body;
  const auto body = dialects::ParseJsonObject(response.body);
  EXPECT_EQ(body->at("object").as_string(), "text_completion");
  EXPECT_EQ(body->at("choices").as_array().size(), 4u);
  EXPECT_EQ(dialects::AsInteger(body->at("usage").at("prompt_tokens")), 2);
}

TEST_F(GatewayTest, NamesFieldsItIgnored) {
  EXPECT_EQ(Chat(R"("frob":1,"x-y":2)").headers.Find("x-tradewind-ignored"), "frob, x-y");
}

TEST_F(GatewayTest, KeepsAUsableRequestIdAndMakesOneOtherwise) {
  EXPECT_EQ(Send("GET", "/healthz", "", {{"X-Request-Id", "a.B_9-"}}).headers.Find("x-request-id"),
            "a.B_9-");
  for (const std::string& bad : {std::string("a b"), std::string(65, 'a'), std::string("a/b")}) {
    const http::Response response = Send("GET", "/healthz", "", {{"X-Request-Id", bad}});
    const auto id = response.headers.Find("x-request-id");
    EXPECT_TRUE(id.has_value() && id->starts_with("req_")) << bad;
  }
}

// --- Early exits, by the rows of chat.cc ---

TEST_F(GatewayTest, RowForeignCaller) {
  Start();
  TestSocket rebound(server_->port());  // a name of the attacker's that now points here
  rebound.Send("GET /v1/models HTTP/1.1\r\nHost: evil.example:8737\r\nConnection: close\r\n\r\n");
  const std::string refused = rebound.ReadAll();
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 403")) << refused;
  EXPECT_NE(refused.find("X-Error-Message: The Host header"), std::string::npos);
  EXPECT_NE(refused.find("\"code\":\"permission_denied\""), std::string::npos);
  ExpectError(Send("GET", "/v1/models", "", {{"Origin", "http://evil.example"}}), 403,
              "permission_denied", "permission_denied");
  ExpectError(Send("POST", "/v1/chat/completions", ChatBody(), {{"Content-Type", "text/plain"}}),
              415, "unsupported_media_type", "unsupported_media_type");
  EXPECT_TRUE(world_.Seen().empty());
}

TEST_F(GatewayTest, RowBadRequest) {
  ExpectError(Send("POST", "/v1/chat/completions", "{"), 400, "invalid_value", "invalid_argument");
  const http::Response response = Chat(R"("temperature":3)");
  ExpectError(response, 400, "invalid_value", "invalid_argument");
  EXPECT_NE(response.body.find(R"("param":"temperature")"), std::string::npos);
  ExpectError(Chat(R"("tools":[{}])"), 400, "unsupported_value", "unsupported");
  EXPECT_TRUE(world_.Seen().empty());
}

TEST_F(GatewayTest, RowBadRequestThatWouldHoldTooManyLogprobs) {
  // 8 prompts x 128 choices x 60 tokens x (1 + 20 alternatives)
  const http::Response response =
      Send("POST", "/v1/completions",
           R"({"model":"org-m","prompt":["a","b","c","d","e","f","g","h"],"n":128,)"
           R"("max_tokens":60,"logprobs":20})");
  ExpectError(response, 400, "invalid_value", "invalid_argument");
  EXPECT_NE(response.body.find(R"("param":"logprobs")"), std::string::npos) << response.body;
  EXPECT_TRUE(world_.Seen().empty());
}

TEST_F(GatewayTest, RowNoCandidate) {
  for (const char* model : {"gpt-4o", "org-m:together", "org-m:7b", "/etc/passwd"}) {
    const std::string body =
        std::string(R"({"model":")") + model + R"(","messages":[{"role":"user","content":"hi"}]})";
    ExpectError(Send("POST", "/v1/chat/completions", body), 400, "model_not_supported",
                "model_not_supported");
  }
}

TEST_F(GatewayTest, RowRefused) {
  const http::Response too_long = Chat(R"("max_tokens":1000)");
  ExpectError(too_long, 400, "context_length_exceeded", "context_too_long");
  world_.refuse = []() -> std::optional<Error> {
    return Error{ErrorCode::kTooManyRequests, "full", "", 1500};
  };
  const http::Response full = Chat(R"("stream":true)");
  ExpectError(full, 429, "rate_limit_exceeded", "too_many_requests");
  EXPECT_EQ(full.headers.Find("Retry-After"), "2");
}

TEST_F(GatewayTest, RowRefusedBecauseTheModelDoesNotLoad) {
  world_.fail_load = []() -> std::optional<Error> {
    return Error{ErrorCode::kCorruptFile, "tensor x is short"};
  };
  ExpectError(Chat(), 500, "corrupt_model_file", "corrupt_file");
}

TEST_F(GatewayTest, RowFailedBeforeFirstByte) {
  world_.play = [](FakeSequence& sequence) {
    sequence.Push(FinishEvent(FinishReason::kError, "boom"));
  };
  ExpectError(Chat(R"("stream":true)"), 500, "internal_error", "internal");
  ExpectError(Chat(), 500, "internal_error", "internal");
}

TEST_F(GatewayTest, RowFailedAfterFirstByte) {
  world_.play = [](FakeSequence& sequence) {
    sequence.Push(TextEvent("par"));
    sequence.Push(FinishEvent(FinishReason::kError, "boom"));
  };
  const http::Response response = Chat(R"("stream":true)");
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.body.find("data: {\"error\":{\"message\":\"The engine failed: boom\""),
            std::string::npos);
  EXPECT_EQ(response.body.find("[DONE]"), std::string::npos);
  ASSERT_TRUE(Eventually([&] { return log_.records().size() == 1; }));
  EXPECT_EQ(log_.records()[0].outcome, "internal");
  EXPECT_EQ(log_.records()[0].output_tokens, 3);
}

TEST_F(GatewayTest, RowClientLeft) {
  world_.play = [](FakeSequence& sequence) {
    sequence.Push(TextEvent("abc"));
  };  // and then nothing more
  Start();
  for (const char* stream : {"true", "false"}) {
    const size_t before = log_.records().size();
    const std::string body = ChatBody(std::string("\"stream\":") + stream);
    {
      TestSocket socket(server_->port());
      socket.Send(
          "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
          "application/json\r\n"
          "Content-Length: " +
          std::to_string(body.size()) + "\r\n\r\n" + body);
      EXPECT_TRUE(Eventually([&] { return world_.Seen().size() == before + 1; }));
      if (std::string(stream) == "true") {
        EXPECT_NE(socket.ReadUntil("abc").find("200"), std::string::npos);
      }
    }
    ASSERT_TRUE(Eventually([&] { return log_.records().size() == before + 1; })) << stream;
    EXPECT_TRUE(world_.Seen().back()->cancelled());
    EXPECT_EQ(log_.records().back().outcome, "cancelled") << stream;
    EXPECT_EQ(log_.records().back().output_tokens, 3);
  }
  EXPECT_TRUE(Eventually([&] { return gateway_->in_flight() == 0; }));
}

TEST_F(GatewayTest, RowShutdown) {
  EXPECT_EQ(Chat().status, 200);
  gateway_->Drain();
  ExpectError(Chat(), 503, "service_unavailable", "unavailable");
  EXPECT_EQ(Send("GET", "/readyz").status, 503);
  EXPECT_EQ(Send("GET", "/healthz").status, 200);
}

// --- The other routes ---

TEST_F(GatewayTest, ListsAndShowsModels) {
  const http::Response list = Send("GET", "/v1/models");
  EXPECT_EQ(list.status, 200);
  const auto body = dialects::ParseJsonObject(list.body);
  ASSERT_EQ(body->at("data").as_array().size(), 2u);
  EXPECT_EQ(body->at("data").as_array()[0].at("id").as_string(), "org-m");
  EXPECT_EQ(Send("GET", "/v1/models/org-m").status, 200);
  ExpectError(Send("GET", "/v1/models/a/b"), 404, "model_not_found", "not_found");
}

TEST_F(GatewayTest, TellsUnknownPathsFromWrongMethods) {
  ExpectError(Send("GET", "/nowhere"), 404, "not_found", "not_found");
  ExpectError(Send("GET", "/v1/models/"), 404, "not_found", "not_found");
  const http::Response wrong = Send("GET", "/v1/chat/completions");
  ExpectError(wrong, 405, "method_not_allowed", "method_not_allowed");
  EXPECT_EQ(wrong.headers.Find("Allow"), "POST");
  EXPECT_EQ(Send("DELETE", "/v1/models/x").headers.Find("Allow"), "GET");
}

TEST_F(GatewayTest, TokenizesAndBack) {
  EXPECT_EQ(Send("POST", "/tokenize", R"({"prompt":"hi","return_token_strs":true})").body,
            R"({"count":2,"max_model_len":256,"tokens":[104,105],"token_strs":["h","i"]})");
  EXPECT_EQ(Send("POST", "/detokenize", R"({"tokens":[104,105]})").body, R"({"prompt":"hi"})");
  EXPECT_NE(Send("GET", "/tokenizer_info").body.find(R"("vocab_size":259)"), std::string::npos);
  const http::Response chat = Send(
      "POST", "/tokenize",
      R"({"model":"org-m","messages":[{"role":"user","content":"x"}],"add_generation_prompt":false})");
  EXPECT_NE(chat.body.find("[256,"), std::string::npos) << chat.body;
  ExpectError(Send("POST", "/detokenize", R"({"tokens":[999]})"), 400, "invalid_value",
              "invalid_argument");
}

TEST_F(GatewayTest, IsReadyOnceTheDefaultModelIsLoaded) {
  const http::Response loading = Send("GET", "/readyz");
  EXPECT_EQ(loading.status, 503);
  EXPECT_EQ(loading.body, R"({"status":"loading","detail":"org-m"})");
  EXPECT_TRUE(local_->pool().Preload("org-m").has_value());
  EXPECT_TRUE(Eventually([&] { return Send("GET", "/readyz").status == 200; }));
}

TEST_F(GatewayTest, ShowsMetricsAndEngines) {
  EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(Send("GET", "/nowhere/x").status, 404);
  EXPECT_TRUE(Eventually([&] { return log_.records().size() == 2; }));
  const http::Response response = Send("GET", "/metrics");
  EXPECT_TRUE(response.headers.Find("Content-Type")->starts_with("text/plain; version=0.0.4"));
  for (const char* line :
       {"tradewind_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "tradewind_requests_total{path=\"other\",status=\"404\"} 1",
        "tradewind_output_tokens_total{model=\"org-m\",provider=\"local\"} 2",
        "tradewind_cached_tokens_total{model=\"org-m\",provider=\"local\"} 0",
        "tradewind_engine_kv_idle_bytes{model=\"org-m\"} 0",
        "tradewind_ttft_seconds_count{model=\"org-m\",provider=\"local\"} 1",
        "tradewind_engine_slots{model=\"org-m\"} 4"}) {
    EXPECT_NE(response.body.find(line), std::string::npos) << line << "\n" << response.body;
  }
  EXPECT_NE(Send("GET", "/tw/v1/engine").body.find(R"("id":"org-m")"), std::string::npos);
}

TEST_F(GatewayTest, ParsesLargeBodiesBesideTheEventLoop) {
  world_.context = 1 << 20;
  const std::string text(600'000, 'x');
  const http::Response response =
      Send("POST", "/v1/chat/completions",
           R"({"model":"org-m","messages":[{"role":"user","content":")" + text + "\"}]}");
  EXPECT_EQ(response.status, 200) << response.body.substr(0, 300);
}

TEST(HeaderSafe, KeepsResponsesInOnePiece) {
  EXPECT_EQ(HeaderSafe("org/m-1.5"), "org/m-1.5");
  EXPECT_EQ(HeaderSafe("a b\r\n%\xC3\xA9"), "a%20b%0D%0A%25%C3%A9");
}

TEST_F(GatewayTest, RouteExplainSpeaksJsonAndText) {
  const http::Response json = Send("GET", "/tw/v1/route?model=org-m%3Alocal&need=tools");
  EXPECT_EQ(json.status, 200) << json.body;
  const auto body = dialects::ParseJsonObject(json.body);
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(body->at("schema").as_string(), "tradewind.route_explain/v1");
  EXPECT_EQ(body->at("chosen").at("provider").as_string(), "local");
  const http::Response text = Send("GET", "/tw/v1/route?model=org-m&format=text");
  EXPECT_TRUE(text.body.starts_with("PLACE")) << text.body;
  ExpectError(Send("GET", "/tw/v1/route?model=org-m&need=wings"), 400, "invalid_value",
              "invalid_argument");
  ExpectError(Send("GET", "/tw/v1/route?model=org/nobody"), 400, "model_not_supported",
              "model_not_supported");
}

}  // namespace
}  // namespace tradewind::gateway
