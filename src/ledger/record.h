// What the journal says: one record for each step of a hold, each change of an account, and the
// snapshots that let older records go. Format: docs/formats/journal.md.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ledger/ids.h"
#include "ledger/money.h"
#include "ledger/window.h"

namespace tradewind::ledger {

enum class RecordType : uint8_t {
  kHold = 1,            // money is set aside; no byte has gone to the provider yet
  kSent = 2,            // from here on the provider may bill
  kUpstreamId = 3,      // `text` is what the provider calls the request
  kProgress = 4,        // `cost`, `charge`: metered so far, all in all
  kExtend = 5,          // `cost`, `charge`: more is set aside
  kSettle = 6,          // `cost`, `charge` are final; the rest of the hold is given back
  kVoid = 7,            // nothing was billed; all of the hold is given back
  kInDoubt = 8,         // sent, and the end is not known: the hold stays
  kBudget = 16,         // a budget is defined, or defined anew
  kCredit = 17,         // a credit is granted
  kPayee = 18,          // an account for what a provider is owed
  kExpire = 19,         // the free part of a credit whose time is over
  kPrice = 20,          // a version of a price: `price` is in force from here on
  kPayer = 21,          // how `payer` pays from here on: only from credits, or not
  kLease = 22,          // how far a budget may be used before more has to survive a power cut
  kAdjust = 23,         // what a settle said is put right: `cost` and `charge` are the new totals
  kTransfer = 24,       // `cost` from the money account `account` to that of `key`
  kSnapshotBegin = 32,  // all that follows up to kSnapshotEnd replaces what was known
  kSnapshotAccount = 33,
  kSnapshotHold = 34,
  kSnapshotEnd = 35,
};

// Which of the two amounts of a request counts: what the provider bills us (retries and cut streams
// too), or what the user is charged.
enum class Dimension : uint8_t { kCost, kCharge };
std::string_view DimensionName(Dimension dimension);      // "cost", "charge"
Result<Dimension> ParseDimension(std::string_view name);  // kInvalidArgument (param of)

// What a budget does when it is used up. kSoft and kWarn only tell.
enum class Mode : uint8_t { kHard, kSoft, kWarn };
std::string_view ModeName(Mode mode);
Result<Mode> ParseMode(std::string_view name);  // kInvalidArgument (param mode)

struct BudgetSpec {
  std::string name;  // whose it is, in the words of who defined it: "key:key_2f..."; unique
  NanoUsd limit = 0;
  Mode mode = Mode::kHard;
  Dimension dimension = Dimension::kCost;
  Period period = Period::kTotal;
  std::string zone = "UTC";
  uint8_t first_day = 1;  // of a week (1: Monday) or a month
  int64_t span_s = 0;     // of a rolling one
  // Shares of the limit at whose crossing its owners are told; 0 = none.
  std::array<uint8_t, 4> warn_percent = {50, 80, 100, 0};
  bool closed = false;  // no more: it holds nothing back

  bool HasSameWindows(const BudgetSpec& other) const {
    return period == other.period && zone == other.zone && first_day == other.first_day &&
           span_s == other.span_s;
  }
  bool operator==(const BudgetSpec&) const = default;
};

struct CreditSpec {
  std::string name;   // unique
  std::string owner;  // who may spend it: "org:org_..."
  NanoUsd amount = 0;
  int64_t expires_s = kEndOfTime;
  int32_t priority = 0;      // lower ones are spent first, among those that expire at the same time
  bool promotional = false;  // spent before paid ones
  int64_t granted_ns = 0;    // 0 in a record: at the record's time
  std::string note = {};     // why, for people
  // What it may pay for, in words that the ledger does not read, a line each: "kind:value". Of each
  // kind that stands here one has to be among a hold's purposes. Empty: anything.
  std::string scope = {};

  bool operator==(const CreditSpec&) const = default;
};

// What something costs, in words that the ledger does not read. A version is never changed: other
// terms are another version.
struct PriceSpec {
  std::string item = {};    // what is priced; one version of it is in force at a time
  std::string terms = {};   // at which price
  std::string source = {};  // who says so, for people; no part of what makes versions differ
  int64_t since_ns = 0;     // 0 in a record: since the record

  bool operator==(const PriceSpec&) const = default;
};

// A part of a hold: `amount` of one account. The legs of budgets each carry the whole of their
// dimension; those of credits share one charge, in this order.
struct Leg {
  AccountKey account;
  int64_t window_end_s = kEndOfTime;  // of the account, should it be new
  Dimension dimension = Dimension::kCost;
  bool is_credit = false;
  NanoUsd amount = 0;

  bool operator==(const Leg&) const = default;
};

inline constexpr size_t kLegsMax = 24;

// At most kLegsMax. Holds are made for every request and most have a few legs: these need no heap,
// and no more than there are is ever written or copied.
class Legs {
 public:
  Legs() {}
  Legs(const Legs& other) { *this = other; }
  Legs(Legs&& other) noexcept { *this = std::move(other); }
  Legs& operator=(const Legs& other) {
    if (this != &other) {
      if (other.size_ > kInline && many_ == nullptr) {
        many_ = std::make_unique_for_overwrite<Leg[]>(kLegsMax);
      }
      size_ = other.size_;
      std::ranges::copy(other.all(), begin());
    }
    return *this;
  }
  Legs& operator=(Legs&& other) noexcept {
    many_ = std::move(other.many_);
    size_ = std::exchange(other.size_, 0);
    if (size_ <= kInline) {
      std::ranges::copy(std::span(other.few_, size_), few_);
    }
    return *this;
  }
  ~Legs() = default;

  bool Push(const Leg& leg) {
    if (size_ == kLegsMax) {
      return false;
    }
    if (size_ == kInline) {
      many_ = std::make_unique_for_overwrite<Leg[]>(kLegsMax);
      std::ranges::copy(few_, many_.get());
    }
    ++size_;
    begin()[size_ - 1] = leg;
    return true;
  }
  std::span<const Leg> all() const { return {size_ <= kInline ? few_ : many_.get(), size_}; }
  std::span<Leg> all() { return {begin(), size_}; }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kInline = 4;
  static_assert(std::is_trivially_copyable_v<Leg> && std::is_trivially_destructible_v<Leg>);

  Leg* begin() { return size_ <= kInline ? few_ : many_.get(); }

  union {
    Leg few_[kInline];  // not zeroed
  };
  std::unique_ptr<Leg[]> many_;  // all of them, when they are more
  size_t size_ = 0;
};

enum class HoldState : uint8_t { kHeld, kSent, kInDoubt };

// One type for all: fields that a record's type does not use stay as they are here, and are not
// written.
struct Record {
  RecordType type = RecordType::kHold;
  uint64_t seq = 0;     // 1, 2, 3 ... without gaps
  int64_t time_ns = 0;  // since 1970; strictly increasing, whatever the clock does
  HoldId hold = {};
  NanoUsd cost = 0, charge = 0;
  uint32_t price_version = 0;
  AccountNumber account = 0;  // of a budget, credit or payee; a hold's payee
  Legs legs = {};
  std::string text = {};  // for the records above the ledger: what is bought, in their words
  // Of a hold: whose credits pay, where there are any. A settle's legs are what these did pay; an
  // adjustment's what they get back, and by how much the windows of budgets change.
  std::string payer = {};
  std::string purposes = {};  // of a hold: where the payer has credits with a scope
  bool is_prepaid = false;    // of kPayer
  // Of definitions.
  BudgetSpec budget = {};
  CreditSpec credit = {};
  PriceSpec price = {};
  AccountKey key = {};  // of snapshots, and who gets a transfer
  // Of a budget: its window with this start has been opened, and ends then. In a snapshot of one
  // that was used; otherwise seldom, where the new period begins with an account of the old one.
  // Of a lease: its window's.
  int64_t window_end_s = kEndOfTime;
  // Of snapshots, and the line above.
  NanoUsd debits = 0, credits = 0;
  uint8_t warned_percent = 0, lowered_percent = 0;
  HoldState state = HoldState::kHeld;
  // Of an adjustment: the totals before it, and `price_version` is its number among those of its
  // attempt.
  NanoUsd metered_cost = 0, metered_charge = 0;
  // When the hold was taken; of a snapshot's account, when a correction took back what was told.
  int64_t since_ns = 0;
};

inline constexpr size_t kRecordTextBytesMax = 16 << 10;
inline constexpr size_t kPriceTextBytesMax = 4096;  // of each of a price's three
inline constexpr size_t kCreditsMax = 100'000;      // granted, spent ones among them
inline constexpr size_t kPayerBytesMax = 256;       // as any name of an account
inline constexpr size_t kCreditScopeBytesMax = 1024;
inline constexpr size_t kPurposesBytesMax = 1024;
inline constexpr size_t kCreditNoteBytesMax = 512;
inline constexpr size_t kBootIdBytesMax = 64;
inline constexpr size_t kRecordBytesMax = kRecordTextBytesMax + (8 << 10);
inline constexpr size_t kRecordAlignment = 64;
inline constexpr size_t kRecordHeaderBytes = 48;

// Appends the record's bytes, padded to kRecordAlignment. The checksum covers the record and
// `previous`, the checksum of the record before: a record that was cut out, swapped or comes from
// elsewhere does not fit. Returns its own checksum. Requires text of at most kRecordTextBytesMax.
uint32_t EncodeRecord(const Record& record, uint32_t previous, std::vector<std::byte>& out);

struct DecodedRecord {
  Record record;
  size_t bytes = 0;  // with padding
  uint32_t checksum = 0;
};

// The record at the start of `bytes`. Errors: kCorruptFile, with what does not fit; that is also
// the end of what a killed process wrote. kUnsupported: it is whole, and says what this program
// does not know: a newer one wrote it.
Result<DecodedRecord> DecodeRecord(std::span<const std::byte> bytes, uint32_t previous);

// The fields behind the header, of a record whose type is set. Errors: kUnsupported: its type, or
// fields that the type does not have here.
Status DecodeFields(std::span<const std::byte> bytes, Record& record);

}  // namespace tradewind::ledger
