// Every kind of upstream that this build speaks to. A new provider is a file of quirks and a line
// here (and one in CMakeLists.txt): the catalogue, the config and the command line learn of it from
// this list.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "catalog/mapping.h"
#include "providers/quirks.h"

namespace tradewind::providers {

// In the order in which routes are preferred when nothing else is said.
#define TW_PROVIDER_KINDS(KIND) \
  KIND(kFireworks)              \
  KIND(kTogether)               \
  KIND(kCerebras)               \
  KIND(kGroq)                   \
  KIND(kHuggingFace)            \
  KIND(kOpenAiCompatible)

#define TW_DECLARE_KIND(constant) extern const Quirks constant;
TW_PROVIDER_KINDS(TW_DECLARE_KIND)
#undef TW_DECLARE_KIND

// In that order.
std::span<const Quirks* const> AllQuirks();
// nullptr for a kind that is not known.
const Quirks* FindQuirks(std::string_view kind);
// What `kind` in [[providers]] may be: sorted.
std::vector<std::string_view> KindNames();

// What needs its key only: a provider for each kind that has an address of its own.
std::vector<catalog::Provider> KnownProviders();

}  // namespace tradewind::providers
