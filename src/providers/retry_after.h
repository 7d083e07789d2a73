// When a provider that refused wants to be asked again.
// Source: RFC 9110, 10.2.3 and 5.6.7; headers of OpenAI's clients and of recorded exchanges.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "http/http.h"

namespace tradewind::providers {

// From retry-after-ms; or Retry-After, in seconds (some have a fraction) or as an HTTP date; or the
// longest x-ratelimit-reset-X of those whose x-ratelimit-remaining-X is 0, in seconds or as
// "2m59.56s". At most a day; nothing when none can be read.
std::optional<int64_t> RetryAfterMs(const http::Headers& headers,
                                    std::chrono::system_clock::time_point now);

}  // namespace tradewind::providers
