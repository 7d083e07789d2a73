// Messages or raw prompts -> token ids, for a loaded model. Pure functions: any thread; slow for
// long texts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"
#include "engine/engine.h"

namespace tradewind::providers {

struct PreparedPrompt {
  std::vector<engine::TokenId> ids;
  std::string text;            // what `echo` repeats; of completions only
  bool bos_was_added = false;  // ids[0] stands for nothing in `text`
};

// The messages as a template expects them: `developer` is `system`, text parts are joined by line
// breaks, arguments of tool calls are objects. Errors: kUnsupported for images, naming the part.
Result<std::string> TemplateMessages(const std::vector<chat::Message>& messages);

// Renders the model's chat template and tokenizes it: special tokens form only in what the template
// itself wrote. Errors: kTemplateFailed, kUnsupported, kInvalidArgument.
Result<PreparedPrompt> PrepareChat(const engine::Engine& engine,
                                   const std::vector<chat::Message>& messages,
                                   const std::string& template_kwargs_json,
                                   bool add_generation_prompt);

// Text may spell special tokens; ids are taken as they are. `path` names the prompt in errors.
// Errors: kInvalidArgument (an id outside the vocabulary, nothing to evaluate).
Result<PreparedPrompt> PrepareCompletion(const engine::Engine& engine,
                                         const chat::CompletionRequest::Prompt& prompt,
                                         const std::string& path, bool add_special_tokens = true);

}  // namespace tradewind::providers
