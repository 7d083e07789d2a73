// How many tokens the prompt of a request may be at most, whatever the provider's tokenizer and
// template make of it: what is held for it, and which tiers of prices it can reach.
#pragma once

#include <cstdint>
#include <string_view>

#include "gateway/order.h"

namespace tradewind::gateway {

// What a template and the provider's own instructions add to the text of a request, at most.
inline constexpr int64_t kTemplateTokens = 1024;

// Of what is not negative; the most there is, where it would be more: no price of that fits.
int64_t Times(int64_t a, int64_t b);

// Of a text as it stands, which some tokenizers normalise first.
int64_t TokensMax(std::string_view text);

// Of all prompts of the request together, each once; `body` is what it came as. How long a sound is
// does not follow from its bytes, and of a picture its data counts, too.
int64_t PromptTokensMax(const Order& order, std::string_view body);

// And further ones where any server may answer (providers::Upstream::may_be_any_server): of
// pictures named in its texts, for a model that may take pictures.
int64_t NamedPictureTokensMax(const Order& order);

}  // namespace tradewind::gateway
