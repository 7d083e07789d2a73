// The flags that serve and bench share -> EngineOptions.
#pragma once

#include "base/result.h"
#include "cli/settings.h"
#include "engine/engine.h"

namespace tradewind::cli {

// Reads --ctx, --threads, --kv, --activations, --kernels and, where the verb has them, --slots,
// --queue, --kv-memory and --no-prefix-cache.
// Errors: kInvalidArgument naming the flag and where its value came from.
Result<engine::EngineOptions> ReadEngineOptions(const Settings& settings);

}  // namespace tradewind::cli
