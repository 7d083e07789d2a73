// The question behind `route explain`: which route would serve this, and why not the others. One
// reading and one answer, whether a server is asked or the command line has to find out by itself.
#pragma once

#include <memory>
#include <string>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "routing/plan.h"

namespace tradewind::routing {

struct Question {
  std::string model = {};      // as on the wire: "org/name:cheapest"
  std::string need = {};       // "tools,json"; "" = nothing
  std::string max_price = {};  // USD per million tokens, of input and of output; "" = any
  std::string task = {};       // "" = the first that the model serves, conversational first
};

// Errors: kInvalidArgument naming the field (param model, need, max_price, task).
Result<PlanRequest> ReadQuestion(const Question& question);

struct Explained {
  boost::json::object json;  // explain.h's ExplainJson, and "task"
  std::string text;          // explain.h's ExplainText
};

// Errors: kModelNotSupported with param "model" for a model that nobody is known to have, or to
// serve for this task.
Result<Explained> Explain(std::shared_ptr<const Market> market, HealthBook& health,
                          const PlanRequest& request, const ProbeBook* probes = nullptr);

}  // namespace tradewind::routing
