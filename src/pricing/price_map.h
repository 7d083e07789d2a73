// The two public price maps → rows of USD per million tokens. Every row is priced exactly, from the
// text of its numbers, or named with the reason why it is not.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/mapping.h"

namespace tradewind::pricing {

enum class MapFormat {
  kAuto,     // by what the first rows look like
  kPortkey,  // Portkey-AI/models pricing/<provider>.json: US cents per token
  kLiteLlm,  // LiteLLM's model_prices_and_context_window.json: USD per token, all providers
};

// A row and what is to be said about it.
struct RowNote {
  std::string key;     // as the map has it
  std::string reason;  // "no price for response_token"
};

struct PriceImport {
  MapFormat format = MapFormat::kAuto;
  std::vector<catalog::PriceRow> rows;
  std::vector<RowNote> unpriced;  // rows that are left out
  std::vector<RowNote> remarks;   // rows that are priced, with units that this build never bills
  size_t seen = 0;                // rows.size() + unpriced.size()
};

// `file_name` names the provider of a Portkey map ("together-ai.json"), and the rows' origin.
// `as_of` is the date the prices get. Errors: kCorruptFile (not JSON, or no such map), kUnsupported
// (the format cannot be told), kPayloadTooLarge (more rows than kPriceRowsMax).
Result<PriceImport> ParsePriceMap(std::string_view json, std::string_view file_name,
                                  MapFormat format, std::string_view as_of);

std::string_view MapFormatName(MapFormat format);  // "portkey", "litellm", "auto"

// The slug that Tradewind has for a provider of a map; its own name where there is none.
std::string ProviderSlug(std::string_view name);

}  // namespace tradewind::pricing
