// A provider's own path behind its slug, "/together/v1/chat/completions": what the Hugging Face
// clients send when a provider is named. The client has looked up the mapping and speaks the
// provider's dialect; the request passes in its own form, with the provider's key, to a mapping
// that the catalogue knows, and nowhere else.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/utf8.h"
#include "catalog/known_providers.h"
#include "gateway/gateway.h"
#include "http/query.h"

namespace tradewind::gateway {
namespace {

struct OwnPath {
  std::string_view slug, path;  // "together", "v1/chat/completions"; both empty: it is none
};

OwnPath Split(std::string_view path) {
  const size_t slash = path.find('/', 1);
  if (path.empty() || slash == std::string_view::npos || slash + 1 == path.size() ||
      !catalog::IsSlugText(path.substr(1, slash - 1))) {
    return {};
  }
  return {path.substr(1, slash - 1), path.substr(slash + 1)};
}

// Some servers take a model, or whatever else costs money, from here before they look into the body
// (LiteLLM's proxy); Azure wants its version here. Errors: kInvalidArgument, naming the field.
Status CheckQuery(std::string_view query) {
  constexpr std::string_view kVersion = "api-version";
  constexpr size_t kNameBytesMax = 64;
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '.' || c == '_';
  };
  const bool is_version = query.starts_with(kVersion) && query.substr(kVersion.size(), 1) == "=";
  if (query.empty() ||
      (is_version && std::ranges::all_of(query.substr(kVersion.size() + 1), is_plain))) {
    return {};
  }
  for (const auto& [name, value] : http::ParseQuery(query)) {
    if (name != kVersion && !name.empty()) {
      std::string shown = ReplaceInvalidUtf8(std::string_view(name).substr(0, kNameBytesMax));
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("`{}` in the query is not passed on, only `api-version` is: leave it "
                              "out, or write it into the body.",
                              shown),
                  shown);
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              "The query of a provider's path is `api-version=` with one date or name, or nothing.",
              std::string(kVersion));
}

}  // namespace

bool Gateway::NamesProvider(std::string_view path) const {
  const std::string_view slug = Split(path).slug;
  return catalog::IsProviderSlug(slug) || market_.board.Get()->Find(slug) != nullptr;
}

Result<routing::NamedMapping> NamedMappingOf(const Call& call, const Order& order) {
  if (!order.facts.models.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "`models` asks for other routes, and this path is one provider's: ask at /v1.",
                "models");
  }
  return routing::NamedMapping{std::string(call.own_path_of), order.facts.model};
}

Task<void> Gateway::PassThrough(Call& call) {
  const auto [slug, path] = Split(call.request().path);
  const std::shared_ptr<const routing::Market> market = market_.board.Get();
  const routing::MarketPlace* place = market->Find(slug);
  if (place == nullptr || place->is_local()) {
    co_return co_await Refuse(
        call,
        {ErrorCode::kNotFound,
         fmt::format("The provider {} is not one of this server's; `tradewind providers` lists "
                     "them.",
                     slug)});
  }
  const std::optional<providers::Endpoint> endpoint = providers::EndpointAt(*place->upstream, path);
  if (!endpoint.has_value()) {
    co_return co_await Refuse(
        call, {ErrorCode::kNotFound,
               fmt::format("Of {}'s paths, this server passes on {}.", slug,
                           fmt::join(providers::OwnPaths(*place->upstream), ", "))});
  }
  if (const Status query = CheckQuery(call.request().query); !query.has_value()) {
    co_return co_await Refuse(call, query.error());
  }
  call.own_path_of = slug;
  co_await Infer(call, *endpoint);
}

}  // namespace tradewind::gateway
