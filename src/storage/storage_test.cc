#include <array>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/bytes.h"
#include "storage/database.h"
#include "storage/migrations.h"
#include "testing/temp_dir.h"

namespace tradewind::storage {
namespace {

namespace fs = std::filesystem;

class StorageTest : public ::testing::Test {
 protected:
  Database Open(const fs::path& path, const DatabaseOptions& options = {}) {
    auto database = Database::Open(path, options);
    EXPECT_TRUE(database.has_value()) << database.error().message;
    return std::move(*database);
  }
  static int64_t Count(Database& database, const std::string& table = "t") {
    auto statement = database.Prepare("SELECT count(*) FROM " + table);
    EXPECT_TRUE(statement.has_value()) << statement.error().message;
    EXPECT_TRUE(statement->Next().value_or(false));
    return statement->Integer(0);
  }
  static Status Fill(Database& database, int rows) {
    const std::string text(1000, 'x');
    TW_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database));
    for (int i = 0; i < rows; ++i) {
      TW_RETURN_IF_ERROR(database.Run("INSERT INTO t VALUES (?1)", std::string_view(text)));
    }
    return transaction.Commit();
  }

  testing::TempDir folder_;
  const fs::path file_ = folder_.path() / "a.db";
};

TEST_F(StorageTest, ACopyIsPrivateWhateverTheUmask) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)"));
  const fs::path path = folder_.path() / "copy.db";
  const mode_t before = ::umask(0);
  const Status copied = database.CopyTo(path);
  ::umask(before);
  ASSERT_TRUE(copied.has_value()) << copied.error().message;
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  Database copy = Open(path);
  EXPECT_EQ(Count(copy), 1);
}

TEST_F(StorageTest, KeepsValuesOfEveryKindAsTheyWere) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a, b, c, d, e, f)"));
  const std::string text("it's; DROP TABLE t\0--", 21);
  const std::array<std::byte, 3> blob{std::byte{0}, std::byte{255}, std::byte{7}};
  ASSERT_TRUE(database.Run("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6)", int64_t{INT64_MIN},
                           std::string_view(text), std::span<const std::byte>(blob),
                           std::optional<int64_t>(), std::string_view(""),
                           std::span<const std::byte>()));
  EXPECT_EQ(database.changes(), 1);
  auto row = database.Prepare("SELECT * FROM t");
  ASSERT_TRUE(row->Next().value());
  EXPECT_EQ(row->Integer(0), INT64_MIN);
  EXPECT_EQ(row->Text(1), text);
  EXPECT_EQ(AsString(row->Blob(2)), AsString(blob));
  EXPECT_TRUE(row->IsNull(3));
  EXPECT_EQ(row->OptionalInteger(3), std::nullopt);
  EXPECT_FALSE(row->IsNull(4));
  EXPECT_EQ(row->Text(4), "");
  EXPECT_FALSE(row->IsNull(5));
  EXPECT_FALSE(row->Next().value());
}

TEST_F(StorageTest, RunsAStatementAgainAfterReset) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a)"));
  auto insert = database.Prepare("INSERT INTO t VALUES (?1)");
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(insert->Bind(1, i).Run());
    insert->Reset();
  }
  EXPECT_EQ(Count(database), 3);
  EXPECT_EQ(insert->Bind(2, int64_t{1}).Run().error().code, ErrorCode::kInternal);  // no ?2
}

TEST_F(StorageTest, MakesFilesThatOnlyTheirOwnerReads) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a)"));
  for (const fs::path& path : {file_, fs::path(file_.string() + "-wal")}) {
    struct stat about{};
    ASSERT_EQ(::stat(path.c_str(), &about), 0) << path;
    EXPECT_EQ(about.st_mode & 0777, 0600u) << path;
  }
}

TEST_F(StorageTest, ATransactionThatIsNotCommittedLeavesNothing) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a)"));
  {
    auto transaction = Transaction::Begin(database);
    ASSERT_TRUE(transaction.has_value());
    ASSERT_TRUE(database.Execute("INSERT INTO t VALUES (1)"));
    EXPECT_EQ(Count(database), 1);
  }
  EXPECT_EQ(Count(database), 0);
}

TEST_F(StorageTest, AConstraintIsAnErrorOfItsOwnThatDoesNotSayTheValue) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a TEXT UNIQUE)"));
  ASSERT_TRUE(database.Run("INSERT INTO t VALUES (?1)", std::string_view("sesame")));
  const Status again = database.Run("INSERT INTO t VALUES (?1)", std::string_view("sesame"));
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(again.error().message.find("sesame"), std::string::npos) << again.error().message;
}

TEST_F(StorageTest, AFullDiskUndoesTheTransactionAndTheRestGoesOn) {
  Database database = Open(file_, {.pages_max = 40});
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a)"));
  ASSERT_TRUE(Fill(database, 10));
  const Status full = Fill(database, 1000);
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(full.error().message.find("a.db"), std::string::npos) << full.error().message;
  EXPECT_EQ(Count(database), 10);
  EXPECT_TRUE(Fill(database, 1));
  EXPECT_TRUE(database.Check());
}

TEST_F(StorageTest, ACopyTakenHalfWayHasWhatWasCommittedAndNoMore) {
  Database database = Open(file_);
  ASSERT_TRUE(database.Execute("CREATE TABLE t (a); PRAGMA cache_size = 5"));
  ASSERT_TRUE(Fill(database, 20));
  auto transaction = Transaction::Begin(database);
  ASSERT_TRUE(transaction.has_value());
  for (int i = 0; i < 100; ++i) {  // more than the cache holds: spills into the WAL
    ASSERT_TRUE(database.Execute("INSERT INTO t VALUES (zeroblob(1000))"));
  }
  const fs::path copy = folder_.path() / "copy.db";
  fs::copy_file(file_, copy);
  fs::copy_file(file_.string() + "-wal", copy.string() + "-wal");
  Database reopened = Open(copy);
  EXPECT_EQ(Count(reopened), 20);
  EXPECT_TRUE(reopened.Check());
}

TEST_F(StorageTest, WhatIsCommittedSurvivesAKill) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto database = Database::Open(file_);
    const bool done = database && database->Execute("CREATE TABLE t (a)") && Fill(*database, 7) &&
                      database->Execute("BEGIN; INSERT INTO t VALUES (1)");
    ::_exit(done ? 0 : 1);  // as a kill: nothing is closed
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  Database database = Open(file_);
  EXPECT_EQ(Count(database), 7);
}

TEST_F(StorageTest, ASecondConnectionIsRefused) {
  const Database database = Open(file_);
  const auto second = Database::Open(file_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
}

TEST_F(StorageTest, AFileThatIsNoDatabaseIsDamaged) {
  std::ofstream(file_) << std::string(5000, 'x');
  const auto opened = Database::Open(file_);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorruptFile);
  EXPECT_NE(opened.error().message.find("restore"), std::string::npos) << opened.error().message;
}

TEST_F(StorageTest, DamageInTheMiddleIsFoundByCheck) {
  {
    Database database = Open(file_);
    ASSERT_TRUE(database.Execute("CREATE TABLE t (a)"));
    ASSERT_TRUE(Fill(database, 200));
  }  // closing moves the WAL into the file
  {
    std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5 * 4096);
    file << std::string(3 * 4096, '\xff');
  }
  auto database = Database::Open(file_);
  ASSERT_TRUE(database.has_value()) << database.error().message;
  EXPECT_EQ(database->Check().error().code, ErrorCode::kCorruptFile);
}

TEST_F(StorageTest, AFolderThatIsNotThereIsAnIoError) {
  EXPECT_EQ(Database::Open(folder_.path() / "no" / "a.db").error().code, ErrorCode::kIo);
}

constexpr Migration kSteps[] = {
    {"one", "CREATE TABLE one (a); CREATE TABLE both (a)"},
    {"two", "CREATE TABLE two (a); INSERT INTO both VALUES (2)"},
};

TEST_F(StorageTest, MigratesOnceAndStepByStep) {
  Database database = Open(file_);
  ASSERT_TRUE(Migrate(database, std::span(kSteps).first(1)));
  EXPECT_EQ(Count(database, "both"), 0);
  for (int i = 0; i < 2; ++i) {
    const Status migrated = Migrate(database, kSteps);
    ASSERT_TRUE(migrated) << migrated.error().message;
    EXPECT_EQ(Count(database, "both"), 1);
  }
  EXPECT_EQ(Count(database, "migrations"), 2);
}

TEST_F(StorageTest, RefusesAFileOfANewerVersion) {
  Database database = Open(file_);
  ASSERT_TRUE(Migrate(database, kSteps));
  const Status older = Migrate(database, std::span(kSteps).first(1));
  ASSERT_FALSE(older);
  EXPECT_EQ(older.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(older.error().message.find("newer version"), std::string::npos);
  constexpr Migration kOther[] = {{"one", ""}, {"another", ""}};
  EXPECT_EQ(Migrate(database, kOther).error().code, ErrorCode::kUnsupported);
}

TEST_F(StorageTest, AFailedStepLeavesTheFileAsItWas) {
  Database database = Open(file_);
  constexpr Migration kBad[] = {{"one", "CREATE TABLE one (a)"}, {"bad", "CREATE GARBAGE"}};
  EXPECT_FALSE(Migrate(database, kBad));
  ASSERT_TRUE(Migrate(database, kSteps));
  EXPECT_EQ(Count(database, "migrations"), 2);
}

}  // namespace
}  // namespace tradewind::storage
