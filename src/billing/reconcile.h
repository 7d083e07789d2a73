// Requests in doubt, and what their providers say of them: by a provider's billing address, in
// batches of ids (docs/formats/billing-protocol.md). Nothing here is asked or waited for; the
// gateway asks, and tells what was answered.
//
//   the provider names a cost             settled by it, whatever was held; charged at most for
//                                         what was delivered
//   it does not know the id (yet)         asked again
//   it did not know it for `give_up`      void, when it is an id that it would know
//   nobody could say for `deadline`       settled at what was metered (Meter::SettleOverdue)
//   an operator says it (ResolveDoubt)    settled by that, at most at what was held; or void
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "billing/purchase.h"
#include "ledger/ledger.h"

namespace tradewind::billing {

// Of one call, by the protocol.
inline constexpr size_t kBillingIdsMax = 10'000;

// What we call an attempt where the provider has not named it yet: it is sent along, and a provider
// that keeps it can be asked by it.
std::string OwnId(ledger::HoldId id);

// The tokens that the provider said of an attempt in doubt, with their source; of the source kNone
// those that it probably had, where something came and nobody said them.
Outcome SaidOf(const ledger::OpenHold& hold);

// Which ids a provider can be asked by.
struct AskableIds {
  bool theirs = false;  // what it called the request: it has a billing address
  bool ours = false;    // OwnId: it keeps what it is sent
};

struct BilledCost {
  std::string id;
  ledger::NanoUsd cost = 0;
};

// One call to one provider with one key.
struct BillingQuestion {
  std::string provider;
  Purchase asker;  // whose key it is: of an own key, its organisation and user
  std::vector<std::string> ids;
};

struct BillingOutcome {
  int64_t settled = 0, voided = 0, unknown = 0;
  int64_t overruns = 0;   // of the settled ones: beyond what was held
  int64_t ambiguous = 0;  // ids that several attempts have, settled ones too: it is nobody's cost
  int64_t failed = 0;     // no cost that can be, or the ledger could not record it; asked again
};

inline constexpr size_t kResolveReasonBytesMax = 1024;

// How an operator ends a request in doubt.
struct OperatorsWord {
  std::optional<ledger::NanoUsd> cost;  // nullopt: it is void
  std::string reason;                   // kept with it
};

// `attempt` 0: the only one of the request that is in doubt. Charged is at most what was delivered.
// Errors: kNotFound: there is none, or it runs; kInvalidArgument (param receipt: several are in
// doubt; cost: more than was held; reason); those of ledger::Ledger.
Status ResolveDoubt(ledger::Ledger& ledger, ledger::HoldId id, const OperatorsWord& word);

// One thread at a time; the ledger outlives it.
class Reconciliation {
 public:
  // Whether an attempt other than `hold` was settled that its provider called the same.
  using HasTwin =
      std::function<bool(std::string_view provider, std::string_view id, ledger::HoldId hold)>;

  Reconciliation(ledger::Ledger& ledger, std::chrono::nanoseconds give_up, HasTwin has_twin = {})
      : ledger_(ledger), give_up_(give_up), has_twin_(std::move(has_twin)) {}

  // About everything in doubt whose provider can be asked, at most kBillingIdsMax ids each.
  std::vector<BillingQuestion> Questions(
      const std::function<AskableIds(std::string_view provider)>& askable);

  // What was answered to a question, at `now`. Of an id that stands there twice the first counts;
  // one that was not asked does not. A question that was not answered at all is not told here.
  BillingOutcome Take(const BillingQuestion& question, std::span<const BilledCost> answer,
                      std::chrono::steady_clock::time_point now);

 private:
  struct Asked {
    ledger::HoldId hold;
    ledger::NanoUsd charge_max = 0;  // for what was delivered; 0 when nothing was
    Outcome said = {};               // SaidOf
    bool is_shared = false;          // by several attempts
    bool is_theirs = false;          // the provider made the id
    std::chrono::steady_clock::time_point first_unknown = {};
    bool was_unknown = false;
  };
  using Key = std::pair<std::string, std::string>;  // provider, id

  // A cost is posted whole, up to PostedMax; charged is at most what was delivered.
  void Settle(const Asked& asked, ledger::NanoUsd cost, BillingOutcome& outcome);

  ledger::Ledger& ledger_;
  const std::chrono::nanoseconds give_up_;
  const HasTwin has_twin_;
  std::map<Key, Asked> asked_;  // what is in doubt now
};

}  // namespace tradewind::billing
