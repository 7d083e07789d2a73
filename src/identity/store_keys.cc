// Keys: create, list, rotate, revoke.
#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "identity/store.h"
#include "identity/store_rows.h"

namespace tradewind::identity {
namespace {

using storage::Statement;
using storage::Transaction;
namespace fs = std::filesystem;

std::unexpected<Error> Wrong(std::string_view field, std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message), std::string(field));
}

bool HasControls(std::string_view text) {
  return std::ranges::any_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Status CheckEntries(const std::vector<std::string>& entries, std::string_view field,
                    size_t bytes_max) {
  if (entries.size() > static_cast<size_t>(limits::kAllowListEntriesMax)) {
    return Wrong(
        field, fmt::format("`{}` has more than {} entries.", field, limits::kAllowListEntriesMax));
  }
  for (const std::string& entry : entries) {
    if (entry.empty() || entry.size() > bytes_max || HasControls(entry) || !IsValidUtf8(entry)) {
      return Wrong(field,
                   fmt::format("`{}` has an entry that is empty, too long or not text.", field));
    }
  }
  return {};
}

Status CheckLimit(const std::optional<int64_t>& limit, std::string_view field) {
  if (limit && (*limit < 1 || *limit > limits::kKeyLimitMax)) {
    return Wrong(field, fmt::format("`{}` must be between 1 and {}.", field, limits::kKeyLimitMax));
  }
  return {};
}

}  // namespace

Status CheckLimits(const KeyLimits& bounds) {
  TW_RETURN_IF_ERROR(CheckLimit(bounds.requests_per_minute, "rpm"));
  TW_RETURN_IF_ERROR(CheckLimit(bounds.tokens_per_minute, "tpm"));
  TW_RETURN_IF_ERROR(CheckLimit(bounds.concurrency, "concurrency"));
  return CheckLimit(bounds.max_output, "max_output");
}

std::string SelectKeys(std::string_view where) {
  return fmt::format(
      "SELECT k.digest, k.old_digest, k.old_expires_unix_s, k.user_id, k.project_id, k.id, k.name, "
      "o.id, o.name, p.name, u.name, m.role, k.scopes, k.models, k.providers, "
      "k.requests_per_minute, k.tokens_per_minute, k.concurrency, k.max_output, k.created_unix_s, "
      "k.expires_unix_s, k.rotated_unix_s, k.revoked_unix_s, k.last_used_unix_s, k.is_admin, "
      "o.requests_per_minute, o.tokens_per_minute, o.concurrency, o.max_output, "
      "k.local_when_exhausted, o.strict "
      "FROM keys k JOIN projects p ON p.id = k.project_id JOIN orgs o ON o.id = p.org_id "
      "JOIN users u ON u.id = k.user_id "
      "LEFT JOIN members m ON m.org_id = o.id AND m.user_id = u.id "
      "WHERE {} ORDER BY k.is_admin DESC, k.created_unix_s, k.name",
      where);
}

Result<KeyInfo> ReadKeyRow(const Statement& row) {
  KeyInfo out;
  int column = kProjectIdColumn;
  const auto text = [&] { return std::string(row.Text(++column)); };
  const auto integer = [&] { return row.OptionalInteger(++column); };
  out.id = text();
  out.name = text();
  out.org_id = text();
  out.org = text();
  out.project_id = row.Text(kProjectIdColumn);
  out.project = text();
  out.user_id = row.Text(kUserIdColumn);
  out.user = text();
  const std::optional<Role> role = RoleFromName(text());
  out.role = role.value_or(Role::kViewer);
  const Result<Scopes> scopes = Scopes::Parse(text());
  if (!scopes) {
    return Fail(
        ErrorCode::kCorruptFile,
        fmt::format("key {} has scopes that this version does not know; revoke it", out.id));
  }
  out.scopes = role ? *scopes : Scopes();  // no longer a member: nothing is left
  out.models = SplitLines(text());
  out.providers = SplitLines(text());
  out.limits = {integer(), integer(), integer(), integer()};
  out.created_unix_s = integer().value_or(0);
  out.expires_unix_s = integer();
  out.rotated_unix_s = integer();
  out.revoked_unix_s = integer();
  out.last_used_unix_s = integer();
  out.is_admin_token = integer().value_or(0) != 0;
  out.org_limits = {integer(), integer(), integer(), integer()};
  out.local_when_exhausted = integer().value_or(0) != 0;
  out.org_is_strict = integer().value_or(0) != 0;
  out.old_secret_expires_unix_s = row.OptionalInteger(kOldExpiresColumn);
  return out;
}

std::string JoinLines(const std::vector<std::string>& entries) {
  return fmt::format("{}", fmt::join(entries, "\n"));
}

std::vector<std::string> SplitLines(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    out.emplace_back(text.substr(0, end));
    text = end == text.npos ? "" : text.substr(end + 1);
  }
  return out;
}

Status CheckKeyName(std::string_view name) {
  if (name.empty() || name.size() > static_cast<size_t>(limits::kKeyNameBytesMax) ||
      HasControls(name) || !IsValidUtf8(name) || name.front() == ' ' || name.back() == ' ') {
    return Wrong("name", fmt::format("`name` must be 1 to {} bytes of text on one line, without "
                                     "spaces around it.",
                                     limits::kKeyNameBytesMax));
  }
  if (name == kAdminKeyName || name.starts_with("key_") || name.starts_with("hf_")) {
    return Wrong("name",
                 "`name` must not be admin or begin with key_ or hf_, so that it is never "
                 "taken for an id or a token.");
  }
  return {};
}

Status CheckAccountName(std::string_view name, std::string_view field) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '@' || c == '+';
  };
  if (name.empty() || name.size() > static_cast<size_t>(limits::kAccountNameBytesMax) ||
      !std::ranges::all_of(name, fits)) {
    return Wrong(field, fmt::format("`{}` must be 1 to {} letters, digits and . _ - @ +.", field,
                                    limits::kAccountNameBytesMax));
  }
  return {};
}

Status CheckNewAccountName(std::string_view name, std::string_view field) {
  for (const std::string_view prefix : {"org_", "usr_", "prj_"}) {
    if (name.starts_with(prefix)) {
      return Wrong(field,
                   fmt::format("`{}` names nobody who is there, and a new name must not begin "
                               "with org_, usr_ or prj_, so that it is never taken for an "
                               "id; `tradewind keys ls --json` shows the ids.",
                               field));
    }
  }
  return {};
}

Status Store::CheckNewKey(const KeySpec& spec, const Reach& reach) {
  TW_RETURN_IF_ERROR(CheckKeyName(spec.name));
  TW_RETURN_IF_ERROR(CheckAccountName(spec.org, "org"));
  TW_RETURN_IF_ERROR(CheckAccountName(spec.project, "project"));
  TW_RETURN_IF_ERROR(CheckAccountName(spec.user, "user"));
  TW_RETURN_IF_ERROR(CheckEntries(spec.models, "models", limits::kModelStringBytesMax));
  TW_RETURN_IF_ERROR(CheckEntries(spec.providers, "providers", limits::kAccountNameBytesMax));
  TW_RETURN_IF_ERROR(CheckLimits(spec.limits));
  if (spec.scopes.empty()) {
    return Wrong("scopes", "`scopes` is empty; use inference, read and manage.");
  }
  if (spec.expires_unix_s && *spec.expires_unix_s <= clock_.UnixSeconds()) {
    return Wrong("expires", "`expires` must be in the future.");
  }
  if (last_uses_.size() >= static_cast<size_t>(limits::kKeysMax)) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("There are {} keys, and no room for more.", limits::kKeysMax));
  }
  TW_ASSIGN_OR_RETURN(
      Statement same,
      database_.Prepare("SELECT k.id, k.revoked_unix_s, p.org_id FROM keys k JOIN projects p ON "
                        "p.id = k.project_id WHERE k.name = ?1"));
  TW_ASSIGN_OR_RETURN(const bool taken, same.Bind(1, std::string_view(spec.name)).Next());
  if (!taken) {
    return {};
  }
  if (reach.org_id && *reach.org_id != same.Text(2)) {
    return Wrong("name", "`name` is taken; choose another.");
  }
  return Wrong("name", same.IsNull(1)
                           ? fmt::format("`name` is taken by {}; choose another, or get a new "
                                         "secret for it with `tradewind keys rotate`.",
                                         same.Text(0))
                           : fmt::format("`name` belongs to {}, which was revoked; choose another.",
                                         same.Text(0)));
}

Result<MintedKey> Store::CreateKey(const KeySpec& spec, const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckNewKey(spec, reach));
  TW_RETURN_IF_ERROR(CheckReach(spec, reach));
  TW_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  TW_ASSIGN_OR_RETURN(const AccountIds account, EnsureAccount(spec));
  const std::string id = RandomId("key_", 16);
  Secret token = MintToken();
  const Digest digest = hasher_->Hash(token.Reveal());
  TW_RETURN_IF_ERROR(database_.Run(
      "INSERT INTO keys (id, name, project_id, user_id, is_admin, scopes, models, providers, "
      "requests_per_minute, tokens_per_minute, concurrency, created_unix_s, expires_unix_s, "
      "digest, local_when_exhausted, max_output) "
      "VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
      std::string_view(id), std::string_view(spec.name), std::string_view(account.project),
      std::string_view(account.user), std::string_view(spec.scopes.Text()),
      std::string_view(JoinLines(spec.models)), std::string_view(JoinLines(spec.providers)),
      spec.limits.requests_per_minute, spec.limits.tokens_per_minute, spec.limits.concurrency,
      clock_.UnixSeconds(), spec.expires_unix_s, std::span<const std::byte>(digest),
      int64_t{spec.local_when_exhausted}, spec.limits.max_output));
  TW_RETURN_IF_ERROR(
      database_.Execute("INSERT OR IGNORE INTO facts VALUES ('key_was_created', 1)"));
  TW_ASSIGN_OR_RETURN(KeyInfo info, FindKey(id, {}));
  if (info.scopes.And(ScopesOf(info.role)) != info.scopes) {
    return Wrong("scopes", fmt::format("`scopes` asks for {}, and {} is a {} of {}, who may have "
                                       "{}; name a higher role with --role, or fewer scopes.",
                                       info.scopes.Text(), info.user, RoleName(info.role), info.org,
                                       ScopesOf(info.role).Text()));
  }
  TW_RETURN_IF_ERROR(transaction.Commit());
  TW_RETURN_IF_ERROR(Publish());
  return MintedKey{std::move(info), std::move(token)};
}

Result<KeyInfo> Store::FindKey(std::string_view key, const Reach& reach) {
  TW_ASSIGN_OR_RETURN(Statement row, database_.Prepare(SelectKeys("k.id = ?1 OR k.name = ?1")));
  TW_ASSIGN_OR_RETURN(const bool found, row.Bind(1, key).Next());
  if (found) {
    TW_ASSIGN_OR_RETURN(KeyInfo info, ReadKeyRow(row));
    if (!reach.org_id || (*reach.org_id == info.org_id && !info.is_admin_token)) {
      return info;
    }
  }
  return Fail(ErrorCode::kNotFound, "There is no such key; `tradewind keys ls` lists them.", "key");
}

Result<std::vector<KeyInfo>> Store::ListKeys(const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(Statement rows,
                      database_.Prepare(SelectKeys(reach.org_id ? "p.org_id = ?1 AND k.is_admin = 0"
                                                                : "?1 IS NULL")));
  rows.Bind(1, reach.org_id ? std::optional<std::string_view>(*reach.org_id) : std::nullopt);
  std::vector<KeyInfo> out;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      return out;
    }
    TW_ASSIGN_OR_RETURN(KeyInfo info, ReadKeyRow(rows));
    if (const auto use = last_uses_.find(info.id); use != last_uses_.end()) {
      const int64_t at = use->second.at->load(std::memory_order_relaxed);  // newer than the disk's
      info.last_used_unix_s = at > 0 ? std::optional(at) : info.last_used_unix_s;
    }
    out.push_back(std::move(info));
  }
}

Result<MintedKey> Store::RotateKey(std::string_view key, int64_t grace_s, const Reach& reach) {
  const std::lock_guard lock(mutex_);
  if (grace_s < 0 || grace_s > limits::kRotationGraceMaxS) {
    return Wrong("grace", fmt::format("`grace` must be between 0 and {} days.",
                                      limits::kRotationGraceMaxS / 86'400));
  }
  TW_ASSIGN_OR_RETURN(KeyInfo info, FindKey(key, reach));
  TW_RETURN_IF_ERROR(CheckUserWithin(info.user_id, reach));
  if (info.is_admin_token) {
    return RotateAdmin(info);
  }
  if (info.revoked_unix_s) {
    return Wrong("key", "This key was revoked; create a new one.");
  }
  const int64_t now = clock_.UnixSeconds();
  Secret token = MintToken();
  const Digest digest = hasher_->Hash(token.Reveal());
  const auto old_expires = grace_s > 0 ? std::optional(now + grace_s) : std::nullopt;
  TW_RETURN_IF_ERROR(database_.Run(
      "UPDATE keys SET old_digest = CASE WHEN ?3 IS NULL THEN NULL ELSE digest END, "
      "old_expires_unix_s = ?3, digest = ?2, rotated_unix_s = ?4 WHERE id = ?1",
      std::string_view(info.id), std::span<const std::byte>(digest), old_expires, now));
  info.rotated_unix_s = now;
  info.old_secret_expires_unix_s = old_expires;
  TW_RETURN_IF_ERROR(Publish());
  return MintedKey{std::move(info), std::move(token)};
}

// The file is what the operator has: the new token lies beside it before the database knows it, and
// takes its place afterwards. A start between the two finishes the change (EnsureAdminToken).
Result<MintedKey> Store::RotateAdmin(const KeyInfo& key) {
  const fs::path next = AdminTokenFile().string() + ".next";
  std::error_code failed;
  fs::remove(next, failed);  // of a rotation that was cut short before the database knew it
  Secret token = MintToken();
  TW_RETURN_IF_ERROR(CreatePrivateFile(next, token.Reveal()));
  const Digest digest = hasher_->Hash(token.Reveal());
  const int64_t now = clock_.UnixSeconds();
  const Status written =
      database_.Run("UPDATE keys SET digest = ?2, rotated_unix_s = ?3 WHERE id = ?1",
                    std::string_view(key.id), std::span<const std::byte>(digest), now);
  if (!written) {
    fs::remove(next, failed);
    return Fail(written.error());
  }
  fs::rename(next, AdminTokenFile(), failed);
  if (failed) {
    return Fail(ErrorCode::kIo, fmt::format("The new token is in {}, and could not take the place "
                                            "of the old one: {}.",
                                            next.string(), failed.message()));
  }
  TW_RETURN_IF_ERROR(Publish());
  MintedKey out{key, std::move(token)};
  out.info.rotated_unix_s = now;
  return out;
}

Result<KeyInfo> Store::RevokeKey(std::string_view key, const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(KeyInfo info, FindKey(key, reach));
  if (info.is_admin_token) {
    return Wrong("key",
                 "The admin token cannot be revoked; replace it with `tradewind keys rotate "
                 "admin`.");
  }
  if (info.revoked_unix_s) {  // as asked for; in force too, if publishing it failed before
    TW_RETURN_IF_ERROR(Publish());
    return info;
  }
  info.revoked_unix_s = clock_.UnixSeconds();
  info.old_secret_expires_unix_s.reset();
  TW_RETURN_IF_ERROR(database_.Run(
      "UPDATE keys SET revoked_unix_s = ?2, old_digest = NULL, old_expires_unix_s = NULL WHERE id "
      "= ?1",
      std::string_view(info.id), *info.revoked_unix_s));
  TW_RETURN_IF_ERROR(Publish());
  return info;
}

bool Store::has_live_key() {
  const auto keys = ListKeys();
  const int64_t now = clock_.UnixSeconds();
  return keys && std::ranges::any_of(*keys, [&](const KeyInfo& key) {
           return !key.is_admin_token && !key.revoked_unix_s &&
                  (!key.expires_unix_s || *key.expires_unix_s > now);
         });
}

}  // namespace tradewind::identity
