#include "cli/alerts_config.h"

#include <gtest/gtest.h>

#include "alerts/service.h"

namespace tradewind::cli {
namespace {

struct Read {
  Status status;
  AlertsConfig config;
  std::vector<std::string> warnings;
};

Read ReadText(std::string_view text) {
  Read out;
  out.status = ReadAlertsConfig(text, "/etc/tw/config.toml", out.config, out.warnings);
  return out;
}

std::optional<std::string> Nothing(const std::string&) {
  return std::nullopt;
}

TEST(AlertsConfig, IsReadFieldByField) {
  const Read read = ReadText(R"(
[alerts]
webhook = "https://hooks.example/tw"
webhook_secret_file = "secret"
command = ["sendmail", "ops@example.org"]
velocity_usd = "2.50"
throttle = true
colour = "red"
)");
  ASSERT_TRUE(read.status.has_value()) << read.status.error().message;
  EXPECT_EQ(read.config.webhook, "https://hooks.example/tw");
  EXPECT_EQ(read.config.secret_file, "/etc/tw/secret");
  EXPECT_EQ(read.config.command.size(), 2U);
  EXPECT_EQ(read.config.velocity, 2'500'000'000);
  EXPECT_TRUE(read.config.throttle);
  ASSERT_EQ(read.warnings.size(), 1U);
  EXPECT_NE(read.warnings[0].find("colour"), std::string::npos);
}

TEST(AlertsConfig, NothingIsSentWhereNothingIsConfigured) {
  const Result<alerts::Config> made = MakeAlerts(ReadText("").config, Nothing);
  ASSERT_TRUE(made.has_value());
  EXPECT_FALSE(made->webhook.has_value());
  EXPECT_FALSE(made->policy.wants[0] || made->policy.wants[1]);
}

TEST(AlertsConfig, AWebhookIsEncryptedAndSigned) {
  for (const char* wrong : {
           "[alerts]\nwebhook = \"http://hooks.example/x\"\nwebhook_secret_env = \"S\"",
           "[alerts]\nwebhook = \"https://hooks.example/x\"",
           "[alerts]\nwebhook = \"https://u:p@hooks.example/x\"\nwebhook_secret_env = \"S\"",
           "[alerts]\ncommand = \"mail ops\"",
           "[alerts]\nvelocity_usd = \"fast\"",
           "alerts = 1",
       }) {
    const Status status = ReadText(wrong).status;
    ASSERT_FALSE(status.has_value()) << wrong;
    EXPECT_NE(status.error().message.find("config.toml line"), std::string::npos);
  }
  const AlertsConfig config =
      ReadText("[alerts]\nwebhook = \"https://hooks.example/x\"\nwebhook_secret_env = \"S\"")
          .config;
  EXPECT_FALSE(MakeAlerts(config, Nothing).has_value()) << "the secret is not there";
  EXPECT_FALSE(
      MakeAlerts(config, [](const std::string&) { return std::optional("short"); }).has_value());
  const auto made = MakeAlerts(
      config, [](const std::string&) { return std::optional<std::string>("0123456789abcdef"); });
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->webhook->host, "hooks.example");
  EXPECT_EQ(made->secret, "0123456789abcdef");
  EXPECT_TRUE(made->policy.wants[0]);
}

}  // namespace
}  // namespace tradewind::cli
