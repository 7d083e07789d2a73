// What scripts may rely on: one number per kind of outcome, and one mapping from our errors.
#pragma once

#include <string_view>

#include "base/error.h"

namespace tradewind::cli {

enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,  // internal failure; also a taken port, which no other number names
  kUsage = 2,
  kNotFound = 3,  // model, provider, id
  kNotAuthorised = 4,
  kBudgetExhausted = 5,
  kUpstreamFailed = 6,
  kOffline = 7,  // offline, not reachable or timed out
  kNoSpace = 8,  // not enough memory or disk
  kDamaged = 9,  // a file's contents are not what they should be
  kGateFailed = 10,
  kNotEnoughEvidence = 11,
  kInterrupted = 130,
  kTerminated = 143,
};

ExitCode ExitCodeFor(ErrorCode code);

// An error made elsewhere, with what to do next behind its sentence.
Error WithNextStep(Error error, std::string_view next_step);

}  // namespace tradewind::cli
