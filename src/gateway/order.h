// A request on its way to an answer: what the parts of the request's life hand to each other.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/boxed.h"
#include "base/result.h"
#include "chat/chat.h"
#include "dialects/json_text.h"
#include "dialects/openai_facts.h"
#include "providers/upstream.h"
#include "routing/failure.h"
#include "routing/rank.h"

namespace tradewind::gateway {

// What the client asked for.
struct Order {
  providers::Endpoint endpoint = providers::Endpoint::kChat;
  dialects::JsonText text;
  dialects::OpenAiFacts facts;
  bool is_edited = false;  // `text` is not the body as it came: a model, no -1
};

// Errors: kInvalidArgument naming the field.
Result<Order> ReadOrder(providers::Endpoint endpoint, std::string body);

// The order in the router's terms. Errors: kInvalidArgument for a price that is no decimal.
Result<routing::RouteNeeds> NeedsOf(const Order& order);

// Whose key an upstream was asked with.
enum class KeyOwner { kOperator, kCaller, kNobody };

// What became of one attempt at answering.
struct Answered {
  // Set: nothing was sent, and this is what the client gets if no other route answers.
  Boxed<Error> failed_before_first_byte;
  Boxed<Error> failed_after_first_byte;
  // Of a failure, before or after: what it says about the route.
  routing::FailureKind kind = routing::FailureKind::kServerError;
  routing::Reached reached = routing::Reached::kHead;
  std::optional<int64_t> retry_after_ms;
  bool is_left_open = false;  // the client's stream is: it goes on, or must be ended
  bool gave_nothing = false;  // of what the client has of it
  // Of an upstream's own refusal: its status and error, which the client gets as they are.
  int upstream_status = 0;
  Boxed<dialects::WireError> upstream_error;
  KeyOwner key_owner = KeyOwner::kOperator;

  // Of a failure before the first byte: routes that were not asked for what they may cost.
  std::vector<std::string> too_dear;
  Boxed<std::string> not_retried;    // why nothing more was sent after it
  bool out_of_budget = false;        // nothing was tried: no budget has room for it
  bool may_be_billed = false;        // an attempt that failed, whose usage nobody tells
  bool refusal_is_billed = false;    // the provider bills what it read before it refused
  bool is_page = false;              // of kGarbage: it was a web page
  std::optional<chat::Usage> usage;  // nullopt: nobody told
  bool usage_is_final = false;       // of an answer that failed: all of it had come by then
  std::optional<std::chrono::steady_clock::time_point> first_token_at, last_token_at;
  std::string finish_reason;
  int64_t delivered_bytes = 0;  // of what a reader sees
  // The client had left, and the provider was read to its end without him: what came then.
  bool was_read_on = false;
  int64_t unread_bytes = 0;

  bool has_failed() const {
    return failed_before_first_byte.has_value() || failed_after_first_byte.has_value();
  }
};

}  // namespace tradewind::gateway
