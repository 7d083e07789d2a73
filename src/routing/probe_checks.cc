#include "routing/probe_checks.h"

#include <string_view>

#include <fmt/format.h>

namespace tradewind::routing {
namespace {

// The route is not to blame, so nothing was learned about it.
bool CouldNotLook(FailureKind kind) {
  switch (BlameOf(kind)) {
    case Blame::kThrottle:
    case Blame::kKey:
      return true;
    case Blame::kNone:
      return kind == FailureKind::kClientLeft || kind == FailureKind::kDeadline ||
             kind == FailureKind::kShutdown;
    case Blame::kRoute:
      break;
  }
  return false;
}

bool WasNotAnswered(const ProbeSeen& seen) {
  return seen.failure.has_value() || !seen.not_asked.empty();
}

ProbeCheck Reachable(const ProbeSeen& seen) {
  ProbeCheck check{.name = "reachable", .passed = Known::kYes, .words = {}};
  if (!seen.not_asked.empty()) {
    check.passed = Known::kUnknown;
    check.words = seen.not_asked;
  } else if (seen.failure.has_value()) {
    check.passed = CouldNotLook(*seen.failure) ? Known::kUnknown : Known::kNo;
    check.words = seen.failure_words.empty()
                      ? std::string(FailureWords(*seen.failure))
                      : fmt::format("{}: {}", FailureWords(*seen.failure), seen.failure_words);
  }
  return check;
}

ProbeCheck Format(const ProbeSeen& seen) {
  ProbeCheck check{.name = "format", .passed = Known::kYes, .words = {}};
  if (WasNotAnswered(seen)) {
    check.passed = Known::kUnknown;
  } else if (!seen.format_ok) {
    check.passed = Known::kNo;
    check.words =
        seen.format_words.empty() ? "the answer is not in the agreed form" : seen.format_words;
  }
  return check;
}

ProbeCheck InTime(const ProbeSeen& seen) {
  ProbeCheck check{.name = "ttft", .passed = Known::kYes, .words = {}};
  if (WasNotAnswered(seen)) {
    check.passed = Known::kUnknown;
    return check;
  }
  const bool streams = seen.task != ProbedTask::kOther;
  const double most_ms = streams ? kProbeTtftMaxMs : kProbeAnswerMaxMs;
  if (!seen.ttft_ms.has_value()) {
    check.passed = Known::kNo;
    check.words = streams ? "no token came" : "no answer came";
  } else if (!(*seen.ttft_ms < most_ms)) {
    check.passed = Known::kNo;
    check.words =
        fmt::format("{} after {:.1f} s, not under {:.0f} s", streams ? "first token" : "answer",
                    *seen.ttft_ms / 1'000, most_ms / 1'000);
  }
  return check;
}

// `what`: "call the tool". A refusal (4xx) means that it cannot; trouble on the way says nothing.
ProbeCheck Ability(std::string name, const std::optional<ProbeSeen::Further>& further,
                   std::string_view what) {
  ProbeCheck check{.name = std::move(name), .passed = Known::kUnknown, .words = {}};
  if (!further.has_value()) {
    return check;
  }
  if (!further->failure.has_value()) {
    check.passed = further->as_asked ? Known::kYes : Known::kNo;
    check.words = further->as_asked ? std::string() : fmt::format("it did not {}", what);
  } else if (*further->failure == FailureKind::kClientError ||
             *further->failure == FailureKind::kNotCapable) {
    check.passed = Known::kNo;
    check.words = fmt::format("it refused to {}", what);
  } else {
    check.words = std::string(FailureWords(*further->failure));
  }
  return check;
}

}  // namespace

ProbeResult EvaluateProbe(const ProbeSeen& seen) {
  ProbeResult result;
  result.checks = {Reachable(seen), Format(seen), InTime(seen),
                   Ability("tools", seen.tools, "call the tool"),
                   Ability("structured_output", seen.structured_output, "follow the schema")};
  result.supports_tools = result.checks[3].passed;
  result.supports_structured_output = result.checks[4].passed;
  if (result.checks[0].passed == Known::kUnknown) {
    result.words = result.checks[0].words;
    return result;
  }
  result.end = ProbeEnd::kWell;
  result.status = RouteStatus::kLive;
  for (size_t i = 0; i < 3 && result.end == ProbeEnd::kWell; ++i) {
    if (result.checks[i].passed == Known::kNo) {
      result.end = ProbeEnd::kFailed;
      result.status = RouteStatus::kError;
      result.words = result.checks[i].words;
    }
  }
  return result;
}

}  // namespace tradewind::routing
