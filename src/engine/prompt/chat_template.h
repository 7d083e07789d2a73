// A model's chat template: messages -> prompt text that knows which bytes the template wrote and
// which came from data. Source: Jinja2 as transformers' apply_chat_template runs it (immutable
// sandbox, trim_blocks, lstrip_blocks, loop controls, `generation` block, its own tojson).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/prompt/budget.h"
#include "engine/tokenizer/tokenizer.h"

namespace tradewind::engine {

struct RenderedPrompt {
  std::string text;
  // Bytes that are literals of the template (or bos/eos variables): only there may special tokens
  // form. Sorted, disjoint, maximal. Everything that came out of a message, a tool or another
  // variable lies outside.
  std::vector<ByteRange> literal_ranges;
};

// What a template sees. Each field is JSON text so that callers need not know the template's value
// type.
struct TemplateInputs {
  std::string messages_json;  // array of {"role", "content", ...}
  std::string tools_json;     // array, or empty = none
  std::string extra_json;  // object of further top-level variables (chat_template_kwargs), or empty
  bool add_generation_prompt = true;
};

// Immutable after Parse; any thread may render. Bounded in steps, memory, output and depth
// (base/limits.h).
class ChatTemplate {
 public:
  // Errors: kTemplateFailed with "line N: ...".
  // Invalid UTF-8 in the source becomes U+FFFD. The tokens become the variables bos_token and
  // eos_token; an entry of extra_json with that name replaces them, as data.
  static Result<ChatTemplate> Parse(std::string_view source, std::string bos_token,
                                    std::string eos_token,
                                    const prompt::TemplateLimits& bounds = {});

  // Errors: kTemplateFailed: raise_exception's own message passed on, or "line N: ..." for a
  // run-time error or a bound reached; kInvalidArgument when an input is not the JSON it should be
  // (`param` names the field), or extra_json sets messages, tools, documents or
  // add_generation_prompt.
  Result<RenderedPrompt> Render(const TemplateInputs& inputs,
                                const Clock& clock = SystemClock()) const;

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ChatML, for a model file that carries no template (said in `show` and in the log).
std::string_view FallbackChatTemplate();

}  // namespace tradewind::engine
