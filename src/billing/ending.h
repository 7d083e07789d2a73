// What an attempt's end does to its hold: a table, in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "billing/purchase.h"
#include "chat/chat.h"

namespace tradewind::billing {

// What the gateway knows when an attempt is over.
struct Ended {
  bool was_sent = true;          // Hold::Sent was called: the provider may have seen it
  bool surely_unbilled = false;  // refused before any work: connection refused, 429, a 4xx
  bool is_complete = false;      // the answer came to its end
  bool likely_billed = false;    // it did not, but the provider was at work: cut, stalled, left
  // As the provider said it, zeros too; nullopt: it did not, or not at the end: some say with every
  // chunk what there is by then.
  std::optional<chat::Usage> usage = {};
  int64_t delivered_bytes = 0;   // of visible text, while usage is not known
  std::string_view finish = {};  // the finish reason, or what went wrong; for the row
};

enum class Ending {
  kSettle,   // by `usage`
  kMetered,  // by what was delivered, rounded up and flagged
  kVoid,
  kDoubt,  // stays held; PROGRESS says what was delivered
};

//   what happened                                        hold
//   ---------------------------------------------------  -------------------------------------
//   never sent                                           void
//   the provider said the final usage (0 is a value)     settle, whatever else went wrong
//   refused before any work, no usage                    void
//   complete, but nobody said the usage                  metered
//   cut, failed, timed out or left, without a usage      in doubt, until the provider is asked
Ending EndingOf(const Ended& ended);

// Tokens of so many bytes of text, rounded up with a margin: four bytes a token is what English
// takes, three is what is counted, and 64 tokens may have been on their way.
int64_t MeteredTokens(int64_t delivered_bytes);

}  // namespace tradewind::billing
