// Both request parsers and the tokenizer calls over arbitrary bytes: no crash, and every refusal
// says why.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "dialects/openai_chat.h"
#include "dialects/openai_completions.h"
#include "dialects/openai_errors.h"
#include "dialects/tokenize.h"

namespace {

using tradewind::IsValidUtf8;

void CheckError(const tradewind::Error& error) {
  TW_CHECK(!error.message.empty());
  TW_CHECK(tradewind::dialects::OpenAiErrorOf(error).status < 500);
  TW_CHECK(IsValidUtf8(tradewind::dialects::FormatOpenAiError(error)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto chat = tradewind::dialects::ParseOpenAiChat(body);
  if (chat.has_value()) {
    TW_CHECK(!chat->request.messages.empty() && !chat->request.model.empty());
    TW_CHECK(chat->request.n >= 1 && chat->request.n <= tradewind::limits::kChoicesMax);
  } else {
    CheckError(chat.error());
  }
  const auto completion = tradewind::dialects::ParseOpenAiCompletion(body);
  if (completion.has_value()) {
    TW_CHECK(!completion->request.prompts.empty() && completion->request.max_tokens.has_value());
  } else {
    CheckError(completion.error());
  }
  if (const auto tokenize = tradewind::dialects::ParseTokenize(body); !tokenize.has_value()) {
    CheckError(tokenize.error());
  }
  if (const auto ids = tradewind::dialects::ParseDetokenize(body); !ids.has_value()) {
    CheckError(ids.error());
  }
  return 0;
}
