#include <atomic>
#include <chrono>
#include <fstream>
#include <limits>
#include <thread>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "cli/chat_client.h"
#include "cli/chat_input.h"
#include "cli/exit_codes.h"
#include "cli/model_file.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "http/server.h"
#include "http/sse.h"
#include "testing/gguf_builder.h"
#include "testing/temp_dir.h"

namespace tradewind::cli {
namespace {

using Kind = ChatInput::Kind;

TEST(ChatInput, OneLineIsAMessage) {
  ChatInput input;
  const auto entry = input.Push("hello");
  EXPECT_EQ(entry.kind, Kind::kMessage);
  EXPECT_EQ(entry.text, "hello");
  EXPECT_EQ(input.Push("   ").kind, Kind::kNothing);
  EXPECT_EQ(input.Push("").kind, Kind::kNothing);
}

TEST(ChatInput, ABackslashJoinsLines) {
  ChatInput input;
  EXPECT_EQ(input.Push("a\\").kind, Kind::kMore);
  EXPECT_TRUE(input.is_pending());
  EXPECT_EQ(input.Push("/bye\\").kind, Kind::kMore);  // no command in the middle of a message
  EXPECT_EQ(input.Push("b").text, "a\n/bye\nb");
  EXPECT_FALSE(input.is_pending());
}

TEST(ChatInput, QuotesTakeLinesAsTheyAre) {
  ChatInput input;
  EXPECT_EQ(input.Push("\"\"\"first").kind, Kind::kMore);
  EXPECT_EQ(input.Push("/bye \\").kind, Kind::kMore);
  const auto entry = input.Push("last\"\"\"");
  EXPECT_EQ(entry.kind, Kind::kMessage);
  EXPECT_EQ(entry.text, "first\n/bye \\\nlast");
  EXPECT_EQ(input.Push("\"\"\"all in one\"\"\"").text, "all in one");
  EXPECT_EQ(input.Push("\"\"\"\"\"\"").kind, Kind::kNothing);
}

TEST(ChatInput, ASlashIsACommand) {
  ChatInput input;
  const auto entry = input.Push("  /clear \r");
  EXPECT_EQ(entry.kind, Kind::kCommand);
  EXPECT_EQ(entry.text, "clear");
}

TEST(ChatInput, TheEndSendsWhatIsPending) {
  ChatInput input;
  EXPECT_EQ(input.End().kind, Kind::kNothing);
  input.Push("\"\"\"half");
  EXPECT_EQ(input.End().text, "half\n");
  EXPECT_FALSE(input.is_pending());
}

TEST(ChatInput, IsBounded) {
  ChatInput input;
  input.Push("\"\"\"");
  Kind last = Kind::kMore;
  for (int i = 0; i < 40 && last == Kind::kMore; ++i) {
    last = input.Push(std::string(1 << 20, 'x')).kind;
  }
  EXPECT_EQ(last, Kind::kTooLong);
  EXPECT_FALSE(input.is_pending());
}

TEST(Stats, AreOneLine) {
  ChatOutcome outcome;
  outcome.prompt_tokens = 412;
  outcome.prefill_ms = 412 / 61.0 * 1000;
  outcome.first_token_ms = 6800;
  outcome.output_tokens = 180;
  outcome.output_tokens_per_s = 9.8;
  outcome.total_ms = 25100;
  outcome.cost_nanousd = 0;
  EXPECT_EQ(FormatStats(outcome, 0),
            "load 0.0s  prompt 412 tok 61.0/s  first token 6.8s  output 180 tok 9.8/s  total 25.1s "
            " cost $0.00");
  EXPECT_EQ(FormatStats({}, 1500), "load 1.5s  total 0.0s  cost unknown");
}

TEST(Text, MoneySizesAndCounts) {
  EXPECT_EQ(FormatBytes(98'362'432), "98 MB");
  EXPECT_EQ(FormatBytes(3'100'000'000), "3.1 GB");
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(999'999), "1.0 MB");
  EXPECT_EQ(FormatCount(134'515'008), "135M");
  EXPECT_EQ(FormatCount(3'800'000'000), "3.8B");
}

TEST(Text, OthersCannotSteerTheTerminal) {
  EXPECT_EQ(WithoutControls("a\033[31mb\rc\x07\x7f"), "a[31mbc");
  EXPECT_EQ(WithoutControls("tab\tline\n"), "tab\tline\n");
  EXPECT_EQ(WithoutControls("\xC2\x9B"
                            "31m\xC3\xA9"),
            "31m\xC3\xA9");  // C1 CSI; e acute stays
  EXPECT_EQ(WithoutControls("\xff"), "\xEF\xBF\xBD");
  EXPECT_EQ(FormatTable({{"A", "B"}, {"x\033]0;t\ny", "z"}}, false), "A       B\nx]0;ty  z\n");
}

TEST(ChatBody, HasWhatWasAskedAndNothingElse) {
  ChatCall call;
  call.model = "m";
  call.turns = {{"user", "say \"hi\"\n"}};
  call.temperature = 0.5;
  call.seed = 7;
  const auto body = boost::json::parse(ChatBody(call)).as_object();
  EXPECT_EQ(body.at("messages").at(0).at("content").as_string(), "say \"hi\"\n");
  EXPECT_EQ(body.at("temperature").as_double(), 0.5);
  EXPECT_TRUE(body.at("stream").as_bool());
  EXPECT_TRUE(body.at("stream_options").at("include_usage").as_bool());
  EXPECT_FALSE(body.contains("top_p"));
  EXPECT_FALSE(body.contains("prompt"));
  call.raw = true;
  call.prompt = "once";
  EXPECT_EQ(boost::json::parse(ChatBody(call)).at("prompt").as_string(), "once");
}

TEST(AnswerReader, CollectsTextFinishUsageAndReceipt) {
  std::string seen;
  AnswerReader reader([&](std::string_view text) { seen += text; });
  for (
      const char* data :
      {R"({"id":"c1","model":"org/m","choices":[{"delta":{"role":"assistant","content":""}}]})",
       R"({"choices":[{"delta":{"content":"Hel"}}]})", R"({"choices":[{"text":"lo"}]})",
       R"({"choices":[{"delta":{},"finish_reason":"length"}]})",
       R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2},)"
       R"("tradewind":{"cost_nanousd":"5","prefill_ms":10,"decode_ms":1.5,"output_tokens_per_s":null}})"}) {
    ASSERT_TRUE(reader.Push(data).has_value()) << data;
  }
  EXPECT_FALSE(reader.is_done());
  ASSERT_TRUE(reader.Push("[DONE]").has_value());
  EXPECT_TRUE(reader.is_done());
  const ChatOutcome& outcome = reader.outcome();
  EXPECT_EQ(seen, "Hello");
  EXPECT_EQ(outcome.finish_reason, "length");
  EXPECT_EQ(outcome.model, "org/m");
  EXPECT_EQ(outcome.prompt_tokens, 3);
  EXPECT_EQ(outcome.cost_nanousd, 5);
  EXPECT_EQ(outcome.prefill_ms, 10);
  EXPECT_EQ(outcome.output_tokens_per_s, std::nullopt);
}

TEST(AnswerReader, SurvivesWhatNoServerShouldSend) {
  for (const char* data :
       {"", "{", "[]", "7", R"({"choices":7})", R"({"choices":[7]})",
        R"({"choices":[{"delta":[]}]})", R"({"choices":[{"delta":{"content":{}}}],"usage":[]})",
        R"({"usage":{"prompt_tokens":"x"},"tradewind":{"cost_nanousd":"99999999999999999999"}})"}) {
    AnswerReader reader([](std::string_view) {});
    static_cast<void>(reader.Push(data));
    EXPECT_EQ(reader.outcome().cost_nanousd, std::nullopt);
  }
  AnswerReader reader([](std::string_view) {});
  const Status failed =
      reader.Push(R"({"error":{"message":"The engine failed.","code":"internal"}})");
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().message, "The engine failed.");
}

TEST(ErrorFromReply, KeepsTheServersSentenceAndFindsTheCode) {
  const Error error = ErrorFromReply(
      404, R"({"error":{"message":"no such model","code":"model_not_supported","param":"model"}})");
  EXPECT_EQ(error.code, ErrorCode::kModelNotSupported);
  EXPECT_EQ(error.message, "no such model");
  EXPECT_EQ(error.param, "model");
  EXPECT_EQ(ErrorFromReply(400, R"({"error":{"code":"model_not_supported"}})").code,
            ErrorCode::kModelNotSupported);
  EXPECT_EQ(ErrorFromReply(429, "").code, ErrorCode::kTooManyRequests);
  EXPECT_EQ(ErrorFromReply(503, "<html>").code, ErrorCode::kUnavailable);
  EXPECT_EQ(ErrorFromReply(401, "{}").code, ErrorCode::kUnauthenticated);
  EXPECT_EQ(ErrorFromReply(500, "{}").code, ErrorCode::kInternal);
}

// Scripts tell outcomes apart by the exit code.
TEST(ErrorFromReply, LeadsToTheDocumentedExitCode) {
  const auto exit_code = [](int status, const std::string& code) {
    return static_cast<int>(ExitCodeFor(
        ErrorFromReply(status, R"({"error":{"message":"x","code":")" + code + "\"}}").code));
  };
  EXPECT_EQ(exit_code(402, "insufficient_quota"), 5);
  EXPECT_EQ(exit_code(402, ""), 5);
  EXPECT_EQ(exit_code(502, "upstream_error"), 6);
  EXPECT_EQ(exit_code(502, ""), 6);
  EXPECT_EQ(exit_code(429, "rate_limit_exceeded"), 6);
  EXPECT_EQ(exit_code(504, ""), 7);
  EXPECT_EQ(exit_code(507, "insufficient_resources"), 8);
  EXPECT_EQ(exit_code(507, ""), 8);
  EXPECT_EQ(exit_code(500, "corrupt_model_file"), 9);
  EXPECT_EQ(exit_code(418, "something_else"), 2);
}

TEST(AnswerReader, ToldOfAnErrorInAStreamKnowsItsKind) {
  const std::pair<const char*, int> cases[] = {
      {"upstream_error", 6}, {"timeout", 7}, {"insufficient_quota", 5}, {"internal_error", 1}};
  for (const auto& [code, exit] : cases) {
    AnswerReader reader([](std::string_view) {});
    const Status failed =
        reader.Push(std::string(R"({"error":{"message":"x","code":")") + code + "\"}}");
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(static_cast<int>(ExitCodeFor(failed.error().code)), exit) << code;
  }
}

// The body of what `run` would send for a file with these keys, and what it says about it.
std::pair<boost::json::object, std::string> Recommended(tradewind::testing::GgufBuilder file,
                                                        ChatCall call = {}) {
  const testing::TempDir dir;
  file.Set("general.architecture", "llama");
  file.WriteFile(dir.path() / "m.gguf", file.Build());
  const auto about = DescribeModel(dir.path() / "m.gguf");
  EXPECT_TRUE(about) << about.error().message;
  const std::string said = UseRecommendedSampling(*about, call);
  return {boost::json::parse(ChatBody(call)).as_object(), said};
}

TEST(RecommendedSampling, IsSentAndTold) {
  testing::GgufBuilder file;
  file.Set("general.sampling.temp", 0.15f).Set("general.sampling.top_p", 0.95f);
  file.Set("general.sampling.min_p", 0.0f).Set("general.sampling.top_k", int32_t{40});
  const auto [body, said] = Recommended(file);
  EXPECT_NEAR(body.at("temperature").as_double(), 0.15, 1e-6);
  EXPECT_NEAR(body.at("top_p").as_double(), 0.95, 1e-6);
  EXPECT_EQ(body.at("min_p").to_number<double>(), 0);
  EXPECT_EQ(body.at("top_k").as_int64(), 40);
  EXPECT_EQ(said, "temperature 0.15, top_p 0.95, min_p 0, top_k 40");
}

TEST(RecommendedSampling, GivesWayToWhatTheUserSays) {
  testing::GgufBuilder file;
  file.Set("general.sampling.temp", 0.15f).Set("general.sampling.top_p", 0.95f);
  ChatCall call;
  call.temperature = 1;
  const auto [body, said] = Recommended(file, call);
  EXPECT_EQ(body.at("temperature").to_number<double>(), 1);
  EXPECT_EQ(said, "top_p 0.95");
  call.top_p = 0.5;
  EXPECT_EQ(Recommended(file, call).second, "");
  EXPECT_EQ(Recommended(testing::GgufBuilder()).second, "");
}

TEST(RecommendedSampling, LeavesOutWhatNoServerWouldTake) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float odd : {3.0f, -0.1f, inf, nan}) {
    testing::GgufBuilder file;
    file.Set("general.sampling.temp", odd).Set("general.sampling.top_p", odd);
    file.Set("general.sampling.min_p", odd).Set("general.sampling.top_k", 2.5f);
    EXPECT_EQ(Recommended(file).second, "") << odd;
  }
  for (const int64_t odd : {int64_t{0}, int64_t{-1}, int64_t{1} << 31, INT64_MIN}) {
    testing::GgufBuilder file;
    file.Set("general.sampling.top_k", odd).Set("general.sampling.top_p", 0.0f);
    file.Set("general.sampling.temp", "warm");
    EXPECT_EQ(Recommended(file).second, "") << odd;
  }
}

// A server that answers every path with `handler`.
std::unique_ptr<http::Server> Serve(http::Handler handler) {
  http::ServerOptions options;
  options.port = 0;
  auto server = http::Server::Start(options, std::move(handler),
                                    [](const Error&) { return http::Response(); });
  EXPECT_TRUE(server.has_value());
  return server ? std::move(*server) : nullptr;
}

TEST(StreamChat, RelaysPiecesAndReportsARefusal) {
  bool refuse = false;
  const auto server = Serve([&refuse](http::Exchange& exchange) -> Task<void> {
    if (refuse) {
      http::Response response;
      response.status = 400;
      response.body = R"({"error":{"message":"too long","code":"context_length_exceeded"}})";
      static_cast<void>(co_await exchange.Respond(std::move(response)));
      co_return;
    }
    static_cast<void>(co_await exchange.StartStream(200, {}));
    static_cast<void>(co_await exchange.Write(
        http::FormatSseData(R"({"choices":[{"delta":{"content":"one "}}]})")));
    static_cast<void>(co_await exchange.Write(
        http::FormatSseData(R"({"choices":[{"delta":{"content":"two"}}]})")));
    static_cast<void>(co_await exchange.Write(http::FormatSseData("[DONE]")));
    static_cast<void>(co_await exchange.Finish());
  });
  const Endpoint endpoint{"127.0.0.1", server->port(), ""};
  const std::atomic<bool> stop{false};
  std::string seen;
  const auto outcome = StreamChat(endpoint, {}, stop, [&](std::string_view text) { seen += text; });
  ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
  EXPECT_EQ(seen, "one two");
  EXPECT_GT(outcome->first_token_ms, 0);
  refuse = true;
  const auto refused = StreamChat(endpoint, {}, stop, [](std::string_view) {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "too long");
}

TEST(StreamChat, StopsWhileTheServerIsStillSilent) {
  const auto server = Serve([](http::Exchange& exchange) -> Task<void> {
    static_cast<void>(co_await exchange.StartStream(200, {}));
    const auto wakeup = http::Wakeup::Create();
    exchange.OnClientLeft([wakeup] { wakeup->Notify(); });
    static_cast<void>(
        co_await wakeup->Wait(std::chrono::steady_clock::now() + std::chrono::seconds(30)));
  });
  std::atomic<bool> stop{false};
  std::thread interrupter([&stop] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.store(true);
  });
  const auto outcome =
      StreamChat({"127.0.0.1", server->port(), ""}, {}, stop, [](std::string_view) {});
  interrupter.join();
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->interrupted);
}

TEST(StreamChat, ACutAnswerAndAClosedPortAreErrorsWithANextStep) {
  const auto server = Serve([](http::Exchange& exchange) -> Task<void> {
    static_cast<void>(co_await exchange.StartStream(200, {}));
    static_cast<void>(co_await exchange.Write(
        http::FormatSseData(R"({"choices":[{"delta":{"content":"one"}}]})")));
    static_cast<void>(co_await exchange.Finish());
  });
  const std::atomic<bool> stop{false};
  const auto cut = StreamChat({"127.0.0.1", server->port(), ""}, {}, stop, [](std::string_view) {});
  ASSERT_FALSE(cut.has_value());
  EXPECT_EQ(cut.error().code, ErrorCode::kUnavailable);
  const auto closed = StreamChat({"127.0.0.1", 1, ""}, {}, stop, [](std::string_view) {});
  ASSERT_FALSE(closed.has_value());
  EXPECT_NE(closed.error().message.find("tradewind serve"), std::string::npos);
}

TEST(ServedModels, ReadsIdsAndRefusesStrangers) {
  std::string body = R"({"object":"list","data":[{"id":"a/b"},{"id":7},{},"x"]})";
  const auto server = Serve([&body](http::Exchange& exchange) -> Task<void> {
    http::Response response;
    response.body = body;
    static_cast<void>(co_await exchange.Respond(std::move(response)));
  });
  const Endpoint endpoint{"127.0.0.1", server->port(), ""};
  EXPECT_EQ(ServedModels(endpoint).value(), (std::vector<std::string>{"a/b"}));
  body = "<html>hello</html>";
  EXPECT_FALSE(ServedModels(endpoint).has_value());
}

TEST(NamedEndpoint, OnlyCountsWhatSomebodySet) {
  const auto settings = [](std::vector<std::string> words,
                           std::map<std::string, std::string> variables) {
    const Environment environment =
        [variables](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional(found->second);
    };
    std::vector<std::string> unknown;
    return Settings(ParseArguments(words).value(), environment,
                    ParseConfig("[server]\nport = 5\n", "c", unknown).value());
  };
  EXPECT_FALSE(NamedEndpoint(settings({"ps"}, {})).value().has_value());
  EXPECT_EQ(NamedEndpoint(settings({"ps"}, {{"TRADEWIND_PORT", "9"}})).value()->port, 9);
  EXPECT_EQ(NamedEndpoint(settings({"ps", "--host", "::1"}, {})).value()->Url(), "http://[::1]:5");
  EXPECT_FALSE(NamedEndpoint(settings({"ps", "--port", "x"}, {})).has_value());
}

TEST(FindModel, TakesPathsAndNamesAndSaysWhatToDoOtherwise) {
  const testing::TempDir dir;
  const auto find = [&dir](const std::string& reference) {
    const Environment none = [](const std::string&) { return std::optional<std::string>(); };
    const Settings settings(
        ParseArguments({"show", reference, "--models-dir", dir.path().string()}).value(), none, {});
    return FindModel(settings, reference);
  };
  const auto file = dir.path() / "tiny.gguf";
  std::ofstream(file) << std::string("GGUF\3\0\0\0", 8) << std::string(64, '\0');
  EXPECT_EQ(find("tiny").value().path.filename(), "tiny.gguf");
  EXPECT_EQ(find(file.string()).value().id, "tiny");
  EXPECT_NE(find("other").error().message.find("tradewind ls"), std::string::npos);
  EXPECT_EQ(find("other").error().code, ErrorCode::kModelNotSupported);
  std::ofstream(dir.path() / "text.gguf") << "hello";
  EXPECT_EQ(find("text").error().code, ErrorCode::kCorruptFile);
  EXPECT_EQ(find((dir.path() / "text.gguf").string()).error().code, ErrorCode::kCorruptFile);
  EXPECT_EQ(find((dir.path() / "none.gguf").string()).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(find("").has_value());
}

}  // namespace
}  // namespace tradewind::cli
