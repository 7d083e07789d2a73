// Credits: what was paid ahead or given away, and how it is spent before anything is owed.
#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ledger/book.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

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

// The last place of credits that are over: what expires at this second is.
template <typename Place>
Place LastOver(bool is_paid, int64_t credit_ns) {
  return {is_paid, credit_ns / kNanosPerSecond, INT32_MAX, UINT32_MAX};
}

// Those whose time is over, and nobody has swept up.
template <typename Places, typename Use>
void ForEachOver(const Places& places, int64_t credit_ns, const Use& use) {
  for (const bool is_paid : {false, true}) {
    const auto last = LastOver<typename Places::value_type>(is_paid, credit_ns);
    const auto end = places.upper_bound(last);
    for (auto place = places.lower_bound({is_paid, INT64_MIN, INT32_MIN, 0}); place != end;
         ++place) {
      use(*place);
    }
  }
}

// All others, until `use` returns false.
template <typename Places, typename Use>
void ForEachFree(const Places& places, int64_t credit_ns, const Use& use) {
  for (const bool is_paid : {false, true}) {
    const auto last = LastOver<typename Places::value_type>(is_paid, credit_ns);
    auto place = places.upper_bound(last);
    for (; place != places.end() && place->is_paid == is_paid; ++place) {
      if (!use(*place)) {
        return;
      }
    }
  }
}

template <typename Use>
void ForEachLine(std::string_view text, const Use& use) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// As many shares as there is room for. The last one may have to stand for many small credits: it is
// then of the first that has all that is missing, or of the one that has most.
template <typename Purses>
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
  if (credit.scope.size() > kCreditScopeBytesMax) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("what a credit may pay for has at most {} bytes in all", kCreditScopeBytesMax),
        "models");
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

Book::Place Book::PlaceOf(AccountNumber number) const {
  const CreditSpec& credit = credits_.at(number);
  return {!credit.promotional, credit.expires_s, credit.priority, number};
}

// What was paid for stays with us. A present was never paid: it goes back, and is no revenue.
AccountKey Book::ExpiredTo(AccountNumber credit) const {
  return {credits_.at(credit).promotional ? kCreditSource : kBreakage, 0};
}

Book::Standing Book::StandingOf(AccountNumber number) const {
  const Account& account = accounts_.at({number, 0});
  const NanoUsd available = account.available();
  return {std::max<NanoUsd>(0, available), account.pending > 0 || available > 0};
}

void Book::Restand(AccountNumber number, Standing before) {
  const Standing now = StandingOf(number);
  if (now.free == before.free && now.is_live == before.is_live) {
    return;
  }
  const auto owned = wallets_.try_emplace(credits_.at(number).owner).first;
  Wallet& wallet = owned->second;
  wallet.free_sum += __int128{now.free} - before.free;
  if (now.free > 0 && before.free == 0) {
    wallet.free.insert(PlaceOf(number));
  } else if (now.free == 0 && before.free > 0) {
    wallet.free.erase(PlaceOf(number));
  }
  if (now.is_live != before.is_live) {
    if (now.is_live && !credits_.at(number).scope.empty()) {
      wallet.scoped.insert(number);
    } else {
      wallet.scoped.erase(number);
    }
    wallet.live += now.is_live ? size_t{1} : size_t{0} - 1;
  }
  if (wallet.live == 0) {
    wallets_.erase(owned);
  }
}

Book::Purses Book::PursesOf(const Wallet& wallet, std::span<const Leg> held, NanoUsd wanted,
                            size_t count_max, int64_t credit_ns, std::string_view purposes) const {
  std::vector<std::pair<Place, NanoUsd>> own;
  for (const Leg& leg : held) {
    if (leg.is_credit && leg.account.window_start_s == 0) {
      own.emplace_back(PlaceOf(leg.account.number), leg.amount);
    }
  }
  std::ranges::sort(own);
  Purses purses;
  __int128 sum = 0;
  const auto add = [&](AccountNumber number, NanoUsd amount) {
    purses.emplace_back(number, amount);
    sum += amount;
    return sum < wanted || purses.size() > count_max;
  };
  auto next = own.begin();
  bool goes_on = true;
  ForEachFree(wallet.free, credit_ns, [&](const Place& place) {
    for (; goes_on && next != own.end() && next->first < place; ++next) {
      goes_on = add(next->first.number, next->second);
    }
    const bool is_own = goes_on && next != own.end() && next->first == place;
    if (goes_on && (is_own || MayPay(place.number, purposes))) {
      NanoUsd amount = std::min(StandingOf(place.number).free, kAmountMax);
      if (is_own) {
        amount += next++->second;
      }
      goes_on = add(place.number, amount);
    }
    return goes_on;
  });
  for (; goes_on && next != own.end(); ++next) {
    goes_on = add(next->first.number, next->second);
  }
  return purses;
}

bool Book::MayPay(AccountNumber credit, std::string_view purposes) const {
  const std::string_view scope = credits_.at(credit).scope;
  if (scope.empty()) {
    return true;
  }
  std::map<std::string_view, bool> kinds;  // whether one of it is meant
  ForEachLine(scope, [&](std::string_view wanted) {
    bool& is_meant = kinds[wanted.substr(0, wanted.find(':'))];
    ForEachLine(purposes,
                [&](std::string_view purpose) { is_meant |= AnyCase{purpose} == AnyCase{wanted}; });
  });
  return std::ranges::all_of(kinds, [](const auto& kind) { return kind.second; });
}

std::optional<Refusal> Book::AddCreditLegs(std::string_view payer, std::string_view purposes,
                                           NanoUsd charge, int64_t credit_ns, Legs& legs) const {
  const bool is_prepaid = !payer.empty() && charge > 0 && IsPrepaid(payer);
  const auto owned = wallets_.find(payer);
  if (payer.empty() || charge == 0 || (owned == wallets_.end() && !is_prepaid)) {
    return std::nullopt;
  }
  NanoUsd missing = charge;
  if (owned != wallets_.end()) {
    Pay(PursesOf(owned->second, {}, charge, kLegsMax - legs.size(), credit_ns, purposes), missing,
        legs);
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

NanoUsd Book::Spendable(std::string_view payer, int64_t credit_ns,
                        std::string_view purposes) const {
  const auto owned = wallets_.find(payer);
  if (owned == wallets_.end()) {
    return 0;
  }
  __int128 spendable = owned->second.free_sum;
  ForEachOver(owned->second.free, credit_ns,
              [&](const Place& over) { spendable -= StandingOf(over.number).free; });
  for (const AccountNumber number : owned->second.scoped) {
    const bool is_over = credits_.at(number).expires_s <= credit_ns / kNanosPerSecond;
    spendable -= is_over || MayPay(number, purposes) ? 0 : StandingOf(number).free;
  }
  return static_cast<NanoUsd>(std::min<__int128>(spendable, kNanoUsdMax));
}

Legs Book::SharesOf(const OpenHold& hold, NanoUsd charge, std::optional<int64_t> credit_ns) const {
  Legs shares;
  NanoUsd missing = charge;
  const auto owned = wallets_.find(hold.payer);
  if (credit_ns.has_value() && owned != wallets_.end()) {
    Pay(PursesOf(owned->second, hold.legs.all(), charge, kLegsMax, *credit_ns, hold.purposes),
        missing, shares);
    if (missing == 0 || shares.size() < kLegsMax) {
      return shares;
    }
  }
  // What was held is all there is to say, or pays more than many small ones.
  Purses held_ones;
  for (const Leg& leg : hold.legs.all()) {
    if (leg.is_credit) {
      held_ones.emplace_back(leg.account.number, leg.amount);
    }
  }
  Legs of_held;
  NanoUsd owed = charge;
  Pay(std::move(held_ones), owed, of_held);
  return owed < missing || !credit_ns.has_value() ? of_held : shares;
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

std::vector<Record> Book::DecideExpiries(int64_t credit_ns) const {
  std::vector<Record> expired;
  for (const auto& [owner, wallet] : wallets_) {
    ForEachOver(wallet.free, credit_ns, [&](const Place& over) {
      Record record;
      record.type = RecordType::kExpire;
      record.account = over.number;
      record.cost = StandingOf(over.number).free;
      expired.push_back(std::move(record));
    });
  }
  return expired;
}

}  // namespace tradewind::ledger
