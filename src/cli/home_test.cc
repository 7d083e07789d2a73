#include "cli/home.h"

#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "testing/temp_dir.h"

namespace tradewind::cli {
namespace {

Environment Fixed(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

Settings Make(const std::vector<std::string>& words, std::map<std::string, std::string> variables) {
  return Settings(ParseArguments(words).value(), Fixed(std::move(variables)), {});
}

TEST(Home, FollowsFlagVariableAndXdg) {
  EXPECT_EQ(HomeFolder(Make({"ls", "--home", "/a"}, {{"TRADEWIND_HOME", "/b"}})).value(), "/a");
  EXPECT_EQ(HomeFolder(Make({"ls"}, {{"TRADEWIND_HOME", "/b"}, {"HOME", "/h"}})).value(), "/b");
  EXPECT_EQ(HomeFolder(Make({"ls"}, {{"XDG_DATA_HOME", "/x"}, {"HOME", "/h"}})).value(),
            "/x/tradewind");
  EXPECT_EQ(HomeFolder(Make({"ls"}, {{"XDG_DATA_HOME", "relative"}, {"HOME", "/h"}})).value(),
            "/h/.local/share/tradewind");
  EXPECT_FALSE(HomeFolder(Make({"ls"}, {})).has_value());
  EXPECT_EQ(ModelsFolder(Make({"ls", "--home", "/a"}, {})).value(), "/a/models");
  EXPECT_EQ(ModelsFolder(Make({"ls", "--home", "/a"}, {{"TRADEWIND_MODELS", "/m"}})).value(), "/m");
}

TEST(Home, IsMadePrivateAndRefusedWhereItCannotBe) {
  const testing::TempDir dir;
  const auto home = dir.path() / "deep" / "home";
  ASSERT_TRUE(EnsurePrivateFolder(home).has_value());
  struct stat status{};
  ASSERT_EQ(::stat(home.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  EXPECT_TRUE(EnsurePrivateFolder(home).has_value());
  std::ofstream(dir.path() / "file") << "x";
  const Status refused = EnsurePrivateFolder(dir.path() / "file" / "home");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("--home"), std::string::npos);
}

TEST(Home, IsWholeUnlessWhatIsMadeFirstIsMissing) {
  const testing::TempDir dir;
  const auto& home = dir.path();
  const auto make = [&](const char* name) { std::ofstream(home / name) << "x"; };
  EXPECT_TRUE(CheckWhole(home / "none").has_value());
  EXPECT_TRUE(CheckWhole(home).has_value());
  make("identity.db");
  make("invoices.db");
  std::filesystem::create_directory(home / "journal");
  EXPECT_TRUE(CheckWhole(home).has_value()) << "a first start that was broken off";
  make("journal/1");
  make("ledger.db");
  EXPECT_TRUE(CheckWhole(home).has_value());
  for (const char* name : {"identity.db", "invoices.db", "journal/1"}) {
    std::filesystem::rename(home / name, home / "away");
    const Status lacking = CheckWhole(home);
    ASSERT_FALSE(lacking.has_value()) << name;
    EXPECT_EQ(lacking.error().code, ErrorCode::kCorruptFile);
    std::filesystem::rename(home / "away", home / name);
  }
  std::filesystem::rename(home / "journal", home / "away");
  std::ofstream(home / "journal") << "x";
  EXPECT_TRUE(CheckWhole(home).has_value()) << "no folder, and not missing";
  std::filesystem::remove(home / "journal");
  EXPECT_FALSE(CheckWhole(home).has_value());
  std::filesystem::rename(home / "away", home / "journal");
  std::filesystem::remove(home / "ledger.db");
  EXPECT_TRUE(CheckWhole(home).has_value()) << "it is made from the journal";
}

TEST(Lock, ExcludesASecondHolderAndNamesTheFirst) {
  const testing::TempDir dir;
  {
    const auto first = HomeLock::Take(dir.path());
    ASSERT_TRUE(first.has_value());
    ASSERT_TRUE(
        WriteServerRecord(dir.path(),
                          {.host = "127.0.0.1", .port = 8737, .pid = ::getpid(), .version = "1"})
            .has_value());
    const auto second = HomeLock::Take(dir.path());
    ASSERT_FALSE(second.has_value());
    EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
    EXPECT_NE(second.error().message.find("http://127.0.0.1:8737"), std::string::npos);
  }
  EXPECT_TRUE(HomeLock::Take(dir.path()).has_value());
}

TEST(Lock, GoesToAnotherHolderOnlyForTheSameFolder) {
  const testing::TempDir dir, other;
  auto first = std::make_unique<Result<HomeLock>>(HomeLock::Take(dir.path()));
  ASSERT_TRUE(HomeLock::Take(other.path()).has_value());  // makes its file
  const auto refused = HomeLock::Adopt(other.path(), ::dup((*first)->descriptor()));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  auto second = std::make_unique<Result<HomeLock>>(
      HomeLock::Adopt(dir.path(), ::dup((*first)->descriptor())));
  ASSERT_TRUE(second->has_value()) << second->error().message;
  first.reset();
  EXPECT_TRUE(IsLockHeld(dir.path()));
  second.reset();
  EXPECT_FALSE(IsLockHeld(dir.path()));
}

TEST(ServerRecord, KeepsWhyAnUpgradeFailed) {
  const testing::TempDir dir;
  const auto lock = HomeLock::Take(dir.path());
  ServerRecord record{.host = "127.0.0.1", .port = 9000, .pid = ::getpid(), .version = "1"};
  ASSERT_TRUE(WriteServerRecord(dir.path(), record).has_value());
  EXPECT_EQ(FindServer(dir.path())->failed_upgrades, 0);
  record.failed_upgrades = 2;
  record.upgrade_error = "the file \"a\" is damaged";
  ASSERT_TRUE(WriteServerRecord(dir.path(), record).has_value());
  EXPECT_EQ(FindServer(dir.path())->failed_upgrades, 2);
  EXPECT_EQ(FindServer(dir.path())->upgrade_error, record.upgrade_error);
}

TEST(ServerRecord, CountsOnlyWhileItsServerHoldsTheLock) {
  const testing::TempDir dir;
  EXPECT_FALSE(FindServer(dir.path()).has_value());
  auto lock = std::make_unique<Result<HomeLock>>(HomeLock::Take(dir.path()));
  ASSERT_TRUE(WriteServerRecord(dir.path(),
                                {.host = "::1", .port = 9000, .pid = ::getpid(), .version = "1.2"})
                  .has_value());
  const auto found = FindServer(dir.path());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->Url(), "http://[::1]:9000");
  EXPECT_EQ(found->pid, ::getpid());
  EXPECT_EQ(found->version, "1.2");
  lock.reset();
  EXPECT_FALSE(FindServer(dir.path()).has_value());  // the lock is free: a stale record
}

TEST(ServerRecord, OfADeadProcessIsIgnored) {
  const testing::TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto lock = HomeLock::Take(dir.path());
  ASSERT_TRUE(WriteServerRecord(dir.path(),
                                {.host = "127.0.0.1", .port = 9000, .pid = child, .version = "1"})
                  .has_value());
  EXPECT_FALSE(FindServer(dir.path()).has_value());
  RemoveServerRecord(dir.path());
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "server.json"));
}

TEST(ServerRecord, DamagedOnesAreIgnored) {
  const testing::TempDir dir;
  const auto lock = HomeLock::Take(dir.path());
  for (const std::string text :
       {"", "{", "[]", "null", R"({"host":1,"port":2,"pid":3})",
        R"({"host":"h","port":70000,"pid":1})", R"({"host":"h","port":80,"pid":-1})",
        R"({"host":"h","port":"80","pid":1})"}) {
    std::ofstream(dir.path() / "server.json") << text;
    EXPECT_FALSE(FindServer(dir.path()).has_value()) << text;
  }
  std::ofstream(dir.path() / "server.json") << std::string(100000, ' ');
  EXPECT_FALSE(FindServer(dir.path()).has_value());
}

TEST(PrivateServers, HaveAHomeOfTheirOwnPerModelAndSettingsAndAreFound) {
  const testing::TempDir dir;
  const auto a = PrivateHome(dir.path(), "/models/a.gguf", "8192"),
             b = PrivateHome(dir.path(), "/models/b.gguf", "8192");
  EXPECT_NE(a, b);
  EXPECT_NE(a, PrivateHome(dir.path(), "/models/a.gguf", "512"));
  EXPECT_EQ(a, PrivateHome(dir.path(), "/models/a.gguf", "8192"));
  EXPECT_TRUE(FindServers(dir.path()).empty());
  std::filesystem::create_directories(a);
  const auto lock = HomeLock::Take(a);
  ASSERT_TRUE(
      WriteServerRecord(a, {.host = "127.0.0.1", .port = 9001, .pid = ::getpid(), .version = "1"})
          .has_value());
  const auto servers = FindServers(dir.path());
  ASSERT_EQ(servers.size(), 1u);
  EXPECT_EQ(servers[0].port, 9001);
}

}  // namespace
}  // namespace tradewind::cli
