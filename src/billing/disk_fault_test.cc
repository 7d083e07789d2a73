// The databases beside the journal on a disk that fails (L-T6) and that loses its power (L-T7):
// what was told to be kept is there, once, and nothing is damaged.
//
// TW_DATABASE_CUTS sets how many cut points; `make prove` takes 2,000.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "billing/invoice_store.h"
#include "billing/meters.h"
#include "billing/replay_store.h"
#include "billing/test_support.h"
#include "storage/fault_vfs.h"

namespace tradewind::billing {
namespace {

using storage::FaultVfs;
using Fault = FaultVfs::Fault;

constexpr int64_t kNow = 1'764'072'000;

int64_t PowerCuts() {
  const char* count = std::getenv("TW_DATABASE_CUTS");
  return count == nullptr ? 60 : std::atoll(count);
}

// Runs `trial` for cut points all over the operations that it does without one.
void ForEachCut(const std::function<void(FaultVfs&)>& trial,
                const std::function<void(FaultVfs&)>& look) {
  int64_t operations = 0;
  {
    FaultVfs vfs;
    trial(vfs);
    operations = vfs.operations();
  }
  ASSERT_GT(operations, 20);
  const int64_t cuts = PowerCuts();
  for (int64_t cut = 0; cut < cuts; ++cut) {
    SCOPED_TRACE("cut " + std::to_string(cut));
    FaultVfs vfs;
    vfs.FailAt(cuts > operations ? cut % operations : cut * operations / cuts, Fault::kPowerCut);
    trial(vfs);
    ASSERT_TRUE(vfs.has_fired());
    vfs.Reboot(static_cast<uint64_t>(cut));
    look(vfs);
    if (::testing::Test::HasFailure()) {
      return;
    }
  }
}

// Attempts in a ledger, and what they came to; its journal is on a disk in memory that works.
class Shop {
 public:
  Shop() {
    auto opened = ledger::Ledger::Open(
        disk_, clock_, {.segment_bytes = 32 << 10, .segments_max = 64, .background = false});
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    ledger_ = std::move(*opened);
  }
  void FailJournalAt(int64_t call, ledger::FakeDisk::Fault fault) {
    disk_.FailAt(disk_.calls + call, fault);
    may_refuse_ = true;
  }
  void Heal() { disk_.Heal(); }
  bool has_lost_records() const { return disk_.failed_syncs > 0; }
  Result<std::unique_ptr<Recorder>> Open(const char* name = "ledger.db") {
    return Recorder::Open(home_.path() / name, disk_, *ledger_, {.background = false});
  }
  // Without a recorder the ledger goes on all the same.
  void Trade(Recorder* recorder) {
    Meter meter(*ledger_, clock_);
    for (int round = 0; round < 6; ++round) {
      for (int i = 0; i < 30; ++i) {
        One(meter, i);
      }
      clock_.Advance(std::chrono::hours(7));
      if (recorder != nullptr) {
        static_cast<void>(recorder->CatchUp());
      }
    }
  }
  void ExpectAllOnce(Recorder& recorder) {
    const auto sum = recorder.Sum({});
    ASSERT_TRUE(sum.has_value()) << sum.error().message;
    EXPECT_EQ(sum->settled, settled_);
    EXPECT_EQ(sum->voided, voided_);
    EXPECT_EQ(sum->cost, cost_);
    Meters meters;
    ASSERT_TRUE(recorder.AddMeters({}, meters).has_value());
    ledger::NanoUsd metered = 0;
    for (const auto& [key, one] : meters) {
      metered += one.cost;
    }
    EXPECT_EQ(metered, cost_);
  }

 private:
  void One(Meter& meter, int i) {
    Offer offer;
    offer.id = {{1, ++ids_}, 1};
    offer.purchase = {"org_1",  "prj_1",  i % 2 == 0 ? "key_1" : "key_2", "usr_1", "org/model",
                      "site-a", "model-x"};
    offer.prices = &prices_;
    offer.input_tokens_max = 100;
    offer.output_tokens_max = 100;
    auto attempt = meter.Begin(offer);
    if (may_refuse_ && (!attempt.has_value() || !attempt->Sent().has_value())) {
      return;
    }
    ASSERT_TRUE(attempt.has_value()) << attempt.error().message;
    ASSERT_TRUE(attempt->Sent().has_value());
    if (i % 5 == 0) {
      attempt->End({.surely_unbilled = true, .finish = "refused"});
      ++voided_;
      return;
    }
    cost_ +=
        attempt->End({.is_complete = true, .usage = Used(10 + i, 5), .finish = "stop"}).value();
    ++settled_;
  }

  testing::TempDir home_;
  ledger::FakeDisk disk_;
  FakeClock clock_;
  std::unique_ptr<ledger::Ledger> ledger_;
  catalog::Prices prices_ = Priced("1", "2");
  bool may_refuse_ = false;
  uint64_t ids_ = 0;
  int64_t settled_ = 0, voided_ = 0;
  ledger::NanoUsd cost_ = 0;
};

TEST(DiskFault, TheRecorderHasEverythingOnceAfterAPowerCut) {
  std::unique_ptr<Shop> shop;
  ForEachCut(
      [&](FaultVfs&) {
        shop = std::make_unique<Shop>();
        const auto recorder = shop->Open();
        shop->Trade(recorder.has_value() ? recorder->get() : nullptr);
      },
      [&](FaultVfs&) {
        const auto recorder = shop->Open();
        ASSERT_TRUE(recorder.has_value()) << recorder.error().message;
        shop->Trade(recorder->get());
        shop->ExpectAllOnce(**recorder);
      });
}

TEST(DiskFault, TheRecorderGoesOnAfterAnyOperationThatFailed) {
  for (const Fault fault : {Fault::kIoError, Fault::kFull, Fault::kShortWrite, Fault::kSyncError}) {
    constexpr int64_t kFirst = 500;
    for (int64_t at = 0; at < kFirst; at += std::max<int64_t>(1, kFirst / PowerCuts())) {
      SCOPED_TRACE(static_cast<int>(fault) * 1000 + at);
      FaultVfs vfs;
      Shop shop;
      vfs.FailAt(at, fault);
      {
        auto recorder = shop.Open();
        if (!recorder.has_value()) {
          recorder = shop.Open();  // the next start
        }
        ASSERT_TRUE(recorder.has_value()) << recorder.error().message;
        shop.Trade(recorder->get());
        shop.ExpectAllOnce(**recorder);
      }
      const bool has_fired = vfs.has_fired();
      vfs.Reboot(static_cast<uint64_t>(at));
      const auto again = shop.Open();
      ASSERT_TRUE(again.has_value()) << again.error().message;
      shop.ExpectAllOnce(**again);
      if (!has_fired || ::testing::Test::HasFailure()) {
        break;
      }
    }
  }
}

TEST(DiskFault, TheRecorderReadsOnBehindAnyCallOfTheJournalThatFailed) {
  for (const auto fault : {ledger::FakeDisk::Fault::kOnce, ledger::FakeDisk::Fault::kFull}) {
    for (int64_t at = 0; at < 1200; at += std::max<int64_t>(1, 2400 / PowerCuts())) {
      SCOPED_TRACE(at);
      Shop shop;
      const auto recorder = shop.Open();
      ASSERT_TRUE(recorder.has_value()) << recorder.error().message;
      shop.FailJournalAt(at, fault);
      shop.Trade(recorder->get());
      shop.Heal();
      shop.Trade(recorder->get());
      if (shop.has_lost_records()) {
        continue;  // a failed flush took what nobody had read: that is told, see journal_test.cc
      }
      const auto sum = (*recorder)->Sum({});
      ASSERT_TRUE(sum.has_value()) << sum.error().message;
      const auto again = shop.Open("again.db");
      ASSERT_TRUE(again.has_value()) << again.error().message;
    }
  }
}

TEST(DiskFault, InvoicesThatWereIssuedAreThereAndTheirNumbersHaveNoGap) {
  std::unique_ptr<testing::TempDir> home;
  int issued = 0;
  const auto draft = [](int month) {
    InvoiceDraft draft;
    draft.issuer = {"Tradewind Ltd", "1 Harbour Road", "GB 123"};
    draft.customer = {"Acme", "", ""};
    draft.org_id = "org_1";
    draft.period =
        ParseBillPeriod((month < 10 ? "2025-0" : "2025-") + std::to_string(month)).value();
    draft.issued_s = kNow;
    MeterKey key;
    key.org_id = "org_1";
    key.model = "org/model";
    key.provider = "site-a";
    key.kind = MeterKind::kOutput;
    const ledger::NanoUsd charge = month * int64_t{10'000'001};
    draft.statement =
        MakeStatement({draft.period, "org_1", ""}, {{key, {1000, charge, charge}}}, {});
    return draft;
  };
  ForEachCut(
      [&](FaultVfs&) {
        home = std::make_unique<testing::TempDir>();
        issued = 0;
        auto store = InvoiceStore::Open(home->path() / "invoices.db");
        for (int month = 1; store.has_value() && month <= 8; ++month) {
          issued += (*store)->Issue(draft(month)).has_value() ? 1 : 0;
        }
      },
      [&](FaultVfs&) {
        auto store = InvoiceStore::Open(home->path() / "invoices.db");
        ASSERT_TRUE(store.has_value()) << store.error().message;
        const auto kept = (*store)->List();
        ASSERT_TRUE(kept.has_value()) << kept.error().message;
        const int count = static_cast<int>(kept->size());
        EXPECT_GE(count, issued);
        EXPECT_LE(count, issued + 1) << "one was under way";
        for (const IssuedInvoice& one : *kept) {
          EXPECT_TRUE((*store)->Find(one.number).has_value()) << one.number;
        }
        const auto next = (*store)->Issue(draft(12));
        ASSERT_TRUE(next.has_value()) << next.error().message;
        EXPECT_TRUE(next->number.ends_with("00" + std::to_string(count + 1))) << next->number;
      });
}

TEST(DiskFault, AnIdempotencyKeyThatWasTakenIsNeverFree) {
  std::unique_ptr<testing::TempDir> home;
  std::set<int> begun, done;
  const auto open = [&] {
    return ReplayStore::Open(home->path() / "replies.db",
                             [](ledger::RequestId) -> Result<bool> { return false; });
  };
  const auto key = [](int number) {
    return ReplayKey{"org_1", "key_1", "order-" + std::to_string(number)};
  };
  ForEachCut(
      [&](FaultVfs&) {
        home = std::make_unique<testing::TempDir>();
        begun.clear();
        done.clear();
        auto store = open();
        for (int i = 0; store.has_value() && i < 12; ++i) {
          if ((*store)->Begin(key(i), "h", {7, static_cast<uint64_t>(i)}, {kNow}).has_value()) {
            begun.insert(i);
            StoredAnswer answer;
            answer.body = std::to_string(i);
            if ((*store)->Finish(key(i), std::move(answer), {kNow}).has_value()) {
              done.insert(i);
            }
          }
        }
      },
      [&](FaultVfs&) {
        auto store = open();
        ASSERT_TRUE(store.has_value()) << store.error().message;
        for (const int i : begun) {
          const auto claim = (*store)->Begin(key(i), "h", {8, 8}, {kNow});
          ASSERT_TRUE(claim.has_value()) << claim.error().message;
          if (done.contains(i)) {
            EXPECT_EQ(claim->kind, ReplayClaim::Kind::kDone);
            EXPECT_EQ(claim->answer.body, std::to_string(i));
          } else {
            EXPECT_NE(claim->kind, ReplayClaim::Kind::kNew) << "it would be run twice";
          }
        }
      });
}

}  // namespace
}  // namespace tradewind::billing
