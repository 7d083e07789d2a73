// A made-up vocabulary in the shape of Tekken's: special tokens, then the 256 bytes, then words of
// letters, with the merges that lead to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tradewind::make_model {

struct MadeUpVocabulary {
  std::vector<std::string> tokens;  // in byte-level characters, as GGUF stores them
  std::vector<int32_t> types;       // GGUF's: 3 control, 1 normal
  std::vector<std::string> merges;  // "left right", in the order of their results
  int32_t unknown = 0, bos = 1, eos = 2, padding = 11;  // Tekken's ids
};

// `size` is at least 512 and at most 262,144. A vocabulary of 131,072 has 1000 special tokens and
// about 260,000 merges, as Tekken has.
MadeUpVocabulary MakeVocabulary(int64_t size);

// A chat template that uses those special tokens as Mistral's do.
std::string MadeUpChatTemplate();

}  // namespace tradewind::make_model
