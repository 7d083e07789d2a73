// Whole because it is one table of a file: each part reads one section.
#include "cli/market_config.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "base/text.h"
#include "catalog/known_providers.h"
#include "cli/toml_reader.h"
#include "dialects/billed_apart.h"
#include "providers/kinds.h"

namespace tradewind::cli {
namespace {

using catalog::Mapping;
using catalog::ProviderConfig;

bool IsKind(std::string_view text) {
  return providers::FindQuirks(text) != nullptr;
}

std::unexpected<Error> Must(std::string clause) {
  return Fail(ErrorCode::kInvalidArgument, std::move(clause));
}

bool IsVariableName(std::string_view text) {
  const auto is_letter = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  };
  return !text.empty() && text.size() <= 128 && is_letter(text[0]) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= static_cast<size_t>(limits::kModelStringBytesMax) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte > 0x20 && byte < 0x7f && c != '"' && c != '\\';
         });
}

// "host", "host:80", "[::1]:80".
bool IsHostAndPort(std::string_view text) {
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == text.npos || end < 3 ||
        text.substr(1, end - 1).find_first_not_of("0123456789abcdefABCDEF:.") != text.npos) {
      return false;
    }
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && !port.starts_with(':')) {
      return false;
    }
  } else {
    const size_t colon = text.find(':');
    host = text.substr(0, colon);
    port = colon == text.npos ? "" : text.substr(colon);
    const bool has_host_chars = std::all_of(host.begin(), host.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '-' || c == '_';
    });
    if (!has_host_chars || host.starts_with('.') || host.starts_with('-')) {
      return false;
    }
  }
  if (!port.empty()) {
    const std::string_view digits = port.substr(1);
    if (digits.empty() || digits.size() > 5 ||
        digits.find_first_not_of("0123456789") != digits.npos ||
        std::stoi(std::string(digits)) < 1 || std::stoi(std::string(digits)) > 65535) {
      return false;
    }
  }
  return !host.empty() && host.size() <= 253;
}

// The name, kind and address of a provider, checked against what is taken.
void ReadIdentity(TomlReader& reader, ProviderConfig& provider) {
  provider.name = reader.Text("name").value_or("");
  provider.kind = reader.Text("kind").value_or(IsKind(provider.name) ? provider.name : "");
  if (!catalog::IsSlugText(provider.name)) {
    reader.Wrong("name",
                 "must be 1 to 64 of a-z, 0-9 and -, as it stands after the colon of a model");
  } else if (catalog::IsPolicy(provider.name) || provider.name == catalog::kLocalSlug) {
    reader.Wrong("name",
                 fmt::format("must not be {}: in a model string that is a place of its own; choose "
                             "another name",
                             provider.name));
  } else if (provider.kind.empty()) {
    reader.Wrong("kind", "is missing; write kind = \"openai\" for a server that speaks its API");
  } else if (!IsKind(provider.kind)) {
    reader.Wrong("kind", fmt::format("must be one of {}; use \"openai\" for any other server that "
                                     "speaks its API",
                                     fmt::join(providers::KindNames(), ", ")));
  } else if (IsKind(provider.name) && provider.name != provider.kind) {
    reader.Wrong("name",
                 fmt::format("{} belongs to providers of that kind, and this one is of kind "
                             "{}; choose another name",
                             provider.name, provider.kind));
  }
  provider.allow_private = reader.Flag("allow_private").value_or(false);
  if (const auto url = reader.Text("base_url")) {
    auto parsed = ParseBaseUrl(*url, provider.allow_private);
    parsed ? static_cast<void>(provider.base_url = std::move(*parsed))
           : reader.Wrong("base_url", parsed.error().message);
  } else if (provider.kind == catalog::kGenericKind) {
    reader.Wrong("base_url",
                 "is missing; write the address below which /chat/completions is found, such as "
                 "\"http://127.0.0.1:9001/v1\"");
  }
}

bool IsHeaderName(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// Of every request to a provider, so that a key cannot stand there.
bool IsHeaderInUse(std::string_view name) {
  static const std::set<std::string_view> kInUse = {
      "accept", "accept-encoding", "connection",        "content-length", "content-type",
      "host",   "user-agent",      "transfer-encoding", "x-request-id",   "x-client-request-id"};
  return kInUse.contains(AsciiLower(name));
}

void ReadKeyPlace(TomlReader& reader, const std::string& file, ProviderConfig& provider,
                  std::vector<std::string>& warnings) {
  if (reader.Text("api_key")) {
    warnings.push_back(fmt::format(
        "{}: {} is not read: a key in this file is seen by all who see the file; use api_key_env, "
        "api_key_file, or `tradewind login --provider {} --stdin`",
        reader.Place("api_key"), reader.Path("api_key"), provider.name));
  }
  const auto variable = reader.Text("api_key_env");
  const auto path = reader.Text("api_key_file");
  if (variable && path) {
    reader.Wrong("api_key_file", "and api_key_env are both there; leave one out");
  }
  if (variable && !IsVariableName(*variable)) {
    reader.Wrong("api_key_env",
                 "must be the name of an environment variable, such as SITE_A_KEY, not the key");
  }
  if (path && path->empty()) {
    reader.Wrong("api_key_file", "must be the path of a file that holds the key");
  }
  provider.api_key_env = variable.value_or("");
  if (path) {  // relative to the file that names it, as the working directory may be anything
    provider.api_key_file =
        (std::filesystem::path(file).parent_path() / *path).lexically_normal().string();
  }
  if (const auto header = reader.Text("api_key_header")) {
    provider.api_key_header = *header;
    if (!IsHeaderName(*header) || IsHeaderInUse(*header)) {
      reader.Wrong("api_key_header",
                   "must be the name of a header that carries the key and nothing else, such as "
                   "\"x-api-key\"; without it the key is sent as its kind wants it");
    }
  }
}

// As requests are compared with them: of any case.
void ReadHarmlessFields(TomlReader& reader, std::vector<std::string>& harmless) {
  constexpr size_t kFieldsMax = 256, kNameBytesMax = 128;
  for (const std::string& name :
       reader.Texts("harmless_fields").value_or(std::vector<std::string>{})) {
    const std::string folded = CaseFolded(name);
    if (folded.empty() || folded.size() > kNameBytesMax || harmless.size() == kFieldsMax) {
      return reader.Wrong("harmless_fields",
                          fmt::format("must be at most {} names of fields of a request, of 1 to {} "
                                      "bytes, such as [\"trace_tag\"]",
                                      kFieldsMax, kNameBytesMax));
    }
    if (dialects::IsFieldBilledApart(folded) || dialects::IsFieldReadAsBilledApart(folded)) {
      return reader.Wrong("harmless_fields",
                          fmt::format("names `{}`, by which providers may bill more than any bound "
                                      "here knows; leave it out",
                                      folded));
    }
    harmless.push_back(folded);
  }
}

void ReadBilling(TomlReader& reader, bool allow_private, catalog::BillingTerms& billing) {
  if (const auto url = reader.Text("billing_url")) {
    auto parsed = ParseBaseUrl(*url, allow_private);
    parsed ? static_cast<void>(billing.url = std::move(*parsed))
           : reader.Wrong("billing_url", parsed.error().message);
  }
  if (const auto header = reader.Text("billing_id_header")) {
    billing.id_header = *header;
    if (!IsHeaderName(*header)) {
      reader.Wrong("billing_id_header", "must be the name of a header, such as \"inference-id\"");
    }
  }
  billing.own_ids = reader.Flag("billing_own_ids").value_or(false);
  billing.bills_on = reader.Flag("bills_on");
  billing.bills_refusals = reader.Flag("bills_refusals").value_or(false);
  ReadHarmlessFields(reader, billing.harmless_fields);
  billing.price_varies = reader.Flag("price_varies").value_or(false);
  if (billing.url.empty() && (billing.own_ids || !billing.id_header.empty())) {
    reader.Wrong(billing.own_ids ? "billing_own_ids" : "billing_id_header",
                 "says how requests are asked about, and needs billing_url, which says where");
  }
}

void ReadTokenPrices(TomlReader& reader, catalog::TokenPrices& prices) {
  for (const catalog::TokenPriceField& field : catalog::kTokenPriceFields) {
    prices.*field.price = reader.Price(fmt::format("{}_usd_per_mtok", field.name));
  }
}

void ReadTieredPrices(TomlReader& reader, const std::string& file, catalog::TieredPrices& prices,
                      std::vector<std::string>& warnings) {
  ReadTokenPrices(reader, prices);
  const toml::array* tiers = reader.Array("tiers");
  for (size_t i = 0; tiers != nullptr && i < tiers->size(); ++i) {
    const toml::table* table = (*tiers)[i].as_table();
    if (table == nullptr) {
      reader.Wrong("tiers",
                   "must be tables such as { above = 200000, input_usd_per_mtok = \"2\", "
                   "output_usd_per_mtok = \"6\" }");
      return;
    }
    TomlReader fields(*table, file, fmt::format("{}[{}]", reader.Path("tiers"), i));
    catalog::PriceTier& tier = prices.tiers.emplace_back();
    tier.above = fields.Count("above").value_or(0);
    ReadTokenPrices(fields, tier);
    fields.WarnOfUnknown(warnings);
    if (const Status read = fields.status(); !read.has_value()) {
      reader.Wrong("tiers", fmt::format("are wrong: {}", read.error().message));
      return;
    }
  }
}

void ReadServiceTiers(TomlReader& reader, const std::string& file, catalog::Prices& prices,
                      std::vector<std::string>& warnings) {
  const toml::table* services = reader.Table("service_tiers");
  if (services == nullptr) {
    return;
  }
  for (const auto& [name, node] : *services) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      reader.Wrong("service_tiers",
                   "must be tables such as { flex = { input_usd_per_mtok = \"1\", "
                   "output_usd_per_mtok = \"3\" } }");
      return;
    }
    TomlReader fields(*table, file, fmt::format("{}.{}", reader.Path("service_tiers"), name.str()));
    catalog::ServiceTier& service = prices.AddService(name.str());
    ReadTieredPrices(fields, file, service, warnings);
    fields.WarnOfUnknown(warnings);
    Status sound = fields.status();
    if (sound.has_value()) {
      sound = prices.CheckService(service);
    }
    if (!sound.has_value()) {
      reader.Wrong("service_tiers",
                   fmt::format("are wrong: {} {}", name.str(), sound.error().message));
      return;
    }
  }
}

void ReadPrices(TomlReader& reader, const std::string& file, catalog::Prices& prices,
                std::vector<std::string>& warnings) {
  ReadTieredPrices(reader, file, prices, warnings);
  prices.request = reader.Price("request_usd");
  prices.image = reader.Price("image_usd");
  if (const Status sound = prices.CheckTiers(); !sound.has_value()) {
    reader.Wrong("tiers", sound.error().message);
  }
  ReadServiceTiers(reader, file, prices, warnings);
}

void ReadCapTrust(TomlReader& reader, catalog::CapTrust& trust) {
  constexpr int64_t kOne = 1000, kMost = 1000 * kOne;
  if (const auto text = reader.Text("cap_factor")) {
    const Result<Decimal> factor = Decimal::Parse(*text);
    const Result<Decimal> permille = factor.has_value() ? factor->Shifted(3) : factor;
    int64_t whole = permille.has_value() && permille->exponent() >= 0 ? permille->digits() : 0;
    for (int i = 0; whole > 0 && whole <= kMost && i < permille->exponent(); ++i) {
      whole *= 10;
    }
    if (whole < kOne || whole > kMost) {
      reader.Wrong("cap_factor",
                   "must be a number from 1 to 1000 in quotes, with at most three places, such as "
                   "\"1.5\": how many times max_tokens an answer may be billed");
    }
    trust.factor_permille = whole;
  }
  trust.slack = reader.Count("cap_slack").value_or(0);
}

Mapping ReadModel(TomlReader& reader, const std::string& file, const std::string& origin,
                  std::vector<std::string>& warnings) {
  Mapping model;
  model.source = catalog::Source::kConfig;
  model.hf_model = reader.Text("id").value_or("");
  if (!IsName(model.hf_model) || model.hf_model.find(':') != std::string::npos) {
    reader.Wrong("id",
                 "must be the name that clients write, such as \"org/name\", without a colon");
  }
  model.provider_model = reader.Text("provider_id").value_or(model.hf_model);
  if (!IsName(model.provider_model)) {
    reader.Wrong("provider_id", "must be what the provider calls the model");
  }
  if (const auto task = reader.Text("task")) {
    model.task = *task;
    static const std::set<std::string_view> kTasks = {"conversational", "text-generation",
                                                      "feature-extraction"};
    if (!kTasks.contains(*task)) {
      reader.Wrong("task", fmt::format("must be one of {}", fmt::join(kTasks, ", ")));
    }
  }
  if (const auto text = reader.Text("status")) {
    const auto status = catalog::ParseMappingStatus(*text);
    status ? static_cast<void>(model.status = *status)
           : reader.Wrong("status", "must be live, staging or error");
  }
  ReadPrices(reader, file, model.prices, warnings);
  model.prices.origin = origin;
  model.context_length = reader.Count("context");
  model.max_output = reader.Count("max_output");
  ReadCapTrust(reader, model.cap_trust);
  model.quantization = reader.Text("quantization").value_or("");
  model.supports_tools = reader.Flag("tools");
  model.supports_structured_output = reader.Flag("structured_output");
  model.input_modalities = reader.Texts("input_modalities").value_or(std::vector<std::string>{});
  model.licence = reader.Text("license").value_or(reader.Text("licence").value_or(""));
  return model;
}

Status ReadModels(TomlReader& reader, const std::string& file, const std::string& path,
                  ProviderConfig& provider, std::vector<std::string>& warnings) {
  const toml::array* models = reader.Array("models");
  std::set<std::pair<std::string, std::string>> seen;
  for (size_t i = 0; models != nullptr && i < models->size(); ++i) {
    const std::string name = fmt::format("{}.models[{}]", path, i);
    const toml::node& node = (*models)[i];
    const std::string origin = TomlPlace(file, node.source());
    if (!node.is_table()) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: {} must be a table such as {{ id = \"org/name\" }}", origin, name),
          name);
    }
    if (provider.models.size() == limits::kConfiguredModelsMax) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: {} is one more than the {} models a provider may list", origin,
                              name, limits::kConfiguredModelsMax),
                  name);
    }
    TomlReader fields(*node.as_table(), file, name);
    Mapping model = ReadModel(fields, file, origin, warnings);
    model.provider = provider.name;
    if (!seen.emplace(model.hf_model, model.task).second) {
      fields.Wrong("id", fmt::format("{} is there twice for {}; leave one out",
                                     model.hf_model.substr(0, 100), model.task));
    }
    TW_RETURN_IF_ERROR(fields.status());
    fields.WarnOfUnknown(warnings);
    provider.models.push_back(std::move(model));
  }
  return reader.status();
}

// The value of a field that is one of few names; `names` in the order of the enumeration.
template <class Enum, size_t N>
void ReadName(TomlReader& reader, std::string_view key, const Enum (&values)[N],
              std::string_view (*name)(Enum), Enum& out, std::string& text) {
  const auto given = reader.Text(key);
  if (!given) {
    return;
  }
  std::vector<std::string_view> names;
  for (const Enum value : values) {
    names.push_back(name(value));
    if (name(value) == *given) {
      out = value;
      text = *given;
      return;
    }
  }
  reader.Wrong(key, fmt::format("must be one of {}", fmt::join(names, ", ")));
}

void ReadUsageKey(TomlReader& reader, const std::string& file, catalog::UsageTerms& usage) {
  const auto variable = reader.Text("usage_api_key_env");
  const auto path = reader.Text("usage_api_key_file");
  if (usage.api.has_value() && variable.has_value() == path.has_value()) {
    reader.Wrong("usage_api_key_env",
                 "or usage_api_key_file, one of both, must lead to the key of usage_api: it is one "
                 "of the organisation's (an admin key), never that of requests");
  }
  if (variable && !IsVariableName(*variable)) {
    reader.Wrong("usage_api_key_env",
                 "must be the name of an environment variable, such as SITE_A_ADMIN_KEY, not the "
                 "key");
  }
  if (path && path->empty()) {
    reader.Wrong("usage_api_key_file", "must be the path of a file that holds the key");
  }
  usage.key_env = variable.value_or("");
  if (path) {
    usage.key_file =
        (std::filesystem::path(file).parent_path() / *path).lexically_normal().string();
  }
}

void ReadUsage(TomlReader& reader, const std::string& file, ProviderConfig& provider) {
  using catalog::UsageApi;
  constexpr auto kOftenest = std::chrono::seconds(1);
  catalog::UsageTerms& usage = provider.usage;
  std::string text;
  UsageApi api = UsageApi::kOpenAi;
  ReadName(reader, "usage_api", {UsageApi::kOpenAi, UsageApi::kAnthropic}, catalog::UsageApiName,
           api, text);
  usage.api = text.empty() ? std::nullopt : std::optional(api);
  usage.url = provider.base_url;
  if (const auto url = reader.Text("usage_api_url")) {
    auto parsed = ParseBaseUrl(*url, provider.allow_private);
    parsed ? static_cast<void>(usage.url = std::move(*parsed))
           : reader.Wrong("usage_api_url", parsed.error().message);
  }
  ReadUsageKey(reader, file, usage);
  if (const auto every = reader.Text("usage_api_every")) {
    const auto time = ParseDuration(*every);
    usage.every = time.value_or(std::chrono::milliseconds(0));
    if (usage.every < kOftenest) {
      reader.Wrong("usage_api_every", "must be a time of a second or more, such as 24h");
    }
  }
  if (usage.api.has_value() && usage.url.empty()) {
    reader.Wrong("usage_api_url",
                 "is missing; write what stands before /organization/usage, such as "
                 "\"https://api.openai.com/v1\"");
  }
  for (const std::string_view field :
       {"usage_api_url", "usage_api_key_env", "usage_api_key_file", "usage_api_every"}) {
    if (!usage.api.has_value() && reader.Text(field).has_value()) {
      reader.Wrong(field, "says how a usage API is asked, and needs usage_api, which says whose");
    }
  }
}

Result<ProviderConfig> ReadProvider(const toml::node& node, const std::string& file, size_t index,
                                    std::vector<std::string>& warnings) {
  const std::string path = fmt::format("providers[{}]", index);
  if (!node.is_table()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} must be a table under [[providers]]",
                            TomlPlace(file, node.source()), path),
                path);
  }
  TomlReader reader(*node.as_table(), file, path);
  ProviderConfig provider;
  provider.origin = TomlPlace(file, node.source());
  ReadIdentity(reader, provider);
  ReadKeyPlace(reader, file, provider, warnings);
  if (const auto text = reader.Text("data_policy")) {
    provider.data_policy = catalog::ParseDataPolicy(*text);
    if (!provider.data_policy) {
      reader.Wrong("data_policy", "must be no-retention, retention or unknown");
    }
  }
  if (const auto text = reader.Text("assistant_prefix")) {
    provider.assistant_prefix = *text;
    if (*text != "no" && *text != "message" && *text != "vllm") {
      reader.Wrong("assistant_prefix", "must be no, message or vllm");
    }
  }
  if (const auto text = reader.Text("bound_name")) {
    provider.bound_name = *text;
    if (*text != "max_tokens" && *text != "max_completion_tokens" && *text != "both") {
      reader.Wrong("bound_name",
                   "must be max_tokens, max_completion_tokens or both: by which name the provider "
                   "knows how long an answer may be");
    }
  }
  ReadBilling(reader, provider.allow_private, provider.billing);
  ReadUsage(reader, file, provider);
  TW_RETURN_IF_ERROR(reader.status());
  TW_RETURN_IF_ERROR(ReadModels(reader, file, path, provider, warnings));
  reader.WarnOfUnknown(warnings);
  if (provider.models.empty() && !IsKind(provider.name)) {
    warnings.push_back(fmt::format(
        "{}: {} lists no models, so that nothing can be asked of it; add models = [...]",
        provider.origin, provider.name));
  }
  return provider;
}

}  // namespace

Result<std::string> ParseBaseUrl(std::string_view text, bool allow_http) {
  constexpr size_t kBytesMax = 2048;
  const bool is_https = text.starts_with("https://");
  const bool is_http = text.starts_with("http://");
  if (!is_https && !is_http) {
    return Must("must begin with https:// or http://");
  }
  if (text.size() > kBytesMax) {
    return Must(fmt::format("must be at most {} characters", kBytesMax));
  }
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '\\' || c == '"') {
      return Must("must not hold spaces, quotes or characters outside ASCII");
    }
  }
  if (text.find_first_of("?#") != text.npos) {
    return Must("must end before any ? or #");
  }
  const std::string_view rest = text.substr(is_https ? 8 : 7);
  const std::string_view authority = rest.substr(0, rest.find('/'));
  if (authority.find('@') != authority.npos) {
    return Must("must not hold a user or password; a key goes into api_key_env or api_key_file");
  }
  if (!IsHostAndPort(authority)) {
    return Must("must name a host, and a port from 1 to 65535 if any: \"https://host:8000/v1\"");
  }
  if (is_http && !allow_http) {
    return Must(
        "must be https://, because keys and prompts would be readable on the way; for a "
        "server of your own network add allow_private = true");
  }
  std::string url(text);
  while (url.ends_with('/')) {
    url.pop_back();
  }
  return url;
}

namespace {

Status ReadRoute(const toml::table& table, const std::string& file, catalog::RouteConfig& route,
                 ConfigValues& values, std::vector<std::string>& warnings) {
  using catalog::DataRule, catalog::Fallback, catalog::ProbeRule, catalog::RoutePolicy;
  TomlReader reader(table, file, "route");
  catalog::RouteConfig read = route;
  std::map<std::string_view, std::string> texts;
  ReadName(reader, "default",
           {RoutePolicy::kPreferred, RoutePolicy::kFastest, RoutePolicy::kCheapest,
            RoutePolicy::kPrivate},
           catalog::RoutePolicyName, read.default_policy, texts["default"]);
  ReadName(reader, "fallback", {Fallback::kOff, Fallback::kSameModel, Fallback::kList},
           catalog::FallbackName, read.fallback, texts["fallback"]);
  ReadName(reader, "data_policy", {DataRule::kAny, DataRule::kNoRetention, DataRule::kLocalOnly},
           catalog::DataRuleName, read.data_policy, texts["data_policy"]);
  ReadName(reader, "probes", {ProbeRule::kOff, ProbeRule::kFree, ProbeRule::kAll},
           catalog::ProbeRuleName, read.probes, texts["probes"]);
  const auto read_flag = [&](std::string_view key, bool& out) {
    if (const auto flag = reader.Flag(key)) {
      out = *flag;
      texts[key] = *flag ? "true" : "false";
    }
  };
  read_flag("dear_failover", read.dear_failover);
  read_flag("continuation", read.continuation);
  read_flag("hedge", read.hedge);
  if (const auto ms = reader.Count("hedge_after_ms")) {
    read.hedge_after_ms = *ms;
    texts["hedge_after_ms"] = std::to_string(*ms);
  }
  if (const auto order = reader.Texts("order")) {
    std::set<std::string> seen;
    for (const std::string& slug : *order) {
      if (!catalog::IsSlugText(slug) || !seen.insert(slug).second) {
        reader.Wrong("order", "must be a list of providers' names and local, each once");
      }
    }
    read.order = *order;
    texts["order"] = fmt::format("{}", fmt::join(*order, ","));
  }
  TW_RETURN_IF_ERROR(reader.status());
  reader.WarnOfUnknown(warnings);
  const auto adopt = [&](std::string_view key, auto catalog::RouteConfig::* field) {
    const std::string name = fmt::format("route.{}", key);
    if (table.contains(key) &&
        values.emplace(name, ConfigValue{texts[key], reader.Place(key)}).second) {
      route.*field = read.*field;
    }
  };
  adopt("default", &catalog::RouteConfig::default_policy);
  adopt("fallback", &catalog::RouteConfig::fallback);
  adopt("data_policy", &catalog::RouteConfig::data_policy);
  adopt("probes", &catalog::RouteConfig::probes);
  adopt("dear_failover", &catalog::RouteConfig::dear_failover);
  adopt("continuation", &catalog::RouteConfig::continuation);
  adopt("hedge", &catalog::RouteConfig::hedge);
  adopt("hedge_after_ms", &catalog::RouteConfig::hedge_after_ms);
  adopt("order", &catalog::RouteConfig::order);
  return {};
}

Status ReadCors(const toml::table& server, const std::string& file, std::vector<std::string>& out,
                ConfigValues& values) {
  TomlReader reader(server, file, "server");
  const auto origins = reader.Texts("cors_origins");
  for (const std::string& origin : origins.value_or(std::vector<std::string>{})) {
    const size_t scheme = origin.find("://");
    const auto url = ParseBaseUrl(origin, true);
    if (!url || *url != origin || origin.find('/', scheme + 3) != origin.npos) {
      reader.Wrong(
          "cors_origins",
          "must be a list of origins such as \"https://app.example\", each with its scheme "
          "and without a path; * is not taken");
    }
  }
  TW_RETURN_IF_ERROR(reader.status());
  if (origins &&
      values
          .emplace("server.cors_origins", ConfigValue{fmt::format("{}", fmt::join(*origins, ",")),
                                                      reader.Place("cors_origins")})
          .second) {
    out = *origins;
  }
  return {};
}

void Show(const ProviderConfig& provider, ConfigValues& values) {
  const auto show = [&](std::string_view key, std::string_view text) {
    if (!text.empty()) {
      values.emplace(fmt::format("providers.{}.{}", provider.name, key),
                     ConfigValue{std::string(text), provider.origin});
    }
  };
  show("kind", provider.kind);
  show("base_url", provider.base_url);
  show("api_key_env", provider.api_key_env);
  show("api_key_file", provider.api_key_file);
  show("api_key_header", provider.api_key_header);
  show("allow_private", provider.allow_private ? "true" : "");
  show("assistant_prefix", provider.assistant_prefix);
  show("bound_name", provider.bound_name);
  show("data_policy", provider.data_policy ? DataPolicyName(*provider.data_policy) : "");
  show("billing_url", provider.billing.url);
  show("billing_id_header", provider.billing.id_header);
  show("billing_own_ids", provider.billing.own_ids ? "true" : "");
  show("price_varies", provider.billing.price_varies ? "true" : "");
  show("usage_api", provider.usage.api ? catalog::UsageApiName(*provider.usage.api) : "");
  show("usage_api_url", provider.usage.api ? provider.usage.url : "");
  show("usage_api_key_env", provider.usage.key_env);
  show("usage_api_key_file", provider.usage.key_file);
  show("models", provider.models.empty() ? "" : std::to_string(provider.models.size()));
}

}  // namespace

Status MarketReader::Read(std::string_view toml, const std::string& file,
                          std::vector<std::string>& warnings) {
  TW_ASSIGN_OR_RETURN(const toml::table root, ParseToml(toml, file));
  const auto wrong = [&](const toml::node& node, std::string_view what) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}", TomlPlace(file, node.source()), what));
  };
  if (const toml::node* providers = root.get("providers")) {
    const toml::array* array = providers->as_array();
    if (array == nullptr) {
      return wrong(*providers, "providers must be written as [[providers]], once for each");
    }
    if (array->size() > limits::kConfiguredProvidersMax) {
      return wrong(*providers, fmt::format("there may be at most {} [[providers]]",
                                           limits::kConfiguredProvidersMax));
    }
    std::set<std::string> names;
    for (size_t i = 0; i < array->size(); ++i) {
      TW_ASSIGN_OR_RETURN(ProviderConfig provider, ReadProvider((*array)[i], file, i, warnings));
      if (!names.insert(provider.name).second) {
        return wrong((*array)[i],
                     fmt::format("providers[{}].name {} is there twice; choose another name", i,
                                 provider.name));
      }
      const bool is_stronger =
          std::none_of(config_.providers.begin(), config_.providers.end(),
                       [&](const ProviderConfig& other) { return other.name == provider.name; });
      if (is_stronger) {
        Show(provider, values_);
        config_.providers.push_back(std::move(provider));
      }
    }
  }
  if (const toml::node* route = root.get("route")) {
    if (!route->is_table()) {
      return wrong(*route, "route must be a table: [route]");
    }
    TW_RETURN_IF_ERROR(ReadRoute(*route->as_table(), file, config_.route, values_, warnings));
  }
  if (const toml::table* server = root["server"].as_table()) {
    TW_RETURN_IF_ERROR(ReadCors(*server, file, config_.cors_origins, values_));
  }
  return {};
}

}  // namespace tradewind::cli
