// The nouns of the catalogue: who serves (Provider), and which of its models is which Hub model at
// what price (Mapping).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/decimal.h"
#include "base/result.h"

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
struct TokenPrices {
  std::optional<Decimal> input, output;
  std::optional<Decimal> cached_input;  // input tokens read from the provider's cache
  std::optional<Decimal> cache_write;   // input tokens written to it
  // Those of them that it keeps for an hour, where the request asks for that.
  std::optional<Decimal> cache_write_1h;
  std::optional<Decimal> reasoning;  // output tokens of thought; absent: they are output
  // Tokens of sound; absent: those that are counted are input or output, and none is held for.
  std::optional<Decimal> audio_input, audio_output;

  bool is_priced() const { return input.has_value() && output.has_value(); }
  bool is_zero() const;  // nothing of it costs anything
  bool operator==(const TokenPrices&) const = default;
};

// Each by the name that files and answers have for it.
struct TokenPriceField {
  std::string_view name;
  std::optional<Decimal> TokenPrices::* price;
};
inline constexpr std::array<TokenPriceField, 8> kTokenPriceFields = {
    {{"input", &TokenPrices::input},
     {"output", &TokenPrices::output},
     {"cached_input", &TokenPrices::cached_input},
     {"cache_write", &TokenPrices::cache_write},
     {"reasoning", &TokenPrices::reasoning},
     {"audio_input", &TokenPrices::audio_input},
     {"audio_output", &TokenPrices::audio_output},
     {"cache_write_1h", &TokenPrices::cache_write_1h}}};

// What every token of a request costs whose input has more tokens than `above`, cached ones
// included.
struct PriceTier : TokenPrices {
  int64_t above = 0;

  bool operator==(const PriceTier&) const = default;
};
inline constexpr size_t kPriceTiersMax = 8;  // the longest list in public maps has four

// What tokens cost by the length of the input: of `tiers` as CheckTiers wants them.
struct TieredPrices : TokenPrices {
  std::vector<PriceTier> tiers;

  const TokenPrices& OfTier(size_t tier) const;  // 0: none; else tiers[it - 1], at most the last
  bool is_zero() const;
};

// What they cost a request that is served at this one of the provider's `service_tier`s rather than
// at its usual one: begun later for less ("flex"), or sooner for more ("priority").
struct ServiceTier : TieredPrices {
  std::string name;

  bool operator==(const ServiceTier& other) const {
    return name == other.name && tiers == other.tiers && TokenPrices::operator==(other);
  }
};
inline constexpr size_t kServiceTiersMax = 4;
inline constexpr size_t kServiceTierBytesMax = 16;  // of a name
// "auto", "default" and what else they call it: what everybody pays who asks for none.
bool IsUsualServiceTier(std::string_view name);

struct Prices : TieredPrices {
  std::optional<Decimal> request;          // USD for each request, beside its tokens
  std::optional<Decimal> image;            // USD for each picture of the input, beside its tokens
  std::vector<ServiceTier> service_tiers;  // by their names
  std::string as_of;                       // "2026-08-21"; empty when not dated
  std::string origin;  // for people: "config.toml line 7", "portkey fireworks-ai.json"

  bool is_free() const;
  bool empty() const;
  // Which tier a request of so many input tokens falls into, whatever its service tier: 0, none;
  // else tiers[it - 1].
  size_t TierOf(int64_t input_tokens) const;
  // Which service tier has this name: 0, none, so that the usual prices are what is known of it;
  // else service_tiers[it - 1].
  size_t ServiceOf(std::string_view name) const;
  const TieredPrices& OfService(size_t service) const;  // of one that is not there: the usual ones
  std::string ServiceName(size_t service) const;        // "" of the usual one
  ServiceTier& AddService(std::string_view name);       // or the one of that name
  // In any tier that so many input tokens reach, at the usual service tier or at `service`. Input
  // and output: the most that a token of text can cost, said or thought, read from no cache and
  // written to none; and tokens of sound, where they have prices of their own.
  TokenPrices Dearest(int64_t input_tokens_max, size_t service = 0) const;
  // At most kPriceTiersMax, the lowest first, each with a price for all that has one without a
  // tier: what is not said is not guessed. Errors: kInvalidArgument, in words that follow "tiers".
  Status CheckTiers() const;
  // Of one of `service_tiers`: it says all prices that the usual one has, in the same tiers.
  // Errors: kInvalidArgument, in words that follow its name.
  Status CheckService(const ServiceTier& service) const;
};

// How a provider is asked what single requests cost, and what it does with one whose reader leaves.
struct BillingTerms {
  std::string url;  // where it is asked (docs/formats/billing-protocol.md); "" = it cannot be
  // The header of its answers that names a request to its billing; "" = inference-id.
  std::string id_header;
  bool own_ids = false;          // it keeps the x-client-request-id that it is sent
  std::optional<bool> bills_on;  // the whole answer, whoever leaves; nullopt: as its kind does
  bool bills_refusals = false;   // 4xx of what was asked: what it had read
  // Of requests, in lower case: the operator's word that they cost nothing there.
  std::vector<std::string> harmless_fields;
  // It is a pool: each request has a price of its own, at most the one of the catalogue.
  bool price_varies = false;

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
  std::string assistant_prefix, bound_name;  // as ProviderConfig has them
  DataPolicy data_policy = DataPolicy::kUnknown;
  BillingTerms billing;
  Source source = Source::kStarter;
  std::string origin;  // "config.toml line 3"
  std::string off;  // why this server has no key for it; empty = on. A caller's own key counts too.
};

// How long an answer may be billed that was asked to stay within a cap (max_tokens): some models
// think beyond it.
struct CapTrust {
  int64_t factor_permille = 1000;
  int64_t slack = 0;  // tokens beside that: thoughts that are no part of the answer

  bool is_full() const { return factor_permille == 1000 && slack == 0; }
  // At least the cap, which may be no answer at all: 0; and no more beyond it than the model's
  // answers can have, where that is known, and `slack`.
  int64_t Bound(int64_t cap, std::optional<int64_t> model_max) const;
  bool operator==(const CapTrust&) const = default;
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
  CapTrust cap_trust;
  std::string quantization;  // "fp8"; empty = unknown
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
