// How many tokens of thought a request allows.
#pragma once

#include <cstdint>

#include "dialects/json_text.h"

namespace tradewind::dialects {

// The most that any of the names says which providers know (Anthropic's, OpenRouter's, Alibaba's,
// SiliconFlow's, vLLM's and those of chat templates), whether it counts there or not; 0: none does.
// More than there are of anything is 1,000,000,000.
int64_t ThinkingTokens(const JsonText& request);

}  // namespace tradewind::dialects
