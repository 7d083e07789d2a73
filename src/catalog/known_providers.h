// Slugs that are taken, configured or not. Those that this build speaks to: providers/kinds.h.
#pragma once

#include <span>
#include <string_view>

namespace tradewind::catalog {

// The kind of any server that speaks OpenAI's API at a URL of its own.
inline constexpr std::string_view kGenericKind = "openai";

// Sorted.
std::span<const std::string_view> KnownSlugs();
// The suffixes that are policies: sorted.
std::span<const std::string_view> PolicyNames();

bool IsProviderSlug(std::string_view slug);
bool IsPolicy(std::string_view name);

// True for 1 to 64 of [a-z0-9-], not at the ends: what may stand after the colon of a model string.
bool IsSlugText(std::string_view text);

}  // namespace tradewind::catalog
