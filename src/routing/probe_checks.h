// What a probe saw → what the mapping's status becomes. Pure; the requests are made elsewhere.
//
// A probe of a chat model is up to three small requests: a stream of a few words, one that must
// call a tool, one whose answer must follow a schema. The first decides the status; the others only
// tell what the route can do. A probe that could not look (rate limit, our key, our own shutdown)
// leaves everything as it was.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "routing/failure.h"
#include "routing/probe_schedule.h"
#include "routing/rank.h"

namespace tradewind::routing {

enum class ProbedTask { kChat, kTextGeneration, kOther };  // other: embeddings, images, speech ...

// The time to the first token above which a route is not fit for use (Hugging Face's bounds).
inline constexpr double kProbeTtftMaxMs = 5'000;     // streamed chat and text generation
inline constexpr double kProbeAnswerMaxMs = 30'000;  // everything else: the whole answer

struct ProbeSeen {
  ProbedTask task = ProbedTask::kChat;
  std::string not_asked = {};  // why nothing was sent: the money for it could not be held

  // The first request.
  std::optional<FailureKind> failure = {};  // how it failed; nothing when it was answered
  std::string failure_words = {};           // the provider's own, shortened: "503 no capacity"
  bool format_ok = false;  // parsed as the dialect says: chunks, finish reason, usage or none
  std::string format_words = {};       // what was wrong with it
  std::optional<double> ttft_ms = {};  // first token; of other tasks the whole answer
  int64_t output_tokens = 0;
  double generation_ms = 0;

  // The further ones; nothing when they were not made.
  struct Further {
    std::optional<FailureKind> failure = {};
    bool as_asked = false;  // called the tool with arguments that fit; followed the schema
  };
  std::optional<Further> tools = {};
  std::optional<Further> structured_output = {};
};

struct ProbeCheck {
  std::string name;  // "reachable", "format", "ttft", "tools", "structured_output"
  Known passed = Known::kUnknown;
  std::string words;  // "first token after 6.2 s, more than 5 s"; empty when passed
};

struct ProbeResult {
  ProbeEnd end = ProbeEnd::kNothingLearned;
  // What the mapping becomes; nothing: it stays as it was.
  std::optional<RouteStatus> status = {};
  Known supports_tools = Known::kUnknown;  // unknown: it stays as it was
  Known supports_structured_output = Known::kUnknown;
  std::vector<ProbeCheck> checks = {};  // all five, in this order
  std::string words = {};               // the first that failed: RouteFacts.status_words
};

ProbeResult EvaluateProbe(const ProbeSeen& seen);

}  // namespace tradewind::routing
