// LiteLLM's model_prices_and_context_window.json: USD per token, all providers. Its tiers are those
// of whole requests: a prompt of more tokens than the threshold has all of its tokens, and those of
// its answer, at the other price.
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include <fmt/format.h>

#include "pricing/map_rows.h"

namespace tradewind::pricing {
namespace {

using catalog::PriceRow;
using catalog::TokenPrices;

constexpr std::string_view kInCost = "input_cost_per_token";
constexpr std::string_view kOutCost = "output_cost_per_token";
constexpr std::string_view kLongCacheCost = "cache_creation_input_token_cost_above_1hr";
constexpr std::string_view kRanges = "tiered_pricing.";

struct CostName {
  std::string_view name;
  std::optional<Decimal> TokenPrices::* price;
};
constexpr std::array<CostName, 8> kCostNames = {
    {{kInCost, &TokenPrices::input},
     {kOutCost, &TokenPrices::output},
     {"cache_read_input_token_cost", &TokenPrices::cached_input},
     {"cache_creation_input_token_cost", &TokenPrices::cache_write},
     {"output_cost_per_reasoning_token", &TokenPrices::reasoning},
     {"input_cost_per_audio_token", &TokenPrices::audio_input},
     {"output_cost_per_audio_token", &TokenPrices::audio_output},
     {kLongCacheCost, &TokenPrices::cache_write_1h}}};

// Of these it writes 0 where there is none.
bool IsZeroNone(const CostName& cost) {
  return cost.price == &TokenPrices::audio_input || cost.price == &TokenPrices::audio_output ||
         cost.price == &TokenPrices::cache_write_1h;
}

// A whole number of the map, also as "1e6" or "256000.0".
std::optional<int64_t> CountOf(const Leaf& leaf) {
  const auto number = Decimal::Parse(leaf.text);
  if (leaf.kind == Leaf::Kind::kOther || !number || number->exponent() < 0 ||
      number->is_negative()) {
    return std::nullopt;
  }
  int64_t value = number->digits();
  for (int i = 0; i < number->exponent(); ++i) {
    if (value > std::numeric_limits<int64_t>::max() / 10) {
      return std::nullopt;
    }
    value *= 10;
  }
  return value;
}

std::optional<int64_t> Tokens(const Leaves& leaves, std::string_view name) {
  const Leaf* leaf = FindLeaf(leaves, name);
  const auto count = leaf == nullptr ? std::nullopt : CountOf(*leaf);
  return count.has_value() && *count > 0 ? count : std::nullopt;
}

std::optional<bool> Supports(const Leaves& leaves, std::string_view name) {
  const Leaf* leaf = FindLeaf(leaves, name);
  if (leaf == nullptr || (leaf->text != "true" && leaf->text != "false")) {
    return std::nullopt;
  }
  return leaf->text == "true";
}

// "" for a kind of work that is not billed by tokens.
std::string_view TaskOf(std::string_view mode) {
  return mode == "chat" || mode == "responses" ? "conversational"
         : mode == "completion"                ? "text-generation"
         : mode == "embedding"                 ? "feature-extraction"
                                               : "";
}

bool IsZero(const Leaf& leaf) {
  return leaf.text == "0" || leaf.text == "0.0" || leaf.text == "null";
}

// What else is behind a name: a service tier that requests ask for by this word.
constexpr std::array<std::string_view, 2> kServices = {"flex", "priority"};

// Takes "_flex" from the end of the name; "" when it has none.
std::string_view TakeService(std::string_view& path) {
  for (const std::string_view service : kServices) {
    if (path.ends_with(service) && path.substr(0, path.size() - service.size()).ends_with('_')) {
      path.remove_suffix(service.size() + 1);
      return service;
    }
  }
  return {};
}

// "input_cost_per_token_above_200k_tokens" → input, 200,000. False for every other name: prices
// of batches have more behind it.
bool ReadTierName(std::string_view path, const CostName*& cost, int64_t& above) {
  constexpr std::string_view kAbove = "_above_", kEnd = "_tokens";
  const size_t at = path.rfind(kAbove);  // "..._above_1hr_above_200k_tokens"
  if (at == path.npos || !path.ends_with(kEnd)) {
    return false;
  }
  const auto found = std::ranges::find(kCostNames, path.substr(0, at), &CostName::name);
  std::string_view number = path.substr(at + kAbove.size());
  number.remove_suffix(std::min(kEnd.size(), number.size()));
  const bool is_thousands = number.ends_with('k');
  number.remove_suffix(is_thousands ? 1 : 0);
  constexpr int64_t kAboveMax = 1'000'000'000;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), above);
  if (found == kCostNames.end() || read.ec != std::errc() ||
      read.ptr != number.data() + number.size() || above < 1 || above > kAboveMax) {
    return false;
  }
  above *= is_thousands ? 1000 : 1;
  cost = &*found;
  return true;
}

// A list of ranges: the first is what there is without a tier, each of the others begins above the
// end of the one before.
void ReadRanges(const Leaves& leaves, catalog::Prices& prices, RowReader& reader) {
  std::optional<int64_t> end;
  for (size_t i = 0; i <= catalog::kPriceTiersMax; ++i) {
    const Leaf* from = FindLeaf(leaves, fmt::format("{}{}.range.0", kRanges, i));
    const Leaf* to = FindLeaf(leaves, fmt::format("{}{}.range.1", kRanges, i));
    if (from == nullptr && to == nullptr) {
      break;
    }
    const auto begin = from == nullptr ? std::nullopt : CountOf(*from);
    if (!begin.has_value() || *begin != end.value_or(0)) {
      return reader.Refuse(
          "the price depends on the length of the prompt, in ranges that do not "
          "follow each other");
    }
    TokenPrices& of = i == 0 ? static_cast<TokenPrices&>(prices) : TierAbove(prices, *begin);
    for (const CostName& cost : kCostNames) {
      const auto price = reader.Price(fmt::format("{}{}.{}", kRanges, i, cost.name));
      if (i == 0 && (of.*cost.price).has_value() && price.has_value() && price != of.*cost.price) {
        reader.Refuse("two different prices: the row's own and that of its first range");
      }
      of.*cost.price = price.has_value() ? price : of.*cost.price;
    }
    end = to == nullptr ? std::nullopt : CountOf(*to);
  }
  if (!end.has_value() ||
      FindLeaf(leaves, fmt::format("{}{}.range.0", kRanges, catalog::kPriceTiersMax + 1))) {
    reader.Refuse("the price depends on the length of the prompt, in ranges that are not known");
  }
}

// "input_cost_per_token_flex", "input_cost_per_token_above_272k_tokens_priority". False: no price of
// a service tier.
bool ReadServiceCost(std::string_view path, const Leaf& leaf, catalog::Prices& prices,
                     RowReader& reader) {
  std::string_view name = path;
  const std::string_view service = TakeService(name);
  const CostName* cost = std::ranges::find(kCostNames, name, &CostName::name);
  int64_t above = 0;
  const bool is_above = cost == kCostNames.end() && ReadTierName(name, cost, above);
  if (service.empty() || (cost == kCostNames.end() && !is_above)) {
    return false;
  }
  const std::optional<Decimal> price = reader.Convert(path, leaf);
  if (price.has_value() && !(price->is_zero() && IsZeroNone(*cost))) {
    catalog::TieredPrices& of = prices.AddService(service);
    (is_above ? TierAbove(of, above) : static_cast<TokenPrices&>(of)).*cost->price = price;
  }
  return true;
}

// Prices of tiers; what no request of text is billed by goes to `others`.
void ReadOtherCosts(const Leaves& leaves, PriceRow& row, RowReader& reader,
                    std::set<std::string>& others) {
  static const std::set<std::string_view> kCompared = {
      "input_cost_per_image", "input_cost_per_request", "input_cost_per_image_token",
      "cache_read_input_audio_token_cost", "cache_read_input_image_token_cost"};
  for (const auto& [path, leaf] : leaves) {
    const bool is_read = std::ranges::find(kCostNames, path, &CostName::name) != kCostNames.end() ||
                         kCompared.contains(path) || path.starts_with(kRanges);
    const CostName* cost = nullptr;
    int64_t above = 0;
    if (ReadTierName(path, cost, above)) {
      if (const auto price = reader.Convert(path, leaf); price.has_value()) {
        TierAbove(row.prices, above).*cost->price = price;
      }
    } else if (ReadServiceCost(path, leaf, row.prices, reader)) {
      continue;
    } else if (path == "citation_cost_per_token" && !IsZero(leaf)) {
      reader.Refuse("it bills tokens of citations, which no request bounds");
    } else if (path.starts_with("input_cost_per_image_above_") && !IsZero(leaf)) {
      reader.Refuse("the price of pictures depends on the length of the prompt");
    } else if (!is_read && path.find("cost") != path.npos && !IsZero(leaf) &&
               path.find("_batches") == path.npos) {
      others.emplace(path.substr(0, path.find('.')));
    }
  }
}

}  // namespace

std::string ReadLiteLlmRow(const Leaves& leaves, PriceRow& row, std::set<std::string>& others) {
  constexpr int kPerTokenToPerMillion = 6;
  RowReader reader(leaves, kPerTokenToPerMillion);
  const Leaf* mode = FindLeaf(leaves, "mode");
  row.task = mode == nullptr ? "" : TaskOf(mode->text);
  if (row.task.empty()) {
    reader.Refuse(mode == nullptr
                      ? "no mode, so it is not known what it does"
                      : fmt::format("mode {} is not billed by tokens", mode->text.substr(0, 40)));
  }
  catalog::Prices& prices = row.prices;
  for (const CostName& cost : kCostNames) {
    prices.*cost.price =
        IsZeroNone(cost) ? reader.PriceAboveZero(cost.name) : reader.Price(cost.name);
  }
  if (const auto ranges = leaves.lower_bound(kRanges);
      ranges != leaves.end() && ranges->first.starts_with(kRanges)) {
    ReadRanges(leaves, prices, reader);
  }
  if (row.task == "feature-extraction" && prices.input && !prices.output) {
    prices.output = Decimal();  // there are no output tokens
  }
  prices.request = reader.Each("input_cost_per_request");
  prices.image = reader.Each("input_cost_per_image");
  ReadOtherCosts(leaves, row, reader, others);
  if (prices.is_priced()) {
    const auto& cached = prices.cached_input ? prices.cached_input : prices.input;
    reader.RefuseOther("input_cost_per_image_token", prices.input,
                       "tokens of pictures have a price of their own");
    reader.RefuseOther("cache_read_input_image_token_cost", cached,
                       "tokens of pictures have a price of their own");
    reader.RefuseOther("cache_read_input_audio_token_cost", cached,
                       "cached tokens of sound have a price of their own");
  }
  CheckTokens(prices, kInCost, kOutCost, row.provider_model.ends_with(":free"), others, reader);
  SettleServices(prices, others);
  if (reader.PriceAboveZero(kLongCacheCost).has_value() && !prices.cache_write_1h) {
    others.emplace(kLongCacheCost);  // and its tiers do not say it
  }
  row.context_length = Tokens(leaves, "max_input_tokens");
  row.max_output = Tokens(leaves, "max_output_tokens");
  row.supports_tools = Supports(leaves, "supports_function_calling");
  row.supports_structured_output = Supports(leaves, "supports_response_schema");
  return reader.reason();
}

}  // namespace tradewind::pricing
