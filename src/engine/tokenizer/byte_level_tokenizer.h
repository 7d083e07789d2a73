// Byte-level BPE: GPT-2's family and Tekken. Every byte is a token, so any text can be encoded.
#pragma once

#include <memory>

#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

// `vocabulary.pre_name` names the pre-tokenizer. Errors: kUnsupported when it is not known.
Result<std::unique_ptr<Tokenizer>> MakeByteLevelTokenizer(Vocabulary vocabulary);

}  // namespace tradewind::engine
