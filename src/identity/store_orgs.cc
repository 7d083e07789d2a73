// Organisations as people manage them: limits and members.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "identity/store.h"
#include "identity/store_rows.h"

namespace tradewind::identity {

using storage::Statement;
using storage::Transaction;

Result<std::vector<OrgInfo>> Store::ReadOrgs(const Reach& reach) {
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare("SELECT o.id, o.name, o.created_unix_s, o.requests_per_minute, "
                        "o.tokens_per_minute, o.concurrency, u.id, u.name, m.role, o.strict, "
                        "o.max_output, m.reason FROM orgs o "
                        "LEFT JOIN members m ON m.org_id = o.id LEFT JOIN users u ON u.id = "
                        "m.user_id WHERE ?1 IS NULL OR o.id = ?1 ORDER BY o.name, u.name"));
  if (reach.org_id) {
    rows.Bind(1, std::string_view(*reach.org_id));
  }
  std::vector<OrgInfo> out;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      return out;
    }
    if (out.empty() || out.back().id != rows.Text(0)) {
      out.push_back({std::string(rows.Text(0)),
                     std::string(rows.Text(1)),
                     {rows.OptionalInteger(3), rows.OptionalInteger(4), rows.OptionalInteger(5),
                      rows.OptionalInteger(10)},
                     rows.Integer(9) != 0,
                     rows.Integer(2),
                     {}});
    }
    if (!rows.IsNull(6)) {
      out.back().members.push_back({std::string(rows.Text(6)), std::string(rows.Text(7)),
                                    RoleFromName(rows.Text(8)).value_or(Role::kViewer),
                                    rows.Text(11) == kAddedReason});
    }
  }
}

Result<OrgInfo> Store::ReadOrg(std::string_view id) {
  TW_ASSIGN_OR_RETURN(std::vector<OrgInfo> found, ReadOrgs({std::string(id)}));
  if (found.empty()) {
    return Fail(ErrorCode::kNotFound,
                "There is no such organisation; `tradewind orgs ls` lists them.", "org");
  }
  return std::move(found.front());
}

// The id of an organisation that is there and within reach.
Result<std::string> Store::OrgWithin(std::string_view org, const Reach& reach) {
  TW_RETURN_IF_ERROR(CheckAccountName(org, "org"));
  TW_ASSIGN_OR_RETURN(std::string id, FindOrg(org));
  if (id.empty() || (reach.org_id && *reach.org_id != id)) {
    return Fail(ErrorCode::kNotFound,
                "There is no such organisation; `tradewind orgs ls` lists them.", "org");
  }
  return id;
}

Result<std::vector<OrgInfo>> Store::ListOrgs(const Reach& reach) {
  const std::lock_guard lock(mutex_);
  return ReadOrgs(reach);
}

Result<OrgInfo> Store::PutOrg(std::string_view org, const OrgChange& change, const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckAccountName(org, "org"));
  if (reach.org_id) {
    return Fail(ErrorCode::kPermissionDenied,
                "Organisations and their limits are the operator's to change.", "org");
  }
  TW_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  TW_ASSIGN_OR_RETURN(const std::string id, EnsureOrg(org));
  TW_ASSIGN_OR_RETURN(OrgInfo info, ReadOrg(id));
  KeyLimits& bounds = info.limits;
  bounds = {change.requests_per_minute.value_or(bounds.requests_per_minute),
            change.tokens_per_minute.value_or(bounds.tokens_per_minute),
            change.concurrency.value_or(bounds.concurrency),
            change.max_output.value_or(bounds.max_output)};
  info.is_strict = change.is_strict.value_or(info.is_strict);
  TW_RETURN_IF_ERROR(CheckLimits(bounds));
  TW_RETURN_IF_ERROR(database_.Run(
      "UPDATE orgs SET requests_per_minute = ?2, "
      "tokens_per_minute = ?3, concurrency = ?4, strict = ?5, max_output = ?6 WHERE id = ?1",
      std::string_view(id), bounds.requests_per_minute, bounds.tokens_per_minute,
      bounds.concurrency, int64_t{info.is_strict}, bounds.max_output));
  TW_RETURN_IF_ERROR(transaction.Commit());
  TW_RETURN_IF_ERROR(Publish());
  return info;
}

Result<OrgInfo> Store::PutMember(std::string_view org, std::string_view user, Role role,
                                 const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckAccountName(user, "user"));
  TW_ASSIGN_OR_RETURN(const std::string org_id, OrgWithin(org, reach));
  TW_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  TW_ASSIGN_OR_RETURN(const std::string user_id, EnsureUser(user));
  TW_RETURN_IF_ERROR(CheckUserWithin(user_id, reach));
  TW_RETURN_IF_ERROR(database_.Run(
      "INSERT INTO members VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org_id, user_id) DO UPDATE SET "
      "role = ?3, reason = ?4",
      std::string_view(org_id), std::string_view(user_id), RoleName(role), kAddedReason));
  TW_RETURN_IF_ERROR(transaction.Commit());
  TW_RETURN_IF_ERROR(Publish());
  return ReadOrg(org_id);
}

Result<OrgInfo> Store::RemoveMember(std::string_view org, std::string_view user,
                                    const Reach& reach) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(const std::string org_id, OrgWithin(org, reach));
  TW_ASSIGN_OR_RETURN(const OrgInfo before, ReadOrg(org_id));
  TW_ASSIGN_OR_RETURN(const std::string user_id, FindUser(user));
  const auto is_named = [&](const MemberInfo& member) { return member.user_id == user_id; };
  if (std::ranges::none_of(before.members, is_named)) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("He is no member of {}; `tradewind orgs ls` lists them.", org), "user");
  }
  TW_RETURN_IF_ERROR(database_.Run("DELETE FROM members WHERE org_id = ?1 AND user_id = ?2",
                                   std::string_view(org_id), std::string_view(user_id)));
  TW_RETURN_IF_ERROR(Publish());
  return ReadOrg(org_id);
}

}  // namespace tradewind::identity
