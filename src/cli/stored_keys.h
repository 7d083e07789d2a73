// The keys that `login` stored for the operator, as verbs beside the server see them.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/settings.h"

namespace tradewind::cli {

// The operator's stored key for a provider; "" when it is only known to be there.
using StoredKeyReader = std::function<std::optional<std::string>(std::string_view slug)>;

// Asks the server that holds the home (which tells whose keys are there, never the keys), or reads
// the home itself, for a moment under its lock. What stands in the way becomes a warning. The verb
// needs the flag --secret-key-file.
std::map<std::string, std::string, std::less<>> FindStoredKeys(const Settings& settings,
                                                               const std::filesystem::path& home,
                                                               std::vector<std::string>& warnings);

}  // namespace tradewind::cli
