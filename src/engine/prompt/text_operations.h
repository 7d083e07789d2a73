// Operations on texts that both the methods of str and the filters offer.
#pragma once

#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

// strip(): `chars` null means white space.
Value Strip(Run& run, const Text& text, const Text* chars, bool left, bool right);
// replace(): `count` < 0 means all.
Value Replace(Run& run, const Text& text, const Text& from, const Text& to, int64_t count);
// center, ljust, rjust: pads to `width` characters. `where`: 'c', 'l' (text at the left) or 'r'.
Value Pad(Run& run, const Text& text, int64_t width, const Text& fill, char where);
std::vector<Value> SplitLines(Run& run, const Text& text, bool keep_ends);
// A text made out of `from` as a whole by `convert`: data if any of it is. Keeps the markup flag.
Value Converted(Run& run, const Text& from, std::string (*convert)(std::string_view));
// "upper", "title" ...: null when the name is not a conversion.
std::string (*FindConversion(std::string_view name))(std::string_view);

}  // namespace tradewind::engine::prompt
