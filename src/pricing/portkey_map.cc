// Portkey-AI/models: US cents per token, by regions, speeds and lengths of the prompt.
#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include <fmt/format.h>

#include "pricing/map_rows.h"

namespace tradewind::pricing {
namespace {

using catalog::PriceRow;
using catalog::TokenPrices;

constexpr std::string_view kPayAsYouGo = "pricing_config.pay_as_you_go.";
constexpr std::string_view kInTokens = "request_token";
constexpr std::string_view kOutTokens = "response_token";
constexpr std::string_view kRegions = "custom_pricing.regions.";
constexpr std::string_view kDefault = "custom_pricing.regions.default.";
constexpr std::string_view kStandard = "execution_modes.standard.";
constexpr std::string_view kTiers = "context_tiers.";
constexpr std::string_view kTierMap = "custom_pricing.context_tier_map.";
constexpr std::string_view kPrice = ".price";

struct UnitName {
  std::string_view name;
  std::optional<Decimal> TokenPrices::* price;
  bool zero_is_none;  // the map writes 0 for what a model does not do
};
constexpr std::array<UnitName, 8> kUnitNames = {
    {{kInTokens, &TokenPrices::input, false},
     {kOutTokens, &TokenPrices::output, false},
     {"cache_read_input_token", &TokenPrices::cached_input, false},
     {"cache_write_input_token", &TokenPrices::cache_write, false},
     {"reasoning_token", &TokenPrices::reasoning, true},
     {"request_audio_token", &TokenPrices::audio_input, true},
     {"response_audio_token", &TokenPrices::audio_output, true},
     {"additional_units.cache_write_1h", &TokenPrices::cache_write_1h, true}}};

// "web_search" of a path with "pay_as_you_go.web_search.price" at `at`; empty where there is none.
// A price that belongs to no unit ("pay_as_you_go.price") is none: its one dot is of both ends.
std::string_view UnitAt(std::string_view path, size_t at) {
  path = path.substr(std::min(at, path.size()));
  if (!path.starts_with(kPayAsYouGo) || !path.ends_with(kPrice) ||
      path.size() < kPayAsYouGo.size() + kPrice.size()) {
    return "";
  }
  return path.substr(kPayAsYouGo.size(), path.size() - kPayAsYouGo.size() - kPrice.size());
}

// "web_search", "video_seconds": priced units beyond those that are read or compared.
std::set<std::string> OtherUnits(const Leaves& leaves) {
  static const std::set<std::string_view> kCompared = {
      "cache_read_audio_input_token", "request_image_token", "cache_read_image_input_token"};
  std::set<std::string> out;
  for (const auto& [path, leaf] : leaves) {
    std::string_view unit = UnitAt(path, 0);
    if (unit.empty()) {
      continue;
    }
    const bool is_read = std::ranges::find(kUnitNames, unit, &UnitName::name) != kUnitNames.end();
    constexpr std::string_view kAdditional = "additional_units.";
    unit.remove_prefix(unit.starts_with(kAdditional) ? kAdditional.size() : 0);
    unit = unit.substr(0, unit.find('.'));
    if (!is_read && !kCompared.contains(unit) && leaf.text != "0") {
      out.emplace(unit);
    }
  }
  return out;
}

// What the tiers' names mean: "gt-272k" begins above 272,000 input tokens, one of 0 is no tier.
// Names that do not say so are not guessed: -1.
std::map<std::string, int64_t, std::less<>> TierNames(const Leaves& leaves) {
  std::map<std::string, int64_t, std::less<>> names;
  for (const auto& [path, leaf] : leaves) {
    if (!path.starts_with(kTierMap)) {
      continue;
    }
    const std::string_view begin = std::string_view(path).substr(kTierMap.size());
    int64_t above = -1;
    const auto read = std::from_chars(begin.data(), begin.data() + begin.size(), above);
    const bool is_whole = read.ec == std::errc() && read.ptr == begin.data() + begin.size();
    const bool is_told = above == 0 || leaf.text.starts_with("gt-");
    names[leaf.text] = is_whole && above >= 0 && is_told ? above : -1;
  }
  return names;
}

// Prices at the standard speed: those of the default region are tiers, or what is known already;
// those of other regions have to be the default's.
class Variants {
 public:
  Variants(const Leaves& leaves, PriceRow& row, RowReader& reader)
      : leaves_(leaves), row_(row), reader_(reader), names_(TierNames(leaves)) {}

  void Read() {
    for (const auto& [path, leaf] : leaves_) {
      const size_t mode = path.find(kStandard);
      if (!path.starts_with(kRegions) || mode == path.npos || !path.ends_with(kPrice)) {
        continue;
      }
      const std::string_view rest = std::string_view(path).substr(mode + kStandard.size());
      path.starts_with(kDefault) ? ReadDefault(path, leaf, rest) : ReadRegion(path, leaf, rest);
    }
    for (const auto& [name, above] : names_) {
      if (above > 0 && !seen_.contains(above)) {
        reader_.Refuse(fmt::format("no price for prompts above {} tokens", above));
      }
    }
  }

 private:
  static const UnitName* UnitOf(std::string_view rest) {
    const std::string_view unit = UnitAt(rest, rest.find(kPayAsYouGo));
    const auto found = std::ranges::find(kUnitNames, unit, &UnitName::name);
    return found == kUnitNames.end() ? nullptr : &*found;
  }
  static bool IsPlain(const UnitName& unit) {
    return unit.name == kInTokens || unit.name == kOutTokens;
  }

  void ReadDefault(const std::string& path, const Leaf& leaf, std::string_view rest) {
    const UnitName* unit = UnitOf(rest);
    if (unit == nullptr) {
      return;
    }
    int64_t above = 0;
    if (rest.starts_with(kTiers)) {
      rest.remove_prefix(kTiers.size());
      const auto known = names_.find(rest.substr(0, rest.find('.')));
      above = known == names_.end() ? -1 : known->second;
    }
    const std::optional<Decimal> price = reader_.Convert(path, leaf);
    if (above == 0) {
      if (price && IsPlain(*unit) && price != row_.prices.*unit->price) {
        reader_.Refuse("two different prices: pay_as_you_go and execution_modes.standard");
      }
    } else if (above < 0) {
      if (price && IsPlain(*unit) && price != row_.prices.*unit->price) {
        reader_.Refuse(
            "the price depends on the length of the prompt, and where its tiers begin "
            "is not said");
      }
    } else if (price && !(unit->zero_is_none && price->is_zero())) {
      TierAbove(row_.prices, above).*unit->price = price;
      seen_.insert(above);
    }
  }

  void ReadRegion(const std::string& path, const Leaf& leaf, std::string_view rest) {
    const UnitName* unit = UnitOf(rest);
    if (unit == nullptr || !IsPlain(*unit)) {
      return;
    }
    const std::optional<Decimal> price = reader_.Convert(path, leaf);
    const std::string path_of_default = fmt::format("{}{}{}", kDefault, kStandard, rest);
    const std::optional<Decimal> by_default = FindLeaf(leaves_, path_of_default) == nullptr
                                                  ? row_.prices.*unit->price
                                                  : reader_.Price(path_of_default);
    if (price && price != by_default) {
      reader_.Refuse("the price depends on the region");
    }
  }

  const Leaves& leaves_;
  PriceRow& row_;
  RowReader& reader_;
  const std::map<std::string, int64_t, std::less<>> names_;
  std::set<int64_t> seen_;
};

}  // namespace

std::string ReadPortkeyRow(const Leaves& leaves, PriceRow& row, std::set<std::string>& others) {
  constexpr int kCentsPerTokenToUsdPerMillion = 4;
  RowReader reader(leaves, kCentsPerTokenToUsdPerMillion);
  const auto path = [](std::string_view unit) {
    return fmt::format("{}{}{}", kPayAsYouGo, unit, kPrice);
  };
  for (const UnitName& unit : kUnitNames) {
    row.prices.*unit.price =
        unit.zero_is_none ? reader.PriceAboveZero(path(unit.name)) : reader.Price(path(unit.name));
  }
  if (const Leaf* currency = FindLeaf(leaves, "pricing_config.currency");
      currency != nullptr && currency->text != "USD") {
    reader.Refuse(fmt::format("prices in {}, not USD", currency->text.substr(0, 20)));
  }
  others = OtherUnits(leaves);
  if (row.prices.is_priced()) {
    const auto& cached = row.prices.cached_input ? row.prices.cached_input : row.prices.input;
    reader.RefuseOther(path("cache_read_audio_input_token"), cached,
                       "cached tokens of sound have a price of their own");
    reader.RefuseOther(path("request_image_token"), row.prices.input,
                       "tokens of pictures have a price of their own");
    reader.RefuseOther(path("cache_read_image_input_token"), cached,
                       "tokens of pictures have a price of their own");
    Variants(leaves, row, reader).Read();
  }
  CheckTokens(row.prices, kInTokens, kOutTokens, row.provider_model.ends_with(":free"), others,
              reader);
  return reader.reason();
}

}  // namespace tradewind::pricing
