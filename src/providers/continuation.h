// A request for the rest of an answer whose beginning is there: of a stream that was cut, to go on
// with elsewhere (docs/adr/0013-going-on-elsewhere.md).
#pragma once

#include <cstdint>
#include <string_view>

#include "dialects/json_text.h"
#include "providers/upstream.h"

namespace tradewind::providers {

// Where such an answer can come from. gpt-oss answers in a form of turns that no beginning fits.
bool CanGoOn(const Upstream& upstream, Endpoint endpoint, std::string_view provider_model);

// Turns the request, in OpenAI's form, into one for the rest: `text` becomes the beginning of the
// assistant's message, or the end of the prompt, and `tokens` are taken off the bound on tokens.
// False, and the request is as it was or half changed, when that cannot be done: nothing is left of
// the bound, or the prompt is no string.
bool AskForTheRest(const Upstream& upstream, Endpoint endpoint, std::string_view text,
                   int64_t tokens, dialects::JsonText& request);

}  // namespace tradewind::providers
