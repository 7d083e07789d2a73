#include "routing/question.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/decimal.h"
#include "routing/explain.h"

namespace tradewind::routing {
namespace {

constexpr std::array<std::string_view, 3> kTasks = {"conversational", "text-generation",
                                                    "feature-extraction"};

std::unexpected<Error> Wrong(std::string_view field, std::string words) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}` {}", field, words),
              std::string(field));
}

Result<std::vector<Capability>> ReadNeed(std::string_view text) {
  std::vector<Capability> out;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const auto capability = CapabilityNamed(text.substr(0, comma));
    if (!capability.has_value()) {
      return Wrong("need", "must be a list of tools, json, vision, audio, logprobs and reasoning");
    }
    if (std::ranges::find(out, *capability) == out.end()) {
      out.push_back(*capability);
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

}  // namespace

Result<PlanRequest> ReadQuestion(const Question& question) {
  PlanRequest request;
  if (question.model.empty()) {
    return Wrong("model", "must name a model such as org/name:cheapest");
  }
  request.models = {question.model};
  if (!question.task.empty() && std::ranges::find(kTasks, question.task) == kTasks.end()) {
    return Wrong("task", fmt::format("must be one of {}", fmt::join(kTasks, ", ")));
  }
  request.task = question.task;
  TW_ASSIGN_OR_RETURN(request.needs.capabilities, ReadNeed(question.need));
  request.needs.has_sound =
      std::ranges::find(request.needs.capabilities, Capability::kAudioInput) !=
      request.needs.capabilities.end();
  if (!question.max_price.empty()) {
    const Result<Decimal> price = Decimal::Parse(question.max_price);
    const int64_t nanousd = price.has_value() ? NanoUsdPerMtok(*price) : -1;
    if (nanousd < 0) {
      return Wrong("max_price", "must be a price in USD per million tokens, such as 0.50");
    }
    request.needs.max_price = {nanousd, nanousd, {}};
  }
  return request;
}

Result<Explained> Explain(std::shared_ptr<const Market> market, HealthBook& health,
                          const PlanRequest& request, const ProbeBook* probes) {
  for (const std::string_view task : kTasks) {
    if (!request.task.empty() && request.task != task) {
      continue;
    }
    PlanRequest of_task = request;
    of_task.task = task;
    TW_ASSIGN_OR_RETURN(const Plan plan, ExplainPlan(market, health, of_task, probes));
    if (plan.facts.empty()) {
      continue;
    }
    const auto rows = ExplainRows(plan.facts, plan.needs, plan.ranking);
    Explained out{ExplainJson(request.models.front(), plan.facts, plan.needs, plan.ranking),
                  ExplainText(rows)};
    out.json["task"] = of_task.task;
    return out;
  }
  return Fail(ErrorCode::kModelNotSupported,
              fmt::format("No provider serves \"{}\" for {}.", request.models.front(),
                          request.task.empty() ? std::string("any task that is routed here")
                                               : "the task " + request.task),
              "model");
}

}  // namespace tradewind::routing
