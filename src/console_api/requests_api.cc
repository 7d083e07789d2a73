// /tw/v1/requests: the requests behind a number, docs/formats/money.md.
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "billing/correction.h"
#include "billing/meter.h"
#include "billing/meters.h"
#include "billing/price_version.h"
#include "billing/statement.h"
#include "console_api/bodies.h"
#include "console_api/keys_json.h"
#include "console_api/money_api.h"
#include "console_api/sight.h"
#include "dialects/json_writer.h"

namespace tradewind::console_api {
namespace {

using billing::AttemptCursor;
using billing::AttemptFilter;
using billing::AttemptRow;
using billing::AttemptState;
using dialects::JsonWriter;

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr size_t kPageRows = 100, kPageRowsMax = 1000;
constexpr std::array<std::string_view, 17> kFields = {
    "org", "project", "key", "user", "model",         "provider", "state", "usage_source", "period",
    "by",  "from",    "to",  "line", "price_version", "limit",    "after", "own_key"};

// A number of the query. Errors: kInvalidArgument naming it.
template <class T>
Result<std::optional<T>> NumberOf(const http::Query& query, std::string_view name, T least,
                                  T most = std::numeric_limits<T>::max()) {
  const std::string text = http::First(query, name);
  if (text.empty()) {
    return std::nullopt;
  }
  T number = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end || number < least || number > most) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("`{}` is a number from {} to {}.", name, least, most),
                std::string(name));
  }
  return number;
}

Status ReadState(const http::Query& query, AttemptFilter& filter) {
  const std::string text = http::First(query, "state");
  for (int i = 0; i <= static_cast<int>(AttemptState::kVoid); ++i) {
    if (billing::AttemptStateName(static_cast<AttemptState>(i)) == text) {
      filter.state = static_cast<AttemptState>(i);
    }
  }
  if (!text.empty() && !filter.state.has_value()) {
    return Fail(ErrorCode::kInvalidArgument, "`state` is settled, void, in_doubt, sent or held.",
                "state");
  }
  const bool is_open = filter.state.has_value() && *filter.state < AttemptState::kSettled;
  const std::string by = http::First(query, "by");
  if (!by.empty() && by != "end" && by != "admission") {
    return Fail(ErrorCode::kInvalidArgument, "`by` is end, as statements count, or admission.",
                "by");
  }
  if (is_open && by == "end") {
    return Fail(ErrorCode::kInvalidArgument,
                "What has not ended is listed by=admission only; leave `by` out.", "by");
  }
  filter.by_admission = is_open || by == "admission";
  const std::string source = http::First(query, "usage_source");
  if (!source.empty()) {
    filter.source = billing::UsageSourceFromName(source);
    if (billing::UsageSourceName(*filter.source) != source) {
      return Fail(ErrorCode::kInvalidArgument,
                  "`usage_source` is provider, metered, bound, none, billed or operator.",
                  "usage_source");
    }
  }
  const std::string own = http::First(query, "own_key");
  if (!own.empty() && own != "true" && own != "false") {
    return Fail(ErrorCode::kInvalidArgument, "`own_key` is true or false.", "own_key");
  }
  if (!own.empty()) {
    filter.own_key = own == "true";
  }
  return {};
}

Status ReadTimes(const http::Query& query, int64_t now_s, AttemptFilter& filter) {
  TW_ASSIGN_OR_RETURN(filter.from_ns, TimeOf(query, "from", 0, now_s));
  TW_ASSIGN_OR_RETURN(filter.to_ns, TimeOf(query, "to", INT64_MAX, now_s));
  if (const std::string text = http::First(query, "period"); !text.empty()) {
    TW_ASSIGN_OR_RETURN(const billing::BillPeriod period, billing::ParseBillPeriod(text));
    constexpr int64_t kLastS = INT64_MAX / kNanosPerSecond;
    filter.from_ns = std::max(filter.from_ns, std::min(period.from_s, kLastS) * kNanosPerSecond);
    filter.to_ns = std::min(filter.to_ns, std::min(period.to_s, kLastS) * kNanosPerSecond);
  }
  return {};
}

// "TIME-REQUEST-ATTEMPT".
std::string CursorText(const AttemptCursor& cursor) {
  return fmt::format("{}-{}-{}", cursor.time_ns, cursor.id.request.ToString(), cursor.id.attempt);
}

Result<AttemptCursor> CursorOf(const http::Query& query) {
  AttemptCursor cursor;
  const std::string text = http::First(query, "after");
  if (text.empty()) {
    return cursor;
  }
  const size_t first = std::min(text.find('-'), text.size());
  const size_t second = std::min(text.find('-', first + 1), text.size());
  const auto id = ledger::RequestId::Parse(
      std::string_view(text).substr(std::min(first + 1, text.size()), second - first - 1));
  const char* end = text.data() + text.size();
  const auto time = std::from_chars(text.data(), end, cursor.time_ns);
  const auto attempt =
      std::from_chars(std::min(text.data() + second + 1, end), end, cursor.id.attempt);
  if (second >= text.size() || !id.has_value() || time.ec != std::errc() ||
      time.ptr != text.data() + first || attempt.ec != std::errc() || attempt.ptr != end) {
    return Fail(ErrorCode::kInvalidArgument,
                "`after` is the `next` of a list with the same filters.", "after");
  }
  cursor.id.request = *id;
  return cursor;
}

constexpr std::string_view kCorrectionsCursor = "corrections-";

// Of what stands behind all attempts: "corrections-TIME"; nullopt: `after` is of attempts.
Result<std::optional<int64_t>> CorrectionsCursorOf(const http::Query& query) {
  const std::string text = http::First(query, "after");
  if (!text.starts_with(kCorrectionsCursor)) {
    return std::nullopt;
  }
  int64_t before_ns = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] =
      std::from_chars(text.data() + kCorrectionsCursor.size(), end, before_ns);
  if (error != std::errc() || stopped != end) {
    return Fail(ErrorCode::kInvalidArgument,
                "`after` is the `next` of a list with the same filters.", "after");
  }
  return before_ns;
}

// What one line of a statement counts of a correction.
std::optional<billing::MeterSum> PartOf(const billing::Correction& correction,
                                        const std::string& line) {
  billing::Meters meters;
  billing::AddToMeters(correction, meters);
  const auto& [key, sum] = *meters.begin();
  return billing::StatementLineId(key) == line ? std::optional(sum) : std::nullopt;
}

// What one line of a statement counts of an attempt.
std::optional<billing::MeterSum> PartOf(const AttemptRow& row, const std::string& line,
                                        const std::map<uint32_t, billing::PriceVersion>& versions) {
  if (row.state != AttemptState::kSettled) {
    return std::nullopt;
  }
  const auto version = versions.find(row.price_version);
  billing::Meters meters;
  billing::AddToMeters(row, version == versions.end() ? nullptr : &version->second.prices, meters);
  for (const auto& [key, sum] : meters) {
    if (billing::StatementLineId(key) == line) {
      return sum;
    }
  }
  return std::nullopt;
}

void WriteMoney(JsonWriter& json, std::string_view name, ledger::NanoUsd amount) {
  json.Field(name, std::to_string(amount));
}

void WriteRow(const AttemptRow& row, JsonWriter& json) {
  const billing::Purchase& bought = row.purchase;
  const auto time = [&json](std::string_view name, int64_t ns) {
    json.Key(name);
    ns == 0 ? json.Null() : json.Value(FormatTime(ns / kNanosPerSecond));
  };
  json.Field("receipt", row.id.request.ToString()).Field("attempt", int64_t{row.id.attempt});
  time("admitted", row.admitted_ns);
  time("ended", row.ended_ns);
  json.Field("org", bought.org_id).Field("project", bought.project_id);
  json.Field("key", bought.key_id).Field("user", bought.user_id);
  json.Field("model", bought.model).Field("provider", bought.provider);
  json.Field("provider_model", bought.provider_model).Field("own_key", bought.own_key);
  json.Field("state", billing::AttemptStateName(row.state));
  WriteMoney(json, "held_nanousd", row.held);
  json.Key("cost_nanousd");
  if (row.state == AttemptState::kSettled && bought.priced) {
    json.Value(std::to_string(row.cost));
  } else {
    json.Null();  // not known, or nothing: the state says which
  }
  WriteMoney(json, "charge_nanousd", row.charge);
  json.Field("price_version", int64_t{row.price_version});
  json.Field("usage_source", billing::UsageSourceName(row.outcome.source));
  json.Field("input_tokens", row.outcome.input_tokens);
  json.Field("cached_tokens", row.outcome.cached_tokens);
  json.Field("output_tokens", row.outcome.output_tokens);
  json.Field("reasoning_tokens", row.outcome.reasoning_tokens);
  json.Field("service_tier", row.outcome.service_tier).Field("upstream_id", row.upstream_id);
  json.Field("finish", row.outcome.finish).Field("reason", row.reason);
}

}  // namespace

// Names become ids.
Result<AttemptFilter> MoneyApi::ReadRequestFilter(const http::Query& query,
                                                  const identity::Principal& caller) {
  TW_RETURN_IF_ERROR(CheckFields(query, kFields));
  const Sight sight = SightOf(caller);
  AttemptFilter filter;
  TW_ASSIGN_OR_RETURN(filter.org_id, ReadOrg(store_, caller, query));
  TW_ASSIGN_OR_RETURN(filter.project_id, ReadOwner(store_, caller, query, "project"));
  TW_ASSIGN_OR_RETURN(filter.user_id, ReadOwner(store_, caller, query, "user"));
  if (const std::string text = http::First(query, "key"); !text.empty()) {
    const Result<identity::KeyInfo> key = FindKey(store_, text, sight);
    const bool is_of_probes = caller.is_admin_token && text == billing::kProbesScope;
    if (!key.has_value() && !is_of_probes &&
        (sight.key_id.has_value() || !text.starts_with("key_"))) {
      return Fail(key.error());
    }
    filter.key_id = key.has_value() ? key->id : text;
  }
  filter.key_id = sight.key_id.value_or(filter.key_id);
  filter.model = http::First(query, "model");
  filter.provider = http::First(query, "provider");
  TW_RETURN_IF_ERROR(ReadState(query, filter));
  TW_RETURN_IF_ERROR(ReadTimes(query, NowS(), filter));
  TW_ASSIGN_OR_RETURN(filter.price_version, NumberOf<uint32_t>(query, "price_version", 0));
  return filter;
}

Result<http::Response> MoneyApi::AnswerRequests(const http::Request& request,
                                                const identity::Principal& caller) {
  if (request.method != "GET") {
    return Fail(ErrorCode::kMethodNotAllowed, "This path takes GET.");
  }
  const http::Query query = http::ParseQuery(request.query);
  TW_ASSIGN_OR_RETURN(const AttemptFilter filter, ReadRequestFilter(query, caller));
  TW_ASSIGN_OR_RETURN(const auto asked_limit, NumberOf<size_t>(query, "limit", 1, kPageRowsMax));
  const size_t limit = asked_limit.value_or(kPageRows);
  TW_ASSIGN_OR_RETURN(const auto corrections_before, CorrectionsCursorOf(query));
  billing::AttemptList list;
  if (!corrections_before.has_value()) {
    TW_ASSIGN_OR_RETURN(const AttemptCursor after, CursorOf(query));
    TW_ASSIGN_OR_RETURN(list, recorder_.List(filter, after, limit));
  }
  // Behind the last attempt stand the corrections that were made in this time.
  billing::CorrectionList corrections;
  if (!list.next.has_value() && list.rows.size() < limit) {
    TW_ASSIGN_OR_RETURN(corrections,
                        recorder_.ListCorrections(filter, corrections_before.value_or(INT64_MAX),
                                                  limit - list.rows.size()));
  } else if (!list.next.has_value() && !filter.by_admission) {
    corrections.next_before_ns = INT64_MAX;
  }
  const std::string line = http::First(query, "line");
  std::map<uint32_t, billing::PriceVersion> versions;
  if (!line.empty()) {
    TW_ASSIGN_OR_RETURN(std::vector<billing::PriceVersion> known, recorder_.Prices());
    for (billing::PriceVersion& version : known) {
      versions.emplace(version.version, std::move(version));
    }
  }
  JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.requests/v1").Key("requests").BeginArray();
  const auto write = [&](const AttemptRow& row, const std::optional<billing::MeterSum>& part,
                         uint32_t correction) {
    if (!line.empty() && !part.has_value()) {
      return;
    }
    json.BeginObject();
    WriteRow(row, json);
    if (correction > 0) {
      json.Field("correction", int64_t{correction});
    }
    if (part.has_value()) {
      json.Field("line_quantity", part->quantity);
      WriteMoney(json, "line_cost_nanousd", part->cost);
      WriteMoney(json, "line_charge_nanousd", part->charge);
    }
    json.EndObject();
  };
  for (const AttemptRow& row : list.rows) {
    write(row, line.empty() ? std::nullopt : PartOf(row, line, versions), 0);
  }
  for (const billing::Correction& one : corrections.rows) {
    write(RowOf(one), line.empty() ? std::nullopt : PartOf(one, line), one.number);
  }
  json.EndArray().Key("next");
  list.next.has_value() ? json.Value(CursorText(*list.next))
  : corrections.next_before_ns.has_value()
      ? json.Value(fmt::format("{}{}", kCorrectionsCursor, *corrections.next_before_ns))
      : json.Null();
  // What ended before is in files only.
  TW_ASSIGN_OR_RETURN(const int64_t set_aside_until_ns, recorder_.SetAsideUntil());
  json.Key("set_aside_until");
  set_aside_until_ns > filter.from_ns ? json.Value(FormatTime(set_aside_until_ns / kNanosPerSecond))
                                      : json.Null();
  return JsonResponse(json.EndObject().Take());
}

}  // namespace tradewind::console_api
