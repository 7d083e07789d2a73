// HOME/prices.json: the rows that imports left, merged into the catalogue at the next start.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/mapping.h"

namespace tradewind::pricing {

std::filesystem::path PriceFilePath(const std::filesystem::path& home);

// No rows when there is no file. Errors: kIo, kPayloadTooLarge, kCorruptFile naming the row.
Result<std::vector<catalog::PriceRow>> LoadPrices(const std::filesystem::path& home);

// Writes the whole file or nothing. Errors as WriteFileAtomic.
Status SavePrices(const std::filesystem::path& home, const std::vector<catalog::PriceRow>& rows);

// `fresh` in place of the rows of the same origin and of those for the same models, sorted. So a
// second import of a newer map leaves no price that the map no longer has.
std::vector<catalog::PriceRow> MergePrices(std::vector<catalog::PriceRow> old,
                                           const std::vector<catalog::PriceRow>& fresh);

}  // namespace tradewind::pricing
