#include "billing/reconcile.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "billing/barred.h"
#include "billing/usd.h"

namespace tradewind::billing {
namespace {

// Whoever names the cost later names no tokens: what was said stays, and what was likely does not.
Outcome NamedOf(const Outcome& said) {
  return said.source == UsageSource::kNone ? Outcome() : said;
}

}  // namespace

using ledger::HoldId;
using ledger::NanoUsd;
using ledger::OpenHold;

std::string OwnId(HoldId id) {
  return fmt::format("{}-{}", id.request.ToString(), id.attempt);
}

Outcome SaidOf(const OpenHold& hold) {
  return hold.metered_text.empty() ? Outcome() : DecodeOutcome(hold.metered_text);
}

Status ResolveDoubt(ledger::Ledger& ledger, HoldId id, const OperatorsWord& word) {
  if (word.reason.empty() || word.reason.size() > kResolveReasonBytesMax) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "Say with `reason` (--reason TEXT) why, in at most {} bytes: the receipt keeps it.",
            kResolveReasonBytesMax),
        "reason");
  }
  std::vector<std::pair<HoldId, OpenHold>> doubts = ledger.DoubtsToAskAbout();
  std::erase_if(doubts, [&](const auto& doubt) {
    return doubt.first.request != id.request || (id.attempt != 0 && doubt.first != id);
  });
  if (doubts.empty()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("Nothing of {0} is in doubt: it runs, has ended, or is not known here; "
                            "`tradewind receipt {0}` says which.",
                            id.request.ToString()));
  }
  if (doubts.size() > 1) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} attempts of this request are in doubt; say which, like {}.",
                            doubts.size(), OwnId(doubts.front().first)),
                "receipt");
  }
  const auto& [found, hold] = doubts.front();
  const std::string why = "the operator: " + word.reason;
  if (!word.cost.has_value()) {
    return ledger.ResolveVoid(found, why);
  }
  if (*word.cost < 0 || *word.cost > hold.cost) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} were held for it: an operator's word costs nobody more.",
                            FormatUsd(hold.cost)),
                "cost");
  }
  Outcome outcome = NamedOf(SaidOf(hold));
  outcome.source = UsageSource::kOperator;
  outcome.finish = why;
  const bool own_key = DecodePurchase(hold.text).own_key;
  return ledger.ResolveSettled(
      found, *word.cost, own_key ? 0 : std::min(*word.cost, hold.metered_charge), Encode(outcome));
}

std::vector<BillingQuestion> Reconciliation::Questions(
    const std::function<AskableIds(std::string_view provider)>& askable) {
  using Asker = std::tuple<std::string, std::string, std::string>;  // provider, org, user
  std::vector<std::pair<HoldId, OpenHold>> doubts = ledger_.DoubtsToAskAbout();
  std::ranges::sort(doubts, {}, [](const auto& doubt) { return doubt.first; });
  std::map<Key, Asked> now;
  std::map<Asker, std::vector<BillingQuestion>> questions;
  for (const auto& [hold_id, hold] : doubts) {
    const Purchase bought = DecodePurchase(hold.text);
    const AskableIds can = askable(bought.provider);
    const bool is_theirs = !hold.upstream_id.empty();
    if (is_theirs ? !can.theirs : !can.ours) {
      continue;
    }
    const std::string id = is_theirs ? hold.upstream_id : OwnId(hold_id);
    const auto [at, is_new] = now.try_emplace({bought.provider, id});
    if (!is_new) {
      at->second.is_shared = true;
      continue;
    }
    // An id that another attempt had says nothing of this one.
    if (const auto known = asked_.find(at->first);
        known != asked_.end() && known->second.hold == hold_id) {
      at->second = known->second;
    }
    at->second.hold = hold_id;
    at->second.charge_max = bought.own_key ? 0 : hold.metered_charge;
    at->second.said = SaidOf(hold);
    at->second.is_shared = false;
    at->second.is_theirs = is_theirs;
    BillingQuestion question;
    question.provider = bought.provider;
    question.asker.own_key = bought.own_key;
    if (bought.own_key) {
      question.asker.org_id = bought.org_id;
      question.asker.user_id = bought.user_id;
    }
    auto& batches = questions[{bought.provider, question.asker.org_id, question.asker.user_id}];
    if (batches.empty() || batches.back().ids.size() == kBillingIdsMax) {
      batches.push_back(std::move(question));
    }
    batches.back().ids.push_back(id);
  }
  asked_ = std::move(now);
  std::vector<BillingQuestion> all;
  for (auto& [asker, batches] : questions) {
    std::ranges::move(batches, std::back_inserter(all));
  }
  return all;
}

void Reconciliation::Settle(const Asked& asked, NanoUsd cost, BillingOutcome& outcome) {
  Outcome text = NamedOf(asked.said);
  text.source = UsageSource::kBilled;
  text.finish = "billed by the provider";
  const NanoUsd charge = std::min(cost, asked.charge_max);
  const auto held = ledger_.HeldBy(asked.hold);
  const NanoUsd posted = std::min(cost, PostedMax(held.value_or(0)));
  text.unposted = cost - posted;
  const Status settled = ledger_.ResolveSettled(asked.hold, posted, charge, Encode(text));
  if (!settled.has_value()) {
    // Settled meanwhile by something else, or the journal cannot be written.
    outcome.failed += settled.error().code == ErrorCode::kNotFound ? 0 : 1;
    return;
  }
  ++outcome.settled;
  outcome.overruns += held.has_value() && cost > *held ? 1 : 0;
}

BillingOutcome Reconciliation::Take(const BillingQuestion& question,
                                    std::span<const BilledCost> answer,
                                    std::chrono::steady_clock::time_point now) {
  BillingOutcome outcome;
  const std::set<std::string_view> ids(question.ids.begin(), question.ids.end());
  std::set<std::string_view> named;
  std::vector<std::pair<Asked*, NanoUsd>> known;  // settled behind the loop, which asks the tables
  for (const BilledCost& billed : answer) {
    const auto asked = asked_.find({question.provider, billed.id});
    if (!ids.contains(billed.id) || asked == asked_.end() || !named.insert(billed.id).second) {
      continue;
    }
    if (billed.cost < 0 || billed.cost > ledger::kAmountMax) {
      ++outcome.failed;  // it knows the request, so it is not void; what it says is no cost
    } else if (asked->second.is_shared ||
               (asked->second.is_theirs && has_twin_ &&
                has_twin_(question.provider, billed.id, asked->second.hold))) {
      ++outcome.ambiguous;  // an id that is used again: the cost may be the other one's
    } else {
      known.emplace_back(&asked->second, billed.cost);
    }
  }
  for (const auto& [asked, cost] : known) {
    Settle(*asked, cost, outcome);
  }
  for (const std::string& id : question.ids) {
    const auto found = asked_.find({question.provider, id});
    if (named.contains(id) || found == asked_.end() || found->second.is_shared) {
      continue;
    }
    Asked& asked = found->second;
    if (!std::exchange(asked.was_unknown, true)) {
      asked.first_unknown = now;
    }
    if (now - asked.first_unknown < give_up_) {
      ++outcome.unknown;
      continue;
    }
    const Status voided =
        ledger_.ResolveVoid(asked.hold, "the provider was asked, and does not know it");
    ++(voided.has_value() ? outcome.voided : outcome.failed);
  }
  return outcome;
}

}  // namespace tradewind::billing
