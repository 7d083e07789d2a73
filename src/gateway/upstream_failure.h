// How an exchange with an upstream failed, in routing's words.
#pragma once

#include <string>

#include "gateway/order.h"
#include "providers/upstream.h"
#include "routing/failure.h"

namespace tradewind::gateway {

routing::FailureKind KindOf(const providers::UpstreamFailure& failure);
routing::Reached ReachedOf(const providers::UpstreamFailure& failure);

// The answer failed so.
void SetFailure(providers::UpstreamFailure failure, bool before_first_byte, Answered& answered);

// What the client is told of kKeyRejected and kNoFunds: who has to do what.
std::string AccountWords(routing::FailureKind kind, KeyOwner owner);

}  // namespace tradewind::gateway
