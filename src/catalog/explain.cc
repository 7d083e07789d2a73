// Why a model string leads nowhere, in words that say what to do.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "catalog/catalog.h"
#include "catalog/known_providers.h"

namespace tradewind::catalog {
namespace {

std::string WhyNot(const Catalog& catalog, const Mapping& mapping) {
  const Provider* provider = catalog.FindProvider(mapping.provider);
  if (provider != nullptr && !provider->off.empty()) {
    return provider->off;
  }
  if (mapping.status == MappingStatus::kStaging) {
    return fmt::format("not confirmed to serve it; name it with :{}", mapping.provider);
  }
  return mapping.status == MappingStatus::kError ? "its last check failed" : "available";
}

}  // namespace

Error ExplainUnsupported(const Catalog& catalog, const ModelRef& ref) {
  constexpr size_t kNamedMax = 12;
  Error error{ErrorCode::kModelNotSupported, "", "model", {}};
  const std::vector<std::string>& slugs = catalog.slugs();
  const auto model = catalog.Resolve(ref.model);
  if (!ref.tag.empty()) {
    error.message = fmt::format(
        "\"{}\" is neither a provider ({}), nor a policy ({}), nor a tag of a model on this "
        "device.",
        ref.tag, fmt::join(slugs, ", "), fmt::join(PolicyNames(), ", "));
    return error;
  }
  if (ref.place == Place::kProvider && catalog.FindProvider(ref.suffix) == nullptr) {
    error.message = fmt::format(
        "The provider \"{}\" is not configured; there are {}. [[providers]] in the "
        "config adds one.",
        ref.suffix, fmt::join(slugs, ", "));
    return error;
  }
  if (!model) {
    error.message = model.error().message;
    return error;
  }
  std::vector<std::string> considered;
  for (const Mapping& mapping : (*model)->mappings) {
    if (considered.size() < kNamedMax) {
      considered.push_back(fmt::format("{}: {}", mapping.provider, WhyNot(catalog, mapping)));
    }
  }
  if (ref.place == Place::kProvider || ref.place == Place::kLocal) {
    if ((*model)->At(ref.suffix) == nullptr) {
      considered.insert(considered.begin(),
                        fmt::format("{}: does not serve {}", ref.suffix, (*model)->id));
    }
  }
  error.message = fmt::format("The model \"{}\" has no route here. Considered: {}.", (*model)->id,
                              fmt::join(considered, "; "));
  return error;
}

}  // namespace tradewind::catalog
