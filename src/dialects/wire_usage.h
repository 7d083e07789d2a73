// The usage of an answer, under the names that providers have for it.
#pragma once

#include <optional>
#include <simdjson.h>

#include "chat/chat.h"

namespace tradewind::dialects {

// Of what `holder` says in `usage` (Groq: in `x_groq`), whatever was said; the total may tell the
// other half. What nobody said is not zero; nullopt: nobody said anything. Embeddings have no
// output.
std::optional<chat::Usage> ReadUsage(const simdjson::dom::element& holder, bool has_output = true);

}  // namespace tradewind::dialects
