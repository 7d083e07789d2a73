// Versions of prices: what a hold was bought at stays to be read, whatever prices do later.
#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

// What is in force no more is kept for holds that end late.
constexpr int64_t kForgetPriceAfterNs = int64_t{8} * 86'400 * 1'000'000'000;

uint64_t BytesOf(const PriceSpec& price) {
  constexpr uint64_t kRest = 160;  // header, lengths, padding
  return kRest + price.item.size() + price.terms.size() + price.source.size();
}

}  // namespace

std::optional<uint32_t> Book::FindPrice(std::string_view item, std::string_view terms,
                                        int64_t time_ns) const {
  const auto found = prices_of_.find(item);
  if (found == prices_of_.end()) {
    return std::nullopt;
  }
  const std::vector<uint32_t>& versions = found->second;  // never empty
  if (prices_.at(versions.back()).terms == terms) {
    return versions.back();
  }
  if (time_ns - prices_.at(versions.back()).since_ns >= kPriceReturnNs) {
    return std::nullopt;
  }
  const auto before = std::find_if(versions.rbegin(), versions.rend(), [&](uint32_t version) {
    return prices_.at(version).terms == terms;
  });
  return before == versions.rend() ? std::nullopt : std::optional(*before);
}

Result<Record> Book::DecidePrice(const PriceSpec& price) const {
  if (price.item.empty() ||
      std::max({price.item.size(), price.terms.size(), price.source.size()}) > kPriceTextBytesMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a price's texts have 1 to {} bytes", kPriceTextBytesMax), "price");
  }
  if (prices_.size() >= kPriceVersionsMax) {
    return Fail(ErrorCode::kResourceExhausted, "there are too many versions of prices", "price");
  }
  Record record;
  record.type = RecordType::kPrice;
  record.price_version = next_price_;
  record.price = price;
  record.price.since_ns = 0;
  return record;
}

Status Book::ApplyPrice(const Record& record) {
  // A snapshot leaves out what was forgotten: numbers only grow.
  if (record.price_version < next_price_ || record.price_version == UINT32_MAX ||
      record.price.item.empty()) {
    return Fail(
        ErrorCode::kCorruptFile,
        fmt::format("the journal's record {}: its price's version is not the next", record.seq));
  }
  PriceSpec price = record.price;
  if (price.since_ns == 0) {
    price.since_ns = record.time_ns;
  }
  price_bytes_ += BytesOf(price);
  prices_of_[price.item].push_back(record.price_version);
  prices_[record.price_version] = std::move(price);
  next_price_ = record.price_version + 1;
  return {};
}

void Book::ForgetPrices(int64_t time_ns) {
  std::set<uint32_t> in_use;
  for (const auto& [id, hold] : holds_) {
    in_use.insert(hold.price_version);
  }
  for (auto& [item, versions] : prices_of_) {
    // A version ended when the next one began.
    const auto is_over = [&](size_t i) {
      return i + 1 < versions.size() &&
             prices_.at(versions[i + 1]).since_ns < time_ns - kForgetPriceAfterNs &&
             !in_use.contains(versions[i]);
    };
    std::vector<uint32_t> kept, over;
    for (size_t i = 0; i < versions.size(); ++i) {
      (is_over(i) ? over : kept).push_back(versions[i]);
    }
    for (const uint32_t version : over) {
      price_bytes_ -= BytesOf(prices_.at(version));
      prices_.erase(version);
    }
    versions = std::move(kept);
  }
}

}  // namespace tradewind::ledger
