// An upstream's answer -> the client: its own bytes, at the client's pace, and what is learnt on
// the way. (relay.h does the same for answers of this device, which have no bytes of their own.)
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/boxed.h"
#include "base/clock.h"
#include "base/task.h"
#include "chat/chat.h"
#include "http/http.h"
#include "providers/upstream.h"

namespace tradewind::gateway {

// What the client has of a stream; lives through all attempts at it.
struct ClientStream {
  bool head_is_out = false;
  bool receipt_is_out = false;
  bool may_go_on = false;              // elsewhere, if it is cut; the rest is for that alone
  std::string text;                    // all that the client has
  int64_t pieces = 0;                  // events with some of it
  std::vector<std::string> providers;  // who gave it

  // At least so many; a piece may be several.
  int64_t tokens() const;
};

struct Passed {
  // Before the first byte nothing was sent to the client: another route may answer.
  Boxed<providers::UpstreamFailure> failed_before_first_byte;
  Boxed<providers::UpstreamFailure> failed_after_first_byte;
  // The stream broke, and the client's is still open: it goes on, or ends by EndCutStream.
  bool is_left_open = false;
  bool gave_nothing = false;  // of what the client has
  // The client took no more; the upstream was told.
  Boxed<Error> client_failed;
  std::optional<chat::Usage> usage;  // as the upstream counted it; nullopt: it did not say
  // It was said when every choice had ended: it is what the answer used, also when it was cut then.
  bool usage_is_final = false;
  std::string finish_reason;    // "" when the answer did not end
  int64_t delivered_bytes = 0;  // of what a reader sees
  bool was_read_on = false;     // to its end, behind client_failed
  int64_t unread_bytes = 0;     // of what a reader would have seen, from then on
  std::string text;             // where PassOptions::keeps_text: what a reader has seen
  bool has_other = false;  // of that, thoughts, tool calls or too long a text, which are not in it
  std::optional<std::chrono::steady_clock::time_point> first_token_at, last_token_at;
};

struct PassOptions {
  std::string provider;        // its slug
  bool include_usage = false;  // the client asked for the usage chunk
  int64_t choices = 1;         // that it asked for
  // The receipt as a JSON object, when usage is known or known to be unknown.
  std::function<std::string(const std::optional<chat::Usage>&)> receipt;
  std::function<void()> on_first_token = {};  // once, when it is there; may be null
  std::function<void(int64_t delivered_bytes)> on_delivered = {};  // so far; may be null
  // The stream is complete, and the client does not have its end yet; may be null.
  std::function<void(const std::optional<chat::Usage>&, int64_t delivered_bytes)> on_complete = {};
  // When the client takes no more: whether the upstream is read to its end all the same, for its
  // usage; may be null.
  std::function<bool()> reads_on = {};
  bool keeps_text = false;  // for whoever counts it once more
};

// Waits until there is something to see, and sends the head only then: until that moment another
// route can take over unnoticed. Then every event passes with its bytes, framed as `data: ` and one
// space. A usage chunk that the client did not ask for is swallowed; the receipt is a field of the
// one it asked for, and a comment otherwise, also when another usage follows. The end is [DONE] in
// every complete stream and in no other: one that was cut ends with an error event, unless it may
// go on elsewhere. One that goes on shows nothing of an answer that begins as the text so far
// began, where that is long enough to tell: that one started anew.
Task<Passed> PassStream(http::Exchange& exchange,
                        std::shared_ptr<providers::UpstreamExchange> upstream,
                        http::Headers headers, const PassOptions& options, ClientStream& stream,
                        const Clock& clock);

// The error event and the end of a stream that was left open.
Task<void> EndCutStream(http::Exchange& exchange, const Error& error);

struct PassedWhole : Passed {
  std::string body;  // when nothing failed
};
Task<PassedWhole> PassWhole(std::shared_ptr<providers::UpstreamExchange> upstream,
                            const Clock& clock);

}  // namespace tradewind::gateway
