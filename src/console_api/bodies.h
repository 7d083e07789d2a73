// What every API of this folder reads and answers: JSON, of which each field is known.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "dialects/json_reader.h"
#include "http/http.h"

namespace tradewind::console_api {

// After all of them were asked for. A field that nobody reads is a misspelt one: what was meant by
// it would be left out without a word. `of` says whose fields they are, as "a budget". Errors:
// kInvalidArgument naming the first field that is of a wrong type or unknown.
Status CheckKnown(const dialects::Fields& fields, std::string_view of);

http::Response JsonResponse(std::string json, int status = 200);

}  // namespace tradewind::console_api
