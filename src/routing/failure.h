// How an attempt at an upstream failed: one vocabulary for health (does it count against the
// route?), attempts (what comes next?) and the log.
#pragma once

#include <string_view>

namespace tradewind::routing {

enum class FailureKind {
  kConnect,           // no connection: name not resolved, refused, TLS; nothing was sent
  kReset,             // the connection broke before the head of an answer
  kFirstByteTimeout,  // nothing came within the attempt's time
  kCut,               // the body ended before it was complete
  kStall,             // the body stopped for longer than its idle time
  kServerError,       // 500, 502, 504 and other 5xx: what it had done by then is not known
  kOverloaded,        // 503, 529: refused before any work
  kRateLimited,       // 429: refused before any work; not a fault of the route
  kKeyRejected,       // 401, and 403 that says so: our key with this provider
  kNoFunds,           // 402: our account with this provider
  kModelUnknown,      // 404, 410: the provider does not have the id that the catalogue gives
  kNotCapable,        // a 4xx that another route may not give: context, a parameter, moderation
  kClientError,       // any other 4xx: the request itself; every route would say the same
  kRedirect,          // 3xx, which is never followed: nothing was done
  kGarbage,           // 2xx that cannot be read: wrong type, broken, empty
  kErrorEvent,        // 2xx whose stream says that it failed
  kOtherForm,         // a whole answer, in a form that was not asked for
  kClientLeft,        // downstream went away
  kDeadline,          // the request's own deadline
  kShutdown,          // we are stopping
};
inline constexpr int kFailureKinds = static_cast<int>(FailureKind::kShutdown) + 1;

// How far the request got; the HTTP client knows.
enum class Reached {
  kNotSent,  // surely nothing arrived
  kSent,     // some of it may have arrived; no head of an answer
  kHead,     // the head of an answer arrived
};

// What a failure says about the route.
enum class Blame {
  kRoute,     // counts against (provider, model)
  kThrottle,  // the route is well but wants a pause
  kKey,       // our key or account: every model of the provider, for this key
  kNone,      // says nothing about the route
};

std::string_view FailureKindName(FailureKind kind);  // snake_case, for logs and metrics
std::string_view FailureWords(FailureKind kind);     // for people: "connection refused or lost"
Blame BlameOf(FailureKind kind);

// What a status says when nothing finer is known; a provider's file may know better (a 400 that
// means "too long for me" is kNotCapable). `status` outside 300..599 is kGarbage.
FailureKind FailureOfStatus(int status);

}  // namespace tradewind::routing
