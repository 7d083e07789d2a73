// Config, catalogue and keys → the market that requests are routed with: at start, and again on
// SIGHUP.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "cli/settings.h"
#include "routing/market.h"

namespace tradewind::cli {

// The key that the operator set for a provider: the variable or file that the config or the
// catalogue names, read now. nullopt when it is not set. Errors: kNotFound, kIo (a file that cannot
// be read), kInvalidArgument (a key with line breaks or other control characters, or longer than
// kApiKeyBytesMax); no message repeats the key.
Result<std::optional<std::string>> ReadProviderKey(const catalog::Provider& provider,
                                                   const Environment& environment);

// Keys that `login` stored; "" when there is none.
using StoredKeys = std::function<std::string(std::string_view slug)>;

// Logs a warning for every provider of the config that is off, and for each conflict.
std::shared_ptr<const routing::Market> BuildMarket(
    const Settings& settings, std::shared_ptr<const catalog::LocalModels> local,
    const StoredKeys& stored = {});

}  // namespace tradewind::cli
