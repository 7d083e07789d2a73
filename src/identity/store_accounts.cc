// Organisations, projects, users and who belongs where.
#include <fmt/format.h>

#include "base/ids.h"
#include "identity/store.h"
#include "identity/store_rows.h"

namespace tradewind::identity {

using storage::Statement;

namespace {

// The first column of the first row, or "".
Result<std::string> FirstText(Statement& statement) {
  TW_ASSIGN_OR_RETURN(const bool found, statement.Next());
  return found ? std::string(statement.Text(0)) : std::string();
}

std::unexpected<Error> NoAccount(std::string_view kind, std::string_view text) {
  return Fail(
      ErrorCode::kNotFound,
      fmt::format("There is no {} \"{}\"; give its name or its id.", kind, text.substr(0, 80)),
      std::string(kind));
}

}  // namespace

// An id means the one it is of, also where another one is called so.
Result<std::string> Store::FindOrg(std::string_view org) {
  TW_ASSIGN_OR_RETURN(
      Statement row,
      database_.Prepare("SELECT id FROM orgs WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC"));
  return FirstText(row.Bind(1, org));
}

Result<std::string> Store::FindUser(std::string_view user) {
  TW_ASSIGN_OR_RETURN(
      Statement row,
      database_.Prepare("SELECT id FROM users WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC"));
  return FirstText(row.Bind(1, user));
}

Result<std::string> Store::FindProject(std::string_view org_id, std::string_view project) {
  TW_ASSIGN_OR_RETURN(
      Statement row,
      database_.Prepare("SELECT id FROM projects WHERE org_id = ?1 AND (id = ?2 OR name = ?2) "
                        "ORDER BY id = ?2 DESC"));
  return FirstText(row.Bind(1, org_id).Bind(2, project));
}

Result<std::string> Store::EnsureOrg(std::string_view org) {
  TW_ASSIGN_OR_RETURN(std::string id, FindOrg(org));
  if (id.empty()) {
    TW_RETURN_IF_ERROR(CheckNewAccountName(org, "org"));
    id = RandomId("org_", 16);
    TW_RETURN_IF_ERROR(
        database_.Run("INSERT INTO orgs (id, name, created_unix_s) VALUES (?1, ?2, ?3)",
                      std::string_view(id), org, clock_.UnixSeconds()));
  }
  return id;
}

Result<std::string> Store::EnsureUser(std::string_view user) {
  TW_ASSIGN_OR_RETURN(std::string id, FindUser(user));
  if (id.empty()) {
    TW_RETURN_IF_ERROR(CheckNewAccountName(user, "user"));
    id = RandomId("usr_", 16);
    TW_RETURN_IF_ERROR(database_.Run("INSERT INTO users VALUES (?1, ?2, ?3)", std::string_view(id),
                                     user, clock_.UnixSeconds()));
  }
  return id;
}

Result<std::string> Store::EnsureProject(std::string_view org_id, std::string_view project) {
  TW_ASSIGN_OR_RETURN(std::string id, FindProject(org_id, project));
  if (id.empty()) {
    TW_RETURN_IF_ERROR(CheckNewAccountName(project, "project"));
    id = RandomId("prj_", 16);
    TW_RETURN_IF_ERROR(database_.Run("INSERT INTO projects VALUES (?1, ?2, ?3, ?4)",
                                     std::string_view(id), org_id, project, clock_.UnixSeconds()));
  }
  return id;
}

Result<std::string> Store::AccountId(std::string_view kind, std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (const size_t slash = text.find('/'); kind == "project" && slash != text.npos) {
    TW_ASSIGN_OR_RETURN(const std::string org, FindOrg(text.substr(0, slash)));
    TW_ASSIGN_OR_RETURN(std::string project, FindProject(org, text.substr(slash + 1)));
    return project.empty() ? NoAccount(kind, text) : Result<std::string>(std::move(project));
  }
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare(fmt::format(
          "SELECT id FROM {}s WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC", kind)));
  rows.Bind(1, text);
  TW_ASSIGN_OR_RETURN(std::string id, FirstText(rows));
  if (id.empty()) {
    return NoAccount(kind, text);
  }
  TW_ASSIGN_OR_RETURN(const bool is_one_of_many, rows.Next());
  if (is_one_of_many && id != text) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Several {0}s are called \"{1}\"; give the id of the one you mean, or "
                            "ORG/{1}.",
                            kind, text.substr(0, 80)),
                std::string(kind));
  }
  return id;
}

Result<Store::Label> Store::LabelOf(std::string_view kind, std::string_view id) {
  const std::lock_guard lock(mutex_);
  const char* const sql =
      kind == "project"
          ? "SELECT orgs.name || '/' || projects.name, org_id FROM projects JOIN orgs "
            "ON orgs.id = org_id WHERE projects.id = ?1"
      : kind == "key"  ? "SELECT keys.name, org_id FROM keys JOIN projects ON projects.id = "
                         "project_id WHERE keys.id = ?1"
      : kind == "user" ? "SELECT name, '' FROM users WHERE id = ?1"
                       : "SELECT name, id FROM orgs WHERE id = ?1";
  TW_ASSIGN_OR_RETURN(Statement row, database_.Prepare(sql));
  row.Bind(1, id);
  TW_ASSIGN_OR_RETURN(const bool found, row.Next());
  return found ? Label{std::string(row.Text(0)), std::string(row.Text(1))} : Label();
}

// A key acts for its user, who may belong to other organisations and have provider keys of his own:
// whoever manages one organisation only must not get a secret of such a user.
Status Store::CheckUserWithin(std::string_view user_id, const Reach& reach) {
  if (!reach.org_id) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(
      Statement elsewhere,
      database_.Prepare("SELECT 1 FROM members WHERE user_id = ?1 AND org_id <> ?2"));
  elsewhere.Bind(1, user_id).Bind(2, std::string_view(*reach.org_id));
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
  TW_ASSIGN_OR_RETURN(const std::string user, FindUser(spec.user));
  return CheckUserWithin(user, reach);
}

Result<Store::AccountIds> Store::EnsureAccount(const KeySpec& spec) {
  AccountIds ids;
  TW_ASSIGN_OR_RETURN(ids.org, EnsureOrg(spec.org));
  TW_ASSIGN_OR_RETURN(ids.project, EnsureProject(ids.org, spec.project));
  TW_ASSIGN_OR_RETURN(ids.user, EnsureUser(spec.user));
  // Without a role that was asked for, a member keeps the one he has.
  TW_RETURN_IF_ERROR(database_.Run(spec.role
                                       ? "INSERT INTO members VALUES (?1, ?2, ?3, 'key') "
                                         "ON CONFLICT (org_id, user_id) DO UPDATE SET role = ?3"
                                       : "INSERT OR IGNORE INTO members VALUES (?1, ?2, ?3, 'key')",
                                   std::string_view(ids.org), std::string_view(ids.user),
                                   RoleName(spec.role.value_or(Role::kMember))));
  return ids;
}

Result<Store::Users> Store::LoadUsers() {
  TW_ASSIGN_OR_RETURN(
      Statement rows,
      database_.Prepare(
          "SELECT u.id, u.name, o.id, o.name, m.role, o.requests_per_minute, "
          "o.tokens_per_minute, o.concurrency, o.strict, o.max_output, m.reason FROM users u "
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
                                   rows.Integer(8) != 0,
                                   rows.Text(10) == kAddedReason});
    }
  }
  return Users(users.begin(), users.end());
}

}  // namespace tradewind::identity
