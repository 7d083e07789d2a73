#include "cli/stored_keys.h"

#include <memory>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cli/admin_link.h"
#include "cli/home.h"
#include "cli/server_link.h"
#include "dialects/json_reader.h"
#include "identity/store.h"

namespace tradewind::cli {
namespace {

namespace json = boost::json;
using Keys = std::map<std::string, std::string, std::less<>>;

Result<Keys> AskServer(const Endpoint& endpoint) {
  TW_ASSIGN_OR_RETURN(const Reply reply, Get(endpoint, "/tw/v1/provider-keys"));
  TW_ASSIGN_OR_RETURN(const json::object answer, dialects::ParseJsonObject(reply.body));
  Keys out;
  const json::value* list = answer.if_contains("provider_keys");
  if (list == nullptr || !list->is_array()) {
    return out;
  }
  for (const json::value& item : list->get_array()) {
    const json::object* row = item.if_object();
    const json::value* provider = row == nullptr ? nullptr : row->if_contains("provider");
    const json::value* owner = row == nullptr ? nullptr : row->if_contains("owner");
    if (provider != nullptr && provider->is_string() && owner != nullptr && owner->is_string() &&
        owner->get_string() == "server") {
      out.emplace(std::string(provider->get_string()), "");
    }
  }
  return out;
}

Result<Keys> ReadHome(const std::filesystem::path& home, const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const HomeLock lock, HomeLock::Take(home));
  TW_ASSIGN_OR_RETURN(const std::unique_ptr<identity::Store> store,
                      identity::Store::Open(IdentityOptions(home, settings)));
  TW_ASSIGN_OR_RETURN(const std::vector<identity::ProviderKeyInfo> listed,
                      store->ListProviderKeys());
  Keys out;
  for (const identity::ProviderKeyInfo& one : listed) {
    const auto found = store->provider_secrets().Find("", "", one.provider);
    if (one.owner == identity::OwnerKind::kServer && found.has_value()) {
      out.emplace(one.provider, std::string(found->secret->Reveal()));
    }
  }
  return out;
}

}  // namespace

Keys FindStoredKeys(const Settings& settings, const std::filesystem::path& home,
                    std::vector<std::string>& warnings) {
  std::error_code ignored;
  if (!std::filesystem::exists(home / identity::kDatabaseFile, ignored)) {
    return {};
  }
  const auto running = FindServer(home);
  Endpoint endpoint;
  if (running.has_value()) {
    endpoint = EndpointOf(*running, settings);
    if (std::string token = AdminTokenOf(home); !token.empty()) {
      endpoint.token = std::move(token);  // TRADEWIND_TOKEN may be one that manages nothing
    }
  }
  Result<Keys> keys = running.has_value() ? AskServer(endpoint) : ReadHome(home, settings);
  if (!keys.has_value()) {
    warnings.push_back(
        fmt::format("keys that `login` stored do not count here: {}", keys.error().message));
    return {};
  }
  return std::move(*keys);
}

}  // namespace tradewind::cli
