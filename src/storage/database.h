// SQLite: a connection, its statements and transactions. Values are bound, never pasted into SQL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tradewind::storage {

// A prepared statement; must not outlive its database. One thread at a time.
class Statement {
 public:
  Statement(Statement&& other) noexcept = default;
  Statement& operator=(Statement&& other) noexcept = default;

  // Values of ?1, ?2, ... (copied). A value that cannot be bound is reported by Next or Run.
  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, std::string_view text);
  Statement& Bind(int index, std::span<const std::byte> blob);
  Statement& BindNull(int index);
  // Not copied: must live until Run has returned, or Reset.
  Statement& BindView(int index, std::string_view text);
  Statement& BindView(int index, std::span<const std::byte> blob);
  template <class T>
  Statement& Bind(int index, const std::optional<T>& value) {
    return value.has_value() ? Bind(index, *value) : BindNull(index);
  }

  // True: a row is there to be read; false: the end. Errors: see Database.
  Result<bool> Next();
  Status Run();  // to the end, rows ignored
  void Reset();  // ready to bind and run again; bindings are cleared

  // The columns of the current row, from 0. Views are valid until Next, Reset or the end.
  int64_t Integer(int column) const;
  std::string_view Text(int column) const;
  std::span<const std::byte> Blob(int column) const;
  bool IsNull(int column) const;
  std::optional<int64_t> OptionalInteger(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  void Remember(int code);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_error_ = 0;
};

// What `read` makes of each row that is left. Errors: those of Statement::Next.
template <class Read>
Result<std::vector<std::invoke_result_t<Read, const Statement&>>> ReadAll(Statement query,
                                                                          Read read) {
  std::vector<std::invoke_result_t<Read, const Statement&>> all;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return all;
    }
    all.push_back(read(query));
  }
}

struct DatabaseOptions {
  int64_t pages_max = 0;  // 0 = what the disk has; tests lower it to fill a disk
};

// The one connection to a file: it holds the file's lock while it lives, writes ahead (WAL) and
// flushes every commit to disk. One thread at a time: its owner has a lock or a thread for it.
// Errors of all calls: kResourceExhausted (disk or memory full), kCorruptFile (not a database, or
// damaged), kUnavailable (another process holds it), kInvalidArgument (a constraint refused a
// value), kIo, kInternal (wrong SQL). None of them says a bound value.
class Database {
 public:
  // Creates the file with mode 0600 when it is not there.
  static Result<Database> Open(const std::filesystem::path& path,
                               const DatabaseOptions& options = {});

  Result<Statement> Prepare(std::string_view sql);
  // One or more statements without values.
  Status Execute(const std::string& sql);
  // One statement, with the values of ?1, ?2, ...; rows are ignored.
  template <class... Values>
  Status Run(std::string_view sql, const Values&... values) {
    TW_ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
    int index = 0;
    (statement.Bind(++index, values), ...);
    return statement.Run();
  }

  // A copy as of one moment, in a file of mode 0600 that is not there yet.
  Status CopyTo(const std::filesystem::path& path);

  // Gives the file up, so that another process may open it. From then on every call fails with
  // kUnavailable; a new Database may be assigned to this one.
  void Release() { connection_.reset(); }
  bool is_open() const { return connection_ != nullptr; }

  int64_t changes() const;  // rows that the last Run changed
  // Reads every page and index: for small files, after opening. Errors: kCorruptFile.
  Status Check();
  const std::filesystem::path& path() const { return path_; }

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  Database(std::filesystem::path path, sqlite3* connection)
      : path_(std::move(path)), connection_(connection) {}
  Status CheckOpen() const;

  std::filesystem::path path_;
  std::unique_ptr<sqlite3, Close> connection_;
};

// All or nothing: rolled back when destroyed without Commit. They do not nest.
class Transaction {
 public:
  static Result<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // When it returns, the changes are on the disk. On an error they are undone.
  Status Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace tradewind::storage
