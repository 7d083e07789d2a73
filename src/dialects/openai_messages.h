// The `messages` array of a chat request, shared by /v1/chat/completions and /tokenize.
#pragma once

#include <vector>

#include "chat/chat.h"
#include "dialects/json_reader.h"

namespace tradewind::dialects {

// Required, non-empty. Wrong fields are named "messages[i].content[j].text".
void ReadMessages(Fields& fields, std::vector<chat::Message>& messages);

// `chat_template_kwargs`, as JSON text; empty when absent.
void ReadTemplateKwargs(Fields& fields, std::string& json);

}  // namespace tradewind::dialects
