// What the config file says about the marketplace: [[providers]], [route], [server] cors_origins.
// Parsed in cli/; plain data here, so that routing and the gateway read it without TOML.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/mapping.h"

namespace tradewind::catalog {

// Whose paths and shapes a usage interface has.
enum class UsageApi { kOpenAi, kAnthropic };
std::string_view UsageApiName(UsageApi api);  // "openai", "anthropic"

// Where a provider says what its whole account used and cost (docs/operating/reconcile.md). The key
// is one of its own: that of inference may not ask.
struct UsageTerms {
  std::optional<UsageApi> api;  // nullopt: it is not asked
  std::string url;              // what stands before /organization/usage
  std::string key_env, key_file;
  std::chrono::milliseconds every{0};  // 0: when somebody asks for it

  bool operator==(const UsageTerms&) const = default;
};

// One [[providers]] entry. Unset fields of a known slug keep what its kind says.
struct ProviderConfig {
  std::string name;      // the slug
  std::string kind;      // "openai", or a known slug; defaults to the name when that is one
  std::string base_url;  // validated http(s), no trailing slash; empty = the known one
  std::string api_key_env, api_key_file;
  std::string api_key_header;  // it carries the key, alone; "" = as its kind wants it
  bool allow_private = false;
  std::optional<DataPolicy> data_policy;
  std::string assistant_prefix;  // "no", "message", "vllm"; "" = as its kind does
  std::string bound_name;        // "max_tokens", "max_completion_tokens", "both"; "" = likewise
  BillingTerms billing;
  UsageTerms usage;
  std::vector<Mapping> models;  // source kConfig, provider = name
  std::string origin;           // "config.toml line 3"
};

// What may follow a route that fails: nothing; other routes of the asked model; also those of the
// models that the request lists in `models`.
enum class Fallback { kOff, kSameModel, kList };
enum class RoutePolicy { kPreferred, kFastest, kCheapest, kPrivate };
enum class DataRule { kAny, kNoRetention, kLocalOnly };
// Which mappings are probed unasked: a probe is a paid request. kFree: those priced at zero.
enum class ProbeRule { kOff, kFree, kAll };

struct RouteConfig {
  RoutePolicy default_policy = RoutePolicy::kPreferred;
  std::vector<std::string> order;  // slugs, most preferred first; empty = local, config, starter
  Fallback fallback = Fallback::kList;  // no other model unless the request names it
  DataRule data_policy = DataRule::kAny;
  ProbeRule probes = ProbeRule::kFree;
  bool dear_failover = false;  // failover may cost many times what the first route would have
  bool continuation = false;   // a stream that was cut goes on elsewhere
  bool hedge = false;          // a second route is asked when the first is slow:
  int64_t hedge_after_ms = 0;  // after so long; 0: after the route's own 95th percentile
};

std::string_view RoutePolicyName(RoutePolicy policy);  // "preferred"
std::string_view FallbackName(Fallback fallback);      // "same-model"
std::string_view DataRuleName(DataRule rule);          // "local-only"
std::string_view ProbeRuleName(ProbeRule rule);        // "free"

struct MarketConfig {
  std::vector<ProviderConfig> providers;  // in the order of the files, unique names
  RouteConfig route;
  std::vector<std::string> cors_origins;  // "https://app.example", no path
};

}  // namespace tradewind::catalog
