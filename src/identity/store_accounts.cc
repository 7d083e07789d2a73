// Organisations, projects, users and who belongs where.
#include <fmt/format.h>

#include "base/ids.h"
#include "identity/store.h"

namespace tradewind::identity {

using storage::Statement;

namespace {

// The first column of the first row, or "".
Result<std::string> FirstText(Statement& statement) {
  TW_ASSIGN_OR_RETURN(const bool found, statement.Next());
  return found ? std::string(statement.Text(0)) : std::string();
}

}  // namespace

Result<std::string> Store::FindOrg(std::string_view name) {
  TW_ASSIGN_OR_RETURN(Statement row, database_.Prepare("SELECT id FROM orgs WHERE name = ?1"));
  return FirstText(row.Bind(1, name));
}

Result<std::string> Store::FindUser(std::string_view name) {
  TW_ASSIGN_OR_RETURN(Statement row, database_.Prepare("SELECT id FROM users WHERE name = ?1"));
  return FirstText(row.Bind(1, name));
}

Result<std::string> Store::AccountId(std::string_view kind, std::string_view text) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare(fmt::format(
          "SELECT id FROM {}s WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC", kind)));
  rows.Bind(1, text);
  TW_ASSIGN_OR_RETURN(std::string id, FirstText(rows));
  if (id.empty()) {
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("There is no {} \"{}\"; give its name or its id.", kind, text.substr(0, 80)),
        std::string(kind));
  }
  TW_ASSIGN_OR_RETURN(const bool is_one_of_many, rows.Next());
  if (is_one_of_many && id != text) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Several {}s are called \"{}\"; give the id of the one you mean.", kind,
                            text.substr(0, 80)),
                std::string(kind));
  }
  return id;
}

// A key acts for its user, who may belong to other organisations and have provider keys of his own:
// whoever manages one organisation only must not get a secret of such a user.
Status Store::CheckUserWithin(std::string_view user, const Reach& reach) {
  if (!reach.org_id) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(Statement elsewhere,
                      database_.Prepare("SELECT 1 FROM members m JOIN users u ON u.id = m.user_id "
                                        "WHERE u.name = ?1 AND m.org_id <> ?2"));
  elsewhere.Bind(1, user).Bind(2, std::string_view(*reach.org_id));
  TW_ASSIGN_OR_RETURN(const bool found, elsewhere.Next());
  if (found) {
    return Fail(ErrorCode::kPermissionDenied,
                "This user belongs to other organisations too; ask the operator.", "user");
  }
  return {};
}

Status Store::CheckReach(const KeySpec& spec, const Reach& reach) {
  if (!reach.org_id) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const std::string org, FindOrg(spec.org));
  if (org != *reach.org_id) {
    return Fail(ErrorCode::kPermissionDenied,
                "This token manages its own organisation only; name that in `org`.", "org");
  }
  return CheckUserWithin(spec.user, reach);
}

Result<Store::AccountIds> Store::EnsureAccount(const KeySpec& spec) {
  const int64_t now = clock_.UnixSeconds();
  AccountIds ids;
  TW_ASSIGN_OR_RETURN(ids.org, FindOrg(spec.org));
  if (ids.org.empty()) {
    ids.org = RandomId("org_", 16);
    TW_RETURN_IF_ERROR(
        database_.Run("INSERT INTO orgs (id, name, created_unix_s) VALUES (?1, ?2, ?3)",
                      std::string_view(ids.org), std::string_view(spec.org), now));
  }
  TW_ASSIGN_OR_RETURN(Statement project,
                      database_.Prepare("SELECT id FROM projects WHERE org_id = ?1 AND name = ?2"));
  project.Bind(1, std::string_view(ids.org)).Bind(2, std::string_view(spec.project));
  TW_ASSIGN_OR_RETURN(ids.project, FirstText(project));
  if (ids.project.empty()) {
    ids.project = RandomId("prj_", 16);
    TW_RETURN_IF_ERROR(database_.Run("INSERT INTO projects VALUES (?1, ?2, ?3, ?4)",
                                     std::string_view(ids.project), std::string_view(ids.org),
                                     std::string_view(spec.project), now));
  }
  TW_ASSIGN_OR_RETURN(ids.user, FindUser(spec.user));
  if (ids.user.empty()) {
    ids.user = RandomId("usr_", 16);
    TW_RETURN_IF_ERROR(database_.Run("INSERT INTO users VALUES (?1, ?2, ?3)",
                                     std::string_view(ids.user), std::string_view(spec.user), now));
  }
  // Without a role that was asked for, a member keeps the one he has.
  TW_RETURN_IF_ERROR(database_.Run(spec.role
                                       ? "INSERT INTO members VALUES (?1, ?2, ?3) "
                                         "ON CONFLICT (org_id, user_id) DO UPDATE SET role = ?3"
                                       : "INSERT OR IGNORE INTO members VALUES (?1, ?2, ?3)",
                                   std::string_view(ids.org), std::string_view(ids.user),
                                   RoleName(spec.role.value_or(Role::kMember))));
  return ids;
}

Result<Store::Users> Store::LoadUsers() {
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare("SELECT u.id, u.name, o.id, o.name, m.role, o.requests_per_minute, "
                        "o.tokens_per_minute, o.concurrency, o.strict, o.max_output FROM users u "
                        "LEFT JOIN members m ON m.user_id = u.id LEFT JOIN orgs o ON o.id = "
                        "m.org_id ORDER BY u.id, o.name"));
  std::map<std::string, std::shared_ptr<User>, std::less<>> users;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) {
      break;
    }
    std::shared_ptr<User>& user = users[std::string(rows.Text(0))];
    if (user == nullptr) {
      user = std::make_shared<User>(User{std::string(rows.Text(0)), std::string(rows.Text(1)), {}});
    }
    if (!rows.IsNull(2)) {
      user->memberships.push_back({std::string(rows.Text(2)),
                                   std::string(rows.Text(3)),
                                   RoleFromName(rows.Text(4)).value_or(Role::kViewer),
                                   {rows.OptionalInteger(5), rows.OptionalInteger(6),
                                    rows.OptionalInteger(7), rows.OptionalInteger(9)},
                                   rows.Integer(8) != 0});
    }
  }
  return Users(users.begin(), users.end());
}

}  // namespace tradewind::identity
