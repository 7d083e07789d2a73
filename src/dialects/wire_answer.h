// What passes through from an upstream that speaks OpenAI's wire format: each chunk or object is
// read for what the router must know (usage, end, errors), and goes on as the bytes it came in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"

namespace tradewind::dialects {

struct WireChunk {
  bool has_content = false;  // text, reasoning, a tool call: something a reader would see
  bool has_other = false;    // of that: what is no text: reasoning, a tool call, speech
  bool has_calls = false;    // of that: a call of a tool
  bool has_choices = false;  // `choices` is not empty
  std::string text;          // of all choices
  // Of what the model wrote: text, thoughts, calls' names and arguments. More than 0 with content.
  int64_t written_bytes = 0;
  std::string finish_reason;         // of the last choice that has one; "" = none
  std::optional<chat::Usage> usage;  // absent or null: unknown, which is not zero
  std::string service_tier;          // as in chat::Usage; some say it in another chunk
  // "error" or, without an envelope, "message" with a code (a word or a number) or as the object
  // "error": the upstream gave up in mid-stream.
  std::optional<std::string> error;
  // The chunk as clients can read it, when that is not the text itself: no `"error":null`, a finish
  // reason that OpenAI has.
  std::optional<std::string> rewritten;
};

// Which choices of a stream have begun, and which of them have ended.
class WireChoices {
 public:
  // A chunk names a choice. What has ended stays so: some send usage in a last chunk of the choice.
  // False: no index that a choice can have (limits::kWireChoicesMax).
  bool Note(int64_t index, bool is_end);
  // The stream said that it is complete: no choice that has begun is open. False: none was.
  bool EndAll();
  bool have_begun() const { return !states_.empty(); }
  bool have_ended() const { return have_begun() && open_ == 0; }
  // How many have, when none is open; else 0.
  int64_t ended() const;

 private:
  enum class State : uint8_t { kUnseen, kOpen, kEnded };
  std::vector<State> states_;  // by index
  int64_t open_ = 0;
};

// One data event of a stream, `[DONE]` excepted. `choices`, if given, learns which ones it names.
// Errors: kInvalidArgument, the text is no JSON object, or names an impossible choice.
Result<WireChunk> ReadWireChunk(std::string_view data, WireChoices* choices = nullptr);

// The chunk with one more field at its end: the receipt of a usage chunk.
std::string WithField(std::string_view chunk, std::string_view name, std::string_view json);

// A whole answer that ReadWireWhole has read as the chunks of a stream: one with all of it, and one
// with its usage. A choice without a finish reason has ended by "tool_calls", or by "stop".
std::vector<std::string> ChunksOf(std::string_view whole);

struct WireWhole {
  std::string
      body;  // as clients can read it: as received, but for what ReadWireChunk rewrites, and
             // with `usage` (null when unknown), which some clients demand
  std::string finish_reason;
  int64_t written_bytes = 0;  // as WireChunk has them; of embeddings none
  std::optional<chat::Usage> usage;
  // It is none: an error with the status of an answer, in its own words. `body` is as received.
  std::optional<std::string> error;
};

enum class WireKind { kChat, kCompletion, kEmbeddings };

// A whole answer. Errors: kInvalidArgument, it is not what was asked for (no JSON, no choices).
Result<WireWhole> ReadWireWhole(std::string body, WireKind kind);

// The error of an upstream in OpenAI's terms, from any of the envelopes that providers use.
// `status` 0: it came with that of an answer.
struct WireError {
  std::string message, type, param, code;
  std::optional<chat::Usage> usage = {};  // of a refusal that is billed
};
WireError ReadWireError(int status, std::string_view body);

}  // namespace tradewind::dialects
