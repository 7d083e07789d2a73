// Of MoneyApi: what organisations have paid ahead or were given, and who pays from that alone.
#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/ids.h"
#include "billing/meter.h"
#include "billing/usd.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "console_api/sight.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::console_api {
namespace {

using dialects::JsonWriter;
using ledger::CreditState;
using ledger::NanoUsd;

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::string_view kOwner = "org:";
constexpr size_t kIdBytesMax = 64;
constexpr size_t kPageMax = 1000;
constexpr int64_t kPriorityMax = 100;

void Money(JsonWriter& json, std::string_view name, NanoUsd amount) {
  json.Field(name, std::to_string(amount));
}

std::string OrgOf(const std::string& owner) {
  return owner.starts_with(kOwner) ? owner.substr(kOwner.size()) : owner;
}

// Null: of any.
void WriteScope(std::string_view name, std::string_view kind, std::string_view scope,
                JsonWriter& json) {
  json.Key(name);
  bool is_any = true;
  while (!scope.empty()) {
    const std::string_view line = scope.substr(0, scope.find('\n'));
    scope.remove_prefix(std::min(line.size() + 1, scope.size()));
    if (line.starts_with(kind)) {
      if (std::exchange(is_any, false)) {
        json.BeginArray();
      }
      json.Value(line.substr(kind.size()));
    }
  }
  if (is_any) {
    json.Null();
  } else {
    json.EndArray();
  }
}

// What a credit may pay for, as the ledger has it. What is not there it would never pay for, and a
// grant is for good.
Status AddScope(dialects::Fields& fields, std::string_view name, std::string_view kind,
                const CatalogNow& catalog, std::string& scope) {
  std::vector<std::string> values;
  ReadTexts(fields, name, values);
  if (fields.Find(name) != nullptr && values.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`{}` names at least one; leave it out for all.", name),
                std::string(name));
  }
  for (std::string& value : values) {
    const bool is_good = !value.empty() && std::ranges::none_of(value, [](char c) {
      return static_cast<unsigned char>(c) <= ' ' || c == 0x7F;
    });
    if (!is_good) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("`{}` are names without spaces, like {}.", name,
                              kind == billing::kModelScope ? "ORG/NAME" : "together"),
                  std::string(name));
    }
    if (catalog) {
      TW_ASSIGN_OR_RETURN(const auto now, catalog());
      TW_ASSIGN_OR_RETURN(value, NameInCatalog(*now, kind, value, name));
    }
    scope.append(scope.empty() ? "" : "\n").append(kind).append(value);
  }
  return {};
}

void Write(const CreditState& credit, JsonWriter& json) {
  json.Field("id", credit.spec.name).Field("org", OrgOf(credit.spec.owner));
  Money(json, "amount_nanousd", credit.spec.amount);
  Money(json, "left_nanousd", credit.left);
  Money(json, "held_nanousd", credit.held);
  Money(json, "spent_nanousd", credit.spent());
  Money(json, "expired_nanousd", credit.expired);
  json.Field("promotional", credit.spec.promotional);
  json.Field("priority", int64_t{credit.spec.priority});
  WriteScope("models", billing::kModelScope, credit.spec.scope, json);
  WriteScope("providers", billing::kProviderScope, credit.spec.scope, json);
  json.Field("granted_at", FormatTime(credit.spec.granted_ns / kNanosPerSecond));
  json.Key("expires_at");
  if (credit.spec.expires_s == ledger::kEndOfTime) {
    json.Null();
  } else {
    json.Value(FormatTime(credit.spec.expires_s));
  }
  json.Field("note", credit.spec.note);
}

// Whether a grant asks for what was granted before. A span, like "30d", counted from then, a moment
// before it was recorded.
bool IsAskedAgain(ledger::CreditSpec asked, const std::string& expires,
                  const ledger::CreditSpec& granted) {
  asked.granted_ns = granted.granted_ns;
  const int64_t granted_s = granted.granted_ns / kNanosPerSecond;
  for (const int64_t from_s : {granted_s, granted_s - 1}) {
    asked.expires_s =
        expires.empty() ? ledger::kEndOfTime : ParseExpiry(expires, from_s).value_or(0);
    if (asked == granted) {
      return true;
    }
  }
  return false;
}

Status CheckId(std::string_view id) {
  const bool is_good =
      !id.empty() && id.size() <= kIdBytesMax && std::ranges::all_of(id, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_' || c == '.';
      });
  if (!is_good) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("An `id` is 1 to {} letters, digits, dashes, dots and underlines.",
                            kIdBytesMax),
                "id");
  }
  return {};
}

}  // namespace

// Which of an owner's credits, or of all, are wanted: `?after=ID&limit=N`.
Result<MoneyApi::CreditPage> MoneyApi::ReadPage(const http::Request& request,
                                                const std::string& owner) {
  const auto query = http::ParseQuery(request.query);
  CreditPage page;
  page.limit = kPageMax;
  if (const std::string text = http::First(query, "limit"); !text.empty()) {
    size_t limit = 0;
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data(), end, limit).ptr != end || limit < 1) {
      return Fail(ErrorCode::kInvalidArgument, "`limit` is a number from 1 on.", "limit");
    }
    page.limit = std::min(limit, kPageMax);
  }
  if (const std::string after = http::First(query, "after"); !after.empty()) {
    const auto number = ledger_.FindCredit(after);
    const std::vector<CreditState> found =
        number.has_value() ? ledger_.Credits(owner, *number - 1, 1) : std::vector<CreditState>();
    if (found.empty() || found.front().number != *number) {  // somebody else's is none, too
      return Fail(ErrorCode::kNotFound,
                  fmt::format("There is no credit \"{}\"; give the `next` of a list.",
                              after.substr(0, kIdBytesMax)),
                  "after");
    }
    page.after = *number;
  }
  return page;
}

Result<http::Response> MoneyApi::ListCredits(const http::Request& request,
                                             const identity::Principal& caller) {
  constexpr std::array<std::string_view, 3> kFields = {"org", "limit", "after"};
  const http::Query query = http::ParseQuery(request.query);
  TW_RETURN_IF_ERROR(CheckFields(query, kFields));
  std::string org = caller.is_admin_token ? "" : caller.org_id;
  const std::string asked = http::First(query, "org");
  if (caller.is_admin_token && !asked.empty()) {
    TW_ASSIGN_OR_RETURN(org, store_.AccountId("org", asked));
  } else if (!asked.empty() && asked != caller.org_id && asked != caller.org) {
    // Nobody learns what there is outside of his organisation.
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("There is no org \"{}\"; give its name or its id.", asked.substr(0, 80)),
        "org");
  }
  const std::string owner = org.empty() ? "" : billing::BudgetName("org", org);
  TW_ASSIGN_OR_RETURN(const CreditPage page, ReadPage(request, owner));
  struct Sum : ledger::CreditSum {
    bool is_prepaid = false;
  };
  std::map<std::string, Sum> orgs;
  for (const auto& [payer, sum] : ledger_.CreditSums(owner)) {
    orgs[OrgOf(payer)] = {sum};
  }
  for (const std::string& payer : ledger_.PrepaidPayers()) {
    if (owner.empty() || payer == owner) {
      orgs[OrgOf(payer)].is_prepaid = true;
    }
  }
  std::map<std::string, std::string> names;
  TW_ASSIGN_OR_RETURN(const std::vector<identity::OrgInfo> known, store_.ListOrgs());
  for (const identity::OrgInfo& one : known) {
    names[one.id] = one.name;
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.credits/v1");
  json.Key("organisations").BeginArray();
  for (const auto& [id, sum] : orgs) {
    const auto name = names.find(id);
    json.BeginObject().Field("org", id).Field("name", name == names.end() ? id : name->second);
    json.Field("terms", sum.is_prepaid ? "prepaid" : "postpaid");
    Money(json, "left_nanousd", sum.left);
    Money(json, "held_nanousd", sum.held);
    json.EndObject();
  }
  json.EndArray().Key("credits").BeginArray();
  std::vector<CreditState> credits = ledger_.Credits(owner, page.after, page.limit + 1);
  const bool has_more = credits.size() > page.limit;
  credits.resize(std::min(credits.size(), page.limit));
  for (const CreditState& credit : credits) {
    json.BeginObject();
    Write(credit, json);
    json.EndObject();
  }
  json.EndArray();
  if (has_more) {
    json.Field("next", credits.back().spec.name);
  }
  return JsonResponse(json.EndObject().Take());
}

Result<http::Response> MoneyApi::GrantCredit(const http::Request& request) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(request.body));
  dialects::Fields fields(object);
  std::string org, usd, expires, note, id;
  bool promotional = false;
  std::optional<int64_t> priority;
  fields.Text("org", org);
  fields.Text("usd", usd);
  fields.Text("expires", expires);
  fields.Text("note", note);
  fields.Text("id", id);
  fields.Flag("promotional", promotional);
  fields.Integer("priority", 0, kPriorityMax, priority);
  ledger::CreditSpec spec;
  TW_RETURN_IF_ERROR(AddScope(fields, "models", billing::kModelScope, catalog_, spec.scope));
  TW_RETURN_IF_ERROR(AddScope(fields, "providers", billing::kProviderScope, catalog_, spec.scope));
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a credit"));
  TW_ASSIGN_OR_RETURN(spec.amount, billing::ParseUsd(usd, "usd"));
  if (spec.amount == 0) {
    return Fail(ErrorCode::kInvalidArgument, "A credit is more than nothing.", "usd");
  }
  TW_ASSIGN_OR_RETURN(const std::string org_id, store_.AccountId("org", org));
  spec.owner = billing::BudgetName("org", org_id);
  const std::lock_guard lock(defining_);  // of others that wait for the disk: before the time
  const int64_t now_s = NowS();
  if (!expires.empty()) {
    TW_ASSIGN_OR_RETURN(spec.expires_s, ParseExpiry(expires, now_s));
  }
  spec.note = note;
  spec.promotional = promotional;
  spec.priority = static_cast<int32_t>(priority.value_or(0));
  if (!id.empty()) {
    TW_RETURN_IF_ERROR(CheckId(id));
  }
  spec.name = id.empty() ? RandomId("crd_", 20) : id;
  std::optional<ledger::AccountNumber> number = ledger_.FindCredit(spec.name);
  const bool is_there = number.has_value();
  if (!is_there) {
    if (spec.expires_s <= now_s) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is past; nobody could spend it.", FormatTime(spec.expires_s)),
                  "expires");
    }
    TW_ASSIGN_OR_RETURN(number, ledger_.Grant(spec));
  }
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  const std::vector<CreditState> credits = ledger_.Credits({}, *number - 1, 1);
  if (credits.empty()) {
    return Fail(ErrorCode::kInternal, "a credit is gone");
  }
  if (is_there && !IsAskedAgain(spec, expires, credits.front().spec)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("There is a credit \"{0}\" that says something else (`tradewind credit "
                            "ls` shows it), and a grant is never changed: repeat it as it was, or "
                            "give another `id` (--id).",
                            spec.name),
                "id");
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.credit/v1");
  Write(credits.front(), json);
  return JsonResponse(json.EndObject().Take());
}

Result<http::Response> MoneyApi::PutTerms(const http::Request& request, const std::string& org) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(request.body));
  dialects::Fields fields(object);
  std::string terms;
  fields.Text("terms", terms);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "terms"));
  if (terms != "prepaid" && terms != "postpaid") {
    return Fail(ErrorCode::kInvalidArgument, "`terms` is prepaid or postpaid.", "terms");
  }
  TW_ASSIGN_OR_RETURN(const std::string org_id, store_.AccountId("org", org));
  TW_RETURN_IF_ERROR(ledger_.SetPrepaid(billing::BudgetName("org", org_id), terms == "prepaid"));
  TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.credit_terms/v1");
  json.Field("org", org_id).Field("terms", terms);
  return JsonResponse(json.EndObject().Take());
}

Result<http::Response> MoneyApi::AnswerCredits(const http::Request& request, std::string_view rest,
                                               const identity::Principal& caller) {
  if (!caller.is_admin_token && !caller.scopes.Has(identity::Scope::kManage)) {
    return Fail(ErrorCode::kPermissionDenied, "Credits need a token with the scope `manage`.");
  }
  if (rest.empty() && request.method == "GET") {
    return ListCredits(request, caller);
  }
  const std::string_view wanted = rest.empty() ? "POST" : "PUT";
  if (request.method != wanted) {
    return Fail(ErrorCode::kMethodNotAllowed,
                fmt::format("This path takes {}.", rest.empty() ? "GET, POST" : "PUT"));
  }
  // Who could grant himself credit would not be bound by it.
  if (!caller.is_admin_token) {
    return Fail(ErrorCode::kPermissionDenied, "Credits are granted with the admin token.");
  }
  return rest.empty() ? GrantCredit(request) : PutTerms(request, std::string(rest.substr(1)));
}

}  // namespace tradewind::console_api
