#include "pricing/price_map.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "pricing/json_leaves.h"
#include "pricing/map_rows.h"

namespace tradewind::pricing {
namespace {

using catalog::PriceRow;

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

std::string PortkeyModel(const std::string& provider, std::string_view key) {
  if (provider != "fireworks-ai") {
    return std::string(key);
  }
  constexpr std::string_view kPrefix = "fireworks-ai/";
  key.remove_prefix(key.starts_with(kPrefix) ? kPrefix.size() : 0);
  return key.find('/') == key.npos ? fmt::format("accounts/fireworks/models/{}", key)
                                   : std::string(key);
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
  if (FindLeaf(leaves, "litellm_provider") != nullptr) {
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
    if (const Leaf* alias = FindLeaf(leaves, "alias_of"); alias != nullptr) {
      return fmt::format("another name for {}", alias->text.substr(0, 100));
    }
    const Leaf* provider = FindLeaf(leaves, "litellm_provider");
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
