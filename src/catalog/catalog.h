// Which models there are, who serves each, and at what price: one immutable snapshot of all
// sources.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "catalog/local_models.h"
#include "catalog/mapping.h"
#include "catalog/provider_config.h"
#include "catalog/starter.h"

namespace tradewind::catalog {

// A Hub model with those who serve it, most preferred first. Never without a mapping.
struct Model {
  std::string id;
  std::vector<Mapping> mappings;

  const Mapping* At(std::string_view provider) const;  // the first of this provider, or nullptr
  std::vector<std::string> InputModalities() const;    // of all mappings; at least "text"
  std::string Licence() const;                         // "" = unknown
  int64_t Created() const;                             // 0 = unknown
  bool is_listed() const;                              // not only staging
};

struct CatalogSources {
  std::shared_ptr<const LocalModels> local;  // may be null
  std::vector<ProviderConfig> configured;
  std::vector<PriceRow> imported;
  std::vector<Provider> known;  // those that need no entry in the config, in the usual order
  StarterCatalogue starter;
  // Why this server cannot use a provider; "" = it can. Null: it can use all.
  std::function<std::string(const Provider&)> why_off;
  std::vector<std::string> order;  // [route] order; slugs that are missing follow in usual order
};

class Catalog {
 public:
  // The on-device models first, then [[providers]], imported rows, the starter catalogue: of two
  // rows for the same model, provider and task the stronger one counts whole. Imported prices
  // replace those of starter rows; an imported row of a known provider whose id is like "org/name"
  // and which no mapping names becomes a staging mapping. Never fails: what contradicts is in
  // conflicts().
  static std::shared_ptr<const Catalog> Build(CatalogSources sources);

  const std::vector<Provider>& providers() const { return providers_; }  // most preferred first
  const Provider* FindProvider(std::string_view slug) const;
  const std::vector<std::string>& slugs() const { return slugs_; }  // in the same order

  const std::vector<Model>& models() const { return models_; }  // by id, without case
  const Model* Find(std::string_view hf_model) const;           // the exact id, without case
  // The id, or the name without its organisation when one listed model alone has it. Errors:
  // kModelNotSupported with param "model".
  Result<const Model*> Resolve(std::string_view name) const;
  const Mapping* FindByProviderModel(std::string_view slug, std::string_view provider_model) const;
  // The imported price of a model that no mapping names; nullptr when there is none.
  const PriceRow* FindPrice(std::string_view slug, std::string_view provider_model) const;

  const std::vector<std::string>& conflicts() const { return conflicts_; }
  size_t ModelCount(std::string_view slug) const;  // mappings that are not staging

 private:
  using Key = std::pair<std::string, std::string>;

  void AddProviders(const CatalogSources& sources);
  void AddLocal(const LocalModels& local);
  void AddConfigured(const CatalogSources& sources);
  void AddPrices(const CatalogSources& sources);
  void AddStarter(const StarterCatalogue& starter);
  void Add(Mapping mapping, std::string_view origin);
  void Order(const std::vector<std::string>& order);
  void Index();

  std::vector<Provider> providers_;
  std::vector<std::string> slugs_;
  std::vector<Model> models_;
  std::map<std::string, size_t> model_at_;  // by id in lower case
  std::map<Key, std::pair<size_t, size_t>> provider_model_at_;
  std::map<Key, PriceRow> prices_;
  std::vector<std::string> conflicts_;
};

// The error for a model string that leads nowhere: which providers were looked at, why each does
// not serve it, and what exists instead. kModelNotSupported with param "model".
Error ExplainUnsupported(const Catalog& catalog, const ModelRef& ref);

}  // namespace tradewind::catalog
