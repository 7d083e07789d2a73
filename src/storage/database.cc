#include "storage/database.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sqlite3.h>

namespace tradewind::storage {
namespace {

constexpr int kBusyTimeoutMs = 2'000;  // for a backup tool that reads; a second server never yields

bool IsNoSpace(int system_error) {
  return system_error == ENOSPC || system_error == EDQUOT;
}

Error ErrorOf(sqlite3* connection, int code) {
  const char* name = sqlite3_db_filename(connection, nullptr);
  const std::string file = name == nullptr || *name == '\0' ? "the database" : name;
  const std::string why = sqlite3_errmsg(connection);  // never has bound values in it
  const int system_error = sqlite3_system_errno(connection);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {ErrorCode::kResourceExhausted,
              fmt::format("{}: the disk is full; free some space", file)};
    case SQLITE_NOMEM:
      return {ErrorCode::kResourceExhausted, fmt::format("{}: out of memory", file)};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorCode::kCorruptFile,
              fmt::format("{} is damaged ({}); restore it from a backup, or move it away to begin "
                          "afresh",
                          file, why)};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorCode::kUnavailable,
              fmt::format("{} is in use by another process; end that first", file)};
    case SQLITE_CONSTRAINT:
      return {ErrorCode::kInvalidArgument, fmt::format("{}: {}", file, why)};
    case SQLITE_IOERR:
      return IsNoSpace(system_error)
                 ? Error{ErrorCode::kResourceExhausted,
                         fmt::format("{}: the disk is full; free some space", file)}
                 : Error{ErrorCode::kIo, fmt::format("{}: {}", file, why)};
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {ErrorCode::kIo, fmt::format("{}: {}; check who may write there", file, why)};
    default:
      return {ErrorCode::kInternal, fmt::format("{}: {}", file, why)};
  }
}

// SQLite would create the file by the umask.
Status CreatePrivate(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    return Fail(IsNoSpace(errno) ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
                fmt::format("cannot open {}: {}", path.string(), std::strerror(errno)));
  }
  ::close(descriptor);
  return {};
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

void Statement::Remember(int code) {
  if (code != SQLITE_OK && bind_error_ == 0) {
    bind_error_ = code;
  }
}

Statement& Statement::Bind(int index, int64_t value) {
  Remember(sqlite3_bind_int64(statement_.get(), index, value));
  return *this;
}
Statement& Statement::Bind(int index, std::string_view text) {
  // A null pointer would bind NULL instead of the empty text.
  Remember(sqlite3_bind_text64(statement_.get(), index, text.empty() ? "" : text.data(),
                               text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}
Statement& Statement::Bind(int index, std::span<const std::byte> blob) {
  Remember(blob.empty() ? sqlite3_bind_zeroblob(statement_.get(), index, 0)
                        : sqlite3_bind_blob64(statement_.get(), index, blob.data(), blob.size(),
                                              SQLITE_TRANSIENT));
  return *this;
}
Statement& Statement::BindView(int index, std::string_view text) {
  Remember(sqlite3_bind_text64(statement_.get(), index, text.empty() ? "" : text.data(),
                               text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}
Statement& Statement::BindView(int index, std::span<const std::byte> blob) {
  Remember(blob.empty() ? sqlite3_bind_zeroblob(statement_.get(), index, 0)
                        : sqlite3_bind_blob64(statement_.get(), index, blob.data(), blob.size(),
                                              SQLITE_STATIC));
  return *this;
}
Statement& Statement::BindNull(int index) {
  Remember(sqlite3_bind_null(statement_.get(), index));
  return *this;
}

Result<bool> Statement::Next() {
  sqlite3* connection = sqlite3_db_handle(statement_.get());
  if (bind_error_ != 0) {
    return Fail(ErrorOf(connection, bind_error_));
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) {
    return true;
  }
  if (code == SQLITE_DONE) {
    return false;
  }
  return Fail(ErrorOf(connection, code));
}

Status Statement::Run() {
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, Next());
    if (!more) {
      return {};
    }
  }
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());  // repeats the error of the last step, which Next has told
  sqlite3_clear_bindings(statement_.get());
  bind_error_ = 0;
}

int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
std::string_view Statement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  return text == nullptr ? std::string_view()
                         : std::string_view(
                               reinterpret_cast<const char*>(text),
                               static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}
std::span<const std::byte> Statement::Blob(int column) const {
  const void* blob = sqlite3_column_blob(statement_.get(), column);
  return {
      static_cast<const std::byte*>(blob),
      blob == nullptr ? 0 : static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}
bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}
std::optional<int64_t> Statement::OptionalInteger(int column) const {
  return IsNull(column) ? std::nullopt : std::optional(Integer(column));
}

Status Database::CopyTo(const std::filesystem::path& path) {
  TW_RETURN_IF_ERROR(CreatePrivate(path));
  return Run("VACUUM INTO ?1", std::string_view(path.string()));
}

void Database::Close::operator()(sqlite3* connection) const {
  sqlite3_close_v2(connection);
}

Result<Database> Database::Open(const std::filesystem::path& path, const DatabaseOptions& options) {
  TW_RETURN_IF_ERROR(CreatePrivate(path));
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &connection,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(path, connection);
  if (connection == nullptr) {
    return Fail(ErrorCode::kResourceExhausted, fmt::format("{}: out of memory", path.string()));
  }
  if (code != SQLITE_OK) {
    return Fail(ErrorOf(connection, code));
  }
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, kBusyTimeoutMs);
  sqlite3_db_config(connection, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(connection, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // Exclusive comes first, so that WAL keeps its index in our memory and nobody else can open.
  // secure_delete: what is deleted is overwritten, not left in free pages.
  TW_RETURN_IF_ERROR(
      database.Execute("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                       "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                       "PRAGMA secure_delete = ON"));
  if (options.pages_max > 0) {
    TW_RETURN_IF_ERROR(
        database.Execute(fmt::format("PRAGMA max_page_count = {}", options.pages_max)));
  }
  // The lock is taken by the first write, and a busy file is told now rather than later.
  TW_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE; COMMIT"));
  return database;
}

Status Database::CheckOpen() const {
  if (connection_ != nullptr) {
    return {};
  }
  return std::unexpected(
      Error{ErrorCode::kUnavailable,
            fmt::format("{} is being handed over to another process; try again in a moment",
                        path_.string()),
            "", 1000});
}

Result<Statement> Database::Prepare(std::string_view sql) {
  TW_RETURN_IF_ERROR(CheckOpen());
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                                      0, &statement, nullptr);
  if (code != SQLITE_OK) {
    return Fail(ErrorOf(connection_.get(), code));
  }
  return Statement(statement);
}

Status Database::Execute(const std::string& sql) {
  TW_RETURN_IF_ERROR(CheckOpen());
  const int code = sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    return Fail(ErrorOf(connection_.get(), code));
  }
  return {};
}

int64_t Database::changes() const {
  return sqlite3_changes64(connection_.get());
}

Status Database::Check() {
  TW_ASSIGN_OR_RETURN(Statement check, Prepare("PRAGMA quick_check(1)"));
  TW_ASSIGN_OR_RETURN(const bool answered, check.Next());
  if (!answered || check.Text(0) != "ok") {
    return Fail(
        ErrorCode::kCorruptFile,
        fmt::format("{} is damaged ({}); restore it from a backup, with the files beside it",
                    path_.string(), answered ? check.Text(0) : "it cannot be checked"));
  }
  return {};
}

Result<Transaction> Transaction::Begin(Database& database) {
  TW_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) {
    // SQLite has rolled back by itself after some errors: then there is nothing to undo.
    static_cast<void>(database_->Execute("ROLLBACK"));
  }
}

Status Transaction::Commit() {
  TW_RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace tradewind::storage
