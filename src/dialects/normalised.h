// How much longer a text may get where a tokenizer normalises it first (NFC: Qwen's do).
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::dialects {

// Bytes that NFC adds to this text in UTF-8 at most, whether or not it is inside of JSON, with its
// escapes. A tokenizer with a token for each byte makes no more tokens than bytes of what it reads,
// and that is the normalised text. What is no UTF-8 adds nothing: it is refused before it is sent.
// Source: Unicode Standard Annex #15.
int64_t NormalisedGrowth(std::string_view text);

}  // namespace tradewind::dialects
