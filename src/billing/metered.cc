// An attempt's money from its first byte to its end: what was delivered, what it cost, what is not
// known. How it is admitted: meter.cc.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "billing/meter.h"

namespace tradewind::billing {
namespace {

using ledger::NanoUsd;

constexpr size_t kUpstreamIdBytesMax = 256;
// Of one attempt: more is no usage, and sums of it have to stay within 64 bits.
constexpr int64_t kTokensMax = 1'000'000'000'000;
constexpr int64_t kProgressBytes = 1024;  // about 256 tokens
constexpr auto kProgressPause = std::chrono::seconds(1);

// Of an answer that has as many as were said, or more that were seen: what its caller got. What was
// still on its way, when an answer did not come to its end before him, nobody has got.
int64_t DeliveredTokens(const Ended& ended, const Outcome& said) {
  const int64_t seen = TextTokens(ended.delivered_bytes);
  return ended.unread_bytes > 0 ? seen : std::max(seen, said.output_tokens);
}

// So that it stands in the row whose end is not known yet.
std::string TextOf(const Ended& ended, const Outcome& said) {
  return ended.usage.has_value() ? Encode(said) : std::string();
}

}  // namespace

pricing::TokenCounts CountsOf(const chat::Usage& usage, int64_t images, bool wants_long_cache) {
  pricing::TokenCounts counts;
  counts.input = usage.input_tokens;
  counts.cached = usage.cached_tokens;
  counts.output = usage.output_tokens;
  counts.cache_write = usage.cache_write_tokens;
  counts.cache_write_1h = usage.cache_write_1h_tokens.value_or(
      wants_long_cache ? usage.cache_write_tokens.value_or(0) : 0);
  counts.reasoning = usage.reasoning_tokens;
  counts.audio_input = usage.audio_input_tokens;
  counts.audio_output = usage.audio_output_tokens;
  counts.images = images;
  return counts;
}

std::optional<size_t> ServedAt(const catalog::Prices& prices, std::string_view said, size_t asked,
                               const pricing::TokenCounts& counts) {
  if (said.empty()) {
    return pricing::DearerService(prices, counts, asked);
  }
  const size_t service = prices.ServiceOf(said);
  return service > 0 || catalog::IsUsualServiceTier(said) ? std::optional(service) : std::nullopt;
}

Status Metered::Sent() {
  if (!hold_.is_open()) {
    return {};
  }
  if (const Status sent = hold_.Sent(); !sent.has_value()) {
    const ErrorCode code = sent.error().code == ErrorCode::kUnavailable
                               ? ErrorCode::kUnavailable  // another process does
                               : ErrorCode::kResourceExhausted;
    return Fail(code,
                fmt::format("The ledger cannot record this request: {}", sent.error().message));
  }
  was_sent_ = true;
  return {};
}

void Metered::UpstreamId(std::string_view id) {
  if (hold_.is_open() && !id.empty()) {
    has_upstream_id_ = true;
    static_cast<void>(hold_.UpstreamId(id.substr(0, kUpstreamIdBytesMax)));
  }
}

void Metered::UpstreamIdWithNext(std::string_view id) {
  has_upstream_id_ = has_upstream_id_ || !id.empty();
  hold_.UpstreamIdWithNext(id.substr(0, kUpstreamIdBytesMax));
}

std::optional<int64_t> Metered::CostOf(const pricing::TokenCounts& counts) const {
  if (purchase_.provider == catalog::kLocalSlug) {
    return 0;
  }
  if (!purchase_.priced) {
    return std::nullopt;
  }
  if (const Result<int64_t> cost = pricing::CostNanoUsd(*prices_, counts); cost.has_value()) {
    return *cost;
  }
  // A usage that contradicts itself, or leaves out what has a price: at its dearest, never for
  // nothing.
  pricing::UsageBounds bounds;
  bounds.input_max = std::max<int64_t>(0, counts.input);
  bounds.output_max = std::max<int64_t>(0, counts.output);
  bounds.images = counts.images;
  bounds.may_have_audio_input = counts.audio_input != 0;
  bounds.may_have_audio_output = counts.audio_output != 0;
  bounds.may_write_cache_1h = wants_long_cache_ || counts.cache_write_1h != 0;
  bounds.service = counts.service;
  return pricing::WorstCaseNanoUsd(*prices_, bounds).value_or(hold_.cost());
}

std::optional<int64_t> Metered::DearerCost(pricing::TokenCounts counts) const {
  counts.service = purchase_.priced ? pricing::DearerService(*prices_, counts, service_) : 0;
  return CostOf(counts);
}

int64_t Metered::InputMax(const Outcome& said) const {
  return std::max(input_tokens_max_, said.input_tokens);
}

pricing::TokenCounts Metered::MeteredCounts(int64_t input_tokens, int64_t output_tokens,
                                            const Outcome& said) const {
  pricing::TokenCounts counts{input_tokens, 0, output_tokens, 0};
  counts.reasoning = std::min(said.reasoning_tokens, output_tokens);
  counts.audio_input = has_audio_input_ ? counts.input : 0;
  counts.images = images_;
  if (wants_long_cache_) {
    counts.cache_write = counts.cache_write_1h = counts.input;  // all of it may be
  }
  return counts;
}

std::optional<int64_t> Metered::MeteredCost(int64_t input_tokens, int64_t output_tokens,
                                            const Outcome& said) const {
  if (purchase_.priced && (wants_audio_output_ || (has_audio_input_ && wants_long_cache_))) {
    return hold_.cost();  // what was spoken, or kept of what was heard, is not in the bytes of text
  }
  return DearerCost(MeteredCounts(input_tokens, output_tokens, said));
}

std::optional<int64_t> Metered::MeteredCharge(const Ended& ended, const Outcome& said) const {
  if (ended.is_waste) {
    return 0;
  }
  const Outcome metered = MeteredOutcome(ended, said);
  return MeteredCost(metered.input_tokens, metered.output_tokens, said);
}

std::optional<int64_t> Metered::MostCost(int64_t output_tokens, const Outcome& said) const {
  pricing::TokenCounts counts = MeteredCounts(InputMax(said), output_tokens, said);
  counts.cache_write = counts.input;
  return std::max(MeteredCost(counts.input, output_tokens, said), DearerCost(counts));
}

void Metered::Progress(int64_t delivered_bytes) {
  if (!hold_.is_open() || delivered_bytes == progress_bytes_) {
    return;
  }
  const auto now = clock_->Now();
  if (delivered_bytes - progress_bytes_ < kProgressBytes && now - progress_at_ < kProgressPause) {
    return;
  }
  progress_at_ = now;
  // A kill leaves it unread.
  WriteProgress({.delivered_bytes = delivered_bytes}, {}, bills_whole_, ledger::Metering::kRuns);
}

void Metered::WriteProgress(const Ended& ended, const Outcome& said, bool whole,
                            ledger::Metering metering) {
  progress_bytes_ = ended.delivered_bytes;
  const auto within_hold = [&](std::optional<int64_t> cost) {
    return std::min(cost.value_or(0), hold_.cost());
  };
  // Budgets count the most that it can have cost; the caller is charged what it probably did. While
  // it runs, what comes before the next record counts too.
  const int64_t coming_bytes = metering == ledger::Metering::kRuns ? kProgressBytes : 0;
  const int64_t bytes = ended.delivered_bytes + ended.unread_bytes + coming_bytes;
  const int64_t tokens = std::max(MostTokens(bytes, choices_), said.output_tokens);
  const int64_t most = whole || thinks_unseen_ || hides_answers_
                           ? hold_.cost()
                           : within_hold(MostCost(tokens, said));
  may_cost_ = most;
  const int64_t charge = within_hold(MeteredCharge(ended, said));
  Outcome known = said;
  if (!ended.usage.has_value()) {
    known = MeteredOutcome(ended, said);
    known.source = UsageSource::kNone;  // who said it: nobody
  }
  static_cast<void>(
      hold_.Progress(most, std::min(charge, hold_.charge()), metering, Encode(known)));
}

Status Metered::Post(Outcome& outcome, int64_t billed, std::optional<int64_t> charge_max) {
  Status posted;
  for (const NanoUsd most : {PostedMax(hold_.cost()), hold_.cost()}) {
    const NanoUsd cost = std::min(billed, most);
    outcome.unposted = billed - cost;
    may_cost_ = cost;
    // A caller's own account at the provider pays there, and nothing here.
    const NanoUsd charge = purchase_.own_key ? 0 : std::min(cost, charge_max.value_or(cost));
    posted = hold_.Settle(cost, charge, Encode(outcome));
    if (posted.has_value() || posted.error().code != ErrorCode::kInvalidArgument) {
      return posted;
    }
  }
  // An account has no room even for what was held, which the ledger tells.
  static_cast<void>(hold_.Progress(may_cost_, 0, ledger::Metering::kEnded, Encode(outcome)));
  static_cast<void>(hold_.Doubt("what it cost does not fit into the books"));
  return posted;
}

std::optional<int64_t> Metered::Settle(Outcome outcome, std::optional<int64_t> cost,
                                       std::optional<int64_t> charge_max) {
  const NanoUsd held = hold_.cost();
  const std::optional<BarredRoute> barred =
      cost.has_value() ? BarredBy(purchase_, outcome, *cost, held) : std::nullopt;
  if (barred.has_value()) {
    meter_->bars_.Expect(*barred);  // nobody comes in between
  }
  const Status posted = Post(outcome, cost.value_or(0), charge_max);
  if (barred.has_value() && posted.has_value()) {
    meter_->bars_.Settled(*barred, meter_->ledger_.seq());
  }
  if (!cost.has_value() || (!posted.has_value() && !hold_.is_open())) {
    return std::nullopt;
  }
  meter_->counts_.held.fetch_add(held, std::memory_order_relaxed);
  meter_->counts_.settled.fetch_add(may_cost_, std::memory_order_relaxed);
  return may_cost_;
}

bool Metered::IsBeyond(const Outcome& said, const Ended& ended) const {
  if (purchase_.provider == catalog::kLocalSlug) {
    return false;
  }
  if (said.input_tokens > input_tokens_max_ || said.output_tokens > output_tokens_max_) {
    return true;
  }
  // Speech has no bytes of text; thoughts that were asked for may be hidden and not be told apart.
  const bool may_be_unseen =
      wants_audio_output_ || hides_answers_ || (thinks_unseen_ && said.reasoning_tokens == 0);
  const int64_t came_bytes = ended.delivered_bytes + ended.unread_bytes;
  return came_bytes > 0 && !may_be_unseen &&
         said.output_tokens - said.reasoning_tokens > MostTokens(came_bytes, choices_);
}

Outcome Metered::SaidBy(const chat::Usage& usage) const {
  Outcome said;
  said.input_tokens = std::clamp<int64_t>(usage.input_tokens, 0, kTokensMax);
  said.cached_tokens = std::clamp<int64_t>(usage.cached_tokens, 0, said.input_tokens);
  said.output_tokens = std::clamp<int64_t>(usage.output_tokens, 0, kTokensMax);
  said.reasoning_tokens = std::clamp<int64_t>(usage.reasoning_tokens, 0, said.output_tokens);
  said.unverifiable_tokens = purchase_.provider == catalog::kLocalSlug ? 0 : said.reasoning_tokens;
  if (usage.cache_write_tokens.has_value()) {
    said.cache_write_tokens =
        std::clamp<int64_t>(*usage.cache_write_tokens, 0, said.input_tokens - said.cached_tokens);
    // Where it does not say for how long, for as long as was asked.
    const int64_t unsaid = wants_long_cache_ ? *said.cache_write_tokens : 0;
    said.cache_write_1h_tokens = std::clamp<int64_t>(usage.cache_write_1h_tokens.value_or(unsaid),
                                                     0, *said.cache_write_tokens);
  }
  said.audio_input_tokens = std::clamp<int64_t>(usage.audio_input_tokens, 0, said.input_tokens);
  said.audio_output_tokens = std::clamp<int64_t>(usage.audio_output_tokens, 0, said.output_tokens);
  said.images = images_;
  said.source = usage.is_whole() ? UsageSource::kProvider : UsageSource::kMetered;
  return said;
}

Outcome Metered::MeteredOutcome(const Ended& ended, const Outcome& said) const {
  Outcome outcome;
  const bool is_input_said = ended.usage.has_value() && !ended.usage->lacks_input;
  outcome.input_tokens = is_input_said ? said.input_tokens : input_tokens_likely_;
  outcome.output_tokens = DeliveredTokens(ended, said);
  if (outcome.output_tokens > said.output_tokens) {  // a guess is within what was asked for
    outcome.output_tokens =
        std::max(said.output_tokens, std::min(outcome.output_tokens, output_tokens_max_));
  }
  outcome.reasoning_tokens = said.reasoning_tokens;
  outcome.unverifiable_tokens = said.unverifiable_tokens;
  outcome.images = images_;
  outcome.source = UsageSource::kMetered;
  outcome.finish = said.finish;
  outcome.is_beyond = said.is_beyond;
  const pricing::TokenCounts counts =
      MeteredCounts(outcome.input_tokens, outcome.output_tokens, said);
  const std::string tier = ended.usage.has_value() ? ended.usage->service_tier : std::string();
  const std::optional<size_t> served = ServedAt(*prices_, tier, service_, counts);
  outcome.is_other_tier = !served.has_value();
  outcome.service_tier =
      prices_->ServiceName(served.value_or(pricing::DearerService(*prices_, counts, service_)));
  return outcome;
}

std::optional<int64_t> Metered::SettleByUsage(const Ended& ended, Outcome outcome) {
  const chat::Usage& usage = *ended.usage;
  if (!usage.is_whole()) {
    outcome = MeteredOutcome(ended, outcome);
  }
  pricing::TokenCounts counts = CountsOf(usage, images_, wants_long_cache_);
  counts.input = outcome.input_tokens;
  counts.cached = outcome.cached_tokens;
  counts.output = outcome.output_tokens;
  counts.cache_write_1h = outcome.cache_write_1h_tokens;
  const std::optional<size_t> served = ServedAt(*prices_, usage.service_tier, service_, counts);
  outcome.is_other_tier = !served.has_value();
  counts.service = served.value_or(pricing::DearerService(*prices_, counts, service_));
  outcome.service_tier = prices_->ServiceName(counts.service);
  outcome.has_unpriced_writes = purchase_.priced && purchase_.provider != catalog::kLocalSlug &&
                                pricing::HasUnpricedWrites(*prices_, counts);
  std::optional<int64_t> charge_max;
  if (ended.is_waste) {
    charge_max = 0;
  } else if (ended.unread_bytes > 0) {
    pricing::TokenCounts delivered = counts;
    delivered.output = std::min(counts.output, TextTokens(ended.delivered_bytes));
    delivered.reasoning = std::min(counts.reasoning, delivered.output);
    delivered.audio_output = std::min(counts.audio_output, delivered.output - delivered.reasoning);
    charge_max = CostOf(delivered);
  }
  if (AwaitsItsBill(ended)) {
    AwaitBill(outcome, CostOf(counts), charge_max);
    return std::nullopt;
  }
  outcome.is_told = ended.cost_is_told;
  return Settle(outcome, outcome.is_told ? usage.cost_nanousd : CostOf(counts), charge_max);
}

// Budgets count the most that it can have cost: the user chooses the text, and so how many tokens
// its bytes are.
std::optional<int64_t> Metered::SettleByWhatCame(const Ended& ended, const Outcome& said) {
  const Outcome outcome = MeteredOutcome(ended, said);
  const int64_t most = MostTokens(ended.delivered_bytes + ended.unread_bytes, choices_);
  std::optional<int64_t> cost = MostCost(std::max(most, said.output_tokens), said);
  if (cost.has_value() && (thinks_unseen_ || hides_answers_)) {
    cost = hold_.cost();  // what nobody was shown may have been billed
  } else if (cost.has_value()) {
    cost = std::min(*cost, hold_.cost());  // an estimate is no overrun
  }
  return Settle(outcome, cost, MeteredCharge(ended, said));
}

bool Metered::AwaitsItsBill(const Ended& ended) const {
  return price_varies_ && purchase_.priced && ended.was_sent && ended.can_be_asked &&
         !ended.cost_is_told;
}

// Whoever got nothing of it, or a part, is charged no more when the bill comes.
void Metered::AwaitBill(const Outcome& said, std::optional<int64_t> cost,
                        std::optional<int64_t> charge_max) {
  may_cost_ = std::min(cost.value_or(hold_.cost()), hold_.cost());
  const NanoUsd charge = std::min({may_cost_, hold_.charge(), charge_max.value_or(may_cost_)});
  static_cast<void>(hold_.Progress(may_cost_, charge, ledger::Metering::kEnded, Encode(said)));
  static_cast<void>(hold_.Doubt("its price is asked for"));
}

void Metered::NoteDoubt(Ending ending, const Ended& ended, const Outcome& said) {
  if (ending == Ending::kDoubtMetered) {
    // What is still to come is billed by some when nobody reads it: as much as was held. When the
    // provider itself has ended it, nothing is.
    const bool goes_on = bills_whole_ && !ended.is_complete && !ended.provider_ended;
    WriteProgress(ended, said, goes_on, ledger::Metering::kEnded);
  } else if (ending == Ending::kDoubtHeld) {
    may_cost_ = hold_.cost();
    static_cast<void>(
        hold_.Progress(hold_.cost(), 0, ledger::Metering::kRuns, TextOf(ended, said)));
  } else if (ending == Ending::kDoubtVoid) {
    // Whatever was feared while it ran (bills_whole_, an upgrade): it came to nothing.
    static_cast<void>(hold_.Progress(0, 0, ledger::Metering::kEnded));
  }
}

std::optional<int64_t> Metered::End(const Ended& ended) {
  constexpr size_t kFinishBytesMax = 256;
  if (!hold_.is_open()) {
    return std::nullopt;
  }
  Ended known = ended;
  known.was_sent = was_sent_;
  known.can_be_asked = has_upstream_id_ ? askable_.theirs : askable_.ours;
  known.cost_is_told = price_varies_ && purchase_.priced && ended.usage.has_value() &&
                       ended.usage->cost_nanousd.has_value();
  Ending ending = EndingOf(known);
  // Whatever it did, it cost nothing; or nobody will say, and a route without a price has nothing
  // held that could tell later that something had come.
  const bool says_nobody = ending == Ending::kDoubtMetered && !known.can_be_asked;
  if (IsDoubt(ending) && hold_.cost() == 0 && (purchase_.priced || says_nobody)) {
    ending = Ending::kMetered;
  }
  Outcome said = ended.usage.has_value() ? SaidBy(*ended.usage) : Outcome();
  said.finish = ended.finish.substr(0, kFinishBytesMax);
  if (ended.usage.has_value() && IsBeyond(said, known)) {
    said.is_beyond = true;
    meter_->counts_.beyond_bounds.fetch_add(1, std::memory_order_relaxed);
  }
  switch (ending) {
    case Ending::kSettle:
      return SettleByUsage(known, std::move(said));
    case Ending::kMetered:
      return SettleByWhatCame(known, said);
    case Ending::kVoid:
      may_cost_ = 0;
      static_cast<void>(hold_.Void(said.finish));
      return std::nullopt;
    case Ending::kDoubtMetered:
    case Ending::kDoubtHeld:
    case Ending::kDoubtVoid:
      may_cost_ = 0;
      NoteDoubt(ending, ended, said);
      static_cast<void>(hold_.Doubt(said.finish));
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace tradewind::billing
