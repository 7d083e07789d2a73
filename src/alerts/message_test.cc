#include "alerts/message.h"

#include <chrono>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "alerts/mailer.h"
#include "base/file.h"
#include "testing/temp_dir.h"

namespace tradewind::alerts {
namespace {

Alert Example() {
  Alert alert;
  alert.id = 7;
  alert.kind = Kind::kBudget;
  alert.scope = "key:key_1";
  alert.org_id = "org_default";
  alert.raised_ns = int64_t{1'790'000'000} * 1'000'000'000;
  alert.amount = 4'020'000'000;
  alert.text = "80 % of the budget key:key_1 are used: $4.02 of $5.00.";
  return alert;
}

Status RunToItsEnd(const std::vector<std::string>& argv, const std::string& message) {
  TW_ASSIGN_OR_RETURN(CommandRun run, CommandRun::Start(argv, message));
  while (true) {
    if (const auto ended = run.Poll(); ended.has_value()) {
      return *ended;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(Message, IsSignedAsAnyoneCanCheck) {
  // openssl dgst -sha256 -hmac key: of "1700000000.{}".
  EXPECT_EQ(Sign("key", "1700000000", "{}"),
            "v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae");
  EXPECT_NE(Sign("key", "1700000001", "{}"), Sign("key", "1700000000", "{}"));
}

TEST(Message, JsonHasAmountsAsTextAndNoDeliveriesForOthers) {
  const std::string json = JsonOf(Example());
  EXPECT_NE(json.find(R"("amount_nanousd":"4020000000")"), json.npos) << json;
  EXPECT_NE(json.find(R"("raised_at":"2026-09-21T14:13:20Z")"), json.npos) << json;
  EXPECT_EQ(json.find("deliveries"), json.npos);
  EXPECT_NE(JsonOf(Example(), Detail::kDeliveries).find(R"("webhook":{"state":"none")"), json.npos);
}

TEST(Message, NoNameWritesAHeaderOfItsOwn) {
  Alert alert = Example();
  alert.text = "x\nBcc: everyone@example.org";
  alert.scope = "model:a\r\nb";
  const std::string mail = MailOf(alert);
  EXPECT_TRUE(mail.starts_with("Subject: Tradewind: x Bcc: everyone@example.org\n")) << mail;
  EXPECT_EQ(mail.find('\r'), mail.npos);
  EXPECT_EQ(mail.find("\nBcc"), mail.npos);
}

TEST(Mailer, GivesTheMessageToACommandWithoutAShell) {
  const testing::TempDir folder;
  const std::string out = (folder.path() / "mail $HOME `id`").string();
  ASSERT_TRUE(RunToItsEnd({"/usr/bin/tee", out}, MailOf(Example())).has_value());
  EXPECT_EQ(*ReadFile(out, 1 << 20), MailOf(Example()));
}

TEST(Mailer, KeepsSecretsOfTheEnvironmentToItself) {
  ::setenv("SITE_A_KEY", "secret", 1);
  const testing::TempDir folder;
  const std::string out = (folder.path() / "env").string();
  ASSERT_TRUE(RunToItsEnd({"/bin/sh", "-c", "env > " + out}, "").has_value());
  EXPECT_EQ(ReadFile(out, 1 << 20)->find("secret"), std::string::npos);
  ::unsetenv("SITE_A_KEY");
}

TEST(Mailer, SaysHowACommandFailed) {
  EXPECT_NE(RunToItsEnd({"/bin/false"}, "").error().message.find("ended with 1"),
            std::string::npos);
  EXPECT_FALSE(CommandRun::Start({"/no/such/program"}, "").has_value());
  EXPECT_FALSE(CommandRun::Start({}, "").has_value());
  // One that reads nothing takes nothing down.
  EXPECT_TRUE(RunToItsEnd({"/bin/true"}, std::string(32 << 10, 'x')).has_value());
}

TEST(Mailer, EndsWhatNobodyWaitsForAnyMore) {
  Result<CommandRun> run = CommandRun::Start({"/bin/sleep", "1000"}, "");
  ASSERT_TRUE(run.has_value());
  EXPECT_FALSE(run->Poll().has_value());
}  // its destructor returns: the command was killed

TEST(Mailer, EndsWhatTheCommandStartedToo) {
  const testing::TempDir folder;
  const std::string out = (folder.path() / "pid").string();
  std::string started;
  {
    Result<CommandRun> run =
        CommandRun::Start({"/bin/sh", "-c", "sleep 1000 & echo $! > " + out + "; wait"}, "");
    ASSERT_TRUE(run.has_value());
    while (!started.ends_with('\n')) {
      started = ReadFile(out, 100).value_or("");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  started.pop_back();
  const auto runs = [&] {  // one that nobody waited for yet is a zombie
    const std::string status = ReadFile("/proc/" + started + "/stat", 1000).value_or("");
    return !status.empty() && status.find(") Z ") == std::string::npos;
  };
  while (runs()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}  // it comes to its end

}  // namespace
}  // namespace tradewind::alerts
