// What providers count of answers against what is counted here, by the models' own tokenizers.
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "alerts/watch.h"
#include "billing/meter.h"

namespace tradewind::alerts {
namespace {

// An honest count differs by what ends an answer and by texts that can be spelt in several ways:
// less than a twentieth.
constexpr double kRatioMax = 1.05;
constexpr int64_t kAnswersMin = 200;
constexpr double kWeight = 2.0 / (kAnswersMin + 1);  // of the last one, in the mean

}  // namespace

void Watch::Counted(const std::string& provider, const std::string& model, int64_t told,
                    int64_t counted) {
  if (counted <= 0) {
    return;
  }
  const double ratio = static_cast<double>(told) / static_cast<double>(counted);
  const std::lock_guard lock(mutex_);
  Drift& drift = drifts_[{provider, model}];
  drift.ratio = drift.answers == 0 ? ratio : drift.ratio + kWeight * (ratio - drift.ratio);
  ++drift.answers;
}

Result<std::vector<Watch::Route>> Watch::LookAtCounts(storage::Database& database, int64_t now_ns) {
  std::vector<std::pair<Route, Drift>> found;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [route, drift] : drifts_) {
      if (drift.answers >= kAnswersMin && drift.ratio > kRatioMax) {
        found.emplace_back(route, drift);
      }
    }
  }
  std::vector<Route> told;
  for (const auto& [route, drift] : found) {
    const auto& [provider, model] = route;
    Alert alert;
    alert.kind = Kind::kRecount;
    alert.scope = fmt::format("{}/model:{}", billing::BudgetName("provider", provider), model);
    alert.dedup = fmt::format("recount:{}:{}", alert.scope, now_ns);
    alert.raised_ns = now_ns;
    alert.text = fmt::format(
        "{} counts {:.2f} times the tokens that the model's own tokenizer makes of what {} "
        "answered, in the mean of the last {} answers, without thoughts. It is told once, until "
        "this is acknowledged.",
        provider, drift.ratio, model, kAnswersMin);
    TW_RETURN_IF_ERROR(PutOnce(database, std::move(alert)));
    told.push_back(route);
  }
  return told;
}

}  // namespace tradewind::alerts
