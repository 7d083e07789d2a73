// Usage ↔ money: before an attempt, the worst it can cost is held; after it, what it did cost is
// settled. The gateway has one Metered for each attempt and ends it once.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "billing/barred.h"
#include "billing/ending.h"
#include "billing/purchase.h"
#include "billing/reconcile.h"
#include "catalog/mapping.h"
#include "ledger/ledger.h"
#include "pricing/cost.h"

namespace tradewind::billing {

// What is injected as max_tokens when the request sets none and a hard budget bounds it, unless the
// key or its organisation has a bound of its own (identity::KeyLimits).
inline constexpr int64_t kOutputTokensDefault = 8192;
// Fewer than this is no answer: refused instead.
inline constexpr int64_t kOutputTokensMin = 256;

// Budgets of the server itself, across organisations: of all that it spends, at one provider, on
// one model, and on its own probes of routes, which stand where a key's id does: no key has it.
inline constexpr std::string_view kServerScope = "all";
inline constexpr std::string_view kProviderScope = "provider:";
inline constexpr std::string_view kModelScope = "model:";
inline constexpr std::string_view kProbesScope = "probes";
bool IsServerScope(std::string_view scope);

// The names of the other budgets that a purchase falls into: of its organisation, project, user and
// key, each also for its model and its provider alone.
std::string BudgetName(std::string_view kind, std::string_view id);  // "key:key_2f..."

// Whose credits pay for a purchase: its organisation's; nobody's ("") where an own key pays.
std::string PayerOf(const Purchase& purchase);

// What credits with a scope pay for, as the ledger has it: "model:ORG/NAME", "provider:SLUG".
std::string PurposesOf(const Purchase& purchase);

// Of Meter::Begin: a hard budget or a prepaid organisation's credits have no room for it, rather
// than that they cannot be kept at all.
bool IsOutOfBudget(const Error& error);

// Of Meter::Begin: beyond Offer::cost_max.
bool IsBeyondRequest(const Error& error);

// What is charged of what a provider says and of what was sent, as it stands: counts that
// contradict themselves have no cost (pricing::CostNanoUsd). What was written to a cache was so
// for an hour where that was asked for and nobody says for how long.
pricing::TokenCounts CountsOf(const chat::Usage& usage, int64_t images, bool wants_long_cache);

// Whose prices a usage has: those of the service tier that the answer says (chat::Usage's). Where
// it says none, the provider may have served it at the one that was `asked` for or at the usual
// one, and it is the dearer of them: both are held for. nullopt: one that has no prices.
std::optional<size_t> ServedAt(const catalog::Prices& prices, std::string_view said, size_t asked,
                               const pricing::TokenCounts& counts);

// An attempt that is about to be made.
struct Offer {
  ledger::HoldId id;
  Purchase purchase;
  const catalog::Prices* prices = nullptr;  // must outlive the Metered
  int64_t input_tokens_max = 0;
  int64_t input_tokens_likely = 0;           // what is charged where nobody says how many they were
  std::optional<int64_t> output_tokens_max;  // as the request says; nullopt: it does not
  int64_t output_default = kOutputTokensDefault;  // then, if the route has no smaller one
  int64_t output_min = kOutputTokensMin;          // and fewer are no answer
  // Of these, where one is sent: what an answer has unasked, or what the context leaves.
  std::optional<int64_t> output_sent_max;
  bool has_zero_bound = false;  // it says 0 somewhere, which some providers read as no bound
  bool bills_whole = false;     // the provider bills the whole answer, also when its reader leaves
  // Its prices differ from request to request, and these are the most: the cost is what the
  // provider says in its usage, or later.
  bool price_varies = false;
  std::optional<int64_t> model_output_max;  // of the route, if known
  catalog::CapTrust cap_trust = {};         // likewise: what is held for is beyond what is sent
  int64_t choices = 1;
  int64_t images = 0;  // pictures in it
  // It may use tokens of sound. Requires prices for these where a hard budget is to be kept:
  // whoever offers it says `billed_apart` otherwise.
  bool has_audio_input = false, wants_audio_output = false;
  bool thinks_unseen = false;  // some of what it is billed for may be shown to nobody
  bool hides_answers = false;  // some of its `choices` are billed and not shown (best_of)
  // It asks that its prompt be kept for longer than five minutes. As for sound: a price for that,
  // or `billed_apart`.
  bool wants_long_cache = false;
  // It asks that its prompt be kept for some minutes where that may be billed, and the route has no
  // price of it.
  bool writes_unpriced = false;
  // As the request says; one that is neither the usual one nor has prices is `billed_apart`.
  std::string service_tier;
  std::string billed_apart;   // a field whose cost no token price bounds; "" = none
  std::string unknown_field;  // one of which nobody here knows whether it costs anything; "" = none
  // Beyond it the attempt is not made, whatever budgets say: what its request may still cost.
  std::optional<ledger::NanoUsd> cost_max;
  AskableIds askable = {};      // by which ids the provider says later what it cost
  bool is_strict = false;       // ledger::HoldRequest's
  bool charges_nobody = false;  // the operator's own: a cost, and no charge
};

// Since the start.
struct MeterCounts {
  // Usages of more tokens than their requests' bounds allow, or than bytes came.
  std::atomic<int64_t> beyond_bounds{0};
  // Of attempts that were settled at a cost that is known: what was held, and what they did cost.
  std::atomic<ledger::NanoUsd> held{0}, settled{0};
};

class Meter;

// One attempt's money. Movable; one thread at a time; the Meter outlives it.
class Metered {
 public:
  Metered() = default;
  Metered(Metered&&) noexcept = default;
  Metered& operator=(Metered&&) noexcept = default;
  ~Metered() = default;  // an attempt that nobody ended is void or in doubt (ledger::Hold)

  // The request sets no bound on its output, or 0, and this is the one that was held: it has to be
  // sent.
  std::optional<int64_t> output_cap() const { return output_cap_; }
  ledger::NanoUsd held() const { return hold_.cost(); }
  // So much may it cost, and no more: a hard budget or prepaid credits have to be kept.
  bool is_hard() const { return hold_.cost() > 0 && !purchase_.open_ended; }
  // While it runs all that is held; after its end what it did cost, or at most will, as far as that
  // is known (an error without an answer is seldom billed).
  ledger::NanoUsd may_cost() const { return hold_.is_open() ? hold_.cost() : may_cost_; }
  // Of the price that it was held at and is settled at; 0: it has none.
  uint32_t price_version() const { return price_version_; }

  // Nothing may go out before this record survives a power cut (Meter::WhenDurable); 0: it may.
  uint64_t goes_out_after() const { return hold_.is_open() ? hold_.goes_out_after() : 0; }

  // Its cost is not all that the provider bills: Offer::billed_apart.
  // What a pool is asked has its price told, whatever it is made of.
  bool is_billed_apart() const { return !purchase_.billed_apart.empty() && !price_varies_; }

  // Before the first byte goes out. Errors: as Meter::Begin when nothing can be recorded; then
  // nothing may be sent.
  Status Sent();
  void UpstreamId(std::string_view id);
  void UpstreamIdWithNext(std::string_view id);  // the end follows in a moment
  // What the attempt is called where the provider has not named it; "" when nothing is held.
  std::string own_id() const { return hold_.is_open() ? OwnId(hold_.id()) : std::string(); }
  // Text delivered so far, so that a kill knows of it; cheap when little was added in a second.
  void Progress(int64_t delivered_bytes);
  // What the answer cost; nullopt: not known, which is not zero.
  std::optional<int64_t> End(const Ended& ended);

 private:
  friend class Meter;
  std::optional<int64_t> CostOf(const pricing::TokenCounts& counts) const;
  // What a provider says, within what any attempt can have.
  Outcome SaidBy(const chat::Usage& usage) const;
  // What was put in as it was said, else as it probably was; of what came, at least what was seen.
  Outcome MeteredOutcome(const Ended& ended, const Outcome& said) const;
  // At the usual service tier or at the one asked for, where it costs more.
  std::optional<int64_t> DearerCost(pricing::TokenCounts counts) const;
  // Of what was put in as it was said or probably was, and of what its caller got.
  std::optional<int64_t> MeteredCharge(const Ended& ended, const Outcome& said) const;
  int64_t InputMax(const Outcome& said) const;
  std::optional<int64_t> MeteredCost(int64_t input_tokens, int64_t output_tokens,
                                     const Outcome& said) const;
  // Were all that may have been put in written to the provider's cache, where that costs more.
  std::optional<int64_t> MostCost(int64_t output_tokens, const Outcome& said) const;
  pricing::TokenCounts MeteredCounts(int64_t input_tokens, int64_t output_tokens,
                                     const Outcome& said) const;
  std::optional<int64_t> Settle(Outcome outcome, std::optional<int64_t> cost,
                                std::optional<int64_t> charge_max = {});
  // At what of a bill can be posted; what cannot is noted in `outcome`.
  Status Post(Outcome& outcome, int64_t billed, std::optional<int64_t> charge_max);
  std::optional<int64_t> SettleByUsage(const Ended& ended, Outcome outcome);
  std::optional<int64_t> SettleByWhatCame(const Ended& ended, const Outcome& said);
  // Whether it counts more tokens than its bounds allow, or than what came can be.
  bool IsBeyond(const Outcome& said, const Ended& ended) const;
  // Its tokens are known, and at which price they were is not.
  bool AwaitsItsBill(const Ended& ended) const;
  void AwaitBill(const Outcome& said, std::optional<int64_t> cost,
                 std::optional<int64_t> charge_max);
  // What is written of an attempt in doubt: its cost, and what is charged, should nobody know more.
  void NoteDoubt(Ending ending, const Ended& ended, const Outcome& said);
  // `whole`: billed is all that was held.
  void WriteProgress(const Ended& ended, const Outcome& said, bool whole,
                     ledger::Metering metering);

  ledger::Hold hold_;
  ledger::NanoUsd may_cost_ = 0;  // after its end
  Purchase purchase_;
  const catalog::Prices* prices_ = nullptr;
  uint32_t price_version_ = 0;
  int64_t input_tokens_max_ = 0, input_tokens_likely_ = 0;
  int64_t images_ = 0;
  int64_t choices_ = 1;
  bool has_audio_input_ = false, wants_audio_output_ = false, thinks_unseen_ = false;
  bool hides_answers_ = false;
  bool wants_long_cache_ = false;
  size_t service_ = 0;                     // the service tier asked for, of `prices_`
  int64_t output_tokens_max_ = INT64_MAX;  // of all answers together, where something bounds them
  Meter* meter_ = nullptr;
  std::optional<int64_t> output_cap_;
  AskableIds askable_;
  bool bills_whole_ = false, price_varies_ = false;
  bool has_upstream_id_ = false;
  int64_t progress_bytes_ = 0;
  const Clock* clock_ = nullptr;
  std::chrono::steady_clock::time_point progress_at_ = {};
  bool was_sent_ = false;
};

struct SpendingBound;  // of budgets and credits; both are defined in meter.cc
struct OutputBound;

// Thread-safe; the ledger outlives it.
class Meter {
 public:
  explicit Meter(ledger::Ledger& ledger, const Clock& clock = SystemClock())
      : ledger_(ledger), clock_(clock) {}

  // Holds the worst case in every budget that the purchase falls into, and in the credits of its
  // organisation. Errors: kPaymentRequired (beyond cost_max; a hard budget, or the credits of who
  // is prepaid, have no room; or they cannot be kept on this route, which has no price or was
  // billed beyond its hold), kTooManyRequests (throttled, or too many are open); when nothing can
  // be recorded kResourceExhausted, and kUnavailable when another process has taken over. With
  // Send::kNow, Metered::Sent has been done. `refused` gets which budget had no room: nobody is
  // told before NoteRefused, as another route may be cheaper. Without it he is told now.
  Result<Metered> Begin(Offer offer, ledger::Send send = ledger::Send::kLater,
                        std::optional<ledger::Refusal>* refused = nullptr);
  void NoteRefused(const ledger::Refusal& refusal) { ledger_.NoteRefused(refusal); }

  // As ledger::Ledger's.
  void WhenDurable(uint64_t seq, std::move_only_function<void(bool)> done) {
    ledger_.WhenDurable(seq, std::move(done));
  }
  bool IsDurable(uint64_t seq) { return ledger_.synced_seq() >= seq; }

  // Names of keys' and organisations' budgets whose paid attempts are refused until the next call.
  void SetThrottled(std::set<std::string, std::less<>> names);

  // Another process records from now on: a client does well to connect to that.
  bool is_handed_over() { return ledger_.is_released(); }

  // The room on the disk that requests are recorded on.
  ledger::DiskState disk() { return ledger_.disk(); }
  // What is wrong with the records themselves.
  ledger::Trouble trouble() { return ledger_.trouble(); }

  const MeterCounts& counts() const { return counts_; }
  int64_t beyond_bounds() const { return counts_.beyond_bounds; }

  // Routes that are not asked: under a hard bound, or by nobody.
  Bars& bars() { return bars_; }

  // Attempts in doubt for longer than that, and the oldest of more than kHoldsInDoubtMax: settled
  // at what was metered, void when nothing was. Longer by the wall clock and by the steady one: of
  // what was in doubt before this process, it counts what the wall clock said when it was first
  // seen here, and half an hour at least of asking. Where an error came instead of an answer and
  // nobody can be asked about it, by `askable` or when it began, ten minutes do. One thread at a
  // time.
  using Askable = std::function<AskableIds(std::string_view provider)>;
  void SettleOverdue(std::chrono::nanoseconds deadline = std::chrono::hours(24),
                     const Askable& askable = {});

 private:
  friend class Metered;
  Metered Prepare(const Offer& offer);
  Result<OutputBound> Fit(const SpendingBound& bound, Offer& offer, Metered& metered);
  Result<ledger::HoldRequest> RequestOf(const SpendingBound& bound, const OutputBound& output,
                                        const Offer& offer, Metered& metered);
  Status CheckThrottle(std::span<const std::string_view> names);
  Status CheckBarred(const Purchase& purchase, const SpendingBound& bound);
  bool IsOverdue(ledger::HoldId id, const ledger::OpenHold& hold,
                 std::chrono::nanoseconds deadline);

  // Of an attempt in doubt, when it was first seen here, and how old it was by the wall clock.
  struct Seen {
    std::chrono::steady_clock::time_point at;
    std::chrono::nanoseconds age;
  };

  ledger::Ledger& ledger_;
  const Clock& clock_;
  std::atomic<bool> is_throttling_{false};
  Bars bars_;
  MeterCounts counts_;
  std::map<ledger::HoldId, Seen> doubts_;  // of SettleOverdue, which one thread calls
  std::mutex mutex_;                       // guards what follows
  std::set<std::string, std::less<>> throttled_;
};

}  // namespace tradewind::billing
