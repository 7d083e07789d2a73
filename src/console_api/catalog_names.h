// Models and providers as requests are recorded with them: what a budget or a credit is set for has
// to be one of these, or it would bind nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "catalog/catalog.h"

namespace tradewind::console_api {

// The catalogue as it is now. Thread-safe. Errors: those of pricing::LoadPrices.
using CatalogNow = std::function<Result<std::shared_ptr<const catalog::Catalog>>()>;

// `name` as the catalogue spells it, of what `kind` says ("model:", "provider:"); requests write it
// in any case, and a model without its organisation where that is clear. Errors: kNotFound (param
// `field`), with the nearest names and how to list all.
Result<std::string> NameInCatalog(const catalog::Catalog& catalog, std::string_view kind,
                                  std::string_view name, std::string_view field);

}  // namespace tradewind::console_api
