#include "routing/failure.h"

#include <array>

#include "base/check.h"

namespace tradewind::routing {
namespace {

struct Row {
  FailureKind kind;
  std::string_view name;
  std::string_view words;
  Blame blame;
};

constexpr std::array<Row, kFailureKinds> kRows = {{
    {FailureKind::kConnect, "connect", "no connection", Blame::kRoute},
    {FailureKind::kReset, "reset", "connection broken before an answer", Blame::kRoute},
    {FailureKind::kFirstByteTimeout, "first_byte_timeout", "no answer in time", Blame::kRoute},
    {FailureKind::kCut, "cut", "answer cut off", Blame::kRoute},
    {FailureKind::kStall, "stall", "answer stalled", Blame::kRoute},
    {FailureKind::kServerError, "server_error", "server error", Blame::kRoute},
    {FailureKind::kOverloaded, "overloaded", "overloaded", Blame::kRoute},
    {FailureKind::kRateLimited, "rate_limited", "rate limit", Blame::kThrottle},
    {FailureKind::kKeyRejected, "key_rejected", "key rejected", Blame::kKey},
    {FailureKind::kNoFunds, "no_funds", "no funds with the provider", Blame::kKey},
    {FailureKind::kModelUnknown, "model_unknown", "model unknown to the provider", Blame::kRoute},
    {FailureKind::kNotCapable, "not_capable", "not possible on this route", Blame::kNone},
    {FailureKind::kClientError, "client_error", "request refused", Blame::kNone},
    {FailureKind::kRedirect, "redirect", "redirect, which is not followed", Blame::kRoute},
    {FailureKind::kGarbage, "garbage", "unreadable answer", Blame::kRoute},
    {FailureKind::kErrorEvent, "error_event", "error inside the answer", Blame::kRoute},
    {FailureKind::kOtherForm, "other_form", "answer in another form", Blame::kRoute},
    {FailureKind::kClientLeft, "client_left", "client left", Blame::kNone},
    {FailureKind::kDeadline, "deadline", "deadline of the request", Blame::kNone},
    {FailureKind::kShutdown, "shutdown", "shutting down", Blame::kNone},
}};

const Row& RowOf(FailureKind kind) {
  const Row& row = kRows[static_cast<size_t>(kind)];
  TW_DCHECK(row.kind == kind);
  return row;
}

}  // namespace

std::string_view FailureKindName(FailureKind kind) {
  return RowOf(kind).name;
}
std::string_view FailureWords(FailureKind kind) {
  return RowOf(kind).words;
}
Blame BlameOf(FailureKind kind) {
  return RowOf(kind).blame;
}

FailureKind FailureOfStatus(int status) {
  switch (status) {
    case 401:
      return FailureKind::kKeyRejected;
    case 403:  // the key is one reason of many
    case 413:
      return FailureKind::kNotCapable;
    case 402:
      return FailureKind::kNoFunds;
    case 404:
    case 410:
      return FailureKind::kModelUnknown;
    case 408:  // the upstream gave up on itself
      return FailureKind::kServerError;
    case 429:
      return FailureKind::kRateLimited;
    case 503:
    case 529:
      return FailureKind::kOverloaded;
    default:
      break;
  }
  if (status >= 300 && status < 400) {
    return FailureKind::kRedirect;
  }
  if (status >= 400 && status < 500) {
    return FailureKind::kClientError;
  }
  return status >= 500 && status < 600 ? FailureKind::kServerError : FailureKind::kGarbage;
}

}  // namespace tradewind::routing
