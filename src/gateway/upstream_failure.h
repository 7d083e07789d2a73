// How an exchange with an upstream failed, in routing's words.
#pragma once

#include "providers/upstream.h"
#include "routing/failure.h"

namespace tradewind::gateway {

routing::FailureKind KindOf(const providers::UpstreamFailure& failure);
routing::Reached ReachedOf(const providers::UpstreamFailure& failure);

}  // namespace tradewind::gateway
