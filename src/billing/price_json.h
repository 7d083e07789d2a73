// Prices as answers and `--json` have them.
#pragma once

#include "catalog/mapping.h"
#include "dialects/json_writer.h"

namespace tradewind::billing {

// Adds to an object what few models have: `reasoning_usd_per_mtok`, `audio_input_usd_per_mtok`,
// `audio_output_usd_per_mtok`, `request_usd`, `image_usd`, `tiers`, each only where there is one.
void WriteOtherPrices(const catalog::Prices& prices, dialects::JsonWriter& json);

}  // namespace tradewind::billing
