#include "billing/price_version.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "billing/hash.h"

namespace tradewind::billing {
namespace {

constexpr char kSeparator = '\x1F';  // ASCII's own unit separator

// At most so much of a name: ids are shorter, and the ledger takes 4,096 bytes.
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

// What was priced before there was more than these four: terms without more are the same text.
constexpr std::array kFirstFields = {
    &catalog::TokenPrices::input, &catalog::TokenPrices::cached_input,
    &catalog::TokenPrices::cache_write, &catalog::TokenPrices::output};

bool IsFirst(const catalog::TokenPriceField& field) {
  return std::ranges::find(kFirstFields, field.price) != kFirstFields.end();
}

void AddNamed(std::string_view prefix, std::string_view name, const std::optional<Decimal>& price,
              std::string& terms) {
  if (price.has_value()) {
    terms += kSeparator;
    terms += prefix;
    terms += name;
    terms += '=';
    terms += price->ToString();
  }
}

void AddTiers(const std::string& prefix, const catalog::TieredPrices& prices, std::string& terms) {
  for (const catalog::PriceTier& tier : prices.tiers) {
    const std::string above = prefix + std::to_string(tier.above) + '>';
    for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
      AddNamed(above, field.name, tier.*field.price, terms);
    }
  }
}

// Input, cached input, cache write and output by their places; "name=price" of all else.
std::string TermsOf(const catalog::Prices& prices) {
  std::string terms = Join({Number(prices.input), Number(prices.cached_input),
                            Number(prices.cache_write), Number(prices.output)});
  for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
    if (!IsFirst(field)) {
      AddNamed("", field.name, prices.*field.price, terms);
    }
  }
  AddNamed("", "request", prices.request, terms);
  AddNamed("", "image", prices.image, terms);
  AddTiers("", prices, terms);
  for (const catalog::ServiceTier& service : prices.service_tiers) {
    const std::string at = service.name + ':';
    for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
      AddNamed(at, field.name, service.*field.price, terms);
    }
    AddTiers(at, service, terms);
  }
  return terms;
}

std::optional<Decimal> NumberOf(std::string_view text) {
  const Result<Decimal> number = Decimal::Parse(text);
  return number.has_value() ? std::optional(*number) : std::nullopt;
}

// "output=2", "200000>output=3", "flex:200000>output=1". What this program does not know it leaves
// out.
void ReadNamed(std::string_view text, catalog::Prices& prices) {
  const std::optional<Decimal> number =
      NumberOf(text.substr(std::min(text.find('=') + 1, text.size())));
  std::string_view name = text.substr(0, text.find('='));
  catalog::TieredPrices* list = &prices;
  if (const size_t colon = name.find(':'); colon != std::string_view::npos) {
    list = &prices.AddService(name.substr(0, colon));
    name.remove_prefix(colon + 1);
  }
  catalog::TokenPrices* of = list;
  if (const size_t sign = name.find('>'); sign != std::string_view::npos) {
    int64_t above = 0;
    std::from_chars(name.data(), name.data() + sign, above);
    name.remove_prefix(sign + 1);
    if (list->tiers.empty() || list->tiers.back().above != above) {
      list->tiers.emplace_back().above = above;
    }
    of = &list->tiers.back();
  } else if (name == "request" || name == "image") {
    (name == "request" ? prices.request : prices.image) = number;
    return;
  }
  for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
    if (field.name == name) {
      of->*field.price = number;
    }
  }
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
  spec.terms = TermsOf(prices);
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
  for (const auto field : kFirstFields) {
    out.prices.*field = NumberOf(Next(rest));
  }
  while (!rest.empty()) {
    ReadNamed(Next(rest), out.prices);
  }
  out.source = spec.source;
  out.from_ns = spec.since_ns;
  out.hash = Sha256Hex(fmt::format("{}\n{}", spec.item, spec.terms));
  return out;
}

}  // namespace tradewind::billing
