#include "storage/migrations.h"

#include <string>

#include <fmt/format.h>

namespace tradewind::storage {
namespace {

// The number of steps that the file has, each of them one of ours.
Result<size_t> Applied(Database& database, std::span<const Migration> migrations) {
  TW_ASSIGN_OR_RETURN(Statement rows,
                      database.Prepare("SELECT number, name FROM migrations ORDER BY number"));
  size_t applied = 0;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      return applied;
    }
    const bool known = applied < migrations.size() &&
                       rows.Integer(0) == static_cast<int64_t>(applied) + 1 &&
                       rows.Text(1) == migrations[applied].name;
    if (!known) {
      return Fail(
          ErrorCode::kUnsupported,
          fmt::format("{} was written by a newer version of tradewind (its step {}, \"{}\", "
                      "is unknown here); run that version, or restore an older backup",
                      database.path().string(), rows.Integer(0), rows.Text(1)));
    }
    ++applied;
  }
}

}  // namespace

Status Migrate(Database& database, std::span<const Migration> migrations) {
  TW_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database));
  TW_RETURN_IF_ERROR(
      database.Execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name "
                       "TEXT NOT NULL, applied_unix_s INTEGER NOT NULL) STRICT"));
  TW_ASSIGN_OR_RETURN(const size_t applied, Applied(database, migrations));
  for (size_t i = applied; i < migrations.size(); ++i) {
    TW_RETURN_IF_ERROR(database.Execute(std::string(migrations[i].sql)));
    TW_RETURN_IF_ERROR(database.Run("INSERT INTO migrations VALUES (?1, ?2, unixepoch())",
                                    static_cast<int64_t>(i) + 1, migrations[i].name));
  }
  return transaction.Commit();
}

}  // namespace tradewind::storage
