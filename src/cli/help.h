// Texts made from the command table.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/command.h"

namespace tradewind::cli {

std::string HelpText();  // the verbs
std::string HelpText(const Command& command);
std::string ManPage();  // roff (man macros)
// Completion for "bash", "zsh" or "fish". Errors: kInvalidArgument.
Result<std::string> CompletionScript(std::string_view shell);

std::string Synopsis(const Command& command);  // "tradewind run REF [PROMPT...] [flags]"

}  // namespace tradewind::cli
