// A database's schema as a list of steps; a table in the file says which were applied.
#pragma once

#include <span>
#include <string_view>

#include "storage/database.h"

namespace tradewind::storage {

// Its number is its place in the list, from 1. Published steps never change; new ones come behind.
struct Migration {
  std::string_view name;
  std::string_view sql;  // one or more statements
};

// Applies what is missing, all in one transaction. Errors: kUnsupported when the file has steps
// that this program does not know (a newer version wrote it), or others under the same numbers;
// those of Database.
Status Migrate(Database& database, std::span<const Migration> migrations);

}  // namespace tradewind::storage
