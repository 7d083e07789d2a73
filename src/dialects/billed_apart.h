// Fields of a request by which a provider may bill more than its bytes and its bound of the answer
// come to. What reads them is a provider, or a proxy that stands as one.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "dialects/json_text.h"

namespace tradewind::dialects {

// The first of them that says something (not null, false, 0, or empty); "" = none. Names are
// compared as servers do that take no notice of case.
std::string FieldBilledApart(const JsonText& request);

// Whether it is one of them, if it says something; the name as CaseFolded leaves it.
bool IsFieldBilledApart(std::string_view folded);

// Those that are read by what they say: a search that is asked for, a template.
inline constexpr std::array<std::string_view, 6> kReadAsBilledApart = {
    "web_search_options", "plugins",       "search_parameters",
    "enable_search",      "chat_template", "mm_processor_kwargs"};
bool IsFieldReadAsBilledApart(std::string_view folded);

// The JSON is null, false, 0 or empty.
bool SaysNothing(std::string_view json);

// The first question of a field of one message, given the name as it stands there.
bool IsMessageFieldBilledApart(std::string_view name);

}  // namespace tradewind::dialects
