// search and providers: the catalogue as people look at it.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/text.h"
#include "billing/price_json.h"
#include "cli/json_output.h"
#include "cli/market.h"
#include "cli/terminal.h"
#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

using catalog::Catalog;
using catalog::Mapping;
using catalog::MappingStatus;
using catalog::Provider;

struct Filter {
  std::string text, place, licence, sort;
  bool tools = false, structured = false, as_json = false;
  std::optional<Decimal> max_price;
  int64_t min_context = 0;
};

Result<Filter> ReadFilter(const Settings& settings) {
  Filter filter;
  for (const std::string& word : settings.Words(0)) {
    filter.text += (filter.text.empty() ? "" : " ") + AsciiLower(word);
  }
  filter.place = AsciiLower(settings.Text("place"));
  filter.licence = AsciiLower(settings.Text("license"));
  TW_ASSIGN_OR_RETURN(filter.sort, settings.Choice("sort"));
  TW_ASSIGN_OR_RETURN(filter.tools, settings.Switch("tools"));
  TW_ASSIGN_OR_RETURN(filter.structured, settings.Switch("schema-output"));
  TW_ASSIGN_OR_RETURN(filter.as_json, settings.Switch("json"));
  constexpr int64_t kContextMax = int64_t{1} << 40;
  TW_ASSIGN_OR_RETURN(const auto context, settings.Integer("min-ctx", 0, kContextMax));
  filter.min_context = context.value_or(0);
  if (const auto text = settings.Find("max-price")) {
    auto price = Decimal::Parse(text->text);
    if (!price || price->is_negative()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--max-price must be USD per million tokens such as 0.50, not \"{}\" "
                              "(from {})",
                              text->text.substr(0, 80), text->origin),
                  "max-price");
    }
    filter.max_price = *price;
  }
  return filter;
}

struct Hit {
  const catalog::Model* model;
  const Mapping* mapping;
  const Provider* provider;
};

// What is not known does not pass a filter: a price cap is a promise.
bool Passes(const Filter& filter, const Hit& hit) {
  const Mapping& mapping = *hit.mapping;
  const catalog::Prices& prices = mapping.prices;
  const catalog::TokenPrices most = prices.Dearest(std::numeric_limits<int64_t>::max());
  return AsciiLower(mapping.hf_model).find(filter.text) != std::string::npos &&
         (filter.place.empty() || filter.place == mapping.provider) &&
         (!filter.tools || mapping.supports_tools == true) &&
         (!filter.structured || mapping.supports_structured_output == true) &&
         (!filter.max_price || (prices.is_priced() && *most.input <= *filter.max_price &&
                                *most.output <= *filter.max_price)) &&
         mapping.context_length.value_or(0) >= filter.min_context &&
         (filter.licence.empty() || AsciiLower(hit.model->Licence()) == filter.licence);
}

std::vector<Hit> Search(const Catalog& catalog, const Filter& filter) {
  std::vector<Hit> out;
  for (const catalog::Model& model : catalog.models()) {
    for (const Mapping& mapping : model.mappings) {
      const Hit hit{&model, &mapping, catalog.FindProvider(mapping.provider)};
      if (hit.provider != nullptr && mapping.status != MappingStatus::kStaging &&
          Passes(filter, hit)) {
        out.push_back(hit);
      }
    }
  }
  if (filter.sort != "name") {
    std::vector<size_t> order(out.size());
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
    }
    const auto before = [&](size_t a, size_t b) {  // equal ones stay in the order of the catalogue
      const Mapping& left = *out[a].mapping;
      const Mapping& right = *out[b].mapping;
      if (filter.sort == "context") {
        const int64_t x = left.context_length.value_or(0), y = right.context_length.value_or(0);
        return x != y ? x > y : a < b;
      }
      const auto &x = left.prices.output, &y = right.prices.output;
      if (x.has_value() != y.has_value()) {
        return x.has_value();  // the unpriced come last
      }
      return x != y ? *x < *y : a < b;
    };
    std::sort(order.begin(), order.end(), before);
    std::vector<Hit> sorted;
    for (const size_t i : order) {
      sorted.push_back(out[i]);
    }
    out = std::move(sorted);
  }
  return out;
}

std::string Price(const std::optional<Decimal>& price) {
  return price ? price->ToString() : "?";
}

std::string YesNo(const std::optional<bool>& known) {
  return !known ? "?" : *known ? "yes" : "no";
}

std::string Status(const Hit& hit) {
  return hit.provider->off.empty() ? std::string(MappingStatusName(hit.mapping->status)) : "off";
}

// Few have more than prices of input and output; --json says which.
bool HasOtherPrices(const catalog::Prices& prices) {
  return prices.reasoning || prices.audio_input || prices.audio_output || prices.cache_write_1h ||
         prices.request || prices.image || !prices.tiers.empty() || !prices.service_tiers.empty();
}

std::string SearchText(const std::vector<Hit>& hits, bool color) {
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "PLACE", "STATUS", "IN/OUT $/M", "AS OF", "CTX", "TOOLS", "LICENSE"}};
  for (const Hit& hit : hits) {
    const Mapping& mapping = *hit.mapping;
    const std::string licence = hit.model->Licence();
    rows.push_back({mapping.hf_model, mapping.provider, Status(hit),
                    mapping.prices.empty() ? "unpriced"
                                           : fmt::format("{}/{}{}", Price(mapping.prices.input),
                                                         Price(mapping.prices.output),
                                                         HasOtherPrices(mapping.prices) ? "+" : ""),
                    mapping.prices.as_of.empty() ? "-" : mapping.prices.as_of,
                    mapping.context_length ? std::to_string(*mapping.context_length) : "?",
                    YesNo(mapping.supports_tools), licence.empty() ? "?" : licence});
  }
  return FormatTable(rows, color);
}

void PriceField(dialects::JsonWriter& json, std::string_view name,
                const std::optional<Decimal>& price) {
  FieldOrNull(json, name, price ? std::optional<std::string>(price->ToString()) : std::nullopt);
}

std::string SearchJson(const std::vector<Hit>& hits) {
  auto json = BeginJson("search");
  json.Field("currency", "USD").Key("results").BeginArray();
  for (const Hit& hit : hits) {
    const Mapping& mapping = *hit.mapping;
    json.BeginObject().Field("id", mapping.hf_model).Field("place", mapping.provider);
    json.Field("provider_id", mapping.provider_model).Field("task", mapping.task);
    json.Field("status", Status(hit)).Field("source", SourceName(mapping.source));
    PriceField(json, "input_usd_per_mtok", mapping.prices.input);
    PriceField(json, "output_usd_per_mtok", mapping.prices.output);
    PriceField(json, "cached_input_usd_per_mtok", mapping.prices.cached_input);
    billing::WriteOtherPrices(mapping.prices, json);
    TextOrNull(json, "prices_as_of", mapping.prices.as_of);
    TextOrNull(json, "prices_from", mapping.prices.origin);
    FieldOrNull(json, "context", mapping.context_length);
    FieldOrNull(json, "max_output", mapping.max_output);
    FieldOrNull(json, "tools", mapping.supports_tools);
    FieldOrNull(json, "structured_output", mapping.supports_structured_output);
    TextOrNull(json, "quantization", mapping.quantization);
    TextOrNull(json, "license", hit.model->Licence());
    json.EndObject();
  }
  json.EndArray();
  return EndJson(json);
}

// "environment GROQ_API_KEY", "not needed", or why there is none.
std::string KeyText(const Market& market, const Provider& provider) {
  const auto key = market.keys.find(provider.slug);
  return key != market.keys.end() ? "set (" + key->second.from + ")"
         : provider.needs_key     ? "off: " + provider.off
                                  : "not needed";
}

std::string ProvidersJson(const Market& market) {
  auto json = BeginJson("providers");
  json.Key("providers").BeginArray();
  for (const Provider& provider : market.catalog->providers()) {
    const auto key = market.keys.find(provider.slug);
    json.BeginObject().Field("name", provider.slug).Field("kind", provider.kind);
    TextOrNull(json, "display_name", provider.display_name);
    TextOrNull(json, "base_url", provider.base_url);
    json.Field("state", provider.off.empty() ? "on" : "off");
    TextOrNull(json, "off_because", provider.off);
    json.Field("needs_key", provider.needs_key);
    TextOrNull(json, "key_from", key == market.keys.end() ? "" : key->second.from);
    json.Field("data_policy", DataPolicyName(provider.data_policy));
    json.Field("allow_private", provider.allow_private);
    json.Field("models", market.catalog->ModelCount(provider.slug));
    json.Field("source", SourceName(provider.source)).Field("origin", provider.origin);
    json.EndObject();
  }
  json.EndArray();
  return EndJson(json);
}

}  // namespace

Result<ExitCode> RunSearch(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const Filter filter, ReadFilter(settings));
  TW_ASSIGN_OR_RETURN(const Market market, OpenMarket(settings));
  if (!filter.place.empty() && market.catalog->FindProvider(filter.place) == nullptr) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("there is no place \"{}\"; `tradewind providers` lists them",
                            filter.place.substr(0, 80)),
                "place");
  }
  const std::vector<Hit> hits = Search(*market.catalog, filter);
  Print(filter.as_json ? SearchJson(hits)
                       : SearchText(hits, UseColor(stdout, settings.environment())));
  if (hits.empty() && !filter.as_json) {
    fmt::print(stderr, "nothing in the catalogue passes; what is not known passes no filter\n");
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunProviders(const Settings& settings) {
  if (!settings.Words(0).empty()) {
    return CheckProviders(settings);
  }
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const Market market, OpenMarket(settings));
  if (as_json) {
    Print(ProvidersJson(market));
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "KIND", "ADDRESS", "KEY", "DATA POLICY", "MODELS"}};
  for (const Provider& provider : market.catalog->providers()) {
    rows.push_back({provider.slug, provider.kind,
                    provider.base_url.empty() ? "-" : provider.base_url, KeyText(market, provider),
                    std::string(DataPolicyName(provider.data_policy)),
                    std::to_string(market.catalog->ModelCount(provider.slug))});
  }
  Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
