// What chat templates write more often than it stands in the request.
#pragma once

#include <cstdint>
#include <string_view>

namespace tradewind::dialects {

// Bytes that templates add at most to these messages: the tools (`tools_bytes`, as they are
// written) before every message of a user that equals the last (Mistral's own), and with their
// instructions for every one of a developer or the system beyond the first (DeepSeek V3.2's); the
// longest name of a called function before every result of a tool (gpt-oss); and what tools that
// stand in a message grow by (RewrittenToolsGrowth; and apart from it ResolvedToolsGrowth).
// Messages count as equal whose text is, whatever else they hold. `messages` is JSON that was
// parsed as part of its request.
struct MessagesGrowth {
  int64_t written = 0, resolved = 0;
};
MessagesGrowth RepeatedGrowth(std::string_view messages, int64_t tools_bytes);

}  // namespace tradewind::dialects
