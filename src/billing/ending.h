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
  bool provider_ended = false;   // it did not, as the provider said: by an error of its own
  // It did not, but the provider was at work: cut, stalled, left, or nobody can read it.
  bool likely_billed = false;
  // As the provider said it, zeros too, or half of it; nullopt: it did not, or not at the end: some
  // say with every chunk what there is by then.
  std::optional<chat::Usage> usage = {};
  int64_t delivered_bytes = 0;   // of what the model wrote; 0: nothing, or not known
  std::string_view finish = {};  // the finish reason, or what went wrong; for the row
  bool can_be_asked = false;     // the provider says later what single requests cost
  bool cost_is_told = false;     // by the usage, whatever else that says
  // What came after the client had left, of a provider that was read to its end without him: he
  // pays for what was delivered, and the rest is our waste.
  int64_t unread_bytes = 0;
  // All of it: another attempt answered, or nobody was shown it. It is charged to nobody.
  bool is_waste = false;
};

enum class Ending {
  kSettle,   // by `usage`
  kMetered,  // by what was delivered, rounded up and flagged, and what was said where that is more
  kVoid,
  // In doubt: the hold stays, until the provider is asked. When nobody can say, it is in the end
  kDoubtMetered,  // settled by what was delivered
  kDoubtHeld,     // settled at all that was held, without a charge: nobody has got anything
  kDoubtVoid,     // void: an error without an answer is seldom billed
};

//   what happened                                       hold
//   --------------------------------------------------  ---------------------------------------
//   never sent                                          void
//   the provider said the final usage (0 is a value),
//     or, where that is the price, the cost             settle, whatever else went wrong
//   refused before any work, no usage                   void
//   complete, nobody said the whole usage, and the
//     provider
//     can be asked                                      in doubt, metered
//     cannot                                            metered
//   the client left, and the provider was read on       as complete
//   the whole answer came, and another one was faster   settle, charging nothing
//   something was delivered, then cut, failed or left   in doubt, metered
//   nothing was: cut, timed out, left or unreadable     in doubt, held
//   nothing was: 5xx or error event                     in doubt, void; held, where some of the
//                                                       usage was said
Ending EndingOf(const Ended& ended);
inline bool IsDoubt(Ending ending) {
  return ending >= Ending::kDoubtMetered;
}

// Tokens of so many bytes of text, as they probably are: four bytes a token is what English takes,
// three is what is counted, rounded up.
int64_t TextTokens(int64_t bytes);
// The most that they can be: no vocabulary has more tokens than bytes. Each answer may have some
// that nobody sees: of its end, of turns and of tools.
int64_t MostTokens(int64_t delivered_bytes, int64_t answers = 1);

}  // namespace tradewind::billing
