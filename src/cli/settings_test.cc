#include "cli/settings.h"

#include <fstream>

#include <gtest/gtest.h>

#include "cli/engine_settings.h"
#include "cli/exit_codes.h"
#include "testing/temp_dir.h"

namespace tradewind::cli {
namespace {

using Variables = std::map<std::string, std::string>;

Environment Fixed(Variables variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

Settings Make(const std::vector<std::string>& words, Variables variables = {},
              std::string_view toml = "") {
  std::vector<std::string> unknown;
  auto config = ParseConfig(toml, "test.toml", unknown);
  EXPECT_TRUE(config.has_value());
  return Settings(ParseArguments(words).value(), Fixed(std::move(variables)),
                  config.value_or(ConfigValues{}));
}

TEST(Settings, FlagBeatsEnvironmentBeatsConfigBeatsBuiltIn) {
  const std::string_view toml = "[server]\nport = 1003\n";
  const auto port = [](const Settings& settings) { return settings.Find("port").value(); };
  const auto flag = port(Make({"serve", "--port", "1001"}, {{"TRADEWIND_PORT", "1002"}}, toml));
  EXPECT_EQ(flag.text, "1001");
  EXPECT_EQ(flag.origin, "--port");
  const auto variable = port(Make({"serve"}, {{"TRADEWIND_PORT", "1002"}}, toml));
  EXPECT_EQ(variable.text, "1002");
  EXPECT_EQ(variable.origin, "TRADEWIND_PORT");
  const auto file = port(Make({"serve"}, {}, toml));
  EXPECT_EQ(file.text, "1003");
  EXPECT_EQ(file.origin, "test.toml line 2");
  const auto built_in = port(Make({"serve"}));
  EXPECT_EQ(built_in.text, "8737");
  EXPECT_TRUE(built_in.is_built_in);
}

TEST(Settings, EveryKindOfValueIsReadAndRefusedWithItsOrigin) {
  const Settings good =
      Make({"run", "m", "--temp", "0.25", "--seed", "7", "--stats"}, {{"TRADEWIND_JSON", "no"}});
  EXPECT_EQ(good.Number("temp", 0, 2).value(), 0.25);
  EXPECT_EQ(good.Integer("seed", 0, 9).value(), 7);
  EXPECT_EQ(good.Integer("max-tokens", 0, 9).value(), std::nullopt);
  EXPECT_TRUE(good.Switch("stats").value());
  EXPECT_FALSE(good.Switch("json").value());
  EXPECT_EQ(good.Duration("keep").value(), std::chrono::minutes(30));
  const Settings bad = Make({"run", "m", "--temp", "hot"}, {{"TRADEWIND_SEED", "12x"},
                                                            {"TRADEWIND_STATS", "maybe"},
                                                            {"TRADEWIND_KEEP", "5"},
                                                            {"TRADEWIND_TOP_P", "nan"}});
  EXPECT_NE(bad.Number("temp", 0, 2)
                .error()
                .message.find("--temp must be a number from 0 to 2, not \"hot\""),
            std::string::npos);
  EXPECT_NE(bad.Integer("seed", 0, 99).error().message.find("TRADEWIND_SEED"), std::string::npos);
  EXPECT_EQ(bad.Number("top-p", 0, 1).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(bad.Switch("stats").has_value());
  EXPECT_FALSE(bad.Duration("keep").has_value());
}

TEST(Settings, ListsOfNumbersAreChecked) {
  EXPECT_EQ(Make({"bench", "m", "--concurrency", "1,2,64"}).Integers("concurrency", 1, 64).value(),
            (std::vector<int64_t>{1, 2, 64}));
  for (const char* wrong : {"1,,2", "0", "65", "1;2", "99999999999999999999", ","}) {
    EXPECT_FALSE(
        Make({"bench", "m", "--concurrency", wrong}).Integers("concurrency", 1, 64).has_value())
        << wrong;
  }
}

TEST(Settings, Durations) {
  EXPECT_EQ(ParseDuration("0").value().count(), 0);
  EXPECT_EQ(ParseDuration("250ms").value().count(), 250);
  EXPECT_EQ(ParseDuration("30s").value().count(), 30'000);
  EXPECT_EQ(ParseDuration("5m").value().count(), 300'000);
  EXPECT_EQ(ParseDuration("2h").value().count(), 7'200'000);
  EXPECT_EQ(ParseDuration("7d").value().count(), 604'800'000);
  for (const char* wrong : {"", "5", "m", "-5s", "1.5h", "99999999999h", "9223372036854775807ms",
                            "5 m", "s5", "367d"}) {
    EXPECT_FALSE(ParseDuration(wrong).has_value()) << wrong;
  }
}

TEST(Config, UnknownKeysAreToldAndWrongOnesRefused) {
  std::vector<std::string> unknown;
  const auto config = ParseConfig(
      "[server]\nhost = \"127.0.0.1\"\nprot = 1\n[local]\nthreads = \"auto\"\ncontext = "
      "4096\n[[providers]]\nname = \"x\"\n",
      "c.toml", unknown);
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->at("local.context").text, "4096");
  EXPECT_EQ(config->at("local.threads").text, "auto");
  ASSERT_EQ(unknown.size(), 1u);  // [[providers]] is MarketReader's
  EXPECT_NE(unknown[0].find("server.prot"), std::string::npos);
  const auto broken = ParseConfig("[server]\nport = = 1", "c.toml", unknown);
  ASSERT_FALSE(broken.has_value());
  EXPECT_NE(broken.error().message.find("c.toml line 2"), std::string::npos);
  EXPECT_FALSE(ParseConfig("[server]\nport = [1, 2]", "c.toml", unknown).has_value());
  EXPECT_FALSE(ParseConfig("[server]\nhost = \"\xff\"", "c.toml", unknown).has_value());
  EXPECT_FALSE(ParseConfig(std::string(100000, '['), "c.toml", unknown).has_value());
}

TEST(Config, TheUsersFileBeatsTheSystemsAndANamedOneMustExist) {
  const testing::TempDir dir;
  std::filesystem::create_directories(dir.path() / "tradewind");
  std::ofstream(dir.path() / "tradewind" / "config.toml") << "[local]\nslots = 3\n";
  const auto settings = Settings::Load(ParseArguments({"serve"}).value(),
                                       Fixed({{"XDG_CONFIG_HOME", dir.path().string()}}));
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(settings->Text("slots"), "3");
  const auto missing =
      Settings::Load(ParseArguments({"serve", "--config", "/nowhere/c.toml"}).value(), Fixed({}));
  EXPECT_EQ(ExitCodeFor(missing.error().code), ExitCode::kNotFound);
  const auto files =
      FindConfigFiles(ParseArguments({"serve"}).value(), Fixed({{"TRADEWIND_CONFIG", "/c.toml"}}));
  EXPECT_TRUE(files.is_explicit);
  EXPECT_EQ(files.paths[0], "/c.toml");
}

TEST(EngineSettings, BecomeOptions) {
  const auto options = ReadEngineOptions(Make({"serve", "--ctx", "1024", "--kv", "f32", "--slots",
                                               "2", "--threads", "3"}))
                           .value();
  EXPECT_EQ(options.context, 1024);
  EXPECT_EQ(options.kv_type, engine::KvType::kF32);
  EXPECT_EQ(options.slots, 2);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.kernels, "");
  EXPECT_EQ(options.kv_bytes, 0);
  EXPECT_TRUE(options.prefix_cache);
  EXPECT_EQ(ReadEngineOptions(Make({"serve", "--kv", "q8_0"})).value().kv_type,
            engine::KvType::kQ8_0);
  const auto bounded =
      ReadEngineOptions(Make({"serve", "--kv-memory", "300", "--no-prefix-cache"})).value();
  EXPECT_EQ(bounded.kv_bytes, int64_t{300} << 20);
  EXPECT_FALSE(bounded.prefix_cache);
  EXPECT_FALSE(ReadEngineOptions(Make({"serve", "--kv-memory", "0"})).has_value());
  EXPECT_EQ(ReadEngineOptions(Make({"bench", "m"})).value().threads, 0);
  EXPECT_FALSE(ReadEngineOptions(Make({"serve", "--kernels", "gpu"})).has_value());
  EXPECT_FALSE(ReadEngineOptions(Make({"serve", "--slots", "0"})).has_value());
}

TEST(ExitCodes, ScriptsCanRelyOnThem) {
  EXPECT_EQ(ExitCodeFor(ErrorCode::kInvalidArgument), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kModelNotSupported), ExitCode::kNotFound);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kPermissionDenied), ExitCode::kNotAuthorised);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kTooManyRequests), ExitCode::kUpstreamFailed);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kDeadlineExceeded), ExitCode::kOffline);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kResourceExhausted), ExitCode::kNoSpace);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kCorruptFile), ExitCode::kDamaged);
  EXPECT_EQ(ExitCodeFor(ErrorCode::kAddressInUse), ExitCode::kInternal);
  EXPECT_EQ(static_cast<int>(ExitCodeFor(ErrorCode::kCancelled)), 130);
  EXPECT_EQ(WithNextStep({ErrorCode::kIo, "It broke.", "", {}}, "mend it").message,
            "It broke; mend it");
}

}  // namespace
}  // namespace tradewind::cli
