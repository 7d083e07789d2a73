// A hand-over's file from arbitrary bytes, read by the process that has the journal: no crash;
// what it says of one hold ends that hold at most; and whoever starts after it has the same books.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "ledger/fake_disk.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/record.h"

namespace {

using namespace tradewind;
using namespace tradewind::ledger;

constexpr LedgerOptions kByHand = {
    .segment_bytes = 64 << 10, .segments_max = 64, .background = false};
constexpr int64_t kHolds = 4;
constexpr NanoUsd kCost = 300;

HoldId IdOf(uint64_t number) {
  return {{0, number}, 1};
}

// Without their checksums: type, hold, size, and the fields of the type.
std::vector<Record> RecordsOf(std::span<const std::byte> bytes) {
  constexpr size_t kHead = 3;
  std::vector<Record> records;
  while (bytes.size() > kHead) {
    Record record;
    record.type = static_cast<RecordType>(bytes[0]);
    record.hold = IdOf(LoadLe<uint8_t>(bytes.data() + 1));
    const size_t fields = std::min<size_t>(LoadLe<uint8_t>(bytes.data() + 2), bytes.size() - kHead);
    if (DecodeFields(bytes.subspan(kHead, fields), record).has_value()) {
      record.seq = records.size() + 1;
      records.push_back(std::move(record));
    }
    bytes = bytes.subspan(kHead + fields);
  }
  return records;
}

class World {
 public:
  World() {
    Start();
    key_ = ledger_->Define({.name = "key:a", .limit = 1'000'000}).value();
    for (uint64_t i = 1; i <= kHolds; ++i) {
      HoldRequest request;
      request.id = IdOf(i);
      request.cost = request.charge = kCost;
      request.budgets = {&key_, 1};
      auto hold = ledger_->Take(request, Send::kNow);
      TW_CHECK(hold.has_value());
      if (i % 2 == 0) {
        TW_CHECK(hold->Progress(10, 10).has_value());
      }
      old_.push_back(std::move(*hold));
    }
    disk_.Kill();
    old_.clear();
    ledger_.reset();
    disk_.Revive();
  }

  // The next process.
  void Start() {
    disk_.Kill();
    ledger_.reset();
    disk_.Revive();
    auto opened = Ledger::Open(disk_, clock_, kByHand);
    TW_CHECK(opened.has_value());
    ledger_ = std::move(*opened);
  }
  // What the old one wrote; with `is_raw` behind the header whatever it is.
  void Write(std::span<const std::byte> bytes, bool is_raw) {
    constexpr uint64_t kFile = 1, kFileBytes = 16 << 10;
    auto file = Journal::Begin(disk_, kFile, 7, kFileBytes, Segments::kHandOver).value();
    if (is_raw) {
      bytes = bytes.first(std::min<size_t>(bytes.size(), kFileBytes - kSegmentHeaderBytes));
      std::ranges::copy(bytes, disk_.file(SegmentName(kFile, Segments::kHandOver)).bytes.begin() +
                                   kSegmentHeaderBytes);
      return;
    }
    for (const Record& record : RecordsOf(bytes)) {
      static_cast<void>(file->Append(record));  // what finds no more room is not there
    }
  }
  Account Budget() { return ledger_->FindBudget("key:a")->account; }
  Ledger& ledger() { return *ledger_; }

 private:
  FakeDisk disk_;
  FakeClock clock_;
  std::unique_ptr<Ledger> ledger_;
  std::vector<Hold> old_;
  AccountNumber key_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  World world;
  world.Write(std::as_bytes(std::span(data, size)).subspan(1), data[0] % 2 == 1);
  world.Start();
  world.ledger().Tend();
  TW_CHECK(world.ledger().stopped_because().empty());
  const Account budget = world.Budget();
  const auto doubts = world.ledger().HoldsInDoubt();
  TW_CHECK(doubts.size() <= kHolds && world.ledger().open_holds() == doubts.size());
  TW_CHECK(budget.pending == static_cast<NanoUsd>(doubts.size()) * kCost);
  for (const auto& [id, hold] : doubts) {
    TW_CHECK(0 <= hold.metered_cost && hold.metered_cost <= hold.cost);
    TW_CHECK(0 <= hold.metered_charge && hold.metered_charge <= hold.charge);
  }

  world.Start();
  TW_CHECK(world.Budget().debits == budget.debits && world.Budget().pending == budget.pending);
  TW_CHECK(world.ledger().HoldsInDoubt().size() == doubts.size());
  return 0;
}
