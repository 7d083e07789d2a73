// Events of a provider -> bytes to the client, at the client's pace, and what is learnt on the way.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/task.h"
#include "chat/chat.h"
#include "dialects/answer_writer.h"
#include "http/http.h"
#include "providers/provider.h"
#include "providers/worker_pool.h"

namespace tradewind::gateway {

struct Relayed {
  // What happened: an error before the first byte (nothing was sent; the caller answers), after it,
  // or none.
  std::optional<Error> failed_before_first_byte;
  std::optional<Error> failed_after_first_byte;
  chat::Usage usage;  // also of what was not delivered
  std::optional<std::chrono::steady_clock::time_point> first_token_at;
  std::optional<chat::FinishReason> finish;  // of the choice that ended last
};

// Called once, when the first token is there; may be null.
using OnFirstToken = std::function<void()>;

// Server-sent events. The head goes out with the first event, so that until then an error can still
// be a status. An error later is an event of its own, and then the stream ends without [DONE]. A
// slow reader slows the provider; one who leaves cancels it.
Task<Relayed> RelayStream(http::Exchange& exchange, std::shared_ptr<providers::ChatStream> stream,
                          dialects::AnswerWriter& writer, http::Headers headers, const Clock& clock,
                          OnFirstToken on_first_token = {});

struct RelayedWhole : Relayed {
  std::string body;  // the object, when nothing failed
};
// Collects the answer. `writer` is shared because a long one is written on a worker thread.
Task<RelayedWhole> RelayWhole(http::Exchange& exchange,
                              std::shared_ptr<providers::ChatStream> stream,
                              std::shared_ptr<dialects::AnswerWriter> writer,
                              providers::WorkerPool& workers, const Clock& clock,
                              OnFirstToken on_first_token = {});

}  // namespace tradewind::gateway
