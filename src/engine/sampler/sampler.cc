#include "engine/sampler/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <unordered_set>

#include "base/check.h"
#include "base/ids.h"
#include "engine/sampler/softmax.h"

namespace tradewind::engine {
namespace {

using sampler::ExpNegative;
using sampler::FindMaximum;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

bool InRange(TokenId id, std::span<const float> logits) {
  return id >= 0 && static_cast<size_t>(id) < logits.size();
}

void PenaliseRepetition(std::span<float> logits, TokenId id, float penalty) {
  if (InRange(id, logits)) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

void PenaliseFrequency(std::span<float> logits, TokenId id, int count, float frequency,
                       float presence) {
  if (count > 0 && InRange(id, logits)) {
    logits[static_cast<size_t>(id)] -= static_cast<float>(count) * frequency + presence;
  }
}

double TotalWeight(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) {
    sum += candidate.weight;
  }
  return sum;
}

// Every entry that is at least `border` and not -infinity, ascending by id. maximum is finite.
void Gather(std::span<const float> logits, float maximum, float border,
            std::vector<Candidate>& candidates) {
  candidates.resize(logits.size());
  size_t count = 0;
  for (size_t i = 0; i < logits.size();
       ++i) {  // writes first and counts after: no branch to mispredict
    candidates[count] = {logits[i], 0.0f, static_cast<TokenId>(i)};
    count += logits[i] >= border && logits[i] > kMinusInfinity ? 1 : 0;
  }
  candidates.resize(count);
  for (Candidate& candidate : candidates) {
    candidate.weight = ExpNegative(candidate.logit - maximum);
  }
}

// The k-th largest logit, by a heap of the k best so far: almost every entry costs one comparison.
// 1 <= k. -infinity when there are no k comparable entries.
float KthLargest(std::span<const float> logits, size_t k) {
  std::vector<float> best;  // min-heap
  best.reserve(std::min(k, logits.size()));
  for (const float logit : logits) {
    if (best.size() < k) {
      if (logit > kMinusInfinity) {
        best.push_back(logit);
        std::push_heap(best.begin(), best.end(), std::greater<>());
      }
    } else if (logit > best.front()) {
      std::pop_heap(best.begin(), best.end(), std::greater<>());
      best.back() = logit;
      std::push_heap(best.begin(), best.end(), std::greater<>());
    }
  }
  return best.size() < k ? kMinusInfinity : best.front();
}

struct Ranked {
  float key;  // smaller is better
  TokenId id;
  float weight;
  bool operator<(const Ranked& other) const {
    return key != other.key ? key < other.key : id < other.id;
  }
};

// The last of the shortest run of best entries whose weight reaches `mass`. Sums the weights by
// slices of the key's range and sorts only the slice in which the mass is reached. `ranked` is not
// empty.
Ranked MassBorder(std::span<const Ranked> ranked, double mass) {
  constexpr int kSlices = 2048;
  constexpr float kRangeMax =
      100;  // keys further off belong to weights that vanish in float: one slice for all
  float low = ranked[0].key, high = low;
  for (const Ranked& item : ranked) {
    low = std::min(low, item.key);
    high = std::max(high, item.key);
  }
  const float range = std::min(high - low, kRangeMax);
  const float scale = range > 0 ? (kSlices - 1) / range : 0.0f;
  const auto slice_of = [=](const Ranked& item) {
    return static_cast<size_t>(std::min(item.key - low, range) * scale);
  };
  std::vector<double> weights(kSlices);
  for (const Ranked& item : ranked) {
    weights[slice_of(item)] += item.weight;
  }
  double sum = 0;
  size_t slice = 0;
  const size_t last = static_cast<size_t>(range * scale);
  for (; slice < last && sum + weights[slice] < mass; ++slice) {
    sum += weights[slice];
  }
  std::vector<Ranked> border;
  std::copy_if(ranked.begin(), ranked.end(), std::back_inserter(border),
               [&](const Ranked& item) { return slice_of(item) == slice; });
  std::sort(border.begin(), border.end());
  for (const Ranked& item : border) {
    sum += item.weight;
    if (sum >= mass) {
      return item;
    }
  }
  return border.back();
}

void KeepTopP(std::vector<Candidate>& candidates, float p) {
  p = std::max(p, 0.0f);
  const double total = TotalWeight(candidates);
  const double mass = static_cast<double>(p) * total;
  // All entries below this weight together weigh less than 1 - p: none can be in the kept set.
  const double floor = (1.0 - p) * total / static_cast<double>(candidates.size()) * 0.999;
  std::vector<Ranked> ranked;
  for (const Candidate& candidate : candidates) {
    if (candidate.weight >= floor) {
      ranked.push_back({-candidate.logit, candidate.id, candidate.weight});
    }
  }
  const Ranked border = MassBorder(ranked, mass);
  std::erase_if(candidates, [&](const Candidate& candidate) {
    return border < Ranked{-candidate.logit, candidate.id, candidate.weight};
  });
}

void KeepTypicalP(std::vector<Candidate>& candidates, float maximum, float p) {
  const double total = TotalWeight(candidates);
  const double log_total = std::log(total);
  double entropy = 0;
  for (const Candidate& candidate : candidates) {
    entropy -=
        candidate.weight / total * (static_cast<double>(candidate.logit) - maximum - log_total);
  }
  const auto deviation = [&](const Candidate& candidate) {
    const double surprise = log_total - (static_cast<double>(candidate.logit) - maximum);
    return static_cast<float>(std::min(std::abs(surprise - entropy), 1e30));
  };
  std::vector<Ranked> ranked;
  ranked.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    ranked.push_back({deviation(candidate), candidate.id, candidate.weight});
  }
  const Ranked border = MassBorder(ranked, static_cast<double>(p) * total);
  std::erase_if(candidates,
                [&](const Candidate& candidate) { return deviation(candidate) > border.key; });
}

void KeepMinP(std::vector<Candidate>& candidates, float p) {
  p = std::min(p, 1.0f);
  float best = 0;
  for (const Candidate& candidate : candidates) {
    best = std::max(best, candidate.weight);
  }
  std::erase_if(candidates,
                [&](const Candidate& candidate) { return candidate.weight < p * best; });
}

// Runs `keep` over the logits as candidates and removes what it drops.
template <class Keep>
void FilterLogits(std::span<float> logits, Keep keep) {
  const float maximum = FindMaximum(logits).value;
  if (!std::isfinite(maximum)) {
    return;
  }
  std::vector<Candidate> candidates;
  Gather(logits, maximum, kMinusInfinity, candidates);
  keep(candidates, maximum);
  std::fill(logits.begin(), logits.end(), kMinusInfinity);
  for (const Candidate& candidate : candidates) {
    logits[static_cast<size_t>(candidate.id)] = candidate.logit;
  }
}

}  // namespace

void ApplyTemperature(std::span<float> logits, float temperature) {
  for (float& logit : logits) {
    logit /= temperature;
  }
}

void ApplyTopK(std::span<float> logits, int k) {
  if (k <= 0) {
    return;
  }
  const float border = KthLargest(logits, static_cast<size_t>(k));
  for (float& logit : logits) {
    logit = logit >= border ? logit : kMinusInfinity;
  }
}

void ApplyTopP(std::span<float> logits, float p) {
  if (p < 1) {
    FilterLogits(logits, [p](auto& candidates, float) { KeepTopP(candidates, p); });
  }
}

void ApplyMinP(std::span<float> logits, float p) {
  if (p > 0) {
    FilterLogits(logits, [p](auto& candidates, float) { KeepMinP(candidates, p); });
  }
}

void ApplyTypicalP(std::span<float> logits, float p) {
  if (p < 1) {
    FilterLogits(logits,
                 [p](auto& candidates, float maximum) { KeepTypicalP(candidates, maximum, p); });
  }
}

void ApplyRepetitionPenalty(std::span<float> logits, std::span<const TokenId> history,
                            float penalty) {
  for (const TokenId id : std::unordered_set<TokenId>(history.begin(), history.end())) {
    PenaliseRepetition(logits, id, penalty);
  }
}

void ApplyFrequencyPresence(std::span<float> logits, std::span<const TokenId> generated,
                            float frequency, float presence) {
  std::unordered_map<TokenId, int> counts;
  for (const TokenId id : generated) {
    ++counts[id];
  }
  for (const auto& [id, count] : counts) {
    PenaliseFrequency(logits, id, count, frequency, presence);
  }
}

void ApplyLogitBias(std::span<float> logits, std::span<const std::pair<TokenId, float>> bias) {
  for (const auto& [id, addend] : bias) {
    if (InRange(id, logits)) {
      logits[static_cast<size_t>(id)] += addend;
    }
  }
}

Sampler::Sampler(SamplingParams params, std::span<const TokenId> prompt)
    : params_(std::move(params)), random_(params_.seed ? *params_.seed : SystemRandom().Next64()) {
  if (params_.repetition_penalty != 1) {
    for (const TokenId id : prompt) {
      if (counts_.try_emplace(id, 0).second) {
        seen_.push_back(id);
      }
    }
  }
}

TokenId Sampler::Sample(std::span<float> logits) {
  TW_CHECK(!logits.empty());
  ApplyLogitBias(logits, params_.logit_bias);
  ApplyPenalties(logits);
  const auto [maximum, position] = FindMaximum(logits);
  TokenId id = static_cast<TokenId>(position);
  if (params_.temperature > 0 && std::isfinite(maximum)) {
    // The largest logit becomes 0 before the division, so that no temperature, however small, can
    // overflow it.
    for (float& logit : logits) {
      const float shifted = logit - maximum;
      logit = shifted <= 0 ? shifted : kMinusInfinity;
    }
    if (params_.temperature != 1) {
      ApplyTemperature(logits, params_.temperature);
    }
    id = Draw(logits);
  }
  Remember(id);
  return id;
}

void Sampler::ApplyPenalties(std::span<float> logits) const {
  if (params_.repetition_penalty != 1) {
    for (const TokenId id : seen_) {
      PenaliseRepetition(logits, id, params_.repetition_penalty);
    }
  }
  if (params_.frequency_penalty != 0 || params_.presence_penalty != 0) {
    for (const auto& [id, count] : counts_) {
      PenaliseFrequency(logits, id, count, params_.frequency_penalty, params_.presence_penalty);
    }
  }
}

TokenId Sampler::Draw(std::span<float> logits) {
  const double u =
      static_cast<double>(random_() >> 11) * 0x1.0p-53;  // [0, 1), the same on every platform
  const bool filtered =
      params_.top_k > 0 || params_.typical_p < 1 || params_.top_p < 1 || params_.min_p > 0;
  if (!filtered) {
    const double total = sampler::ExponentiateInPlace(logits);
    return static_cast<TokenId>(sampler::PickByWeight(logits, u * total));
  }
  const float border =
      params_.top_k > 0 ? KthLargest(logits, static_cast<size_t>(params_.top_k)) : kMinusInfinity;
  Gather(logits, 0.0f, border, candidates_);
  if (params_.typical_p < 1) {
    KeepTypicalP(candidates_, 0.0f, params_.typical_p);
  }
  if (params_.top_p < 1) {
    KeepTopP(candidates_, params_.top_p);
  }
  if (params_.min_p > 0) {
    KeepMinP(candidates_, params_.min_p);
  }
  for (size_t i = 0; i < candidates_.size(); ++i) {
    logits[i] = candidates_[i].weight;
  }
  const double total = TotalWeight(candidates_);
  const size_t picked =
      total > 0 ? sampler::PickByWeight(logits.first(candidates_.size()), u * total) : 0;
  return candidates_[picked].id;
}

void Sampler::Remember(TokenId id) {
  const bool repetition = params_.repetition_penalty != 1;
  if (!repetition && params_.frequency_penalty == 0 && params_.presence_penalty == 0) {
    return;
  }
  const auto [entry, is_new] = counts_.try_emplace(id, 0);
  ++entry->second;
  if (repetition && is_new) {
    seen_.push_back(id);
  }
}

TokenLogprob LogprobOf(std::span<const float> logits, TokenId id) {
  const float maximum = FindMaximum(logits).value;
  if (!InRange(id, logits) || !std::isfinite(maximum) ||
      std::isnan(logits[static_cast<size_t>(id)])) {
    return {id, kMinusInfinity};
  }
  const double log_sum = sampler::LogSumExp(logits, maximum);
  return {id, static_cast<float>(logits[static_cast<size_t>(id)] - log_sum)};
}

std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, int top) {
  const float maximum = FindMaximum(logits).value;
  if (top <= 0 || !std::isfinite(maximum)) {
    return {};
  }
  const double log_sum = sampler::LogSumExp(logits, maximum);
  const float border = KthLargest(logits, static_cast<size_t>(top));
  std::vector<TokenLogprob> best;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= border && logits[i] > kMinusInfinity) {
      best.push_back({static_cast<TokenId>(i), static_cast<float>(logits[i] - log_sum)});
    }
  }
  std::sort(best.begin(), best.end(), [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
  });
  best.resize(std::min(best.size(), static_cast<size_t>(top)));
  return best;
}

}  // namespace tradewind::engine
