// Who pays a charge, against a slow twin that walks over all credits.
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ledger/book.h"
#include "ledger/fake_disk.h"

namespace tradewind::ledger {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kNow = int64_t{1'764'072'000} * kSecond;
constexpr const char* kOwners[] = {"org:a", "org:b"};

using Shares = std::vector<std::pair<AccountNumber, NanoUsd>>;

struct Scope {
  std::string text;
  std::vector<std::string> pays;  // of kPurposes
};
const std::string kPurposes[] = {"model:a\nprovider:x", "model:a\nprovider:y",
                                 "model:b\nprovider:x", ""};
const Scope kScopes[] = {{"", {kPurposes[0], kPurposes[1], kPurposes[2], kPurposes[3]}},
                         {"model:a", {kPurposes[0], kPurposes[1]}},
                         {"provider:x", {kPurposes[0], kPurposes[2]}},
                         {"model:b\nprovider:x", {kPurposes[2]}},
                         {"model:b\nmodel:a\nprovider:y", {kPurposes[1]}},
                         {"model", {}},
                         {"provider:xy", {}}};

// By the table: no rule is written twice.
bool Fits(const std::string& scope, const std::string& purposes) {
  const auto* const known = std::ranges::find(kScopes, scope, &Scope::text);
  return std::ranges::count(known->pays, purposes) > 0;
}

// All that an owner has, in the order in which it is spent; `hold`'s own part counts as free.
Shares AllOf(const Book& book, std::string_view owner, const OpenHold* hold, int64_t time_ns,
             const std::string& purposes) {
  std::vector<std::pair<std::tuple<bool, int64_t, int32_t, AccountNumber>, NanoUsd>> sorted;
  for (const auto& [number, credit] : book.credits()) {
    NanoUsd has = credit.owner == owner && Fits(credit.scope, purposes) &&
                          credit.expires_s > time_ns / kSecond
                      ? std::max<NanoUsd>(0, book.AccountOf({number, 0}).available())
                      : 0;
    if (hold != nullptr) {
      for (const Leg& leg : hold->legs.all()) {
        has += leg.is_credit && leg.account.number == number ? leg.amount : 0;
      }
    }
    if (has > 0) {
      sorted.push_back({{!credit.promotional, credit.expires_s, credit.priority, number}, has});
    }
  }
  std::ranges::sort(sorted);
  Shares all;
  for (const auto& [place, has] : sorted) {
    all.emplace_back(std::get<AccountNumber>(place), has);
  }
  return all;
}

Shares Paid(Shares all, NanoUsd charge) {
  Shares paid;
  for (auto at = all.begin(); at != all.end() && charge > 0 && paid.size() < kLegsMax; ++at) {
    if (paid.size() == kLegsMax - 1 && at->second < charge) {
      const auto enough =
          std::find_if(at, all.end(), [&](const auto& one) { return one.second >= charge; });
      at = enough != all.end() ? enough
                               : std::max_element(at, all.end(), [](const auto& a, const auto& b) {
                                   return a.second < b.second;
                                 });
    }
    paid.emplace_back(at->first, std::min(at->second, charge));
    charge -= paid.back().second;
  }
  return paid;
}

Shares SharesIn(const Legs& legs) {
  Shares shares;
  for (const Leg& leg : legs.all()) {
    if (leg.is_credit) {
      shares.emplace_back(leg.account.number, leg.amount);
    }
  }
  return shares;
}

NanoUsd SumOf(const Shares& shares) {
  NanoUsd sum = 0;
  for (const auto& [number, amount] : shares) {
    sum += amount;
  }
  return sum;
}

class Payers {
 public:
  explicit Payers(uint64_t seed) : random_(seed) {
    Commit(*book_.DecidePayer(kOwners[0], true));
    for (int small = seed % 2 == 0 ? 0 : 80; small > 0; --small) {
      Grant(2);
    }
  }

  void Step() {
    time_ns_ += random_.Below(4) == 0 ? random_.Below(40) * kSecond : 1;
    const int64_t what = random_.Below(100);
    if (what < 35) {
      Grant(random_.Below(10) == 0 ? 1000 : 20);
    } else if (what < 70) {
      Hold();
    } else if (what < 94) {
      End();
    } else if (what < 98) {
      for (const Record& record : book_.DecideExpiries(time_ns_)) {
        Commit(record);
      }
    } else {
      Restart();
    }
    for (const char* owner : kOwners) {
      for (const std::string& purposes : kPurposes) {
        ASSERT_EQ(book_.Spendable(owner, time_ns_, purposes),
                  SumOf(AllOf(book_, owner, nullptr, time_ns_, purposes)));
      }
    }
    ASSERT_TRUE(book_.Audit().has_value());
  }
  int long_ones = 0, refusals = 0, settled = 0;

 private:
  void Commit(Record record) {
    record.seq = book_.seq() + 1;
    record.time_ns = ++time_ns_;
    const Status applied = book_.Apply(record);
    ASSERT_TRUE(applied.has_value()) << applied.error().message;
  }
  const char* Owner() { return kOwners[random_.Below(2)]; }

  void Grant(NanoUsd most) {
    CreditSpec credit{.name = "c" + std::to_string(++names_), .owner = Owner()};
    credit.amount = 1 + random_.Below(most);
    if (random_.Below(2) == 0) {
      credit.expires_s = time_ns_ / kSecond + random_.Below(300);
    }
    credit.priority = static_cast<int32_t>(random_.Below(3)) - 1;
    credit.promotional = random_.Below(3) == 0;
    if (random_.Below(4) == 0) {
      credit.scope = kScopes[random_.Below(static_cast<int64_t>(std::size(kScopes)))].text;
    }
    Commit(*book_.DecideCredit(credit));
  }

  void Hold() {
    HoldRequest request;
    request.id = {{1, ++names_}, 1};
    request.cost = request.charge = random_.Below(random_.Below(4) == 0 ? 900 : 60);
    request.payer = Owner();
    const std::string& purposes =
        kPurposes[random_.Below(static_cast<int64_t>(std::size(kPurposes)))];
    request.purposes = purposes;
    const Shares wanted =
        Paid(AllOf(book_, request.payer, nullptr, time_ns_, purposes), request.charge);
    const auto decided = book_.DecideHold(request, time_ns_);
    if (!decided.has_value()) {
      ASSERT_TRUE(book_.IsPrepaid(request.payer));
      ASSERT_LT(SumOf(wanted), request.charge);
      ASSERT_EQ(decided.error().available, SumOf(wanted));
      ++refusals;
      return;
    }
    ASSERT_EQ(SharesIn(decided->legs), wanted);
    long_ones += wanted.size() == kLegsMax ? 1 : 0;
    Commit(*decided);
    purposes_[request.id] = purposes;
  }

  void End() {
    if (book_.holds().empty()) {
      return;
    }
    const auto at =
        std::next(book_.holds().begin(), random_.Below(static_cast<int64_t>(book_.holds().size())));
    const OpenHold hold = at->second;
    const HoldId id = at->first;
    if (random_.Below(4) == 0) {
      return Commit(*book_.DecideStep(RecordType::kVoid, id, ""));
    }
    const NanoUsd charge = random_.Below(hold.charge + 1);
    const auto decided = book_.DecideSettle(id, charge, charge, "", time_ns_);
    ASSERT_TRUE(decided.has_value());
    if (!hold.payer.empty()) {
      // A hold from before there was any credit with a scope is for nothing in particular.
      ASSERT_TRUE(hold.purposes.empty() || hold.purposes == purposes_.at(id));
      const Shares wanted = Paid(AllOf(book_, hold.payer, &hold, time_ns_, hold.purposes), charge);
      ASSERT_GE(SumOf(SharesIn(decided->legs)), SumOf(wanted));
      if (wanted.size() < kLegsMax) {
        ASSERT_EQ(SharesIn(decided->legs), wanted);
      }
    }
    Commit(*decided);
    ++settled;
  }

  void Restart() {
    Book again;
    ASSERT_TRUE(book_.Snapshot(++time_ns_, [&](const Record& r) { return again.Apply(r); }));
    book_ = std::move(again);
    time_ns_ = book_.time_ns();
  }

  Book book_;
  SeededRandom random_;
  int64_t time_ns_ = kNow;
  uint64_t names_ = 0;
  std::map<HoldId, std::string> purposes_;
};

TEST(BookCredits, PayAsTheyDoToWhoWalksOverAllOfThem) {
  int long_ones = 0, refusals = 0, settled = 0;
  for (uint64_t seed = 1; seed <= 60 && !::testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Payers payers(seed);
    for (int i = 0; i < 300 && !::testing::Test::HasFatalFailure(); ++i) {
      payers.Step();
    }
    long_ones += payers.long_ones;
    refusals += payers.refusals;
    settled += payers.settled;
  }
  EXPECT_GT(long_ones, 20);
  EXPECT_GT(refusals, 20);
  EXPECT_GT(settled, 300);
}

// Windows go by one time, credits by another.
TEST(BookCredits, AreSpentByATimeOfTheirOwn) {
  Book book;
  int64_t time_ns = kNow;
  const auto commit = [&](Record record) {
    record.seq = book.seq() + 1;
    record.time_ns = ++time_ns;
    return book.Apply(record).has_value();
  };
  ASSERT_TRUE(commit(*book.DecideCredit(
      {.name = "c", .owner = "org:a", .amount = 10, .expires_s = kNow / kSecond + 60})));
  HoldRequest request;
  request.id = {{1, 1}, 1};
  request.cost = request.charge = 10;
  request.payer = "org:a";
  const int64_t day_ahead = kNow + int64_t{86'400} * kSecond;
  EXPECT_EQ(SharesIn(book.DecideHold(request, {day_ahead, kNow})->legs).size(), 1U);
  EXPECT_EQ(SharesIn(book.DecideHold(request, {kNow, day_ahead})->legs).size(), 0U);
}

}  // namespace
}  // namespace tradewind::ledger
