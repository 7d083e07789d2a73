// The catalogue that the binary carries: open models at well-known providers with dated prices, so
// that a start needs no network. Data: starter.json.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/mapping.h"

namespace tradewind::catalog {

struct StarterCatalogue {
  std::vector<Mapping> mappings;
};

// Prices must be strings; names, statuses and tasks are checked. Errors: kCorruptFile naming the
// row.
Result<StarterCatalogue> ParseStarter(std::string_view json);

// The embedded one. A test holds that it parses; should it not, this is empty.
const StarterCatalogue& Starter();
std::string_view StarterJson();

}  // namespace tradewind::catalog
