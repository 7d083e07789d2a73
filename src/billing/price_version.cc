#include "billing/price_version.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "billing/hash.h"

namespace tradewind::billing {
namespace {

constexpr char kSeparator = '\x1F';  // ASCII's own unit separator

// At most so much of a name: ids are shorter, and the ledger takes 1,024 bytes.
constexpr size_t kNameBytesMax = 300;

std::string Name(std::string_view text) {
  std::string name(text.substr(0, kNameBytesMax));
  std::ranges::replace(name, kSeparator, ' ');
  return name;
}

// With separators between them. Made for every hold, so without a formatter.
std::string Join(std::initializer_list<std::string> fields) {
  std::string text;
  for (const std::string& field : fields) {
    text += field;
    text += kSeparator;
  }
  text.pop_back();
  return text;
}

std::string Number(const std::optional<Decimal>& price) {
  return price.has_value() ? price->ToString() : std::string();
}

std::string_view Next(std::string_view& rest) {
  const size_t end = std::min(rest.find(kSeparator), rest.size());
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

}  // namespace

ledger::PriceSpec SpecOf(const Purchase& purchase, const catalog::Prices& prices) {
  ledger::PriceSpec spec;
  spec.item = Join({Name(purchase.provider), Name(purchase.model), Name(purchase.provider_model)});
  spec.terms = Join({Number(prices.input), Number(prices.cached_input), Number(prices.cache_write),
                     Number(prices.output)});
  spec.source = Name(prices.origin);
  if (!prices.as_of.empty()) {
    spec.source += (spec.source.empty() ? "" : ", as of ") + Name(prices.as_of);
  }
  return spec;
}

PriceVersion VersionOf(uint32_t version, const ledger::PriceSpec& spec) {
  PriceVersion out;
  out.version = version;
  std::string_view rest = spec.item;
  for (std::string* name : {&out.provider, &out.model, &out.provider_model}) {
    *name = Next(rest);
  }
  rest = spec.terms;
  for (std::optional<Decimal>* price :
       {&out.prices.input, &out.prices.cached_input, &out.prices.cache_write, &out.prices.output}) {
    if (const Result<Decimal> number = Decimal::Parse(Next(rest)); number.has_value()) {
      *price = *number;
    }
  }
  out.source = spec.source;
  out.from_ns = spec.since_ns;
  out.hash = Sha256Hex(fmt::format("{}\n{}", spec.item, spec.terms));
  return out;
}

}  // namespace tradewind::billing
