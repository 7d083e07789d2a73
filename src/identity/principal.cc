#include "identity/principal.h"

#include <algorithm>

#include <fmt/format.h>

namespace tradewind::identity {
namespace {

constexpr Scope kAllScopes[] = {Scope::kInference, Scope::kRead, Scope::kManage};
constexpr Role kAllRoles[] = {Role::kViewer, Role::kMember, Role::kAdmin};

}  // namespace

std::string_view ScopeName(Scope scope) {
  switch (scope) {
    case Scope::kInference:
      return "inference";
    case Scope::kRead:
      return "read";
    case Scope::kManage:
      return "manage";
  }
  return "";
}

Result<Scopes> Scopes::Parse(std::string_view text) {
  Scopes out;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view name = text.substr(0, comma);
    text = comma == text.npos ? "" : text.substr(comma + 1);
    name = name == "inference.serverless.write" ? "inference" : name;
    const auto* found = std::ranges::find(kAllScopes, name, ScopeName);
    if (found == std::end(kAllScopes)) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("`scopes` has \"{}\"; use inference, read and manage, separated by "
                              "commas.",
                              name.substr(0, 40)),
                  "scopes");
    }
    out.bits_ |= static_cast<uint8_t>(*found);
  }
  if (out.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "`scopes` is empty; use inference, read and manage, separated by commas.",
                "scopes");
  }
  return out;
}

std::vector<Scope> Scopes::All() const {
  std::vector<Scope> out;
  std::ranges::copy_if(kAllScopes, std::back_inserter(out), [&](Scope one) { return Has(one); });
  return out;
}

std::string Scopes::Text() const {
  std::string out;
  for (const Scope scope : All()) {
    out += fmt::format("{}{}", out.empty() ? "" : ",", ScopeName(scope));
  }
  return out;
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kViewer:
      return "viewer";
    case Role::kMember:
      return "member";
    case Role::kAdmin:
      return "admin";
  }
  return "";
}

std::optional<Role> RoleFromName(std::string_view name) {
  const auto* found = std::ranges::find(kAllRoles, name, RoleName);
  return found == std::end(kAllRoles) ? std::nullopt : std::optional(*found);
}

Scopes ScopesOf(Role role) {
  switch (role) {
    case Role::kViewer:
      return {Scope::kRead};
    case Role::kMember:
      return {Scope::kRead, Scope::kInference};
    case Role::kAdmin:
      return {Scope::kRead, Scope::kInference, Scope::kManage};
  }
  return {};
}

bool Principal::MayUseModel(std::string_view model) const {
  return models.empty() || std::ranges::any_of(models, [&](std::string_view allowed) {
           return allowed.ends_with('*') ? model.starts_with(allowed.substr(0, allowed.size() - 1))
                                         : model == allowed;
         });
}

bool Principal::MayUseProvider(std::string_view slug) const {
  return providers.empty() || std::ranges::find(providers, slug) != providers.end();
}

bool Principal::MayBill(const Membership& membership) const {
  return membership.is_added || membership.org_id == org_id;
}

bool Principal::MaySeeServer() const {
  return is_admin_token || (org_id == kDefaultOrgId && scopes.Has(Scope::kManage));
}

std::shared_ptr<const Principal> AnonymousPrincipal() {
  static const std::shared_ptr<const Principal> anonymous = [] {
    auto out = std::make_shared<Principal>();
    out->key_name = "anonymous";
    out->role = Role::kMember;
    out->scopes = {Scope::kInference, Scope::kRead};
    out->providers = {"local"};
    out->is_anonymous = true;
    return out;
  }();
  return anonymous;
}

Result<Membership> BillTo(const Principal& principal, std::string_view org) {
  if (principal.user != nullptr) {
    for (const Membership& membership : principal.user->memberships) {
      const bool is_named =
          (membership.org == org || membership.org_id == org) && principal.MayBill(membership);
      if (is_named && !ScopesOf(membership.role).Has(Scope::kInference)) {
        return Fail(ErrorCode::kPermissionDenied,
                    fmt::format("X-HF-Bill-To names an organisation in which this token's user is "
                                "a {}, who may look but not spend; its admins can make members.",
                                RoleName(membership.role)),
                    "X-HF-Bill-To");
      }
      if (is_named) {
        return membership;
      }
    }
  }
  // One sentence for organisations that do not exist and for those of others.
  return Fail(
      ErrorCode::kPermissionDenied,
      "X-HF-Bill-To must name this token's own organisation, or one that its user was added "
      "to (`tradewind orgs add`).",
      "X-HF-Bill-To");
}

}  // namespace tradewind::identity
