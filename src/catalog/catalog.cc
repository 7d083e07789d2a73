#include "catalog/catalog.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/text.h"
#include "catalog/known_providers.h"

namespace tradewind::catalog {
namespace {

std::string_view BareName(std::string_view id) {
  const size_t slash = id.rfind('/');
  return slash == std::string_view::npos ? id : id.substr(slash + 1);
}

// What an imported row adds to a mapping that has no better.
void Fill(const PriceRow& row, Mapping& mapping) {
  if (!row.prices.empty()) {
    mapping.prices = row.prices;
  }
  const auto fill = [](const auto& from, auto& to) { to = to.has_value() ? to : from; };
  fill(row.context_length, mapping.context_length);
  fill(row.max_output, mapping.max_output);
  fill(row.supports_tools, mapping.supports_tools);
  fill(row.supports_structured_output, mapping.supports_structured_output);
}

// By rank; equal ones keep their order. (std::stable_sort of libstdc++ 12 warns in C++23.)
template <class T, class Rank>
void SortByRank(std::vector<T>& items, Rank rank) {
  std::vector<std::pair<size_t, size_t>> keys;
  for (size_t i = 0; i < items.size(); ++i) {
    keys.emplace_back(rank(items[i]), i);
  }
  std::sort(keys.begin(), keys.end());
  std::vector<T> sorted;
  sorted.reserve(items.size());
  for (const auto& [unused, i] : keys) {
    sorted.push_back(std::move(items[i]));
  }
  items = std::move(sorted);
}

Provider LocalProvider() {
  Provider provider;
  provider.slug = provider.kind = kLocalSlug;
  provider.display_name = "this device";
  provider.needs_key = false;
  provider.data_policy = DataPolicy::kNoRetention;
  provider.source = Source::kLocal;
  provider.origin = "built-in";
  return provider;
}

// What [[providers]] says, over what is known of the slug.
void Override(const ProviderConfig& config, Provider& provider) {
  const auto take = [](const std::string& from, std::string& to) { to = from.empty() ? to : from; };
  provider.slug = config.name;
  take(config.kind, provider.kind);
  take(config.base_url, provider.base_url);
  if (!config.api_key_env.empty() || !config.api_key_file.empty()) {
    provider.api_key_env = config.api_key_env;
    provider.api_key_file = config.api_key_file;
  }
  provider.api_key_header = config.api_key_header;
  provider.allow_private = config.allow_private;
  provider.assistant_prefix = config.assistant_prefix;
  provider.bound_name = config.bound_name;
  provider.data_policy = config.data_policy.value_or(provider.data_policy);
  provider.billing = config.billing;
  provider.source = Source::kConfig;
  provider.origin = config.origin;
  if (provider.display_name.empty()) {
    provider.display_name = config.name;
  }
  // A server of one's own needs a key only when somebody says where it is.
  provider.needs_key = provider.kind != kGenericKind || !provider.api_key_env.empty() ||
                       !provider.api_key_file.empty();
}

}  // namespace

const Mapping* Model::At(std::string_view provider) const {
  const auto found = std::find_if(mappings.begin(), mappings.end(),
                                  [&](const Mapping& one) { return one.provider == provider; });
  return found == mappings.end() ? nullptr : &*found;
}

std::vector<std::string> Model::InputModalities() const {
  std::vector<std::string> out = {"text"};
  for (const Mapping& mapping : mappings) {
    for (const std::string& modality : mapping.input_modalities) {
      if (std::find(out.begin(), out.end(), modality) == out.end()) {
        out.push_back(modality);
      }
    }
  }
  return out;
}

std::string Model::Licence() const {
  for (const Mapping& mapping : mappings) {
    if (!mapping.licence.empty()) {
      return mapping.licence;
    }
  }
  return "";
}

int64_t Model::Created() const {
  for (const Mapping& mapping : mappings) {
    if (mapping.created != 0) {
      return mapping.created;
    }
  }
  return 0;
}

bool Model::is_listed() const {
  return std::any_of(mappings.begin(), mappings.end(), [](const Mapping& mapping) {
    return mapping.status != MappingStatus::kStaging;
  });
}

std::shared_ptr<const Catalog> Catalog::Build(CatalogSources sources) {
  auto out = std::make_shared<Catalog>();
  out->AddProviders(sources);
  if (sources.local != nullptr) {
    out->AddLocal(*sources.local);
  }
  out->AddConfigured(sources);
  out->AddStarter(sources.starter);
  out->AddPrices(sources);
  out->Order(sources.order);
  out->Index();
  return out;
}

void Catalog::AddProviders(const CatalogSources& sources) {
  providers_.push_back(LocalProvider());
  for (const ProviderConfig& config : sources.configured) {
    if (FindProvider(config.name) != nullptr) {
      conflicts_.push_back(
          fmt::format("{}: there is a provider \"{}\" already; this one is left out", config.origin,
                      config.name));
      continue;
    }
    Provider provider;
    for (const Provider& known : sources.known) {
      if (known.slug == config.name) {
        provider = known;
      } else if (known.slug == config.kind && provider.slug.empty()) {
        provider.base_url = known.base_url;  // another account there: not the same key
      }
    }
    Override(config, provider);
    providers_.push_back(std::move(provider));
  }
  for (const Provider& known : sources.known) {
    if (FindProvider(known.slug) == nullptr) {
      providers_.push_back(known);
    }
  }
  for (Provider& provider : providers_) {
    provider.off = sources.why_off ? sources.why_off(provider) : "";
  }
}

void Catalog::AddLocal(const LocalModels& local) {
  for (const LocalModel& model : local.models()) {
    Mapping mapping;
    mapping.provider = kLocalSlug;
    mapping.hf_model = mapping.provider_model = model.id;
    mapping.status = model.error ? MappingStatus::kError : MappingStatus::kLive;
    mapping.prices.input = mapping.prices.output = Decimal();
    mapping.prices.origin = "this device";
    mapping.created = model.modified_unix_s;
    mapping.source = Source::kLocal;
    Add(std::move(mapping), "local models");
  }
}

void Catalog::AddConfigured(const CatalogSources& sources) {
  std::set<std::string> seen;
  for (const ProviderConfig& config : sources.configured) {
    const Provider* provider = FindProvider(config.name);
    if (provider == nullptr || provider->source != Source::kConfig ||
        !seen.insert(config.name).second) {
      continue;  // left out above
    }
    for (Mapping mapping : config.models) {
      mapping.provider = config.name;
      mapping.source = Source::kConfig;
      Add(std::move(mapping), config.origin);
    }
  }
}

void Catalog::AddStarter(const StarterCatalogue& starter) {
  for (const Mapping& mapping : starter.mappings) {
    if (FindProvider(mapping.provider) == nullptr) {
      conflicts_.push_back(fmt::format("starter catalogue: {} names no provider \"{}\"",
                                       mapping.hf_model, mapping.provider));
      continue;
    }
    Add(mapping, "starter catalogue");
  }
}

void Catalog::Add(Mapping mapping, std::string_view origin) {
  const auto [at, is_new] = model_at_.emplace(AsciiLower(mapping.hf_model), models_.size());
  if (is_new) {
    models_.push_back({mapping.hf_model, {}});
  }
  Model& model = models_[at->second];
  for (const Mapping& other : model.mappings) {
    if (other.provider != mapping.provider || other.task != mapping.task) {
      continue;
    }
    if (other.source == mapping.source) {  // otherwise the stronger one stays, as meant
      conflicts_.push_back(fmt::format("{}: {} at {} is listed twice; {} counts, {} does not",
                                       origin, mapping.hf_model, mapping.provider,
                                       other.provider_model, mapping.provider_model));
    }
    return;
  }
  model.mappings.push_back(std::move(mapping));
}

void Catalog::AddPrices(const CatalogSources& sources) {
  for (const PriceRow& row : sources.imported) {
    prices_.insert_or_assign({row.provider, row.provider_model}, row);
  }
  std::set<Key> named;
  for (Model& model : models_) {
    for (Mapping& mapping : model.mappings) {
      Key key{mapping.provider, mapping.provider_model};
      const auto row = prices_.find(key);
      if (row != prices_.end() && mapping.source == Source::kStarter) {
        Fill(row->second, mapping);
      }
      named.insert(std::move(key));
    }
  }
  for (const auto& [key, row] : prices_) {
    // Other providers name models in ways that say nothing about the Hub.
    const bool is_hub_id = std::count(key.second.begin(), key.second.end(), '/') == 1 &&
                           key.second.find(':') == std::string::npos;
    if (named.contains(key) || !is_hub_id || FindProvider(key.first) == nullptr) {
      continue;
    }
    Mapping mapping;
    mapping.provider = key.first;
    mapping.hf_model = mapping.provider_model = key.second;
    mapping.task = row.task.empty() ? mapping.task : row.task;
    mapping.status = MappingStatus::kStaging;
    mapping.source = Source::kImported;
    Fill(row, mapping);
    Add(std::move(mapping), row.prices.origin);
  }
}

void Catalog::Order(const std::vector<std::string>& order) {
  for (const std::string& slug : order) {
    if (FindProvider(slug) == nullptr) {
      conflicts_.push_back(fmt::format(
          "route.order names \"{}\", which is no provider; `tradewind providers` lists them",
          slug));
    }
  }
  SortByRank(providers_, [&](const Provider& provider) {
    return static_cast<size_t>(std::find(order.begin(), order.end(), provider.slug) -
                               order.begin());
  });
  std::map<std::string, size_t> position;
  for (const Provider& provider : providers_) {
    position.emplace(provider.slug, slugs_.size());
    slugs_.push_back(provider.slug);
  }
  for (Model& model : models_) {
    SortByRank(model.mappings,
               [&](const Mapping& mapping) { return position.at(mapping.provider); });
  }
}

void Catalog::Index() {
  std::sort(models_.begin(), models_.end(),
            [](const Model& a, const Model& b) { return AsciiLower(a.id) < AsciiLower(b.id); });
  model_at_.clear();
  for (size_t i = 0; i < models_.size(); ++i) {
    model_at_[AsciiLower(models_[i].id)] = i;
    for (size_t j = 0; j < models_[i].mappings.size(); ++j) {
      const Mapping& mapping = models_[i].mappings[j];
      provider_model_at_.emplace(Key{mapping.provider, mapping.provider_model}, std::pair{i, j});
    }
  }
}

const Provider* Catalog::FindProvider(std::string_view slug) const {
  const auto found = std::find_if(providers_.begin(), providers_.end(),
                                  [&](const Provider& one) { return one.slug == slug; });
  return found == providers_.end() ? nullptr : &*found;
}

const Model* Catalog::Find(std::string_view hf_model) const {
  const auto found = model_at_.find(AsciiLower(hf_model));
  return found == model_at_.end() ? nullptr : &models_[found->second];
}

Result<const Model*> Catalog::Resolve(std::string_view name) const {
  if (const Model* exact = Find(name); exact != nullptr) {
    return exact;
  }
  const std::string lower = AsciiLower(name);
  const Model* found = nullptr;
  for (const Model& model : models_) {
    if (!model.is_listed() || AsciiLower(BareName(model.id)) != lower) {
      continue;
    }
    if (found != nullptr) {
      return Fail(
          ErrorCode::kModelNotSupported,
          fmt::format("\"{}\" could be {} or {}; write the whole id.", name, found->id, model.id),
          "model");
    }
    found = &model;
  }
  if (found == nullptr) {
    return Fail(ErrorCode::kModelNotSupported,
                fmt::format("No provider serves the model \"{}\"; GET /v1/models lists those that "
                            "are served, and [[providers]] in the config adds others.",
                            name),
                "model");
  }
  return found;
}

const Mapping* Catalog::FindByProviderModel(std::string_view slug,
                                            std::string_view provider_model) const {
  const auto found = provider_model_at_.find(Key{slug, provider_model});
  return found == provider_model_at_.end()
             ? nullptr
             : &models_[found->second.first].mappings[found->second.second];
}

const PriceRow* Catalog::FindPrice(std::string_view slug, std::string_view provider_model) const {
  const auto found = prices_.find(Key{slug, provider_model});
  return found == prices_.end() ? nullptr : &found->second;
}

size_t Catalog::ModelCount(std::string_view slug) const {
  size_t count = 0;
  for (const Model& model : models_) {
    count += static_cast<size_t>(
        std::count_if(model.mappings.begin(), model.mappings.end(), [&](const Mapping& mapping) {
          return mapping.provider == slug && mapping.status != MappingStatus::kStaging;
        }));
  }
  return count;
}

}  // namespace tradewind::catalog
