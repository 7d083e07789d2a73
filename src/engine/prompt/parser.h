// Tokens -> syntax tree.
#pragma once

#include <string_view>

#include "base/result.h"
#include "engine/prompt/ast.h"

namespace tradewind::engine::prompt {

// Errors: kTemplateFailed, "line N: ..." (syntax; an unknown filter or test outside `if`; source
// longer than kTemplateSourceBytesMax or nested deeper than `depth_max`).
Result<Ast> ParseTemplate(std::string_view source, int depth_max);

}  // namespace tradewind::engine::prompt
