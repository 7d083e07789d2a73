// What settled attempts cost, by kind of token: the lines that bills are made of.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "billing/recorder.h"
#include "catalog/mapping.h"
#include "ledger/money.h"

namespace tradewind::billing {

// kRequests counts attempts; it costs the price of a request, where there is one, and what no price
// explains: the part of a bill beyond its hold, an estimate that was cut at it, a figure that a
// provider gave. kReasoning, sound and what is kept for an hour are kinds of their own where they
// have prices of their own.
enum class MeterKind : uint8_t {  // as the tables have them
  kRequests,
  kInput,
  kCachedInput,
  kCacheWrite,
  kOutput,
  kReasoning,
  kAudioInput,
  kAudioOutput,
  kImages,
  kCacheWrite1h,
  kCorrections,  // of what was settled before (correction.h)
};
inline constexpr size_t kMeterKinds = static_cast<size_t>(MeterKind::kCorrections) + 1;
std::string_view MeterName(MeterKind kind);  // "requests", "input_tokens", ...
std::string_view MeterUnit(MeterKind kind);  // "Requests", "Tokens", "Images"
bool IsOfTokens(MeterKind kind);             // its price is for a million

// A charge belongs to the hour in which it was settled: what is over never changes.
struct MeterKey {
  int64_t hour = 0;  // since 1970
  std::string org_id, project_id, key_id, model, provider, provider_model;
  bool own_key = false;
  uint32_t price_version = 0;
  MeterKind kind = MeterKind::kRequests;
  uint8_t tier = 0;     // of the price, by the length of the input; requests and pictures have none
  uint8_t service = 0;  // of the price, as catalog::Prices::ServiceOf; as `tier`

  auto operator<=>(const MeterKey&) const = default;
};

struct MeterSum {
  int64_t quantity = 0;
  ledger::NanoUsd cost = 0, charge = 0;
  int64_t unverifiable = 0;  // of the quantity: tokens that the provider alone can count

  MeterSum& operator+=(const MeterSum& other);
  bool operator==(const MeterSum&) const = default;
};

using Meters = std::map<MeterKey, MeterSum>;

// It was used at a route without a price, and nobody has said since what it cost: not nothing, and
// in no sum.
bool IsUnpriced(const MeterKey& key, const MeterSum& sum);

struct MeterFilter {
  int64_t from_hour = 0, to_hour = INT64_MAX;
  std::string org_id = {}, key_id = {};  // empty: all
  bool by_day = false;                   // whole days of UTC in one: `hour` is a day's first
  bool set_aside = false;  // only what was counted of attempts as they were set aside; by day
};

int64_t HourOf(int64_t unix_ns);
inline constexpr int64_t kHoursOfADay = 24;

// What its price makes of an attempt's tokens; nullopt: it has none, or they do not say it.
std::optional<int64_t> CostAt(const catalog::Prices& prices, const Outcome& used);

// The tier of the price that was paid, where a token of it costs more than the usual one's:
// "above 200000 input tokens", "at priority", or both; "" = none.
std::string DearerTier(const catalog::Prices& prices, const Outcome& used);

// Adds a settled attempt. `prices` of its version; null when there is none. The cost of its lines
// is its cost, exactly, and so is the charge.
void AddToMeters(const AttemptRow& row, const catalog::Prices* prices, Meters& meters);

}  // namespace tradewind::billing
