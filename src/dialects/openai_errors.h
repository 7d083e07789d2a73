// The one table from our error codes to what an OpenAI client sees.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tradewind::dialects {

struct OpenAiError {
  int status = 500;
  std::string_view type;
  std::string_view code;
};

// An unknown model (kNotFound with param "model") has its own code, model_not_found; everything
// else is one row.
OpenAiError OpenAiErrorOf(const Error& error);

// The inverse, for clients that read our errors: nullopt for a code that is not in the table.
std::optional<ErrorCode> ErrorCodeOfOpenAi(std::string_view code);

// {"error":{"message","type","param","code"}}: the body of a response, or the data of an event in a
// running stream.
std::string FormatOpenAiError(const Error& error);

// The value of Retry-After in whole seconds, rounded up, at least 1; absent when the error names no
// time.
std::optional<std::string> RetryAfterSeconds(const Error& error);

}  // namespace tradewind::dialects
