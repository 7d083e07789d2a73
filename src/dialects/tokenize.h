// /tokenize, /detokenize and /tokenizer_info in the shapes of vLLM's server.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"

namespace tradewind::dialects {

struct TokenizeRequest {
  std::string model;     // empty = the default model
  bool is_chat = false;  // `messages` instead of `prompt`
  std::string prompt;
  chat::ChatRequest chat;          // messages, template_kwargs_json, add_generation_prompt
  bool add_special_tokens = true;  // vLLM's defaults: true for a prompt, false for messages
  bool return_token_strs = false;
};

struct DetokenizeRequest {
  std::string model;
  std::vector<int64_t> tokens;
};

struct TokenizerInfo {
  std::string_view model;  // "gpt2", "llama", "tekken"
  std::string_view pre_tokenizer;
  int64_t vocab_size = 0;
  int64_t context = 0;
  int64_t bos = -1, eos = -1;  // -1 = none
  bool add_bos = false;
  std::string_view bos_token = {},
                   eos_token = {};  // names; harnesses tokenize these to learn the ids
};

Result<TokenizeRequest> ParseTokenize(std::string_view body);
Result<DetokenizeRequest> ParseDetokenize(std::string_view body);

// {"count","max_model_len","tokens","token_strs"}; `strings` is empty when they were not asked for.
std::string FormatTokenize(std::span<const int64_t> tokens, const std::vector<std::string>* strings,
                           int64_t context);
std::string FormatDetokenize(std::string_view text);  // {"prompt"}
std::string FormatTokenizerInfo(const TokenizerInfo& info);

}  // namespace tradewind::dialects
