#include "billing/statement.h"

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include <fmt/format.h>

#include "billing/hash.h"
#include "dialects/json_writer.h"

namespace tradewind::billing {
namespace {

using dialects::JsonWriter;

constexpr int64_t kHourS = 3600;
constexpr size_t kLineIdDigits = 16;

void WriteLine(const StatementLine& line, JsonWriter& json) {
  json.BeginObject().Field("id", line.id).Field("org", line.key.org_id);
  json.Field("project", line.key.project_id).Field("key", line.key.key_id);
  json.Field("model", line.key.model).Field("provider", line.key.provider);
  json.Field("own_key", line.key.own_key).Field("meter", MeterName(line.key.kind));
  json.Field("unit", MeterUnit(line.key.kind)).Field("quantity", line.sum.quantity);
  json.Field("price_version", int64_t{line.key.price_version}).Key("usd_per_mtok");
  line.usd_per_mtok().empty() ? json.Null() : json.Value(line.usd_per_mtok());
  // A line without these has the bytes that it had before there were such prices.
  if (!line.usd_each().empty()) {
    json.Field("usd_each", line.usd_each());
  }
  if (line.above > 0) {
    json.Field("above_input_tokens", line.above);
  }
  if (!line.service_tier.empty()) {
    json.Field("service_tier", line.service_tier);
  }
  if (line.sum.unverifiable > 0) {
    json.Field("unverifiable_tokens", line.sum.unverifiable);
  }
  json.Field("cost_nanousd", std::to_string(line.sum.cost));
  json.Field("charge_nanousd", std::to_string(line.sum.charge)).EndObject();
}

void WriteCredits(const Statement& statement, JsonWriter& json) {
  json.Field("credit_nanousd", std::to_string(statement.credited));
  json.Field("payable_nanousd", std::to_string(statement.payable())).Key("credits").BeginArray();
  for (const CreditLine& line : statement.credits) {
    json.BeginObject().Field("id", line.id).Field("org", line.org_id);
    json.Field("credit", line.credit).Field("note", line.note);
    json.Field("amount_nanousd", std::to_string(line.amount)).EndObject();
  }
  json.EndArray();
}

std::string TextOf(const StatementOrder& order, const Statement& statement) {
  JsonWriter json;
  json.BeginObject().Field("period", order.period.name);
  json.Field("from", UtcTime(order.period.from_s)).Field("to", UtcTime(order.period.to_s));
  json.Field("currency", "USD").Field("org", order.org_id).Field("key", order.key_id);
  json.Field("requests", statement.requests);
  json.Field("cost_nanousd", std::to_string(statement.cost));
  json.Field("charge_nanousd", std::to_string(statement.charge));
  if (statement.unverifiable > 0) {
    json.Field("unverifiable_tokens", statement.unverifiable);
  }
  if (!statement.credits.empty()) {
    WriteCredits(statement, json);
  }
  json.Key("lines").BeginArray();
  for (const StatementLine& line : statement.lines) {
    WriteLine(line, json);
  }
  json.EndArray().EndObject();
  return json.Take();
}

}  // namespace

std::string StatementLineId(const MeterKey& key) {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", key.org_id, key.project_id,
                                 key.key_id, key.model, key.provider, key.own_key ? 1 : 0,
                                 key.price_version, MeterName(key.kind));
  if (key.tier > 0 || key.service > 0) {
    text += fmt::format("\n{}", key.tier);
  }
  if (key.service > 0) {
    text += fmt::format("\n{}", key.service);
  }
  return Sha256Hex(text).substr(0, kLineIdDigits);
}

std::string StatementLine::meter() const {
  return fmt::format("{}{}{}", MeterName(key.kind),
                     above > 0 ? fmt::format(" above {}", above) : "",
                     service_tier.empty() ? "" : " at " + service_tier);
}

MeterFilter FilterOf(const StatementOrder& order) {
  return {order.period.from_s / kHourS, order.period.to_s / kHourS, order.org_id, order.key_id,
          true};
}

std::optional<Decimal> PriceOf(const catalog::Prices& prices, const MeterKey& key) {
  const catalog::TokenPrices& tier = prices.OfService(key.service).OfTier(key.tier);
  const auto either = [](const std::optional<Decimal>& own, const std::optional<Decimal>& whole) {
    return own.has_value() ? own : whole;
  };
  switch (key.kind) {
    case MeterKind::kRequests:
      return prices.request;
    case MeterKind::kInput:
      return tier.input;
    case MeterKind::kCachedInput:
      return either(tier.cached_input, tier.input);
    case MeterKind::kCacheWrite:
      return either(tier.cache_write, tier.input);
    case MeterKind::kCacheWrite1h:
      return either(tier.cache_write_1h, either(tier.cache_write, tier.input));
    case MeterKind::kOutput:
      return tier.output;
    case MeterKind::kReasoning:
      return either(tier.reasoning, tier.output);
    case MeterKind::kAudioInput:
      return either(tier.audio_input, tier.input);
    case MeterKind::kAudioOutput:
      return either(tier.audio_output, tier.output);
    case MeterKind::kImages:
      return prices.image;
    case MeterKind::kCorrections:
      return std::nullopt;
  }
  return std::nullopt;
}

int64_t AboveOf(const catalog::Prices& prices, const MeterKey& key) {
  return key.tier == 0 || key.tier > prices.tiers.size() ? 0 : prices.tiers[key.tier - 1].above;
}

std::string CreditLineId(const std::string& org_id, const std::string& credit) {
  return Sha256Hex(fmt::format("credit\n{}\n{}", org_id, credit)).substr(0, kLineIdDigits);
}

Statement MakeStatement(const StatementOrder& order, const Meters& meters,
                        const std::vector<PriceVersion>& prices, const CreditUses& credits) {
  Meters alike;
  for (const auto& [key, sum] : meters) {
    MeterKey line = key;
    line.hour = 0;
    line.provider_model.clear();
    alike[line] += sum;
  }
  std::map<uint32_t, const catalog::Prices*> by_version;
  for (const PriceVersion& version : prices) {
    by_version[version.version] = &version.prices;
  }
  Statement statement;
  for (const auto& [key, sum] : alike) {
    StatementLine line{key, sum, "", 0, StatementLineId(key)};
    if (const auto found = by_version.find(key.price_version); found != by_version.end()) {
      const std::optional<Decimal> price = PriceOf(*found->second, key);
      line.price = price.has_value() ? price->ToString() : std::string();
      line.above = AboveOf(*found->second, key);
      line.service_tier = found->second->ServiceName(key.service);
    }
    statement.requests += key.kind == MeterKind::kRequests ? sum.quantity : 0;
    statement.cost += sum.cost;
    statement.charge += sum.charge;
    statement.unverifiable += sum.unverifiable;
    statement.lines.push_back(std::move(line));
  }
  std::map<std::tuple<std::string, std::string, std::string>, ledger::NanoUsd> paid;
  for (const auto& [key, amount] : credits) {
    paid[{key.org_id, key.credit, key.note}] += amount;
  }
  for (const auto& [key, amount] : paid) {
    const auto& [org_id, credit, note] = key;
    statement.credits.push_back({org_id, credit, note, amount, CreditLineId(org_id, credit)});
    statement.credited += amount;
  }
  statement.text = TextOf(order, statement);
  statement.hash = Sha256Hex(statement.text);
  return statement;
}

}  // namespace tradewind::billing
