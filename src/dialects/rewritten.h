// How much longer JSON of a request may get where a chat template reads it and writes it anew.
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::dialects {

// Bytes that a template adds at most to the JSON value that `json` begins with: with Python's
// separators, each member on a line of its own (Llama 3.1 indents by 4), numbers as a double reads
// them, and escaped what is none of ASCII (json.dumps), or what HTML would read (Jinja). With
// `parses_strings` strings that hold an object or an array count as that: a tool call's arguments.
// Never negative: as it stands is how some take it. What is no JSON gets some number.
int64_t RewrittenGrowth(std::string_view json, bool parses_strings = false);

// The same of `json`, an array of tools, with what servers add to each of them by default (vLLM: a
// type, a description and parameters that are null).
int64_t RewrittenToolsGrowth(std::string_view json);

// How many bytes more a template may add that resolves the references in their schemas
// (schema_refs.h).
int64_t ResolvedToolsGrowth(std::string_view json);

}  // namespace tradewind::dialects
