#include "routing/market.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "providers/kinds.h"

namespace tradewind::routing {
namespace {

Result<providers::Upstream> UpstreamOf(const catalog::Provider& provider) {
  providers::Upstream upstream;
  upstream.slug = provider.slug;
  upstream.allow_private = provider.allow_private;
  upstream.quirks = providers::FindQuirks(provider.kind);
  if (upstream.quirks == nullptr) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("this version does not speak to providers of kind {}", provider.kind));
  }
  const std::string address =
      provider.base_url.empty() ? std::string(upstream.quirks->base_url) : provider.base_url;
  using providers::PrefixForm;
  upstream.prefix = provider.assistant_prefix == "no"        ? PrefixForm::kNone
                    : provider.assistant_prefix == "message" ? PrefixForm::kLastMessage
                    : provider.assistant_prefix == "vllm"    ? PrefixForm::kFinalFlag
                                                             : upstream.quirks->prefix;
  upstream.api_key_header = provider.api_key_header;
  const catalog::BillingTerms& billing = provider.billing;
  upstream.id_header =
      billing.id_header.empty() && !billing.url.empty() ? "inference-id" : billing.id_header;
  upstream.keeps_own_ids = billing.own_ids;
  upstream.bills_on = billing.bills_on.value_or(upstream.quirks->bills_on);
  upstream.bills_refusals = billing.bills_refusals;
  upstream.harmless_fields = billing.harmless_fields;
  upstream.price_varies = billing.price_varies;
  TW_ASSIGN_OR_RETURN(upstream.base, http::ParseUrl(address));
  using providers::BoundName;
  upstream.bound_name =
      provider.bound_name == "max_tokens"              ? BoundName::kMaxTokens
      : provider.bound_name == "max_completion_tokens" ? BoundName::kMaxCompletionTokens
      : provider.bound_name == "both"                  ? BoundName::kBoth
                                      : providers::BoundNameAt(*upstream.quirks, upstream.base);
  upstream.may_be_any_server = providers::MayBeAnyServer(*upstream.quirks, upstream.base);
  return upstream;
}

}  // namespace

std::shared_ptr<const Market> Market::Build(std::shared_ptr<const catalog::Catalog> catalog,
                                            catalog::RouteConfig route, const KeyReader& keys) {
  auto market = std::make_shared<Market>();
  for (const catalog::Provider& provider : catalog->providers()) {
    MarketPlace place;
    place.provider = &provider;
    if (provider.slug != catalog::kLocalSlug) {
      Result<providers::Upstream> upstream = UpstreamOf(provider);
      if (!upstream.has_value()) {
        market->warnings_.push_back(fmt::format("the provider {} is left out: {}", provider.slug,
                                                upstream.error().message));
        continue;
      }
      place.upstream = std::move(*upstream);
      if (!provider.billing.url.empty()) {
        auto url = http::ParseUrl(provider.billing.url);
        url.has_value()
            ? static_cast<void>(place.billing = std::move(*url))
            : market->warnings_.push_back(fmt::format("{} is not asked what requests cost: {}",
                                                      provider.slug, url.error().message));
      }
      place.api_key = keys(provider).value_or(std::string());
    }
    market->places_.emplace(provider.slug, std::move(place));
  }
  market->catalog_ = std::move(catalog);
  market->route_ = std::move(route);
  return market;
}

const MarketPlace* Market::Find(std::string_view slug) const {
  const auto found = places_.find(slug);
  return found == places_.end() ? nullptr : &found->second;
}

void Marketplace::Adopt(std::shared_ptr<const Market> next) {
  const std::shared_ptr<const Market> before = board.Get();
  board.Set(next);
  for (const catalog::Provider& provider : next->catalog().providers()) {
    const MarketPlace* now = next->Find(provider.slug);
    const MarketPlace* then = before->Find(provider.slug);
    if (now != nullptr && then != nullptr &&
        (now->api_key != then->api_key ||
         now->provider->api_key_header != then->provider->api_key_header)) {
      health.KeyChanged(provider.slug, "");
    }
  }
}

bool Market::has_usable_provider() const {
  return std::ranges::any_of(places_, [](const auto& entry) {
    const MarketPlace& place = entry.second;
    return !place.is_local() &&
           (place.provider->source == catalog::Source::kConfig || place.has_key());
  });
}

}  // namespace tradewind::routing
