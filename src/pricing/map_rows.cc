#include "pricing/map_rows.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tradewind::pricing {
namespace {

// USD per million tokens beyond which a price is taken for a mistake of the unit: the dearest model
// ever listed costs 600, and maps do hold rows in USD where cents belong.
constexpr std::string_view kPlausibleMax = "1000";
constexpr std::string_view kPlausibleEachMax = "10";  // USD for a request or a picture

// What the tier says is what there is without it.
bool SaysNothingNew(const catalog::PriceTier& tier, const catalog::TokenPrices& prices) {
  return std::ranges::all_of(catalog::kTokenPriceFields, [&](const auto& field) {
    return !(tier.*field.price).has_value() || tier.*field.price == prices.*field.price;
  });
}

void DropWhatIsNoOther(std::optional<Decimal>& price, const std::optional<Decimal>& whole) {
  if (price == whole) {
    price.reset();
  }
}

// A price for what is kept an hour that only some of the tiers have is none: few requests ask for
// it, and those that do not keep their prices.
void DropLongCacheInPart(catalog::Prices& prices) {
  const auto has_none = [](const catalog::TokenPrices& of) { return !of.cache_write_1h; };
  if (!has_none(prices) && std::ranges::none_of(prices.tiers, has_none)) {
    return;
  }
  prices.cache_write_1h.reset();
  for (catalog::PriceTier& tier : prices.tiers) {
    tier.cache_write_1h.reset();
  }
}

}  // namespace

const Leaf* FindLeaf(const Leaves& leaves, std::string_view path) {
  const auto found = leaves.find(path);
  return found == leaves.end() ? nullptr : &found->second;
}

std::optional<Decimal> RowReader::Price(std::string_view path) {
  const Leaf* leaf = FindLeaf(leaves_, path);
  return leaf == nullptr ? std::nullopt : Convert(path, *leaf);
}

std::optional<Decimal> RowReader::PriceAboveZero(std::string_view path) {
  const std::optional<Decimal> price = Price(path);
  return price.has_value() && price->is_zero() ? std::nullopt : price;
}

std::optional<Decimal> RowReader::Shift(std::string_view path, const Leaf& leaf, int shift) {
  if (leaf.kind == Leaf::Kind::kOther && leaf.text == "null") {
    return std::nullopt;
  }
  // Some maps write numbers as text: the text is what counts here anyway.
  const auto number = Decimal::Parse(leaf.kind == Leaf::Kind::kOther ? "" : leaf.text);
  const auto price = number ? number->Shifted(shift) : number;
  if (!price) {
    Refuse(fmt::format("{} is not a number that can be kept exactly: {}", path,
                       leaf.text.substr(0, 40)));
    return std::nullopt;
  }
  if (price->is_negative()) {
    Refuse(fmt::format("{} is below 0: the price is decided elsewhere", path));
    return std::nullopt;
  }
  return *price;
}

std::optional<Decimal> RowReader::Convert(std::string_view path, const Leaf& leaf) {
  const std::optional<Decimal> price = Shift(path, leaf, shift_);
  if (price.has_value() && *price > Decimal::Parse(kPlausibleMax).value()) {
    Refuse(fmt::format("{} would be {} USD per million tokens: a wrong unit?", path,
                       price->ToString()));
  }
  return price;
}

std::optional<Decimal> RowReader::Each(std::string_view path) {
  const Leaf* leaf = FindLeaf(leaves_, path);
  const std::optional<Decimal> price = leaf == nullptr ? std::nullopt : Shift(path, *leaf, 0);
  if (!price.has_value() || price->is_zero()) {
    return std::nullopt;
  }
  if (*price > Decimal::Parse(kPlausibleEachMax).value()) {
    Refuse(fmt::format("{} would be {} USD for each: a wrong unit?", path, price->ToString()));
  }
  return price;
}

void RowReader::RefuseOther(std::string_view path, const std::optional<Decimal>& known,
                            std::string_view reason) {
  if (const auto price = PriceAboveZero(path); price.has_value() && price != known) {
    Refuse(std::string(reason));
  }
}

void CheckTokens(catalog::Prices& prices, std::string_view input, std::string_view output,
                 bool zero_is_free, const std::set<std::string>& other_units, RowReader& reader) {
  if (!prices.input && !prices.output) {
    reader.Refuse(other_units.empty() ? fmt::format("no price: neither {} nor {}", input, output)
                                      : fmt::format("not billed by tokens, but by {}",
                                                    fmt::join(other_units, ", ")));
  } else if (!prices.input || !prices.output) {
    reader.Refuse(fmt::format("no price for {}", prices.input ? output : input));
  } else if (prices.input->is_zero() && prices.output->is_zero() && !zero_is_free) {
    reader.Refuse(
        other_units.empty()
            ? "all prices are 0, which the map also writes for unknown; if it is free, say "
              "so with \"0\" under [[providers]]"
            : fmt::format("not billed by tokens, but by {}", fmt::join(other_units, ", ")));
  }
  SettleTiers(prices, reader);
}

void SettleTiers(catalog::Prices& prices, RowReader& reader) {
  DropWhatIsNoOther(prices.reasoning, prices.output);
  std::erase_if(prices.tiers,
                [&](const catalog::PriceTier& tier) { return SaysNothingNew(tier, prices); });
  if (prices.tiers.empty()) {
    return;
  }
  std::ranges::sort(prices.tiers, {}, &catalog::PriceTier::above);
  DropLongCacheInPart(prices);
  for (catalog::PriceTier& tier : prices.tiers) {
    if (!prices.reasoning.has_value()) {
      DropWhatIsNoOther(tier.reasoning, tier.output);
    }
    if (!tier.audio_input.has_value()) {
      DropWhatIsNoOther(prices.audio_input, prices.input);
    }
    if (!tier.audio_output.has_value()) {
      DropWhatIsNoOther(prices.audio_output, prices.output);
    }
  }
  if (const Status sound = prices.CheckTiers(); !sound.has_value()) {
    reader.Refuse("the price depends on the length of the prompt, and its tiers " +
                  sound.error().message);
  }
}

void SettleServices(catalog::Prices& prices, std::set<std::string>& others) {
  const auto is_none = [&](catalog::ServiceTier& service) {
    std::ranges::sort(service.tiers, {}, &catalog::PriceTier::above);
    for (size_t tier = 0; tier <= service.tiers.size() && !prices.reasoning; ++tier) {
      catalog::TokenPrices& of =
          tier == 0 ? static_cast<catalog::TokenPrices&>(service) : service.tiers[tier - 1];
      DropWhatIsNoOther(of.reasoning, of.output);
    }
    const bool is_said =
        prices.CheckService(service).has_value() && (!service.is_zero() || prices.is_zero());
    if (!is_said) {
      others.emplace("service tier " + service.name);
    }
    return !is_said;
  };
  std::erase_if(prices.service_tiers, is_none);
}

catalog::PriceTier& TierAbove(catalog::TieredPrices& prices, int64_t above) {
  const auto found = std::ranges::find(prices.tiers, above, &catalog::PriceTier::above);
  if (found != prices.tiers.end()) {
    return *found;
  }
  catalog::PriceTier& tier = prices.tiers.emplace_back();
  tier.above = above;
  return tier;
}

}  // namespace tradewind::pricing
