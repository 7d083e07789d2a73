#include "catalog/known_providers.h"

#include <algorithm>
#include <array>

namespace tradewind::catalog {
namespace {

constexpr std::array<std::string_view, 4> kPolicies = {"cheapest", "fastest", "preferred",
                                                       "private"};

// The slugs of the Hub's inference providers, those withdrawn in 2026 too (old clients still write
// them), and those that people point at by hand.
constexpr std::array<std::string_view, 27> kSlugs = {"baseten",      "black-forest-labs",
                                                     "cerebras",     "clarifai",
                                                     "cohere",       "deepinfra",
                                                     "fal-ai",       "featherless-ai",
                                                     "fireworks-ai", "groq",
                                                     "hf-inference", "huggingface",
                                                     "hyperbolic",   "nebius",
                                                     "novita",       "nscale",
                                                     "nvidia",       "openai",
                                                     "openrouter",   "ovhcloud",
                                                     "publicai",     "replicate",
                                                     "sambanova",    "scaleway",
                                                     "together",     "wavespeed",
                                                     "zai-org"};

static_assert(std::is_sorted(kPolicies.begin(), kPolicies.end()));
static_assert(std::is_sorted(kSlugs.begin(), kSlugs.end()));

bool IsSlugChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

}  // namespace

std::span<const std::string_view> KnownSlugs() {
  return kSlugs;
}
std::span<const std::string_view> PolicyNames() {
  return kPolicies;
}

bool IsProviderSlug(std::string_view slug) {
  return std::binary_search(kSlugs.begin(), kSlugs.end(), slug);
}
bool IsPolicy(std::string_view name) {
  return std::binary_search(kPolicies.begin(), kPolicies.end(), name);
}

bool IsSlugText(std::string_view text) {
  constexpr size_t kBytesMax = 64;
  return !text.empty() && text.size() <= kBytesMax && text.front() != '-' && text.back() != '-' &&
         std::all_of(text.begin(), text.end(), IsSlugChar);
}

}  // namespace tradewind::catalog
