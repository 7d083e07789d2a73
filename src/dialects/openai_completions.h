// POST /v1/completions: request text -> CompletionRequest, events -> text_completion.
// Source: the OpenAI API reference; lists of prompts, ids and `echo` with log-probabilities as vLLM
// has them, so that evaluation harnesses can score text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"
#include "dialects/answer_writer.h"

namespace tradewind::dialects {

inline constexpr int64_t kCompletionMaxTokensDefault = 16;  // OpenAI's; chat has none

struct ParsedCompletion {
  chat::CompletionRequest request;
  std::vector<std::string> ignored;  // unknown fields, for x-tradewind-ignored
};

// Errors: kInvalidArgument and kUnsupported with `param`; kPayloadTooLarge.
Result<ParsedCompletion> ParseOpenAiCompletion(std::string_view body);

// With `echo` the prompt's text is the first text of each choice, and its log-probabilities stand
// before those of the answer; `text_offset` counts code points from the start of that text. A token
// whose bytes are not whole characters is named "bytes:\xe2\x80", so that the keys of
// `top_logprobs` stay apart; the chosen token is always among them.
std::unique_ptr<AnswerWriter> MakeOpenAiCompletionWriter(AnswerHead head,
                                                         const chat::CompletionRequest& request);

}  // namespace tradewind::dialects
