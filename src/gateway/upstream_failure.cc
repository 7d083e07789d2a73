#include "gateway/upstream_failure.h"

namespace tradewind::gateway {

using providers::UpstreamFailure;
using routing::FailureKind;
using Stage = providers::UpstreamFailure::Stage;

namespace {

FailureKind KindOfRefusal(providers::Refusal refusal, int status) {
  switch (refusal) {
    case providers::Refusal::kByStatus:
      return routing::FailureOfStatus(status);
    case providers::Refusal::kKey:
      return FailureKind::kKeyRejected;
    case providers::Refusal::kNoFunds:
      return FailureKind::kNoFunds;
    case providers::Refusal::kModel:
      return FailureKind::kModelUnknown;
    case providers::Refusal::kNotHere:
      return FailureKind::kNotCapable;
    case providers::Refusal::kOverloaded:
      return FailureKind::kOverloaded;
  }
  return routing::FailureOfStatus(status);
}

}  // namespace

FailureKind KindOf(const UpstreamFailure& failure) {
  if (failure.is_deadline) {
    return FailureKind::kDeadline;
  }
  switch (failure.stage) {
    case Stage::kConnect:
      return FailureKind::kConnect;
    case Stage::kNoHead:
      return failure.is_timeout ? FailureKind::kFirstByteTimeout : FailureKind::kReset;
    case Stage::kStatus:
      return KindOfRefusal(failure.refusal, failure.status);
    case Stage::kRedirect:
      return FailureKind::kRedirect;
    case Stage::kGarbage:
      return FailureKind::kGarbage;
    case Stage::kErrorEvent:
      return FailureKind::kErrorEvent;
    case Stage::kOtherForm:
      return FailureKind::kOtherForm;
    case Stage::kCut:
      return failure.is_timeout ? FailureKind::kStall : FailureKind::kCut;
    case Stage::kCancelled:
      return FailureKind::kClientLeft;
  }
  return FailureKind::kGarbage;
}

routing::Reached ReachedOf(const UpstreamFailure& failure) {
  switch (failure.reached) {
    case http::Reached::kNotSent:
      return routing::Reached::kNotSent;
    case http::Reached::kSent:
      return routing::Reached::kSent;
    case http::Reached::kHead:
      return routing::Reached::kHead;
  }
  return routing::Reached::kHead;
}

void SetFailure(UpstreamFailure failure, bool before_first_byte, Answered& answered) {
  answered.kind = KindOf(failure);
  answered.reached = ReachedOf(failure);
  answered.retry_after_ms = failure.retry_after_ms;
  answered.upstream_status = failure.status;
  answered.refusal_is_billed =
      failure.may_be_billed &&
      (answered.kind == FailureKind::kNotCapable || answered.kind == FailureKind::kClientError ||
       failure.status == 408);
  answered.is_page = failure.is_page;
  answered.usage = failure.wire.usage;
  answered.usage_is_final = answered.usage.has_value();
  answered.upstream_error = std::move(failure.wire);
  (before_first_byte ? answered.failed_before_first_byte : answered.failed_after_first_byte) =
      std::move(failure.error);
}

std::string AccountWords(FailureKind kind, KeyOwner owner) {
  if (owner == KeyOwner::kNobody) {
    return "The provider wants a key, and none is stored for it; the operator has to store one "
           "(tradewind login --provider NAME).";
  }
  const bool is_own = owner == KeyOwner::kCaller;
  if (kind == FailureKind::kNoFunds) {
    return is_own ? "Your own account at the provider has no credit left; renew it there."
                  : "The account at the provider has no credit left; the operator has to renew it.";
  }
  return is_own
             ? "The provider refused the key of your own, or your organisation's, that is stored "
               "for it; store a new one (tradewind login --provider NAME --org or --user)."
             : "The provider refused the key that is stored for it; the operator has to renew it "
               "(tradewind providers).";
}

}  // namespace tradewind::gateway
