// POST /v1/chat/completions: request text -> ChatRequest, events -> chat.completion and
// chat.completion.chunk. Source: the OpenAI API reference; extensions as vLLM has them.
// docs/formats/openai.md has the table of fields.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"
#include "dialects/answer_writer.h"

namespace tradewind::dialects {

struct ParsedChat {
  chat::ChatRequest request;
  std::vector<std::string> ignored;  // unknown fields, for x-tradewind-ignored
};

// Errors: kInvalidArgument and kUnsupported with `param`; kPayloadTooLarge.
Result<ParsedChat> ParseOpenAiChat(std::string_view body);

std::unique_ptr<AnswerWriter> MakeOpenAiChatWriter(AnswerHead head,
                                                   const chat::ChatRequest& request);

}  // namespace tradewind::dialects
