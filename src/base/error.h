// The one error type. An `Error` is an expected outcome (bad input, no such model, queue full),
// never a broken invariant: those go through TW_CHECK (base/check.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tradewind {

enum class ErrorCode {
  kInvalidArgument,       // a field of the request is wrong; `param` names it
  kUnsupported,           // understood, but this build does not do it; `param` names it
  kModelNotSupported,     // the model string names nothing we serve
  kNotFound,              // no such path, file or id
  kMethodNotAllowed,      // the path exists, the verb does not
  kUnsupportedMediaType,  // the body is not JSON
  kContextTooLong,        // prompt (+ max_tokens) does not fit the context; never cut silently
  kTemplateFailed,        // the chat template refused the messages (its own message is passed on)
  kUnauthenticated,       // no token, or an unknown one
  kPermissionDenied,      // known, but not allowed
  kPaymentRequired,       // a budget or credit has no room for it; the message says which
  kPayloadTooLarge,       // a body, header block or string over its bound in base/limits.h
  kUpstreamFailed,        // a provider refused, broke or answered with something else
  kTooManyRequests,       // the queue is full; `retry_after_ms` says when to come back
  kUnavailable,           // starting, draining or unloading
  kDeadlineExceeded,      // an await ran past its deadline
  kCancelled,             // the client left or the caller cancelled
  kAddressInUse,          // the port is taken
  kCorruptFile,           // a file's contents are not what its format says
  kResourceExhausted,     // no memory or disk space
  kIo,                    // the operating system refused a read, write or open
  kInternal,              // a bug on our side that did not need to crash
};

struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;     // one sentence: what is wrong, where, and the next step
  std::string param = {};  // the field at fault, dotted ("messages[1].content"); empty when none
  std::optional<int64_t> retry_after_ms = {};
};

// The snake_case name of a code, stable for logs and JSON ("context_too_long").
std::string_view ErrorCodeName(ErrorCode code);

}  // namespace tradewind
