#include "gateway/upstream_failure.h"

namespace tradewind::gateway {

using providers::UpstreamFailure;
using routing::FailureKind;
using Stage = providers::UpstreamFailure::Stage;

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
      return routing::FailureOfStatus(failure.status);
    case Stage::kGarbage:
      return FailureKind::kGarbage;
    case Stage::kErrorEvent:
      return FailureKind::kErrorEvent;
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

}  // namespace tradewind::gateway
