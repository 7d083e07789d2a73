#pragma once
#include <cstddef>
#include <cstdint>
namespace tradewind::limits {
inline constexpr size_t kConfiguredProvidersMax = 256;
inline constexpr size_t kConfiguredModelsMax = 10'000;  // of one [[providers]] entry
inline constexpr size_t kPriceMapBytesMax = 64 << 20;   // the largest public map has 2 MB
inline constexpr size_t kPriceRowsMax = 100'000;        // kept in one home; maps have some 3,000
inline constexpr size_t kApiKeyBytesMax = 4096;         // JSON web tokens take about 1,000
inline constexpr int kModelListPageMax = 1000;          // of GET /api/models, as on the Hub
}  // namespace tradewind::limits
