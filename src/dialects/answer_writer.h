// Events of an answer -> the bytes of one dialect, as a stream or as one object. One implementation
// per dialect.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat.h"
#include "dialects/json_writer.h"

namespace tradewind::dialects {

// What every object and chunk of one answer carries.
struct AnswerHead {
  std::string id;                         // "chatcmpl-..."
  int64_t created = 0;                    // Unix seconds
  std::string model;                      // the id it resolved to
  std::string fingerprint;                // system_fingerprint
  std::string provider = {}, route = {};  // of the receipt; empty: not named
  bool cost_is_known = true;              // in it; false: something else may be billed too
};

// A piece of a stream, to be framed as a server-sent event or as a comment. `text` is one line.
struct StreamPart {
  enum class Kind { kData, kComment } kind = Kind::kData;
  std::string text;
};

// Not thread-safe. Either Stream for every event, or Add for every event and Whole once; never
// both.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // Appends what the event becomes. After the event with `done` the last part is [DONE], and before
  // it stands the usage chunk or, when the client did not ask for one, the receipt as a comment.
  virtual void Stream(const chat::ChatEvent& event, std::vector<StreamPart>& out) = 0;
  virtual void Add(chat::ChatEvent event) = 0;
  virtual std::string Whole() = 0;  // after the event with `done`
};

// "stop", "length".
std::string_view FinishReasonName(chat::FinishReason reason);

// {"prompt_tokens",...}
void WriteUsage(const chat::Usage& usage, JsonWriter& json);
// {"cost_nanousd","queue_ms","prefill_ms","decode_ms","output_tokens_per_s"}: the rate counts the
// tokens after the first of each of `choices` answers over decode_ms, and is null when there were
// none.
void WriteReceipt(const AnswerHead& head, const chat::Usage& usage, const chat::Receipt& receipt,
                  int choices, JsonWriter& json);

// JSON has no infinity: OpenAI's own stand-in for "very unlikely" is -9999.
double FiniteLogprob(double logprob);

}  // namespace tradewind::dialects
