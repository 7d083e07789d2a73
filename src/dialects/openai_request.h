// What requests of /v1/chat/completions and /v1/completions share. docs/formats/openai.md has the
// table of fields.
#pragma once

#include <string>
#include <vector>

#include "chat/chat.h"
#include "dialects/json_reader.h"

namespace tradewind::dialects {

// Reads model, sampling, stop, n, stream, stream_options, seed, logit_bias and the extensions of
// vLLM that we honour.
void ReadGeneration(Fields& fields, chat::Generation& generation);

// Fields that we know, cannot honour, and must not drop silently because the answer would differ:
// kUnsupported, unless they hold the value that asks for nothing.
void RefuseUnsupported(Fields& fields);

// Names of unknown fields that are safe in a response header, at most kIgnoredFieldsNamedMax.
std::vector<std::string> NamedIgnored(const Fields& fields);

}  // namespace tradewind::dialects
