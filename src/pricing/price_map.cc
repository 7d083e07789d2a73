#include "pricing/price_map.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "pricing/json_leaves.h"

namespace tradewind::pricing {
namespace {

using catalog::PriceRow;

// USD per million tokens beyond which a price is taken for a mistake of the unit: the dearest model
// ever listed costs 600, and maps do hold rows in USD where cents belong.
constexpr std::string_view kPlausibleMax = "1000";

// Names in the maps and the slugs they mean. Sorted.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kSlugs = {{
    {"cohere_chat", "cohere"},
    {"fal_ai", "fal-ai"},
    {"featherless_ai", "featherless-ai"},
    {"fireworks", "fireworks-ai"},
    {"fireworks_ai", "fireworks-ai"},
    {"fireworks_ai-embedding-models", "fireworks-ai"},
    {"hugging_face", "huggingface"},
    {"mistral", "mistral-ai"},
    {"novita-ai", "novita"},
    {"text-completion-openai", "openai"},
    {"together", "together"},
    {"together-ai", "together"},
    {"together_ai", "together"},
    {"xai", "x-ai"},
    {"z-ai", "zai-org"},
    {"zai", "zai-org"},
}};
static_assert(std::is_sorted(kSlugs.begin(), kSlugs.end()));

const Leaf* Find(const Leaves& leaves, std::string_view path) {
  const auto found = leaves.find(path);
  return found == leaves.end() ? nullptr : &found->second;
}

// One row on its way: the first reason against it is kept.
class RowReader {
 public:
  RowReader(const Leaves& leaves, int shift) : leaves_(leaves), shift_(shift) {}

  // The price at `path` in USD per million; nullopt when there is none.
  std::optional<Decimal> Price(std::string_view path) {
    const Leaf* leaf = Find(leaves_, path);
    return leaf == nullptr ? std::nullopt : Convert(path, *leaf);
  }
  std::optional<Decimal> Convert(std::string_view path, const Leaf& leaf) {
    if (leaf.kind == Leaf::Kind::kOther && leaf.text == "null") {
      return std::nullopt;
    }
    // Some maps write numbers as text: the text is what counts here anyway.
    const auto number = Decimal::Parse(leaf.kind == Leaf::Kind::kOther ? "" : leaf.text);
    const auto price = number ? number->Shifted(shift_) : number;
    if (!price) {
      Refuse(fmt::format("{} is not a number that can be kept exactly: {}", path,
                         leaf.text.substr(0, 40)));
      return std::nullopt;
    }
    if (price->is_negative()) {
      Refuse(fmt::format("{} is below 0: the price is decided elsewhere", path));
      return std::nullopt;
    }
    if (*price > Decimal::Parse(kPlausibleMax).value()) {
      Refuse(fmt::format("{} would be {} USD per million tokens: a wrong unit?", path,
                         price->ToString()));
    }
    return *price;
  }
  void Refuse(std::string reason) { reason_ = reason_.empty() ? std::move(reason) : reason_; }
  const std::string& reason() const { return reason_; }

 private:
  const Leaves& leaves_;
  const int shift_;
  std::string reason_;
};

// What both maps have in common once the prices are read.
void CheckTokens(const PriceRow& row, std::string_view input, std::string_view output,
                 bool zero_is_free, const std::set<std::string>& other_units, RowReader& reader) {
  const catalog::Prices& prices = row.prices;
  if (!prices.input && !prices.output) {
    reader.Refuse(other_units.empty() ? fmt::format("no price: neither {} nor {}", input, output)
                                      : fmt::format("not billed by tokens, but by {}",
                                                    fmt::join(other_units, ", ")));
  } else if (!prices.input || !prices.output) {
    reader.Refuse(fmt::format("no price for {}", prices.input ? output : input));
  } else if (prices.is_free() && !zero_is_free) {
    reader.Refuse(
        other_units.empty()
            ? "all prices are 0, which the map also writes for unknown; if it is free, say "
              "so with \"0\" under [[providers]]"
            : fmt::format("not billed by tokens, but by {}", fmt::join(other_units, ", ")));
  }
}

// --- Portkey ---

constexpr std::string_view kPayAsYouGo = "pricing_config.pay_as_you_go.";
constexpr std::string_view kInTokens = "request_token";
constexpr std::string_view kOutTokens = "response_token";

// "request_audio_token", "web_search": priced units beyond the plain tokens.
std::set<std::string> OtherPortkeyUnits(const Leaves& leaves) {
  static const std::set<std::string_view> kPlain = {kInTokens, kOutTokens, "cache_read_input_token",
                                                    "cache_write_input_token", "reasoning_token"};
  std::set<std::string> out;
  for (const auto& [path, leaf] : leaves) {
    if (!path.starts_with(kPayAsYouGo) || !path.ends_with(".price")) {
      continue;
    }
    std::string_view unit = std::string_view(path).substr(kPayAsYouGo.size());
    constexpr std::string_view kAdditional = "additional_units.";
    unit.remove_prefix(unit.starts_with(kAdditional) ? kAdditional.size() : 0);
    unit = unit.substr(0, unit.find('.'));
    if (!kPlain.contains(unit) && leaf.text != "0") {
      out.emplace(unit);
    }
  }
  return out;
}

// Prices for the same tokens that differ from the plain ones, at the standard speed.
void CheckPortkeyVariants(const Leaves& leaves, const PriceRow& row, RowReader& reader) {
  for (const auto& [path, leaf] : leaves) {
    const bool is_input = path.ends_with(".request_token.price");
    if (!path.starts_with("custom_pricing.regions.") ||
        path.find(".execution_modes.standard.") == path.npos ||
        (!is_input && !path.ends_with(".response_token.price"))) {
      continue;
    }
    const auto price = reader.Convert(path, leaf);
    if (!price || price == (is_input ? row.prices.input : row.prices.output)) {
      continue;
    }
    const bool is_default = path.starts_with("custom_pricing.regions.default.");
    reader.Refuse(path.find(".context_tiers.") != path.npos
                      ? "the price depends on the length of the prompt"
                  : is_default ? "two different prices: pay_as_you_go and execution_modes.standard"
                               : "the price depends on the region");
  }
}

std::string PortkeyModel(const std::string& provider, std::string_view key) {
  if (provider != "fireworks-ai") {
    return std::string(key);
  }
  constexpr std::string_view kPrefix = "fireworks-ai/";
  key.remove_prefix(key.starts_with(kPrefix) ? kPrefix.size() : 0);
  return key.find('/') == key.npos ? fmt::format("accounts/fireworks/models/{}", key)
                                   : std::string(key);
}

std::string ReadPortkeyRow(const Leaves& leaves, PriceRow& row, std::set<std::string>& others) {
  constexpr int kCentsPerTokenToUsdPerMillion = 4;
  RowReader reader(leaves, kCentsPerTokenToUsdPerMillion);
  const auto price = [&](std::string_view unit) {
    return reader.Price(fmt::format("{}{}.price", kPayAsYouGo, unit));
  };
  row.prices.input = price(kInTokens);
  row.prices.output = price(kOutTokens);
  row.prices.cached_input = price("cache_read_input_token");
  row.prices.cache_write = price("cache_write_input_token");
  if (const Leaf* currency = Find(leaves, "pricing_config.currency");
      currency != nullptr && currency->text != "USD") {
    reader.Refuse(fmt::format("prices in {}, not USD", currency->text.substr(0, 20)));
  }
  if (const auto reasoning = price("reasoning_token");
      reasoning && !reasoning->is_zero() && reasoning != row.prices.output) {
    reader.Refuse("reasoning tokens have a price of their own");
  }
  others = OtherPortkeyUnits(leaves);
  CheckTokens(row, kInTokens, kOutTokens, row.provider_model.ends_with(":free"), others, reader);
  CheckPortkeyVariants(leaves, row, reader);
  return reader.reason();
}

// --- LiteLLM ---

constexpr std::string_view kInCost = "input_cost_per_token";
constexpr std::string_view kOutCost = "output_cost_per_token";

std::optional<int64_t> Tokens(const Leaves& leaves, std::string_view name) {
  const Leaf* leaf = Find(leaves, name);
  const auto number = leaf == nullptr ? Fail(ErrorCode::kNotFound, "") : Decimal::Parse(leaf->text);
  constexpr int kPlacesMax = 9;
  if (!number || number->digits() <= 0 || number->exponent() < 0 ||
      number->exponent() > kPlacesMax || number->digits() > 1'000'000'000) {
    return std::nullopt;
  }
  int64_t value = number->digits();
  for (int i = 0; i < number->exponent(); ++i) {
    value *= 10;
  }
  return value;
}

std::optional<bool> Supports(const Leaves& leaves, std::string_view name) {
  const Leaf* leaf = Find(leaves, name);
  if (leaf == nullptr || (leaf->text != "true" && leaf->text != "false")) {
    return std::nullopt;
  }
  return leaf->text == "true";
}

// "" for a kind of work that is not billed by tokens.
std::string_view LiteLlmTask(std::string_view mode) {
  return mode == "chat" || mode == "responses" ? "conversational"
         : mode == "completion"                ? "text-generation"
         : mode == "embedding"                 ? "feature-extraction"
                                               : "";
}

bool IsCost(std::string_view path) {
  return path.find("cost") != path.npos;
}

// Prices for the same tokens that differ from the plain ones; other units go to `others`.
void CheckLiteLlmVariants(const Leaves& leaves, const PriceRow& row, RowReader& reader,
                          std::set<std::string>& others) {
  static const std::set<std::string_view> kRead = {kInCost, kOutCost, "cache_read_input_token_cost",
                                                   "cache_creation_input_token_cost",
                                                   "output_cost_per_reasoning_token"};
  for (const auto& [path, leaf] : leaves) {
    if (path.starts_with("tiered_pricing")) {
      reader.Refuse("the price depends on the length of the prompt");
    }
    if (!IsCost(path) || kRead.contains(path) || leaf.text == "0" || leaf.text == "0.0" ||
        leaf.text == "null") {
      continue;
    }
    const bool is_batch_or_tier = path.find("_batches") != path.npos ||
                                  path.find("_priority") != path.npos ||
                                  path.find("_flex") != path.npos;
    if (path.find("_above_") != path.npos && path.find("tokens") != path.npos &&
        !is_batch_or_tier && (path.starts_with(kInCost) || path.starts_with(kOutCost))) {
      const auto price = reader.Convert(path, leaf);
      if (price != (path.starts_with(kInCost) ? row.prices.input : row.prices.output)) {
        reader.Refuse("the price depends on the length of the prompt");
      }
    } else if (!is_batch_or_tier) {
      others.emplace(path.substr(0, path.find('.')));
    }
  }
}

std::string ReadLiteLlmRow(const Leaves& leaves, PriceRow& row, std::set<std::string>& others) {
  constexpr int kPerTokenToPerMillion = 6;
  RowReader reader(leaves, kPerTokenToPerMillion);
  const Leaf* mode = Find(leaves, "mode");
  row.task = mode == nullptr ? "" : LiteLlmTask(mode->text);
  if (row.task.empty()) {
    reader.Refuse(mode == nullptr
                      ? "no mode, so it is not known what it does"
                      : fmt::format("mode {} is not billed by tokens", mode->text.substr(0, 40)));
  }
  row.prices.input = reader.Price(kInCost);
  row.prices.output = reader.Price(kOutCost);
  row.prices.cached_input = reader.Price("cache_read_input_token_cost");
  row.prices.cache_write = reader.Price("cache_creation_input_token_cost");
  if (row.task == "feature-extraction" && row.prices.input && !row.prices.output) {
    row.prices.output = Decimal();  // there are no output tokens
  }
  if (const auto reasoning = reader.Price("output_cost_per_reasoning_token");
      reasoning && reasoning != row.prices.output) {
    reader.Refuse("reasoning tokens have a price of their own");
  }
  CheckLiteLlmVariants(leaves, row, reader, others);
  CheckTokens(row, kInCost, kOutCost, row.provider_model.ends_with(":free"), others, reader);
  row.context_length = Tokens(leaves, "max_input_tokens");
  row.max_output = Tokens(leaves, "max_output_tokens");
  row.supports_tools = Supports(leaves, "supports_function_calling");
  row.supports_structured_output = Supports(leaves, "supports_response_schema");
  return reader.reason();
}

// "fireworks_ai/accounts/..." → "accounts/...".
std::string LiteLlmModel(std::string_view key, std::string_view provider) {
  if (const size_t slash = key.find('/');
      slash != key.npos && (key.substr(0, slash) == provider ||
                            ProviderSlug(key.substr(0, slash)) == ProviderSlug(provider))) {
    key.remove_prefix(slash + 1);
  }
  return std::string(key);
}

std::string_view FileStem(std::string_view name) {
  const size_t slash = name.rfind('/');
  name = slash == name.npos ? name : name.substr(slash + 1);
  return name.substr(0, name.rfind(".json"));
}

// False when `leaves` look like neither map.
bool Detect(const Leaves& leaves, MapFormat& format) {
  for (const auto& [path, leaf] : leaves) {
    if (path.starts_with("pricing_config.")) {
      format = MapFormat::kPortkey;
      return true;
    }
  }
  if (Find(leaves, "litellm_provider") != nullptr) {
    format = MapFormat::kLiteLlm;
    return true;
  }
  return false;
}

class MapReader {
 public:
  MapReader(std::string_view file_name, MapFormat format, std::string_view as_of)
      : stem_(FileStem(file_name)), as_of_(as_of) {
    out_.format = format;
  }

  Status Read(const std::string& key, const Leaves& leaves) {
    if (out_.format == MapFormat::kAuto && !Detect(leaves, out_.format)) {
      before_.push_back(key);
      return {};
    }
    if (++out_.seen > limits::kPriceRowsMax) {
      return Fail(ErrorCode::kPayloadTooLarge,
                  fmt::format("the map has more than {} rows", limits::kPriceRowsMax));
    }
    PriceRow row;
    std::set<std::string> others;
    std::string reason = ReadRow(key, leaves, row, others);
    if (reason.empty() && !seen_.emplace(row.provider, row.provider_model).second) {
      reason = fmt::format("{} is listed already; the first row counts", row.provider_model);
    }
    if (!reason.empty()) {
      out_.unpriced.push_back({key, std::move(reason)});
      return {};
    }
    if (!others.empty()) {
      out_.remarks.push_back({key, fmt::format("beside tokens it has prices that are not used: {}",
                                               fmt::join(others, ", "))});
    }
    row.prices.as_of = as_of_;
    row.prices.origin = fmt::format("{} {}.json", MapFormatName(out_.format), stem_);
    out_.rows.push_back(std::move(row));
    return {};
  }

  Result<PriceImport> Take() {
    if (out_.format == MapFormat::kAuto) {
      return Fail(ErrorCode::kUnsupported,
                  "this is no price map that is known; name its format with --format portkey or "
                  "litellm",
                  "format");
    }
    for (const std::string& key : before_) {
      out_.unpriced.push_back({key, "it holds no prices"});
      ++out_.seen;
    }
    return std::move(out_);
  }

 private:
  std::string ReadRow(const std::string& key, const Leaves& leaves, PriceRow& row,
                      std::set<std::string>& others) {
    if (key == "default" || key == "sample_spec") {
      return "it describes the map, not a model";
    }
    if (out_.format == MapFormat::kPortkey) {
      row.provider = ProviderSlug(stem_);
      row.provider_model = PortkeyModel(row.provider, key);
      return ReadPortkeyRow(leaves, row, others);
    }
    if (const Leaf* alias = Find(leaves, "alias_of"); alias != nullptr) {
      return fmt::format("another name for {}", alias->text.substr(0, 100));
    }
    const Leaf* provider = Find(leaves, "litellm_provider");
    if (provider == nullptr || provider->kind != Leaf::Kind::kText || provider->text.empty()) {
      return "it names no provider";
    }
    row.provider = ProviderSlug(provider->text);
    row.provider_model = LiteLlmModel(key, provider->text);
    return ReadLiteLlmRow(leaves, row, others);
  }

  std::string stem_, as_of_;
  PriceImport out_;
  std::set<std::pair<std::string, std::string>> seen_;
  std::vector<std::string> before_;  // rows that came before the format was known
};

}  // namespace

Result<PriceImport> ParsePriceMap(std::string_view json, std::string_view file_name,
                                  MapFormat format, std::string_view as_of) {
  MapReader reader(file_name, format, as_of);
  TW_RETURN_IF_ERROR(ForEachMember(json, [&](const std::string& key, const Leaves& leaves) {
    return reader.Read(key, leaves);
  }));
  return reader.Take();
}

std::string_view MapFormatName(MapFormat format) {
  switch (format) {
    case MapFormat::kAuto:
      return "auto";
    case MapFormat::kPortkey:
      return "portkey";
    case MapFormat::kLiteLlm:
      return "litellm";
  }
  return "auto";
}

std::string ProviderSlug(std::string_view name) {
  const auto found = std::find_if(kSlugs.begin(), kSlugs.end(),
                                  [&](const auto& one) { return one.first == name; });
  return std::string(found == kSlugs.end() ? name : found->second);
}

}  // namespace tradewind::pricing
