// SentencePiece BPE as GGUF's model "llama" has it: Llama 2, Mistral 7B, Phi-3.
#pragma once

#include <memory>

#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

// U+2581, by which SentencePiece files write a space. Inside Tradewind it is a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

std::unique_ptr<Tokenizer> MakeSentencePieceTokenizer(Vocabulary vocabulary);

}  // namespace tradewind::engine
