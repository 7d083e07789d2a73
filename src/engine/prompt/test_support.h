// For the tests of this folder: rendering in one line.
#pragma once

#include <string>
#include <string_view>

#include "engine/prompt/chat_template.h"

namespace tradewind::engine {

struct Rendering {
  bool failed = false;
  std::string phase;  // "compile" or "render" when failed
  std::string error;
  ErrorCode code = ErrorCode::kInternal;
  std::string text;
  std::string literal;  // the bytes of `text` that are literal; those that are not as '.'
};

inline Rendering RenderText(std::string_view source, const TemplateInputs& inputs,
                            const prompt::TemplateLimits& bounds = {},
                            const Clock& clock = SystemClock(), std::string bos = "<s>",
                            std::string eos = "</s>") {
  auto parsed = ChatTemplate::Parse(source, std::move(bos), std::move(eos), bounds);
  if (!parsed.has_value()) {
    return {true, "compile", parsed.error().message, parsed.error().code, "", ""};
  }
  auto rendered = parsed->Render(inputs, clock);
  if (!rendered.has_value()) {
    return {true, "render", rendered.error().message, rendered.error().code, "", ""};
  }
  std::string literal(rendered->text.size(), '.');
  for (const ByteRange& range : rendered->literal_ranges) {
    literal.replace(range.begin, range.end - range.begin, rendered->text, range.begin,
                    range.end - range.begin);
  }
  return {false, "", "", {}, rendered->text, literal};
}

}  // namespace tradewind::engine
