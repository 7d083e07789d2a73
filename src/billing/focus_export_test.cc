#include "billing/focus_export.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "billing/bill_period.h"
#include "billing/statement.h"
#include "billing/test_support.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kStart = 1'764'028'800;  // 2025-11-25T00:00:00Z

struct Exports : World {
  const StatementOrder order = {ParseBillPeriod("2025-11").value(), "", ""};
  MeterFilter hours = [this] {
    MeterFilter filter = FilterOf(order);
    filter.by_day = false;
    return filter;
  }();
  const FocusOrder focus = {FocusVersion::k13, order.period, "hash"};
  const std::vector<FocusCharge> charges = {
      {.category = "Tax", .description = "tax", .org_id = "org_1", .billed = 7}};

  Exports() {
    Spend(0, 1);
    EXPECT_TRUE(ledger->Grant({.name = "crd_1", .owner = "org:org_1", .amount = 50'000}));
    for (int hour = 0; hour < 40; hour += 1 + hour % 3) {
      Spend(hour, 1 + hour % 4);
    }
  }
  void Spend(int hour, int keys) {
    clock.PassTo(std::chrono::system_clock::time_point(std::chrono::hours(kStart / 3600 + hour)));
    Meter meter(*ledger);
    for (int key = 0; key < keys; ++key) {
      Offer offer = Ask(1000, 1000);
      offer.purchase.key_id = "key_" + std::to_string(key);
      auto attempt = meter.Begin(offer);
      ASSERT_TRUE(attempt.has_value() && attempt->Sent().has_value());
      attempt->End({.is_complete = true, .usage = Used(100 + key, 10), .finish = "stop"});
    }
  }
  // All at once.
  std::string Whole(FocusFormat format) {
    Meters meters;
    CreditUses credits;
    EXPECT_TRUE(recorder->AddMeters(hours, meters).has_value());
    EXPECT_TRUE(recorder->AddCreditUses(hours, credits).has_value());
    return FocusFile(format, focus, meters, *recorder->Prices(), {}, credits, charges);
  }
  FocusExport Begin(FocusFormat format, FocusPieces pieces) {
    ExportSums sums;
    EXPECT_TRUE(recorder->BeginExport(hours, sums).has_value());
    return {*recorder,
            hours,
            std::move(sums),
            std::make_unique<FocusWriter>(format, focus, *recorder->Prices(), BillNames()),
            charges,
            pieces};
  }
};

// The rest of it; an error's code where it ends in one.
std::string Rest(FocusExport& exported, size_t* largest = nullptr) {
  std::string all;
  while (true) {
    Result<std::string> piece = exported.Next();
    if (!piece.has_value()) {
      return std::string(ErrorCodeName(piece.error().code));
    }
    if (piece->empty()) {
      return all;
    }
    if (largest != nullptr) {
      *largest = std::max(*largest, piece->size());
    }
    all += *piece;
  }
}

TEST(FocusExport, GivesTheSameBytesInPiecesAsAtOnce) {
  Exports world;
  for (const FocusFormat format : {FocusFormat::kCsv, FocusFormat::kParquet}) {
    const std::string whole = world.Whole(format);
    if (format == FocusFormat::kCsv) {
      ASSERT_GT(std::ranges::count(whole, '\n'), 5 * 7) << "the pieces below are several";
    }
    for (const FocusPieces pieces : {FocusPieces{}, FocusPieces{1, 1}, FocusPieces{5'000, 7}}) {
      FocusExport exported = world.Begin(format, pieces);
      size_t largest = 0;
      EXPECT_EQ(Rest(exported, &largest), whole);
      EXPECT_TRUE(exported.is_done());
      if (format == FocusFormat::kCsv && pieces.bytes < whole.size()) {
        EXPECT_LT(largest, 20'000U) << "of " << whole.size();
      }
    }
  }
}

TEST(FocusExport, HasWhatWasThereWhenItBeganWhateverComesMeanwhile) {
  Exports world;
  const std::string whole = world.Whole(FocusFormat::kCsv);
  FocusExport exported = world.Begin(FocusFormat::kCsv, {1, 1});
  std::string first = exported.Next().value();
  world.Spend(39, 3);  // in the last hour that has any
  world.Spend(40, 3);
  EXPECT_EQ(first + Rest(exported), whole);
  EXPECT_NE(world.Whole(FocusFormat::kCsv), whole);
}

TEST(FocusExport, OfAMonthWithoutUseHasItsChargesAlone) {
  Exports world;
  world.hours.from_hour -= 24 * 365;
  world.hours.to_hour -= 24 * 365;
  FocusExport exported = world.Begin(FocusFormat::kCsv, {});
  const std::string csv = Rest(exported);
  EXPECT_EQ(std::ranges::count(csv, '\n'), 2) << csv;
}

TEST(FocusExport, FailsWhereItsRowsDoNotAddUp) {
  Exports world;
  FocusExport exported = world.Begin(FocusFormat::kCsv, {1, 1});
  EXPECT_TRUE(exported.Next().has_value());
  world.recorder->Release();
  {
    auto database = storage::Database::Open(world.home.path() / "ledger.db");
    ASSERT_TRUE(database.has_value());
    ASSERT_TRUE(database->Execute("UPDATE meters SET charge = charge + 1").has_value());
    database->Release();
  }
  EXPECT_EQ(Rest(exported), ErrorCodeName(ErrorCode::kUnavailable)) << "another has the ledger";
  ASSERT_TRUE(world.recorder->Reopen().has_value());
  FocusExport again = world.Begin(FocusFormat::kCsv, {1, 1});
  EXPECT_EQ(Rest(again), ErrorCodeName(ErrorCode::kUnavailable)) << "days are not their hours";
}

}  // namespace
}  // namespace tradewind::billing
