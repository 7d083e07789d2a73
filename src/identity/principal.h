// Who calls: what a token stands for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tradewind::identity {

// What a token may be used for.
enum class Scope : uint8_t {
  kInference = 1,  // ask models; Hugging Face's name is inference.serverless.write
  kRead = 2,       // look: models, usage, metrics, who am I
  kManage = 4,     // keys, provider keys, members of its organisation
};
std::string_view ScopeName(Scope scope);  // "inference", "read", "manage"

class Scopes {
 public:
  constexpr Scopes() = default;
  constexpr Scopes(std::initializer_list<Scope> scopes) {
    for (const Scope scope : scopes) {
      bits_ = static_cast<uint8_t>(bits_ | static_cast<uint8_t>(scope));
    }
  }
  constexpr bool Has(Scope scope) const { return (bits_ & static_cast<uint8_t>(scope)) != 0; }
  constexpr Scopes And(Scopes other) const {
    Scopes out;
    out.bits_ = bits_ & other.bits_;
    return out;
  }
  constexpr bool empty() const { return bits_ == 0; }
  bool operator==(const Scopes&) const = default;

  // "inference,read"; Hugging Face's spelling is read too. Errors: kInvalidArgument (param scopes).
  static Result<Scopes> Parse(std::string_view text);
  std::string Text() const;
  std::vector<Scope> All() const;

 private:
  uint8_t bits_ = 0;
};

// What a person may do in an organisation; a key does at most what its user may.
//   viewer  looks
//   member  looks and asks models
//   admin   does that, and manages the organisation's keys, provider keys and members
enum class Role : uint8_t { kViewer, kMember, kAdmin };
std::string_view RoleName(Role role);
std::optional<Role> RoleFromName(std::string_view name);
Scopes ScopesOf(Role role);

// Stored with a key; the gateway's limiter reads them. Absent = no bound of its own.
struct KeyLimits {
  std::optional<int64_t> requests_per_minute;
  std::optional<int64_t> tokens_per_minute;
  std::optional<int64_t> concurrency;
  // Tokens of an answer whose request names no max_tokens, where a hard budget bounds it.
  std::optional<int64_t> max_output = {};
  bool operator==(const KeyLimits&) const = default;
};

struct Membership {
  std::string org_id, org;
  Role role = Role::kMember;
  KeyLimits limits = {};   // of the organisation, for all its requests together
  bool is_strict = false;  // it: a paid request's record is on the disk before the request goes out
  // Somebody said so (`orgs add`); otherwise a key that was made for the user brought it along.
  bool is_added = false;
};

// A person or a service, with all organisations it belongs to.
struct User {
  std::string id, name;
  std::vector<Membership> memberships;
};

// Of the organisation that is there from the beginning: the operator's own.
inline constexpr std::string_view kDefaultOrgId = "org_default";

// Immutable once published; shared by all requests of a key.
struct Principal {
  std::string key_id, key_name;
  std::string org_id, org, project_id, project;
  std::shared_ptr<const User> user;  // null for the anonymous caller
  Role role = Role::kViewer;
  Scopes scopes;                       // of the key, as far as the role goes
  std::vector<std::string> models;     // allowed model ids, "org/*" for all of an org; empty = all
  std::vector<std::string> providers;  // allowed providers' slugs; empty = all
  KeyLimits limits;
  KeyLimits org_limits;        // of its organisation, for all of that one's requests together
  bool org_is_strict = false;  // Membership::is_strict
  int64_t created_unix_s = 0;
  std::optional<int64_t> expires_unix_s;
  bool local_when_exhausted = false;  // no room in a budget: the model on this device answers
  bool is_admin_token = false;
  bool is_anonymous = false;  // a caller without a token, on this device

  bool MayUseModel(std::string_view model) const;
  bool MayUseProvider(std::string_view slug) const;
  // Whether it may pay: the key's own, and those that the user was added to. A key that is made for
  // a user in another organisation does not let his other keys spend that one's money.
  bool MayBill(const Membership& membership) const;
  // What is of all organisations together: the operator, and who manages his organisation.
  bool MaySeeServer() const;
  std::string_view user_name() const {
    return user == nullptr ? std::string_view("anonymous") : std::string_view(user->name);
  }
  std::string_view user_id() const {
    return user == nullptr ? std::string_view() : std::string_view(user->id);
  }
};

// Of a caller on this device while no key was ever created: may look, and ask the local model.
std::shared_ptr<const Principal> AnonymousPrincipal();

// Who pays when the caller names an organisation (X-HF-Bill-To: its name or id): one that he may
// bill, in a role that may ask models. Errors: kPermissionDenied.
Result<Membership> BillTo(const Principal& principal, std::string_view org);

}  // namespace tradewind::identity
