#include "cli/hand_over.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "testing/temp_dir.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

fs::path MakeProgram(const fs::path& file) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << "#!/bin/sh\n";
  fs::permissions(file, fs::perms::owner_all);
  return file;
}

TEST(ProgramFile, IsWhatTheNameLeadsToNow) {
  const testing::TempDir dir;
  const std::string running = MakeProgram(dir.path() / "old" / "tradewind").string();
  const std::string found = MakeProgram(dir.path() / "bin" / "tradewind").string();
  const std::string path = "/nowhere:" + (dir.path() / "bin").string();
  EXPECT_EQ(ProgramFile("./build/tradewind", path, running).value(), "./build/tradewind");
  EXPECT_EQ(ProgramFile("tradewind", path, running).value(), found);
  EXPECT_EQ(ProgramFile("tradewind", "/nowhere", running).value(), running);
  EXPECT_EQ(ProgramFile("tradewind", "", running).value(), running);
  EXPECT_EQ(ProgramFile("", path, running).value(), running);
  fs::remove(running);
  EXPECT_EQ(ProgramFile("tradewind", "", running).error().code, ErrorCode::kNotFound);
}

TEST(ListenerFromManager, CountsOnlyWhenItIsMeantForThisProcess) {
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_PID", "1", 1);
  EXPECT_FALSE(ListenerFromManager().value().has_value());
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(ListenerFromManager().value(), 3);
  ::setenv("LISTEN_FDS", "2", 1);
  EXPECT_EQ(ListenerFromManager().error().code, ErrorCode::kInvalidArgument);
  ::unsetenv("LISTEN_FDS");
  EXPECT_FALSE(ListenerFromManager().value().has_value());
  ::unsetenv("LISTEN_PID");
}

TEST(Predecessor, IsNotFoundInAVariableThatNamesNoSocketPair) {
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (const std::string& text : {std::string(), std::string("1:2"), std::string("a:b:c"),
                                  std::string("0:1:2"), std::string("7:8:99999999999999999999"),
                                  "7:8:" + std::to_string(file), std::string("7:8:9:10")}) {
    ::setenv("TRADEWIND_HAND_OVER", text.c_str(), 1);
    EXPECT_FALSE(Predecessor::Find().has_value()) << text;
    TellPredecessor("nobody hears this");
  }
  ::unsetenv("TRADEWIND_HAND_OVER");
  EXPECT_FALSE(Predecessor::Find().has_value());
  ::close(file);
}

}  // namespace
}  // namespace tradewind::cli
