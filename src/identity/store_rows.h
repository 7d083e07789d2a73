// Rows of the table of keys ↔ KeyInfo; for the store's sources only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "identity/store.h"
#include "storage/database.h"

namespace tradewind::identity {

// Columns of SelectKeys that KeyInfo does not have.
inline constexpr int kDigestColumn = 0;
inline constexpr int kOldDigestColumn = 1;
inline constexpr int kOldExpiresColumn = 2;
inline constexpr int kUserIdColumn = 3;
inline constexpr int kProjectIdColumn = 4;

inline constexpr std::string_view kAddedReason = "added";  // of a member; the other is "key"

// `where` is SQL of ours, with ?1, ... for its values; the columns of keys are k.name, and so on.
std::string SelectKeys(std::string_view where);
// Errors: kCorruptFile for scopes that nobody can have.
Result<KeyInfo> ReadKeyRow(const storage::Statement& row);

std::string JoinLines(const std::vector<std::string>& entries);
std::vector<std::string> SplitLines(std::string_view text);

}  // namespace tradewind::identity
