// From an answer to bytes: one JSON body, or the events of a stream, in the provider's shapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "provider_sim/answer.h"
#include "provider_sim/behaviour.h"
#include "provider_sim/provider.h"
#include "provider_sim/request.h"

namespace provider_sim {

// What names one reply, as JSON fragments.
struct Identity {
  std::string id, uuid, hex32, ray, created, created_float, model, seed, served_by, billing_id;

  void Fill(Values& values) const;
};

Identity MakeIdentity(const Provider& provider, const Ask& ask, uint64_t number,
                      int64_t created_ms);

struct ReplyOptions {
  bool include_usage = false;
  int64_t top_logprobs = -1;
};

std::string ChatBody(const Provider& provider, const ReplyShapes& shapes, const Identity& identity,
                     const Answer& answer, ReplyOptions options, const Behaviour& how);
std::string EmbeddingsBody(const Provider& provider, const Identity& identity, const Ask& ask,
                           const Behaviour& how);
std::string ModelsBody(const Provider& provider);
std::string ModelBody(const Provider& provider, const Model& model);

// The events of a stream, made one by one; each as the bytes of its lines.
class EventSource {
 public:
  EventSource(const Provider& provider, const ReplyShapes& shapes, Identity identity, Answer answer,
              ReplyOptions options, const Behaviour& how);

  // Appends the next event; false at the end.
  bool Next(std::string& out);
  uint64_t tokens_sent() const { return tokens_sent_; }
  size_t events_sent() const { return events_; }
  bool ended_in_error() const { return ended_in_error_; }
  const Answer& answer() const { return answer_; }

 private:
  enum class Kind : uint8_t {
    kRole,
    kReasoning,
    kContent,
    kTool,
    kToolPiece,
    kTools,
    kFinish,
    kUsage
  };
  struct Step {
    Kind kind;
    uint8_t choice = 0;
    uint16_t call = 0;
    uint32_t index = 0, count = 1;  // tokens [index, index + count) of content
    bool last = false;              // of its choice, where no finish chunk follows
  };

  void Plan();
  void PlanChoice(size_t choice);
  const Template& ShapeOf(Kind kind) const;
  std::string Fragment(const Step& step);
  std::string UsageOf(const Step& step, bool finishes, uint64_t tokens_before) const;
  std::string Payload(const Step& step);
  void Frame(std::string_view payload, std::string& out);
  bool End(std::string& out);

  const Provider& provider_;
  const ReplyShapes& shapes_;
  const Identity identity_;
  const Answer answer_;
  const ReplyOptions options_;
  const Behaviour how_;
  std::vector<Step> steps_;
  size_t next_ = 0, events_ = 0;
  uint64_t tokens_sent_ = 0;
  bool ended_in_error_ = false, done_ = false;
};

// The usage object, or what a fault makes of it; empty where it is missing.
std::string UsageJson(const Provider& provider, uint64_t prompt_tokens, uint64_t cached_tokens,
                      uint64_t completion_tokens, uint64_t reasoning_tokens, const Behaviour& how,
                      int64_t cost_nanousd = -1);

}  // namespace provider_sim
