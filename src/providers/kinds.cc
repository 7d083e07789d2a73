#include "providers/kinds.h"

#include <algorithm>

namespace tradewind::providers {

std::span<const Quirks* const> AllQuirks() {
#define TW_ADDRESS_OF(constant) &constant,
  static constexpr const Quirks* kAll[] = {TW_PROVIDER_KINDS(TW_ADDRESS_OF)};
#undef TW_ADDRESS_OF
  return kAll;
}

const Quirks* FindQuirks(std::string_view kind) {
  for (const Quirks* quirks : AllQuirks()) {
    if (quirks->kind == kind) {
      return quirks;
    }
  }
  return nullptr;
}

std::vector<std::string_view> KindNames() {
  std::vector<std::string_view> names;
  for (const Quirks* quirks : AllQuirks()) {
    names.push_back(quirks->kind);
  }
  std::ranges::sort(names);
  return names;
}

std::vector<catalog::Provider> KnownProviders() {
  std::vector<catalog::Provider> out;
  for (const Quirks* quirks : AllQuirks()) {
    if (quirks->base_url.empty()) {
      continue;
    }
    catalog::Provider provider;
    provider.slug = provider.kind = quirks->kind;
    provider.display_name = quirks->name;
    provider.base_url = quirks->base_url;
    provider.api_key_env = quirks->api_key_env;
    provider.origin = "built-in";
    out.push_back(std::move(provider));
  }
  return out;
}

}  // namespace tradewind::providers
