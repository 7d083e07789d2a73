// One row of a public map → prices: what the readers of both maps share, and the two of them.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/decimal.h"
#include "catalog/mapping.h"
#include "pricing/json_leaves.h"

namespace tradewind::pricing {

const Leaf* FindLeaf(const Leaves& leaves, std::string_view path);

// One row on its way: the first reason against it is kept.
class RowReader {
 public:
  // `shift`: places from the map's price of a token to USD per million.
  RowReader(const Leaves& leaves, int shift) : leaves_(leaves), shift_(shift) {}

  // The price at `path` in USD per million; nullopt when there is none.
  std::optional<Decimal> Price(std::string_view path);
  std::optional<Decimal> Convert(std::string_view path, const Leaf& leaf);
  // What the map writes as 0 where there is none, too.
  std::optional<Decimal> PriceAboveZero(std::string_view path);
  // In USD for each one, above 0.
  std::optional<Decimal> Each(std::string_view path);
  // A price that this build cannot charge refuses the row when it is another one than `known`.
  void RefuseOther(std::string_view path, const std::optional<Decimal>& known,
                   std::string_view reason);
  void Refuse(std::string reason) { reason_ = reason_.empty() ? std::move(reason) : reason_; }
  const std::string& reason() const { return reason_; }

 private:
  std::optional<Decimal> Shift(std::string_view path, const Leaf& leaf, int shift);

  const Leaves& leaves_;
  const int shift_;
  std::string reason_;
};

// Once everything is read: tokens of text have prices that may be believed, and tiers are whole.
// Tiers that cost what there is without them are dropped, as is a price of sound or thought that is
// no other than that of text.
void CheckTokens(catalog::Prices& prices, std::string_view input, std::string_view output,
                 bool zero_is_free, const std::set<std::string>& other_units, RowReader& reader);
void SettleTiers(catalog::Prices& prices, RowReader& reader);
// The tier above so many input tokens, made when it is new.
catalog::PriceTier& TierAbove(catalog::TieredPrices& prices, int64_t above);
// Once the tiers are settled: a service tier that does not say all prices, or says 0, is none, and
// is named among `others`.
void SettleServices(catalog::Prices& prices, std::set<std::string>& others);

// Each sets what `row` is priced at and returns the reason against it, "" = none; `others` are
// priced units that no request of text is billed by.
std::string ReadPortkeyRow(const Leaves& leaves, catalog::PriceRow& row,
                           std::set<std::string>& others);
std::string ReadLiteLlmRow(const Leaves& leaves, catalog::PriceRow& row,
                           std::set<std::string>& others);

}  // namespace tradewind::pricing
