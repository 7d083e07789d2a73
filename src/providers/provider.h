// Something that answers requests: the engine on this device (local.cc), later each upstream, one
// file of quirks each.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/task.h"
#include "chat/chat.h"

namespace tradewind::providers {

// A running answer. Destroying it cancels what is left. Lives on the event-loop thread that opened
// it.
class ChatStream {
 public:
  virtual ~ChatStream() = default;
  // The next event, of any choice; after the one with `done` set there are none. Waits without
  // blocking the thread. Errors: kCancelled (after Cancel), kInternal (the engine failed),
  // kUnavailable (it is shutting down), kDeadlineExceeded.
  virtual Task<Result<chat::ChatEvent>> Next() = 0;
  // Ends the answer soon: Next returns kCancelled. On the same thread. Idempotent.
  virtual void Cancel() = 0;
  // What was used so far: also after an error or Cancel, because that counts too.
  virtual chat::Usage usage() const = 0;
  // Names the model build that answers (system_fingerprint): equal when the same seed gives the
  // same text.
  virtual const std::string& fingerprint() const = 0;
};

class Provider {
 public:
  virtual ~Provider() = default;
  virtual std::string_view slug() const = 0;  // "local"
  // Opens an answer: everything that can be refused is refused here, before the first byte goes
  // out. `request.model` is the provider's own id. `request` must live until the task is done.
  virtual Task<Result<std::unique_ptr<ChatStream>>> Chat(const chat::ChatRequest& request) = 0;
  virtual Task<Result<std::unique_ptr<ChatStream>>> Complete(
      const chat::CompletionRequest& request) = 0;
};

}  // namespace tradewind::providers
