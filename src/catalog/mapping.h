// The nouns of the catalogue: who serves (Provider), and which of its models is which Hub model at
// what price (Mapping).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/decimal.h"

namespace tradewind::catalog {

inline constexpr std::string_view kLocalSlug = "local";

// What a provider says it does with prompts and answers. `private` uses kNoRetention only.
enum class DataPolicy { kUnknown, kRetention, kNoRetention };
std::string_view DataPolicyName(DataPolicy policy);  // "unknown", "retention", "no-retention"
std::optional<DataPolicy> ParseDataPolicy(std::string_view name);

// kStaging: callable only by naming its provider; neither listed nor chosen by a policy.
// kError: listed, never chosen.
enum class MappingStatus { kStaging, kLive, kError };
std::string_view MappingStatusName(MappingStatus status);  // "staging", "live", "error"
std::optional<MappingStatus> ParseMappingStatus(std::string_view name);

// Where a row came from, strongest first.
enum class Source { kLocal, kConfig, kImported, kStarter };
std::string_view SourceName(Source source);  // "local", "config", "imported", "starter"

// USD per 1,000,000 tokens. Absent means unpriced, which is never zero; "0" means free.
struct Prices {
  std::optional<Decimal> input, output;
  std::optional<Decimal> cached_input;  // input tokens read from the provider's cache
  std::optional<Decimal> cache_write;   // input tokens written to it
  std::string as_of;                    // "2026-08-21"; empty when not dated
  std::string origin;  // for people: "config.toml line 7", "portkey fireworks-ai.json"

  bool is_priced() const { return input.has_value() && output.has_value(); }
  bool is_free() const { return is_priced() && input->is_zero() && output->is_zero(); }
  bool empty() const { return !input && !output && !cached_input && !cache_write; }
};

// How a provider is asked what single requests cost, and what it does with one whose reader leaves.
struct BillingTerms {
  std::string url;  // where it is asked (docs/formats/billing-protocol.md); "" = it cannot be
  // The header of its answers that names a request to its billing; "" = inference-id.
  std::string id_header;
  bool own_ids = false;          // it keeps the x-client-request-id that it is sent
  std::optional<bool> bills_on;  // the whole answer, whoever leaves; nullopt: as its kind does

  bool operator==(const BillingTerms&) const = default;
};

struct Provider {
  std::string slug;  // in model strings and headers
  std::string kind;  // whose quirks it speaks: a known slug, or "openai"; "local" for this device
  std::string display_name;
  std::string base_url;  // without a trailing slash; empty for `local`
  std::string api_key_env, api_key_file;
  std::string api_key_header;  // as ProviderConfig has it
  bool needs_key = true;
  bool allow_private = false;
  std::string assistant_prefix;  // as ProviderConfig has it
  DataPolicy data_policy = DataPolicy::kUnknown;
  BillingTerms billing;
  Source source = Source::kStarter;
  std::string origin;  // "config.toml line 3"
  std::string off;  // why this server has no key for it; empty = on. A caller's own key counts too.
};

// One Hub model at one provider for one task. Absent optionals mean unknown.
struct Mapping {
  std::string provider;        // slug
  std::string hf_model;        // "org/name"
  std::string provider_model;  // what the provider calls it
  std::string task = "conversational";
  MappingStatus status = MappingStatus::kLive;
  Prices prices;
  std::optional<int64_t> context_length, max_output;  // tokens
  std::string quantization;                           // "fp8"; empty = unknown
  std::optional<bool> supports_tools, supports_structured_output;
  std::vector<std::string> input_modalities;  // "text", "image"; empty = unknown
  std::string licence;                        // SPDX where there is one, lower case
  bool is_model_author = false;
  int64_t created = 0;  // Unix seconds, when the model came out; 0 = unknown
  Source source = Source::kStarter;
};

// What a public price map says about one model of a provider.
struct PriceRow {
  std::string provider;  // slug
  std::string provider_model;
  std::string task;  // empty = not said
  Prices prices;
  std::optional<int64_t> context_length, max_output;
  std::optional<bool> supports_tools, supports_structured_output;
};

}  // namespace tradewind::catalog
