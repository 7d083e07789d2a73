// Keys of providers: sealed on the disk, open in memory.
#include <fmt/format.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "identity/store.h"
#include "telemetry/log.h"

namespace tradewind::identity {
namespace {

using storage::Statement;
using storage::Transaction;

// What the sealed bytes are bound to.
std::string RowName(OwnerKind kind, std::string_view owner_id, std::string_view provider) {
  return fmt::format("{}/{}/{}", OwnerKindName(kind), owner_id, provider);
}

// A key goes into a header of every request to its provider.
Status CheckSecret(const Secret& secret) {
  const std::string_view text = secret.Reveal();
  bool fits = !text.empty() && text.size() <= static_cast<size_t>(limits::kProviderKeyBytesMax);
  for (const char c : text) {
    fits = fits && c > 0x20 && c < 0x7f;
  }
  if (!fits) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`key` must be 1 to {} printable ASCII characters without spaces.",
                            limits::kProviderKeyBytesMax),
                "key");
  }
  if (text.starts_with(kTokenPrefix)) {
    return Fail(ErrorCode::kInvalidArgument,
                "`key` is one of our own tokens; it must be one of the provider's.", "key");
  }
  return {};
}

}  // namespace

Result<std::string> Store::OwnerId(const ProviderKeyOwner& owner, const Reach& reach) {
  if (owner.kind == OwnerKind::kServer) {
    if (reach.org_id) {
      return Fail(ErrorCode::kPermissionDenied,
                  "This token manages its own organisation only; name that in `owner`.", "owner");
    }
    return std::string();
  }
  const bool is_org = owner.kind == OwnerKind::kOrg;
  TW_ASSIGN_OR_RETURN(std::string id, is_org ? FindOrg(owner.name) : FindUser(owner.name));
  const bool is_beyond = is_org && reach.org_id && *reach.org_id != id;
  if (id.empty() || is_beyond) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("There is no such {}; `tradewind keys create` makes it.",
                            is_org ? "organisation" : "user"),
                "owner");
  }
  if (!is_org && reach.org_id) {
    TW_RETURN_IF_ERROR(CheckUserWithin(id, reach));
    TW_ASSIGN_OR_RETURN(Statement member, database_.Prepare("SELECT 1 FROM members WHERE org_id = "
                                                            "?1 AND user_id = ?2"));
    member.Bind(1, std::string_view(*reach.org_id)).Bind(2, std::string_view(id));
    TW_ASSIGN_OR_RETURN(const bool is_member, member.Next());
    if (!is_member) {
      return Fail(ErrorCode::kNotFound, "There is no such user; `tradewind keys create` makes it.",
                  "owner");
    }
  }
  return id;
}

Result<std::string> Store::OwnerName(OwnerKind kind, std::string_view id) {
  if (kind == OwnerKind::kServer) {
    return std::string();
  }
  TW_ASSIGN_OR_RETURN(
      Statement row,
      database_.Prepare(fmt::format("SELECT name FROM {}s WHERE id = ?1", OwnerKindName(kind))));
  TW_RETURN_IF_ERROR(row.Bind(1, id).Next());
  return std::string(row.Text(0));
}

Result<ProviderKeyInfo> Store::PutProviderKey(const ProviderKeyOwner& owner,
                                              std::string_view provider, const Secret& secret,
                                              const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckProviderSlug(provider));
  TW_RETURN_IF_ERROR(CheckSecret(secret));
  TW_ASSIGN_OR_RETURN(const std::string owner_id, OwnerId(owner, reach));
  TW_ASSIGN_OR_RETURN(std::string owner_name, OwnerName(owner.kind, owner_id));
  ProviderKeyInfo info{owner.kind,
                       owner_id,
                       std::move(owner_name),
                       std::string(provider),
                       sealer_->Fingerprint(secret),
                       clock_.UnixSeconds()};
  // Who manages one organisation does not choose the account that gets another one's prompts.
  const bool is_for_all = owner.kind != OwnerKind::kUser || !reach.org_id;
  const std::string_view only_for = is_for_all ? std::string_view() : *reach.org_id;
  TW_ASSIGN_OR_RETURN(Statement count, database_.Prepare("SELECT count(*) FROM provider_keys"));
  TW_ASSIGN_OR_RETURN(const bool counted, count.Next());
  if (counted && count.Integer(0) >= limits::kProviderKeysMax) {
    return Fail(ErrorCode::kResourceExhausted, "There is no room for more provider keys.");
  }
  count.Reset();
  const std::string sealed = sealer_->Seal(RowName(owner.kind, owner_id, provider), secret);
  TW_RETURN_IF_ERROR(database_.Run(
      "INSERT INTO provider_keys (owner_kind, owner_id, provider, sealed, fingerprint, "
      "created_unix_s, org_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET "
      "sealed = ?4, fingerprint = ?5, created_unix_s = ?6, org_id = ?7",
      OwnerKindName(owner.kind), std::string_view(owner_id), provider, AsBytes(sealed),
      std::string_view(info.fingerprint), info.created_unix_s, only_for));
  TW_RETURN_IF_ERROR(PublishProviderKeys());
  return info;
}

Result<std::vector<ProviderKeyInfo>> Store::ListProviderKeys(const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare(
          "SELECT k.owner_kind, k.owner_id, coalesce(o.name, u.name, ''), k.provider, "
          "k.fingerprint, k.created_unix_s FROM provider_keys k "
          "LEFT JOIN orgs o ON k.owner_kind = 'org' AND o.id = k.owner_id "
          "LEFT JOIN users u ON k.owner_kind = 'user' AND u.id = k.owner_id "
          "WHERE ?1 IS NULL OR o.id = ?1 OR (k.org_id IN ('', ?1) AND EXISTS (SELECT 1 FROM "
          "members m WHERE m.org_id = ?1 AND m.user_id = u.id)) "
          "ORDER BY k.provider, k.owner_kind, 3"));
  rows.Bind(1, reach.org_id ? std::optional<std::string_view>(*reach.org_id) : std::nullopt);
  std::vector<ProviderKeyInfo> out;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      return out;
    }
    out.push_back({OwnerKindFromName(rows.Text(0)).value_or(OwnerKind::kServer),
                   std::string(rows.Text(1)), std::string(rows.Text(2)), std::string(rows.Text(3)),
                   std::string(rows.Text(4)), rows.Integer(5)});
  }
}

Status Store::RemoveProviderKey(const ProviderKeyOwner& owner, std::string_view provider,
                                const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(const std::string owner_id, OwnerId(owner, reach));
  TW_RETURN_IF_ERROR(database_.Run(
      "DELETE FROM provider_keys WHERE owner_kind = ?1 AND owner_id = ?2 AND provider = ?3",
      OwnerKindName(owner.kind), std::string_view(owner_id), provider));
  if (database_.changes() == 0) {
    return Fail(ErrorCode::kNotFound,
                "No key is stored for this provider; `tradewind login --provider NAME` stores one.",
                "provider");
  }
  return PublishProviderKeys();
}

Status Store::PublishProviderKeys() {
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare(
          "SELECT owner_kind, owner_id, provider, sealed, org_id FROM provider_keys"));
  ProviderSecrets::Map secrets;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      break;
    }
    const OwnerKind kind = OwnerKindFromName(rows.Text(0)).value_or(OwnerKind::kServer);
    Result<Secret> secret =
        sealer_->Open(RowName(kind, rows.Text(1), rows.Text(2)), AsString(rows.Blob(3)));
    if (!secret) {  // one damaged row must not stop the others
      telemetry::Log(telemetry::Level::kError, secret.error().message);
      continue;
    }
    secrets.emplace(std::tuple(kind, std::string(rows.Text(1)), std::string(rows.Text(2))),
                    ProviderSecrets::Stored{std::make_shared<const Secret>(std::move(*secret)),
                                            std::string(rows.Text(4))});
  }
  provider_secrets_.Publish(std::move(secrets));
  return {};
}

}  // namespace tradewind::identity
