// Values of the template language: what messages, tools and variables become. JSON plus undefined, and what a template
// makes while it runs (namespaces, macros, loops), which only the interpreter knows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tradewind::engine::prompt {

class Value;
// Parses JSON text into a value, keeping the order of keys and the difference between integers and floats.
// Errors: kInvalidArgument with the byte offset. (Owner of prompt/: implement; depth bounded by kJsonDepthMax.)
Result<Value> ValueFromJson(std::string_view json);

}  // namespace tradewind::engine::prompt
