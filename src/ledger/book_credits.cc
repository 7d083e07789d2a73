// Credits: what was paid ahead or given away, and how it is spent before anything is owed.
#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

// Of one account, if a hold of its owner may spend it now.
NanoUsd FreeOf(const CreditSpec& credit, const Account& account, int64_t time_ns) {
  if (credit.expires_s <= time_ns / kNanosPerSecond) {
    return 0;
  }
  return std::max<NanoUsd>(0, account.available());
}

Leg Share(AccountKey account, NanoUsd amount) {
  Leg leg;
  leg.account = account;
  leg.dimension = Dimension::kCharge;
  leg.is_credit = true;
  leg.amount = amount;
  return leg;
}

Status CheckOwner(std::string_view owner) {
  if (owner.empty() || owner.size() > kPayerBytesMax) {
    return Fail(ErrorCode::kInvalidArgument, "a credit needs an owner", "owner");
  }
  return {};
}

// What credits have, in the order in which they pay.
using Purses = std::vector<std::pair<AccountNumber, NanoUsd>>;

// As many shares as there is room for. The last one may have to stand for many small credits: it is
// then of the first that has all that is missing, or of the one that has most.
void Pay(Purses purses, NanoUsd& missing, Legs& legs) {
  std::erase_if(purses, [](const auto& purse) { return purse.second <= 0; });
  for (auto purse = purses.begin(); purse != purses.end() && missing > 0; ++purse) {
    if (legs.size() + 1 == kLegsMax && purse->second < missing) {
      const auto rest = std::ranges::subrange(purse, purses.end());
      const auto enough =
          std::ranges::find_if(rest, [&](const auto& one) { return one.second >= missing; });
      purse = enough != purses.end()
                  ? enough
                  : std::ranges::max_element(rest, {}, &Purses::value_type::second);
    }
    const NanoUsd part = std::min(purse->second, missing);
    if (!legs.Push(Share({purse->first, 0}, part))) {
      return;
    }
    missing -= part;
  }
}

std::unexpected<Error> DoesNotFit(std::string_view why) {
  return Fail(ErrorCode::kCorruptFile, std::string(why));
}

}  // namespace

Result<Record> Book::DecideCredit(const CreditSpec& credit) const {
  if (credit.name.empty() || credit.name.size() > kPayerBytesMax) {
    return Fail(ErrorCode::kInvalidArgument, "the name has to have 1 to 256 bytes", "name");
  }
  TW_RETURN_IF_ERROR(CheckOwner(credit.owner));
  if (credit.amount <= 0 || credit.amount > kAmountMax) {
    return Fail(ErrorCode::kInvalidArgument, "a credit is more than 0, at most 1,000,000 USD",
                "amount");
  }
  if (credit.note.size() > kCreditNoteBytesMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a note has at most {} bytes", kCreditNoteBytesMax), "note");
  }
  if (credit_names_.contains(credit.name)) {
    return Fail(ErrorCode::kInvalidArgument,
                "there is a credit of this name; grants are never changed, add another one",
                "name");
  }
  NanoUsd sum = 0;
  if (credits_.size() >= kCreditsMax ||
      !AddMoney(accounts_.at({kCreditSource, 0}).debits, credit.amount, sum)) {
    return Fail(ErrorCode::kResourceExhausted, "the ledger has no room for another credit",
                "amount");
  }
  Record record;
  record.type = RecordType::kCredit;
  record.account = next_number_;
  record.credit = credit;
  record.credit.granted_ns = 0;
  return record;
}

Result<Record> Book::DecidePayer(std::string_view payer, bool is_prepaid) const {
  TW_RETURN_IF_ERROR(CheckOwner(payer));
  Record record;
  record.type = RecordType::kPayer;
  record.payer = payer;
  record.is_prepaid = is_prepaid;
  return record;
}

std::optional<Refusal> Book::AddCreditLegs(std::string_view payer, NanoUsd charge, int64_t time_ns,
                                           Legs& legs) const {
  const bool is_prepaid = !payer.empty() && charge > 0 && IsPrepaid(payer);
  const auto owned = credits_of_.find(payer);
  if (payer.empty() || charge == 0 || (owned == credits_of_.end() && !is_prepaid)) {
    return std::nullopt;
  }
  NanoUsd missing = charge;
  if (owned != credits_of_.end()) {
    Purses purses;
    for (const AccountNumber number : owned->second) {
      purses.emplace_back(number, FreeOf(credits_.at(number), accounts_.at({number, 0}), time_ns));
    }
    Pay(std::move(purses), missing, legs);
  }
  if (missing == 0 || !is_prepaid) {
    return std::nullopt;
  }
  Refusal refusal;
  refusal.reason = Refusal::Reason::kCredit;
  refusal.asked = charge;
  refusal.available = charge - missing;
  return refusal;
}

NanoUsd Book::Spendable(std::string_view payer, int64_t time_ns) const {
  NanoUsd spendable = 0;
  if (const auto owned = credits_of_.find(payer); owned != credits_of_.end()) {
    for (const AccountNumber number : owned->second) {
      const NanoUsd free = FreeOf(credits_.at(number), accounts_.at({number, 0}), time_ns);
      spendable += std::min(free, kNanoUsdMax - spendable);
    }
  }
  return spendable;
}

Legs Book::SharesOf(const OpenHold& hold, NanoUsd charge, std::optional<int64_t> time_ns) const {
  const auto held = [&](AccountNumber number) {
    const auto own = std::ranges::find(hold.legs.all(), AccountKey{number, 0}, &Leg::account);
    return own == hold.legs.all().end() ? 0 : own->amount;
  };
  Purses held_ones, all;
  for (const Leg& leg : hold.legs.all()) {
    if (leg.is_credit) {
      held_ones.emplace_back(leg.account.number, leg.amount);
    }
  }
  Legs shares;
  NanoUsd missing = charge;
  const auto owned = credits_of_.find(hold.payer);
  if (time_ns.has_value() && owned != credits_of_.end()) {
    for (const AccountNumber number : owned->second) {
      const NanoUsd free = FreeOf(credits_.at(number), accounts_.at({number, 0}), *time_ns);
      all.emplace_back(number, held(number) + std::min(free, kAmountMax));
    }
    Pay(std::move(all), missing, shares);
    if (missing == 0 || shares.size() < kLegsMax) {
      return shares;
    }
  }
  // What was held is all there is to say, or pays more than many small ones.
  Legs of_held;
  NanoUsd owed = charge;
  Pay(std::move(held_ones), owed, of_held);
  return owed < missing || !time_ns.has_value() ? of_held : shares;
}

// From a decision, or from a file.
Status Book::CheckShares(const OpenHold& hold, const Legs& shares, NanoUsd charge) const {
  NanoUsd sum = 0;
  for (const Leg& share : shares.all()) {
    const auto account = accounts_.find(share.account);
    if (!share.is_credit || !credits_.contains(share.account.number) ||
        account == accounts_.end() || share.amount <= 0 || share.amount > kAmountMax ||
        std::ranges::count(shares.all(), share.account, &Leg::account) != 1) {
      return DoesNotFit("it is paid by what is no credit, or by one twice");
    }
    const auto own = std::ranges::find(hold.legs.all(), share.account, &Leg::account);
    const NanoUsd held = own == hold.legs.all().end() ? 0 : own->amount;
    const NanoUsd debits_max = kNanoUsdMax - share.amount;
    const NanoUsd free = std::clamp<NanoUsd>(account->second.available(), 0, kAmountMax);
    if (share.amount > held + free || account->second.debits > debits_max) {
      return DoesNotFit("a credit pays more than it has");
    }
    sum += share.amount;
  }
  if (sum > charge) {
    return DoesNotFit("credits pay more than the charge");
  }
  return {};
}

void Book::ListCredit(AccountNumber number) {
  std::vector<AccountNumber>& owned = credits_of_[credits_.at(number).owner];
  owned.push_back(number);
  std::ranges::sort(owned, {}, [this](AccountNumber one) {
    const CreditSpec& credit = credits_.at(one);
    return std::tuple(!credit.promotional, credit.expires_s, credit.priority, one);
  });
}

// A credit only ever gets less.
void Book::UnlistIfSpent(AccountNumber number) {
  const Account& account = accounts_.at({number, 0});
  if (account.pending > 0 || account.available() > 0) {
    return;
  }
  const auto owned = credits_of_.find(credits_.at(number).owner);
  if (owned == credits_of_.end()) {
    return;
  }
  std::erase(owned->second, number);
  if (owned->second.empty()) {
    credits_of_.erase(owned);
  }
}

std::vector<Record> Book::DecideExpiries(int64_t time_ns) const {
  std::vector<Record> expired;
  for (const auto& [owner, owned] : credits_of_) {
    for (const AccountNumber number : owned) {
      const CreditSpec& credit = credits_.at(number);
      const NanoUsd free = accounts_.at({number, 0}).available();
      if (credit.expires_s <= time_ns / kNanosPerSecond && free > 0) {
        Record record;
        record.type = RecordType::kExpire;
        record.account = number;
        record.cost = free;
        expired.push_back(std::move(record));
      }
    }
  }
  return expired;
}

}  // namespace tradewind::ledger
