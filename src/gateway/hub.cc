// The Hub's calls about models that inference clients make before they ask a provider:
// GET /api/models, /api/models/{id} and /api/partners/{slug}/models.
#include <algorithm>
#include <charconv>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/known_providers.h"
#include "dialects/hub_models.h"
#include "gateway/gateway.h"
#include "http/query.h"

namespace tradewind::gateway {
namespace {

using http::All;
using http::EncodeQuery;
using http::First;
using http::ParseQuery;
using http::Query;

using catalog::Catalog;
using catalog::Mapping;
using catalog::MappingStatus;

dialects::HubExpand Expand(const Query& query) {
  const std::set<std::string> fields = All(query, "expand");
  return {.mapping = fields.contains("inferenceProviderMapping"),
          .inference = fields.contains("inference"),
          .pipeline_tag = fields.contains("pipeline_tag")};
}

// The Hub's clients know the Hub's slugs only: another one in first place would stop them.
bool IsHubSlug(std::string_view slug) {
  static const std::set<std::string_view> kOthers = {"huggingface", "nvidia", "openai",
                                                     "openrouter"};
  return catalog::IsProviderSlug(slug) && !kOthers.contains(slug);
}

// Those that answer now come first: a client that names no provider takes the first.
dialects::HubModel Describe(const Catalog& catalog, const catalog::Model& model,
                            routing::Marketplace& market) {
  dialects::HubModel out;
  out.id = model.id;
  std::vector<dialects::HubMapping> others;
  for (const Mapping& mapping : model.mappings) {
    if (out.pipeline_tag.empty()) {
      out.pipeline_tag = mapping.task == "conversational" ? "text-generation" : mapping.task;
    }
    const catalog::Provider* provider = catalog.FindProvider(mapping.provider);
    if (IsHubSlug(mapping.provider) && mapping.status != MappingStatus::kStaging &&
        provider != nullptr && provider->off.empty()) {
      std::string now = StatusNow(mapping, market);
      auto& list = now == "live" ? out.mappings : others;
      list.push_back({mapping.provider, mapping.provider_model, std::move(now), mapping.task,
                      mapping.is_model_author});
    }
  }
  std::ranges::move(others, std::back_inserter(out.mappings));
  return out;
}

// Somebody could answer: what a provider that is off would serve is not ours to list.
bool IsServed(const Catalog& catalog, const catalog::Model& model) {
  return std::any_of(model.mappings.begin(), model.mappings.end(), [&](const Mapping& mapping) {
    const catalog::Provider* provider = catalog.FindProvider(mapping.provider);
    return mapping.status != MappingStatus::kStaging && provider != nullptr &&
           provider->off.empty();
  });
}

bool Matches(const dialects::HubModel& model, const Query& query) {
  const std::set<std::string> wanted = All(query, "inference_provider");
  const bool needs_provider = !wanted.empty() || First(query, "inference") == "warm";
  const bool has_provider =
      std::any_of(model.mappings.begin(), model.mappings.end(), [&](const auto& mapping) {
        return mapping.status == "live" &&
               (wanted.empty() || wanted.contains("all") || wanted.contains(mapping.provider));
      });
  const std::string task = First(query, "pipeline_tag");
  const bool has_task = task.empty() || task == model.pipeline_tag ||
                        std::any_of(model.mappings.begin(), model.mappings.end(),
                                    [&](const auto& mapping) { return mapping.task == task; });
  return (!needs_provider || has_provider) && has_task &&
         AsciiLower(model.id).find(AsciiLower(First(query, "search"))) != std::string::npos;
}

// As the client sees it. TLS ends before us; what the proxy there says goes into an answer to the
// same client only, so it need not be one that we trust.
std::string_view SchemeOf(const http::Request& request) {
  const auto told = request.headers.Find("X-Forwarded-Proto");
  const auto forwarded = request.headers.Find("Forwarded");
  const bool is_tls =
      (told.has_value() && AsciiLower(*told) == "https") ||
      (forwarded.has_value() && AsciiLower(*forwarded).find("proto=https") != std::string::npos);
  return is_tls ? "https" : "http";
}

// The same call after `last`; clients follow it as it stands, so it is absolute.
std::string NextLink(const http::Request& request, const Query& query, std::string_view last) {
  std::string fields;
  for (const auto& [key, value] : query) {
    if (key != "cursor") {
      fields += fmt::format("{}={}&", EncodeQuery(key), EncodeQuery(value));
    }
  }
  return fmt::format("<{}://{}/api/models?{}cursor={}>; rel=\"next\"", SchemeOf(request),
                     HeaderSafe(request.headers.Find("host").value_or("127.0.0.1")), fields,
                     EncodeQuery(last));
}

}  // namespace

Task<void> Gateway::ListHubModels(Call& call) {
  const std::shared_ptr<const Catalog> catalog = CatalogNow();
  const Query query = ParseQuery(call.request().query);
  const std::string limit_text = First(query, "limit");
  int limit = limits::kModelListPageMax;
  if (!limit_text.empty()) {
    const char* end = limit_text.data() + limit_text.size();
    const auto read = std::from_chars(limit_text.data(), end, limit);
    if (read.ec != std::errc() || read.ptr != end || limit < 1) {
      co_return co_await Refuse(
          call,
          {ErrorCode::kInvalidArgument, "limit must be a whole number above 0.", "limit", {}});
    }
    limit = std::min(limit, limits::kModelListPageMax);
  }
  const std::string cursor = AsciiLower(First(query, "cursor"));
  std::vector<dialects::HubModel> page;
  size_t total = 0;
  bool has_more = false;
  for (const catalog::Model& model : catalog->models()) {  // sorted by id in lower case
    dialects::HubModel described = Describe(*catalog, model, market_);
    if (!IsServed(*catalog, model) || !Matches(described, query)) {
      continue;
    }
    ++total;
    if (!cursor.empty() && AsciiLower(model.id) <= cursor) {
      continue;
    }
    has_more = page.size() == static_cast<size_t>(limit);
    if (!has_more) {
      page.push_back(std::move(described));
    }
  }
  http::Response response;
  response.headers.Set("Content-Type", "application/json");
  response.headers.Set("X-Total-Count", std::to_string(total));
  if (has_more) {
    response.headers.Set("Link", NextLink(call.request(), query, page.back().id));
  }
  response.body = dialects::FormatHubModelList(page, Expand(query));
  co_await Respond(call, std::move(response));
}

Task<void> Gateway::ShowHubModel(Call& call) {
  const std::shared_ptr<const Catalog> catalog = CatalogNow();
  const catalog::Model* model = catalog->Find(call.rest);
  if (model == nullptr || !model->is_listed()) {
    const Error error{ErrorCode::kNotFound,
                      fmt::format("The model \"{}\" is not in the catalogue.", call.rest),
                      "model",
                      {}};
    call.record.outcome = ErrorCodeName(error.code);
    http::Response response = ErrorResponse(error);
    response.headers.Set("X-Error-Code", "RepoNotFound");  // what the Hub's Python client looks at
    co_return co_await Respond(call, std::move(response));
  }
  co_await RespondJson(call, dialects::FormatHubModel(Describe(*catalog, *model, market_),
                                                      Expand(ParseQuery(call.request().query))));
}

Task<void> Gateway::ListPartnerModels(Call& call) {
  const std::shared_ptr<const Catalog> catalog = CatalogNow();
  constexpr std::string_view kEnd = "/models";
  const std::string_view slug =
      call.rest.ends_with(kEnd) ? call.rest.substr(0, call.rest.size() - kEnd.size()) : "";
  if (catalog->FindProvider(slug) == nullptr) {
    co_return co_await Refuse(
        call, {ErrorCode::kNotFound,
               fmt::format("There is nothing at {}; GET /api/partners/NAME/models lists those of a "
                           "configured provider.",
                           call.request().path),
               "provider",
               {}});
  }
  const std::string text = First(ParseQuery(call.request().query), "status");
  const auto status = catalog::ParseMappingStatus(text);
  if (!text.empty() && !status) {
    co_return co_await Refuse(
        call,
        {ErrorCode::kInvalidArgument, "status must be live, staging or error.", "status", {}});
  }
  std::vector<dialects::HubModel> models;
  for (const catalog::Model& model : catalog->models()) {
    dialects::HubModel out;
    out.id = model.id;
    for (const Mapping& mapping : model.mappings) {
      std::string now = StatusNow(mapping, market_);
      if (mapping.provider == slug && (text.empty() || text == now)) {
        out.mappings.push_back({mapping.provider, mapping.provider_model, std::move(now),
                                mapping.task, mapping.is_model_author});
      }
    }
    models.push_back(std::move(out));
  }
  co_await RespondJson(call, dialects::FormatPartnerModels(models, slug));
}

}  // namespace tradewind::gateway
