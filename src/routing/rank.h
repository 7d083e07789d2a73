// Facts about routes and the needs of a request → the routes to try, best first, and why each other
// one is left out. Pure: no clock, no I/O; the same facts and needs give the same answer, in
// whatever order the facts come.
//
// The order, first difference decides:
//   1. ready before resting (last resorts: circuit open, a pause asked for, status error; then
//      refused keys). Nothing that could serve is left out for its health.
//   2. the asked model before its fallbacks (`models`), unless Sort.across_models
//   3. `provider.order`; with policy `preferred` or `private` and no sort, the user's order (local
//      first if it is not in it)
//   4. every needed capability known before one of them unknown
//   5. meets preferred_max_latency and preferred_min_throughput, before not known, before misses
//   6. the policy's or sort's measure; not measured and not priced come last
//   7. expected cost, provider, provider's model id
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "routing/health.h"

namespace tradewind::routing {

enum class Capability { kTools, kStructuredOutput, kVision, kAudioInput, kLogprobs, kReasoning };
inline constexpr int kCapabilities = static_cast<int>(Capability::kReasoning) + 1;
std::string_view CapabilityWords(Capability capability);  // "tools", "structured output", ...
// The words of `--need`: "tools", "json", "vision", "audio", "logprobs", "reasoning".
std::optional<Capability> CapabilityNamed(std::string_view name);

enum class Known { kUnknown, kNo, kYes };

// Price of one request: tokens × these. Nano-USD per million tokens: 0.10 USD per million is
// 100,000,000. A route without a Price is unpriced, which is never 0; a free one has zeros. Each
// is in [0, kPriceMax].
struct Price {
  int64_t input_nanousd_per_mtok = 0;
  int64_t output_nanousd_per_mtok = 0;
  int64_t request_nanousd = 0;
};
inline constexpr int64_t kPriceMax = 1'000'000'000'000'000'000;  // a billion dollars per million

enum class DataPolicy { kUnknown, kMayTrain, kNoTraining, kNoRetention };  // rising privacy
enum class RouteStatus { kLive, kStaging, kError };

enum class Policy {
  kFastest,    // shortest expected time for this request: TTFT + output / throughput
  kCheapest,   // lowest expected cost of this request
  kPreferred,  // the user's order, local first; the rest cheapest first
  kPrivate,    // as preferred, of the routes that keep no data
  kPinned,     // exactly the pinned provider, no other
  kLocal,      // this device, no other
};
std::string_view PolicyName(Policy policy);
// "fastest", "cheapest", "preferred", "private", "local"; nothing for another word.
std::optional<Policy> PolicyNamed(std::string_view name);

// What a model string says behind its last colon.
struct Asked {
  Policy policy = Policy::kPreferred;
  std::string pinned = {};   // slug, with Policy::kPinned
  bool see_staging = false;  // a provider that is named may be one not released yet
};

struct RouteFacts {
  std::string provider;             // slug
  std::string model;                // catalogue id
  std::string provider_model;       // what the provider calls it
  int model_rank = 0;               // 0: the asked model; 1, 2 ...: place in the `models` list
  std::optional<Asked> asked = {};  // by the string of this model; nothing: what RouteNeeds says
  std::array<Known, kCapabilities> capabilities = {};
  std::optional<int64_t> context_length = {};
  std::optional<int64_t> max_output_tokens = {};
  std::optional<Price> price = {};
  bool price_is_energy = false;  // of this device: an estimate; nothing is billed
  DataPolicy data_policy = DataPolicy::kUnknown;
  std::string quantization = {};  // "fp8"; empty when unknown
  bool is_local = false;          // this device: no data leaves, no key needed
  RouteStatus status = RouteStatus::kLive;
  std::string status_words = {};  // why status is error: what the last check found
  bool enabled = true;            // false: switched off by the user, the org or the operator
  bool own_key = false;  // the caller's own, or his organisation's, is the one that is sent
  bool key_present = true;
  HealthSnapshot health = {};

  Known& operator[](Capability capability) { return capabilities[static_cast<size_t>(capability)]; }
  Known operator[](Capability capability) const {
    return capabilities[static_cast<size_t>(capability)];
  }
};

// OpenRouter's provider.sort; replaces the policy's measure, not its filters.
enum class SortBy { kPolicy, kPrice, kThroughput, kLatency };

// What no token may cost more than: thought as much as text, and sound where the request has it.
struct MaxPrice {
  std::optional<int64_t> input_nanousd_per_mtok = {};
  std::optional<int64_t> output_nanousd_per_mtok = {};
  std::optional<int64_t> request_nanousd = {};
};

// An allow-list: absent allows all, an empty one nothing.
using AllowList = std::optional<std::vector<std::string>>;

struct RouteNeeds {
  // These three for routes that do not say it themselves (RouteFacts.asked).
  Policy policy = Policy::kPreferred;
  std::string pinned = {};                   // slug, with Policy::kPinned
  std::vector<std::string> user_order = {};  // [route] order, or the user's own

  // What the request uses. `input_tokens` of all its prompts is an estimate: give a low one, as a
  // route whose context their share of it overflows is left out.
  std::vector<Capability> capabilities = {};
  int64_t input_tokens = 0;
  // No tokenizer makes more of them: which tiers of prices a cap on prices is compared with.
  int64_t input_tokens_max = std::numeric_limits<int64_t>::max();
  // Further ones where any server may answer: of references in tools, and of pictures named in
  // texts where the model may take some.
  int64_t resolved_tokens_max = 0, picture_tokens_max = 0;
  int64_t prompts = 1;       // at least; each has a context of its own
  int64_t answers_each = 1;  // of a prompt, which some providers bill for each of them
  std::optional<int64_t> max_tokens = {};
  bool has_sound = false, wants_sound = false;  // in the prompt; as an answer
  std::string service_tier = {};                // as the request says

  // The `provider` object of the request.
  std::vector<std::string> only = {};  // empty: all
  std::vector<std::string> ignore = {};
  std::vector<std::string> order = {};
  bool allow_fallbacks = true;      // false: `order`'s routes alone, or the best one alone
  bool require_parameters = false;  // a capability must be known, not only not denied
  bool deny_data_collection = false;
  bool zero_data_retention = false;
  std::vector<std::string> quantizations = {};  // empty: all; "unknown" is a name
  SortBy sort = SortBy::kPolicy;
  bool across_models = false;  // sort.partition "none"
  MaxPrice max_price = {};
  std::optional<double> preferred_max_latency_ms = {};
  std::optional<double> preferred_min_tokens_per_second = {};

  // What the caller's token may use, and the route settings of its user.
  AllowList allowed_models = {};
  AllowList allowed_providers = {};
  bool keep_private = false;  // [route] data_policy = no-retention; as Policy::kPrivate's filter
  bool local_only = false;    // data_policy = local-only, or offline
  bool see_staging = false;
  std::string only_model = {};  // [route] fallback = same-model, off; "" = any
  bool only_best = false;       // [route] fallback = off: one route
  // Left out is what is expected to cost more than so many times what the first route does that
  // costs something, or the first of its own model string; 0: nothing is. Nor is a provider that
  // `order` names.
  int64_t dear_times = 0;
  // The request's own word on it; nullopt: the config's. `false` holds for what it names too.
  std::optional<bool> dear_failover = {};
};

// Without an opt-in, a failover costs at most so many times what the first route would have.
inline constexpr int64_t kDearTimes = 3;

// Why a route is left out; the first that holds, in this order.
enum class Exclusion {
  kModelNotAllowed,
  kProviderNotAllowed,
  kOtherModel,
  kNotPinned,
  kNotLocal,
  kNotInOnly,
  kIgnored,
  kDisabled,
  kNoKey,
  kStaging,
  kRetainsData,
  kCollectsData,
  kQuantization,
  kCapabilityMissing,
  kCapabilityUnknown,
  kContextTooSmall,
  kOutputTooSmall,
  kUnpriced,  // under a price cap
  kTooExpensive,
  kNoFallbacks,
  kDearFailover,
};
inline constexpr int kExclusions = static_cast<int>(Exclusion::kDearFailover) + 1;
std::string_view ExclusionName(Exclusion exclusion);  // snake_case, for JSON

struct Candidate {
  size_t index = 0;  // into the facts
  bool last_resort = false;
};

struct LeftOut {
  size_t index = 0;
  Exclusion code = Exclusion::kNotPinned;
  std::string reason;  // "no tool support", "costs 0.30 USD per million output tokens, over ..."
};

struct Ranking {
  std::vector<Candidate> candidates;  // best first
  std::vector<LeftOut> left_out;      // by provider, then provider's model id
};

Ranking Rank(std::span<const RouteFacts> facts, const RouteNeeds& needs);

// Whether the request itself names what follows its first route: a model of its `models`, or a
// provider of its `order`. So that may cost more.
bool IsNamed(const RouteFacts& route, const RouteNeeds& needs);
// The request names it, by its provider or in its `models`: whoever pays for it was asked to.
bool IsAskedFor(const RouteFacts& route, const RouteNeeds& needs);

// By which policy a route is looked at: that of its own model string, else the request's.
Policy PolicyOf(const RouteFacts& route, const RouteNeeds& needs);

// What the request is expected to cost on a route, in 1e-6 nano-USD (nano-USD × a million tokens,
// undivided so that it is exact). Not for billing.
__int128 ExpectedCost(const Price& price, const RouteNeeds& needs);
// How long it is expected to take; nothing when the throughput was never measured. A TTFT never
// measured counts as kTtftUnknownMs.
std::optional<double> ExpectedMs(const HealthSnapshot& health, const RouteNeeds& needs);

// A request rarely writes as much as it may: so many output tokens, or max_tokens if less, are what
// costs and times are expected for.
inline constexpr int64_t kOutputTokensExpected = 512;
inline constexpr double kTtftUnknownMs = 1'000;

// "0.10", "2.50", "0.546875": USD from nano-USD, exactly, at least two places.
std::string UsdText(int64_t nanousd);

}  // namespace tradewind::routing
