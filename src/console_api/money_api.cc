// Usage, budgets and receipts. Whole because they read the same scopes, and what a caller may see
// is decided in one place.
#include "console_api/money_api.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "billing/correction.h"
#include "billing/meter.h"
#include "billing/usd.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/sight.h"
#include "console_api/spent_before.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "http/query.h"

namespace tradewind::console_api {
namespace {

using dialects::JsonWriter;
using ledger::BudgetState;
using ledger::NanoUsd;

constexpr std::string_view kUsage = "/tw/v1/usage";
constexpr std::string_view kRequests = "/tw/v1/requests";
constexpr std::string_view kBudgets = "/tw/v1/budgets";
constexpr std::string_view kCredits = "/tw/v1/credits";
constexpr std::string_view kReceipts = "/v1/receipts/";
constexpr std::string_view kReconcile = "/tw/v1/reconcile";
constexpr std::string_view kCorrections = "/tw/v1/corrections";
constexpr std::string_view kBilling = "/v1/billing/requests";
constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::array<std::string_view, 6> kUsageFields = {"org",      "key",  "model",
                                                          "provider", "from", "to"};

void Money(JsonWriter& json, std::string_view name, NanoUsd amount) {
  json.Field(name, std::to_string(amount));
}

// "month", "rolling:24h"
std::string PeriodOf(const ledger::BudgetSpec& spec) {
  return spec.period == ledger::Period::kRolling ? ledger::RollingName(spec.span_s)
                                                 : std::string(ledger::PeriodName(spec.period));
}

void WriteBudget(const BudgetState& state, identity::Store& store, JsonWriter& json) {
  const ledger::Account& account = state.account;
  json.Field("scope", state.spec.name).Key("name");
  const std::string name = OwnerOfScope(store, state.spec.name).name;
  name.empty() ? json.Null() : json.Value(name);
  Money(json, "budget_nanousd", state.spec.limit);
  Money(json, "spent_nanousd", account.debits);
  Money(json, "held_nanousd", account.pending - account.in_doubt);
  Money(json, "in_doubt_nanousd", account.in_doubt);
  Money(json, "unaccounted_nanousd", account.unaccounted);
  Money(json, "available_nanousd", account.available());
  json.Field("mode", ledger::ModeName(state.spec.mode));
  json.Field("period", PeriodOf(state.spec));
  json.Field("zone", state.spec.zone);
  if (state.spec.period == ledger::Period::kWeek) {
    json.Field("week_start", ledger::WeekdayName(state.spec.first_day));
  } else if (state.spec.period == ledger::Period::kMonth) {
    json.Field("cycle_day", int64_t{state.spec.first_day});
  }
  json.Field("of", ledger::DimensionName(state.spec.dimension));
  json.Key("warn_percent").BeginArray();
  for (const uint8_t share : state.spec.warn_percent) {
    if (share > 0) {
      json.Value(int64_t{share});
    }
  }
  json.EndArray();
  json.Key("resets_at");
  if (state.window.end_s == ledger::kEndOfTime) {
    json.Null();
  } else {
    json.Value(FormatTime(state.window.end_s));
  }
}

// Sums are kept by quarters of an hour: a time within one has no sum. A span says about when, and
// is of the quarter that it reaches into.
Result<int64_t> SumTimeOf(const http::Query& query, std::string_view name, int64_t otherwise,
                          int64_t now_s) {
  constexpr int64_t kSlotNs = billing::kSumSlotS * kNanosPerSecond;
  TW_ASSIGN_OR_RETURN(const int64_t time_ns, TimeOf(query, name, otherwise, now_s));
  if (time_ns == INT64_MAX) {  // without an end
    return time_ns;
  }
  const int64_t slot_ns = time_ns - time_ns % kSlotNs;
  if (slot_ns != time_ns && !ReadSpan(http::First(query, name)).has_value()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Sums are kept by quarters of an hour: give `{}` as {} or {}.", name,
                            FormatTime(slot_ns / kNanosPerSecond),
                            FormatTime(slot_ns / kNanosPerSecond + billing::kSumSlotS)),
                std::string(name));
  }
  return slot_ns;
}

// Of budgets by their names, "key:ID...", "org:ID...": which are of the caller's organisation. Reads
// its keys once, as there may be thousands.
class BudgetSight {
 public:
  static Result<BudgetSight> Of(const identity::Principal& caller, identity::Store& store) {
    BudgetSight sight;
    sight.sees_all_ = caller.is_admin_token;
    if (!sight.sees_all_) {
      sight.owners_.insert(billing::BudgetName("org", caller.org_id));
      TW_ASSIGN_OR_RETURN(const auto keys, store.ListKeys({caller.org_id}));
      for (const identity::KeyInfo& key : keys) {
        sight.owners_.insert(billing::BudgetName("key", key.id));
      }
    }
    return sight;
  }
  bool Has(std::string_view scope) const {
    return sees_all_ || owners_.contains(std::string(scope.substr(0, scope.find('/'))));
  }

 private:
  bool sees_all_ = false;
  std::unordered_set<std::string> owners_;
};

// "key:KEY/model:ORG/NAME", or of the server "model:ORG/NAME": of whom, and of what alone.
struct ScopeText {
  std::string kind, id;  // "" of the server
  std::string_view of;   // "/model:ORG/NAME", "model:ORG/NAME", "all", "probes" or ""
};

// What may stand behind whose budget it is.
bool IsOf(std::string_view text) {
  return text.empty() || (text.starts_with("/model:") && text.size() > 7) ||
         (text.starts_with("/provider:") && text.size() > 10);
}

Result<ScopeText> ParseScope(std::string_view text) {
  if (billing::IsServerScope(text) && text != billing::kProviderScope &&
      text != billing::kModelScope) {
    return ScopeText{{}, {}, text};  // a model's id has a slash of its own
  }
  size_t slash = std::min(text.find('/'), text.size());
  if (text.starts_with("project:") && !IsOf(text.substr(slash))) {  // project:ORG/NAME
    slash = std::min(text.find('/', slash + 1), text.size());
  }
  const std::string_view owner = text.substr(0, slash), of = text.substr(slash);
  const size_t colon = std::min(owner.find(':'), owner.size());
  const std::string_view kind = owner.substr(0, colon);
  const std::string_view id = colon < owner.size() ? owner.substr(colon + 1) : "";
  const bool is_kind = kind == "key" || kind == "user" || kind == "project" || kind == "org";
  if (!is_kind || id.empty() || !IsOf(of)) {
    return Fail(ErrorCode::kInvalidArgument,
                "A scope is key:KEY, user:USER, project:PROJECT (or project:ORG/PROJECT) or "
                "org:ORG; behind it may stand "
                "/model:ORG/NAME or /provider:SLUG. Those of the server are all, provider:SLUG, "
                "model:ORG/NAME and probes.",
                "scope");
  }
  return ScopeText{std::string(kind), std::string(id), of};
}

// "key:ID"; "" of the server.
Result<std::string> OwnerOf(const ScopeText& scope, identity::Store& store) {
  if (scope.kind.empty()) {
    return std::string();
  }
  std::string id = scope.id;
  if (scope.kind == "key") {
    TW_ASSIGN_OR_RETURN(const identity::KeyInfo key, FindKey(store, scope.id, {}));
    id = key.id;
  } else {
    TW_ASSIGN_OR_RETURN(id, store.AccountId(scope.kind, scope.id));
  }
  return billing::BudgetName(scope.kind, id);
}

// What a budget is of, as the catalogue spells it.
Result<std::string> SpelledOf(std::string_view of, const CatalogNow& catalog) {
  const size_t start = of.starts_with('/') ? 1 : 0, colon = of.find(':');
  if (colon == of.npos || !catalog) {
    return std::string(of);
  }
  const std::string_view kind = of.substr(start, colon + 1 - start);
  TW_ASSIGN_OR_RETURN(const auto now, catalog());
  TW_ASSIGN_OR_RETURN(const std::string name,
                      NameInCatalog(*now, kind, of.substr(colon + 1), "scope"));
  return fmt::format("{}{}", of.substr(0, colon + 1), name);
}

// The scope that requests fall into: names become ids. A new budget of what nobody has, or of a
// model or provider that is not there, would bind nobody; one that there is stays when these go.
Result<std::string> ReadScope(const std::string& text, bool is_new, identity::Store& store,
                              ledger::Ledger& ledger, const CatalogNow& catalog) {
  TW_ASSIGN_OR_RETURN(const ScopeText scope, ParseScope(text));
  const Result<std::string> owner = OwnerOf(scope, store);
  if (owner.has_value()) {
    // It binds requests as it stands.
    if (auto known = ledger.BudgetInAnyCase(fmt::format("{}{}", *owner, scope.of))) {
      return *known;
    }
  }
  // What was set for somebody who is gone can still be seen, and removed.
  const auto left = is_new ? std::nullopt : ledger.FindBudget(text);
  if (left.has_value() && !left->spec.closed) {
    return text;
  }
  TW_RETURN_IF_ERROR(owner);
  std::string of(scope.of);
  if (is_new) {
    TW_ASSIGN_OR_RETURN(of, SpelledOf(scope.of, catalog));
  }
  return *owner + of;
}

// With other windows a budget would begin with nothing used, and with another dimension with what
// is none of it: that is not done in passing.
Status CheckSameUse(const ledger::BudgetSpec& known, const ledger::BudgetSpec& spec) {
  if (spec.HasSameWindows(known) && spec.dimension == known.dimension) {
    return {};
  }
  const std::string_view field = spec.period != known.period || spec.span_s != known.span_s
                                     ? "period"
                                 : spec.zone != known.zone              ? "zone"
                                 : spec.dimension != known.dimension    ? "of"
                                 : spec.period == ledger::Period::kWeek ? "week_start"
                                                                        : "cycle_day";
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("\"{}\" keeps its period, where that begins, its zone and what it is of "
                          "({} from day {}, {}, {}): with others it would begin with nothing used. "
                          "If that is meant, remove it first, and set it anew.",
                          spec.name, PeriodOf(known), known.first_day, known.zone,
                          ledger::DimensionName(known.dimension)),
              std::string(field));
}

// What is not named stays as it is.
Result<ledger::BudgetSpec> ReadBudget(std::string_view body, const std::string& scope,
                                      const std::optional<BudgetState>& state) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  dialects::Fields fields(object);
  BudgetFields named;
  std::string warn;
  named.Read(fields);
  fields.Text("mode", named.mode);
  fields.Text("warn", warn);
  TW_RETURN_IF_ERROR(CheckKnown(fields, "a budget"));
  const bool is_known = state.has_value() && !state->spec.closed;
  if (!is_known && !named.budget.has_value()) {
    return Fail(ErrorCode::kInvalidArgument,
                "A new budget needs a limit in USD: `budget`, like \"5\" (--usd 5).", "budget");
  }
  ledger::BudgetSpec before;
  before.name = scope;
  TW_ASSIGN_OR_RETURN(ledger::BudgetSpec spec,
                      BudgetFromFields(named, is_known ? state->spec : before));
  if (is_known) {
    TW_RETURN_IF_ERROR(CheckSameUse(state->spec, spec));
  }
  if (!warn.empty()) {
    TW_ASSIGN_OR_RETURN(spec.warn_percent, ParseWarnShares(warn));
  }
  return spec;
}

std::unexpected<Error> NoBudget(std::string_view scope) {
  return Fail(ErrorCode::kNotFound, fmt::format("\"{}\" has no budget.", scope.substr(0, 80)));
}

Status CheckRelease(std::string_view body) {
  TW_ASSIGN_OR_RETURN(const boost::json::object object, dialects::ParseJsonObject(body));
  dialects::Fields fields(object);
  std::string what;
  fields.Text("release", what);
  TW_RETURN_IF_ERROR(fields.status());
  return what == "unaccounted" && fields.Unknown().empty()
             ? Status()
             : Fail(ErrorCode::kInvalidArgument,
                    "A budget releases what a power cut left unaccounted: {\"release\": "
                    "\"unaccounted\"}.",
                    "release");
}

}  // namespace

void BudgetFields::Read(dialects::Fields& fields) {
  if (fields.Find("budget") != nullptr) {
    fields.Text("budget", budget.emplace());
  }
  fields.Text("period", period);
  fields.Text("zone", zone);
  fields.Text("week_start", week_start);
  fields.Integer("cycle_day", 1, 31, cycle_day);
  fields.Text("of", of);
}

Result<ledger::BudgetSpec> BudgetFromFields(const BudgetFields& fields, ledger::BudgetSpec spec) {
  if (fields.budget.has_value()) {
    TW_ASSIGN_OR_RETURN(spec.limit, billing::ParseUsd(*fields.budget, "budget"));
  }
  if (!fields.period.empty()) {
    ledger::Period period = ledger::Period::kRolling;
    spec.span_s = 0;
    if (fields.period.starts_with("rolling")) {
      TW_ASSIGN_OR_RETURN(spec.span_s, ledger::ParseRolling(fields.period));
    } else {
      TW_ASSIGN_OR_RETURN(period, ledger::ParsePeriod(fields.period));
    }
    spec.first_day = period == spec.period ? spec.first_day : 1;
    spec.period = period;
  }
  if (!fields.week_start.empty()) {
    if (spec.period != ledger::Period::kWeek) {
      return Fail(ErrorCode::kInvalidArgument, "`week_start` belongs to the period week.",
                  "week_start");
    }
    TW_ASSIGN_OR_RETURN(spec.first_day, ledger::ParseWeekStart(fields.week_start));
  }
  if (fields.cycle_day.has_value()) {
    if (spec.period != ledger::Period::kMonth) {
      return Fail(ErrorCode::kInvalidArgument, "`cycle_day` belongs to the period month.",
                  "cycle_day");
    }
    spec.first_day = static_cast<uint8_t>(*fields.cycle_day);
  }
  if (!fields.mode.empty()) {
    TW_ASSIGN_OR_RETURN(spec.mode, ledger::ParseMode(fields.mode));
  }
  if (!fields.of.empty()) {
    TW_ASSIGN_OR_RETURN(spec.dimension, ledger::ParseDimension(fields.of));
  }
  if (!fields.zone.empty()) {
    spec.zone = fields.zone;
    TW_RETURN_IF_ERROR(ledger::CheckZone(spec.zone));
  }
  return spec;
}

Result<std::array<uint8_t, 4>> ParseWarnShares(std::string_view text) {
  std::array<uint8_t, 4> shares = {};
  if (text == "none") {
    return shares;
  }
  size_t count = 0;
  for (std::string_view rest = text; !rest.empty() || count == 0;) {
    const std::string_view word = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    uint8_t share = 0;
    const char* end = word.data() + word.size();
    const auto [stopped, error] = std::from_chars(word.data(), end, share);
    if (count == shares.size() || error != std::errc() || stopped != end || share == 0 ||
        share > 100) {
      return Fail(ErrorCode::kInvalidArgument,
                  "`warn` is one to four shares in percent, like \"50,80,100\", or \"none\".",
                  "warn");
    }
    shares[count++] = share;
  }
  return shares;
}

bool MoneyApi::Has(std::string_view path) {
  return path == kUsage || path == kRequests || path == kBudgets ||
         path.starts_with(std::string(kBudgets) + "/") || path == kCredits ||
         path.starts_with(std::string(kCredits) + "/") || path.starts_with(kReceipts) ||
         path.starts_with(kCorrections) || path == kBilling || path.starts_with(kReconcile);
}

Status MoneyApi::DefineKeyBudget(std::string_view key_id, ledger::BudgetSpec budget) {
  budget.name = billing::BudgetName("key", key_id);
  TW_RETURN_IF_ERROR(ledger_.Define(budget));
  return ledger_.WaitDurable();
}

int64_t MoneyApi::NowS() const {
  return ledger_.TimeNs() / kNanosPerSecond;
}

Result<http::Response> MoneyApi::Answer(const http::Request& request,
                                        const identity::Principal& caller) {
  const std::string_view path = request.path;
  if (path == kUsage) {
    return AnswerUsage(request, caller);
  }
  if (path == kRequests) {
    return AnswerRequests(request, caller);
  }
  if (path.starts_with(kReceipts)) {
    return AnswerReceipt(path.substr(kReceipts.size()), caller);
  }
  if (path.starts_with(kCorrections)) {
    return AnswerCorrections(request, path.substr(kCorrections.size()), caller);
  }
  if (path.starts_with(kReconcile)) {
    return AnswerReconcile(request, path.substr(kReconcile.size()), caller);
  }
  if (path == kBilling) {
    return AnswerBilling(request, caller);
  }
  if (path.starts_with(kCredits)) {
    return AnswerCredits(request, path.substr(kCredits.size()), caller);
  }
  return AnswerBudgets(request, path.substr(kBudgets.size()), caller);
}

Result<http::Response> MoneyApi::AnswerUsage(const http::Request& request,
                                             const identity::Principal& caller) {
  const Sight sight = SightOf(caller);
  const http::Query query = http::ParseQuery(request.query);
  TW_RETURN_IF_ERROR(CheckFields(query, kUsageFields));
  billing::UsageFilter filter;
  TW_ASSIGN_OR_RETURN(filter.org_id, ReadOrg(store_, caller, query));
  filter.key_id = sight.key_id.value_or("");
  filter.model = http::First(query, "model");
  filter.provider = http::First(query, "provider");
  TW_ASSIGN_OR_RETURN(filter.from_ns, SumTimeOf(query, "from", 0, NowS()));
  TW_ASSIGN_OR_RETURN(filter.to_ns, SumTimeOf(query, "to", INT64_MAX, NowS()));
  std::optional<identity::KeyInfo> key;
  if (const std::string name = http::First(query, "key"); !name.empty()) {
    TW_ASSIGN_OR_RETURN(key, FindKey(store_, name, sight));
    filter.key_id = key->id;
  }
  TW_ASSIGN_OR_RETURN(const billing::UsageSum sum, recorder_.Sum(filter));
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.usage/v1");
  if (key.has_value()) {
    json.Field("key", key->id).Field("name", key->name);
  }
  for (const auto& [name, time_ns, unbounded] : {std::tuple("from", filter.from_ns, int64_t{0}),
                                                 std::tuple("to", filter.to_ns, INT64_MAX)}) {
    json.Key(name);
    time_ns == unbounded ? json.Null() : json.Value(FormatTime(time_ns / kNanosPerSecond));
  }
  Money(json, "cost_nanousd", sum.cost);
  Money(json, "own_key_cost_nanousd", sum.own_key_cost);
  Money(json, "charge_nanousd", sum.charge);
  Money(json, "held_nanousd", sum.held);
  Money(json, "in_doubt_nanousd", sum.doubtful);
  json.Key("requests").BeginObject();
  json.Field("settled", sum.settled).Field("void", sum.voided).Field("running", sum.running);
  json.Field("in_doubt", sum.in_doubt).Field("unpriced", sum.unpriced).EndObject();
  json.Field("input_tokens", sum.input_tokens).Field("cached_tokens", sum.cached_tokens);
  json.Field("output_tokens", sum.output_tokens);
  json.Field("unverifiable_tokens", sum.unverifiable_tokens);
  if (key.has_value()) {
    json.Key("budget");
    if (const auto state = ledger_.FindBudget(billing::BudgetName("key", key->id));
        state.has_value() && !state->spec.closed) {
      json.BeginObject();
      WriteBudget(*state, store_, json);
      json.EndObject();
    } else {
      json.Null();
    }
  }
  return JsonResponse(json.EndObject().Take());
}

Result<http::Response> MoneyApi::AnswerBudgets(const http::Request& request, std::string_view rest,
                                               const identity::Principal& caller) {
  if (!caller.is_admin_token && !caller.scopes.Has(identity::Scope::kManage)) {
    return Fail(ErrorCode::kPermissionDenied, "Budgets need a token with the scope `manage`.");
  }
  TW_ASSIGN_OR_RETURN(const BudgetSight sight, BudgetSight::Of(caller, store_));
  JsonWriter json;
  if (rest.empty()) {
    if (request.method != "GET") {
      return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET.");
    }
    json.BeginObject().Field("schema", "tradewind.budgets/v1").Key("budgets").BeginArray();
    for (const BudgetState& state : ledger_.Budgets()) {
      if (sight.Has(state.spec.name)) {
        json.BeginObject();
        WriteBudget(state, store_, json);
        json.EndObject();
      }
    }
    return JsonResponse(json.EndArray().EndObject().Take());
  }
  const std::string asked(rest.substr(1));
  const Result<std::string> read =
      ReadScope(asked, request.method == "PUT", store_, ledger_, catalog_);
  // Nobody learns what there is outside of his organisation.
  const bool is_hidden = read.has_value()
                             ? !sight.Has(*read)
                             : !caller.is_admin_token && read.error().code == ErrorCode::kNotFound;
  if (is_hidden) {
    return Fail(ErrorCode::kNotFound, fmt::format("There is no \"{}\".", asked.substr(0, 80)));
  }
  TW_ASSIGN_OR_RETURN(const std::string scope, read);
  // A tenant that could change it would not be bound by it.
  if (request.method != "GET" && !caller.is_admin_token) {
    return Fail(ErrorCode::kPermissionDenied, "Budgets are changed with the admin token.");
  }
  bool is_new = false;
  if (request.method == "PUT") {
    const std::lock_guard lock(defining_);
    const std::optional<BudgetState> before = ledger_.FindBudget(scope);
    is_new = !before.has_value() || before->spec.closed;
    TW_ASSIGN_OR_RETURN(const ledger::BudgetSpec spec, ReadBudget(request.body, scope, before));
    TW_RETURN_IF_ERROR(ledger_.Define(spec));
    TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  } else if (request.method == "DELETE") {
    const std::lock_guard lock(defining_);
    const std::optional<BudgetState> before = ledger_.FindBudget(scope);
    if (!before.has_value() || before->spec.closed) {
      return NoBudget(scope);
    }
    TW_RETURN_IF_ERROR(ledger_.CloseBudget(scope));
    TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  } else if (request.method == "POST") {
    TW_RETURN_IF_ERROR(CheckRelease(request.body));
    TW_RETURN_IF_ERROR(ledger_.ReleaseUnaccounted(scope));
    TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  } else if (request.method != "GET") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET, PUT, POST, DELETE.");
  }
  const std::optional<BudgetState> state = ledger_.FindBudget(scope);
  if (!state.has_value() || (state->spec.closed && request.method == "GET")) {
    return NoBudget(scope);
  }
  json.BeginObject().Field("schema", "tradewind.budget/v1");
  WriteBudget(*state, store_, json);
  json.Field("closed", state->spec.closed);
  if (is_new) {
    // It is set, whether this can be read or not.
    const auto spent = SpentBefore(*state, recorder_).value_or(std::nullopt);
    json.Key("spent_before_nanousd");
    spent.has_value() ? json.Value(std::to_string(*spent)) : json.Null();
  }
  return JsonResponse(json.EndObject().Take());
}

namespace {

void WriteCorrections(std::span<const billing::Correction> corrections, JsonWriter& json) {
  json.Key("corrections").BeginArray();
  for (const billing::Correction& made : corrections) {
    json.BeginObject().Field("number", int64_t{made.number});
    json.Field("made", FormatTime(made.time_ns / kNanosPerSecond));
    Money(json, "cost_before_nanousd", made.cost_before);
    Money(json, "cost_nanousd", made.cost);
    Money(json, "charge_before_nanousd", made.charge_before);
    Money(json, "charge_nanousd", made.charge);
    json.Field("rerated", made.is_rerated).Field("price_version", int64_t{made.price_version});
    json.Field("by", made.actor).Field("reason", made.reason).EndObject();
  }
  json.EndArray();
}

// As it stands after these.
void Correct(std::span<const billing::Correction> corrections, billing::AttemptRow& row) {
  for (const billing::Correction& made : corrections) {
    row.cost = made.cost;
    row.charge = made.charge;
    row.purchase.priced = true;
    for (const billing::CreditShare& back : made.credits) {
      const auto share = std::ranges::find(row.credits, back.credit, &billing::CreditShare::credit);
      if (share != row.credits.end()) {
        share->amount -= back.amount;
      }
    }
  }
}

}  // namespace

// One request, attempt by attempt.
Result<http::Response> MoneyApi::AnswerReceipt(std::string_view id,
                                               const identity::Principal& caller) {
  const Sight sight = SightOf(caller);
  std::vector<billing::AttemptRow> rows;
  std::map<ledger::HoldId, std::vector<billing::Correction>> corrections;
  if (const auto request = ledger::RequestId::Parse(id); request.has_value()) {
    TW_ASSIGN_OR_RETURN(rows, recorder_.Find(*request));
    TW_RETURN_IF_ERROR(recorder_.ForEachCorrectionOf(
        {&*request, 1},
        [&](const billing::Correction& made) { corrections[made.id].push_back(made); }));
  }
  std::erase_if(rows, [&](const billing::AttemptRow& row) {
    return (sight.org_id && row.purchase.org_id != *sight.org_id) ||
           (sight.key_id && row.purchase.key_id != *sight.key_id);
  });
  if (rows.empty()) {
    const auto request = ledger::RequestId::Parse(id);
    TW_ASSIGN_OR_RETURN(const auto file,
                        recorder_.SetAsideOf(request.value_or(ledger::RequestId())));
    if (file.has_value()) {  // also where it never was, or was somebody else's
      return Fail(ErrorCode::kNotFound,
                  fmt::format("There is no receipt \"{}\" here: the detail of requests of its time "
                              "was set aside on {}, in archive/{} of the data folder.",
                              id.substr(0, 80), FormatTime(file->at_s).substr(0, 10), file->file),
                  "id");
    }
    return Fail(ErrorCode::kNotFound,
                fmt::format("There is no receipt \"{}\": use the x-tradewind-receipt of an answer.",
                            id.substr(0, 80)),
                "id");
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.receipt/v1").Field("id", id);
  NanoUsd cost = 0, charge = 0, held = 0, in_doubt = 0;
  json.Key("attempts").BeginArray();
  for (billing::AttemptRow& row : rows) {
    Correct(corrections[row.id], row);
    if (row.state == billing::AttemptState::kSettled) {
      cost += row.cost;
      charge += row.charge;
    } else if (row.state == billing::AttemptState::kInDoubt) {
      in_doubt += row.held;  // what it is at least, and no more, is known of it
    } else if (row.state != billing::AttemptState::kVoid) {
      held += row.held;
    }
    json.BeginObject().Field("attempt", int64_t{row.id.attempt});
    json.Field("model", row.purchase.model).Field("provider", row.purchase.provider);
    json.Field("provider_model", row.purchase.provider_model);
    json.Field("key", row.purchase.key_id).Field("own_key", row.purchase.own_key);
    json.Field("state", billing::AttemptStateName(row.state));
    json.Field("admitted", FormatTime(row.admitted_ns / kNanosPerSecond));
    Money(json, "held_nanousd", row.held);
    json.Key("cost_nanousd");
    if (row.state == billing::AttemptState::kSettled && row.purchase.priced) {
      json.Value(std::to_string(row.cost));
    } else {
      json.Null();  // not known, or nothing: the state says which
    }
    Money(json, "charge_nanousd", row.charge);
    NanoUsd credited = 0;  // of the charge
    for (const billing::CreditShare& share : row.credits) {
      credited += share.amount;
    }
    Money(json, "credit_nanousd", credited);
    json.Field("price_version", int64_t{row.price_version});
    json.Field("usage_source", billing::UsageSourceName(row.outcome.source));
    json.Field("input_tokens", row.outcome.input_tokens);
    json.Field("cached_tokens", row.outcome.cached_tokens);
    if (row.outcome.cache_write_tokens.has_value()) {
      json.Field("cache_write_tokens", *row.outcome.cache_write_tokens);
      json.Field("cache_write_1h_tokens", row.outcome.cache_write_1h_tokens);
    }
    json.Field("output_tokens", row.outcome.output_tokens);
    json.Field("reasoning_tokens", row.outcome.reasoning_tokens);
    json.Field("audio_input_tokens", row.outcome.audio_input_tokens);
    json.Field("audio_output_tokens", row.outcome.audio_output_tokens);
    json.Field("images", row.outcome.images);
    if (!row.outcome.service_tier.empty()) {
      json.Field("service_tier", row.outcome.service_tier);
    }
    if (!corrections[row.id].empty()) {
      WriteCorrections(corrections[row.id], json);
    }
    json.Field("upstream_id", row.upstream_id);
    json.Field("finish", row.outcome.finish).Field("reason", row.reason).EndObject();
  }
  json.EndArray();
  Money(json, "cost_nanousd", cost);
  Money(json, "charge_nanousd", charge);
  Money(json, "held_nanousd", held);
  Money(json, "in_doubt_nanousd", in_doubt);
  return JsonResponse(json.EndObject().Take());
}

}  // namespace tradewind::console_api
