// Opening: the database, the key file and the admin token; and what requests see of them.
#include "identity/store.h"

#include <algorithm>
#include <sodium.h>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/file.h"
#include "identity/schema.h"
#include "identity/store_rows.h"

namespace tradewind::identity {

namespace fs = std::filesystem;
using storage::Database;
using storage::Statement;
using storage::Transaction;

Result<std::unique_ptr<Store>> Store::Open(StoreOptions options, const Clock& clock) {
  TW_CHECK(sodium_init() >= 0);  // fails only where the system has no randomness
  const fs::path file = options.home / kDatabaseFile;
  TW_ASSIGN_OR_RETURN(Database database, Database::Open(file, {.pages_max = options.pages_max}));
  TW_RETURN_IF_ERROR(database.Check());
  TW_RETURN_IF_ERROR(storage::Migrate(database, IdentityMigrations()));
  std::unique_ptr<Store> store(new Store(std::move(options), clock, std::move(database)));
  TW_RETURN_IF_ERROR(store->LoadMasterKey());
  TW_RETURN_IF_ERROR(store->EnsureAdminToken());
  TW_RETURN_IF_ERROR(store->Publish());
  TW_RETURN_IF_ERROR(store->PublishProviderKeys());
  return store;
}

Store::~Store() {
  static_cast<void>(FlushLastUse());  // a lost last use is no reason to say anything at the end
}

Status Store::BackUp(const std::filesystem::path& folder) {
  TW_RETURN_IF_ERROR(FlushLastUse());
  const std::lock_guard lock(mutex_);
  if (!database_.is_open()) {
    return Fail(ErrorCode::kUnavailable, "another process has the keys");
  }
  TW_RETURN_IF_ERROR(database_.CopyTo(folder / kDatabaseFile));
  const std::filesystem::path key =
      options_.secret_key_file.empty() ? options_.home / "secret.key" : options_.secret_key_file;
  for (const auto& [from, name] : {std::pair(key, std::string_view("secret.key")),
                                   std::pair(AdminTokenFile(), kAdminTokenFile)}) {
    TW_ASSIGN_OR_RETURN(const std::optional<Secret> text, ReadPrivateFile(from));
    if (text.has_value()) {
      TW_RETURN_IF_ERROR(CreatePrivateFile(folder / name, text->Reveal()));
    }
  }
  return {};
}

void Store::Release() {
  static_cast<void>(FlushLastUse());
  const std::lock_guard lock(mutex_);
  database_.Release();
}

Status Store::Reopen() {
  const std::lock_guard lock(mutex_);
  if (database_.is_open()) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(Database database,
                      Database::Open(database_.path(), {.pages_max = options_.pages_max}));
  TW_RETURN_IF_ERROR(storage::Migrate(database, IdentityMigrations()));
  database_ = std::move(database);
  TW_RETURN_IF_ERROR(Publish());
  return PublishProviderKeys();
}

Status Store::LoadMasterKey() {
  const fs::path file =
      options_.secret_key_file.empty() ? options_.home / "secret.key" : options_.secret_key_file;
  TW_ASSIGN_OR_RETURN(Statement fact,
                      database_.Prepare("SELECT value FROM facts WHERE name = 'key_check'"));
  TW_ASSIGN_OR_RETURN(const bool is_used, fact.Next());
  const std::string expected = is_used ? std::string(fact.Text(0)) : "";
  fact.Reset();
  Result<MasterKey> key = MasterKey::Load(file);
  if (!key && key.error().code == ErrorCode::kNotFound) {
    if (is_used || !options_.secret_key_file.empty()) {
      return Fail(is_used ? ErrorCode::kCorruptFile : ErrorCode::kNotFound,
                  fmt::format("the key file {} is not there, and without it no token and no "
                              "provider key of {} can be read; restore it from a backup",
                              file.string(), database_.path().string()));
    }
    key = MasterKey::Create(file);
  }
  if (!key) {
    return Fail(key.error());
  }
  sealer_.emplace(key->Derive(MasterKey::Purpose::kProviderKeys),
                  key->Derive(MasterKey::Purpose::kFingerprints));
  hasher_.emplace(key->Derive(MasterKey::Purpose::kTokens));
  ring_ = std::make_unique<KeyRing>(TokenHasher(key->Derive(MasterKey::Purpose::kTokens)), clock_);
  const std::string check = sealer_->Fingerprint(key->Derive(MasterKey::Purpose::kCheck));
  if (is_used && check != expected) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("the key file {} does not belong to {}; restore the one that does",
                            file.string(), database_.path().string()));
  }
  return is_used
             ? Status()
             : database_.Run("INSERT INTO facts VALUES ('key_check', ?1)", std::string_view(check));
}

Status Store::EnsureAdminToken() {
  const fs::path next = AdminTokenFile().string() + ".next";
  TW_ASSIGN_OR_RETURN(Statement row,
                      database_.Prepare("SELECT digest FROM keys WHERE is_admin = 1"));
  TW_ASSIGN_OR_RETURN(const bool is_there, row.Next());
  if (is_there) {
    // A rotation that was cut short has left its new token beside the old one.
    TW_ASSIGN_OR_RETURN(const std::optional<Secret> left, ReadPrivateFile(next));
    if (left && AsString(hasher_->Hash(left->Reveal())) == AsString(row.Blob(0))) {
      std::error_code failed;
      fs::rename(next, AdminTokenFile(), failed);
      if (failed) {
        return Fail(ErrorCode::kIo, fmt::format("cannot rename {}: {}; check who may write there",
                                                next.string(), failed.message()));
      }
    }
    return {};
  }
  TW_ASSIGN_OR_RETURN(std::optional<Secret> token, ReadPrivateFile(AdminTokenFile()));
  if (!token) {
    token = MintToken();
    TW_RETURN_IF_ERROR(CreatePrivateFile(AdminTokenFile(), token->Reveal()));
  } else if (!LooksLikeToken(token->Reveal())) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{} holds no token; remove it, and the next start makes a new one",
                            AdminTokenFile().string()));
  }
  const Digest digest = hasher_->Hash(token->Reveal());
  return database_.Run(
      "INSERT INTO keys (id, name, project_id, user_id, is_admin, scopes, models, providers, "
      "created_unix_s, digest) VALUES ('key_admin', ?1, 'prj_default', 'usr_owner', 1, "
      "'inference,read,manage', '', 'local', ?2, ?3)",
      kAdminKeyName, clock_.UnixSeconds(), std::span<const std::byte>(digest));
}

namespace {

std::shared_ptr<const Principal> MakePrincipal(const KeyInfo& key,
                                               std::shared_ptr<const User> user) {
  auto out = std::make_shared<Principal>();
  out->key_id = key.id;
  out->key_name = key.name;
  out->org_id = key.org_id;
  out->org = key.org;
  out->project_id = key.project_id;
  out->project = key.project;
  out->user = std::move(user);
  out->role = key.role;
  out->scopes = key.is_admin_token ? key.scopes : key.scopes.And(ScopesOf(key.role));
  out->models = key.models;
  out->providers = key.providers;
  out->limits = key.limits;
  out->org_limits = key.org_limits;
  out->org_is_strict = key.org_is_strict;
  out->local_when_exhausted = key.local_when_exhausted;
  out->created_unix_s = key.created_unix_s;
  out->expires_unix_s = key.expires_unix_s;
  out->is_admin_token = key.is_admin_token;
  return out;
}

Digest ToDigest(std::span<const std::byte> blob) {
  Digest out{};
  std::ranges::copy(blob.first(std::min(blob.size(), out.size())), out.begin());
  return out;
}

}  // namespace

Status Store::Publish() {
  TW_ASSIGN_OR_RETURN(const auto users, LoadUsers());
  TW_ASSIGN_OR_RETURN(Statement closed,
                      database_.Prepare("SELECT 1 FROM facts WHERE name = 'key_was_created'"));
  TW_ASSIGN_OR_RETURN(const bool is_closed, closed.Next());
  TW_ASSIGN_OR_RETURN(Statement rows, database_.Prepare(SelectKeys("1")));
  std::vector<RingEntry> entries;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      break;
    }
    TW_ASSIGN_OR_RETURN(const KeyInfo key, ReadKeyRow(rows));
    const auto user = users.find(key.user_id);
    LastUse& last_use = last_uses_[key.id];
    if (last_use.at == nullptr) {
      last_use.written = key.last_used_unix_s.value_or(0);
      last_use.at = std::make_shared<std::atomic<int64_t>>(last_use.written);
    }
    RingEntry entry;
    entry.digest = ToDigest(rows.Blob(kDigestColumn));
    entry.principal = MakePrincipal(key, user == users.end() ? nullptr : user->second);
    entry.is_revoked = key.revoked_unix_s.has_value();
    entry.last_used_unix_s = last_use.at;
    if (!rows.IsNull(kOldDigestColumn)) {
      RingEntry old = entry;
      old.digest = ToDigest(rows.Blob(kOldDigestColumn));
      old.expires_unix_s = rows.Integer(kOldExpiresColumn);
      entries.push_back(std::move(old));
    }
    entries.push_back(std::move(entry));
  }
  ring_->Publish(std::move(entries), is_closed);
  return {};
}

Status Store::FlushLastUse() {
  const std::lock_guard lock(mutex_);
  if (!database_.is_open()) {
    return {};
  }
  std::vector<std::pair<std::string_view, int64_t>> changed;
  for (const auto& [id, use] : last_uses_) {
    const int64_t at = use.at->load(std::memory_order_relaxed);
    if (at != use.written) {
      changed.emplace_back(id, at);
    }
  }
  if (changed.empty()) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  TW_ASSIGN_OR_RETURN(Statement update,
                      database_.Prepare("UPDATE keys SET last_used_unix_s = ?2 WHERE id = ?1"));
  for (const auto& [id, at] : changed) {
    TW_RETURN_IF_ERROR(update.Bind(1, id).Bind(2, at).Run());
    update.Reset();
  }
  TW_RETURN_IF_ERROR(transaction.Commit());
  for (const auto& [id, at] : changed) {
    last_uses_.find(id)->second.written = at;
  }
  return {};
}

}  // namespace tradewind::identity
