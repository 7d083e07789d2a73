// The program's log: short sentences for the operator, on stderr. Nothing that belongs to a user
// (prompts, answers, keys, header values) may be passed in.
#pragma once

#include <string_view>

namespace tradewind::telemetry {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// The threshold comes from TRADEWIND_LOG (trace, debug, info, warn, error, off) and is kInfo
// without it. Thread-safe.
void Log(Level level, std::string_view message);

// Ask first where composing the message costs something.
bool LogEnabled(Level level);
void SetLogLevel(Level level);

// kInfo for names that are none of the above.
Level LevelFromName(std::string_view name);

}  // namespace tradewind::telemetry
