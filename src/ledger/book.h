// The state of all money: accounts, budgets, credits and the holds on them. A deterministic machine
// without input or output: it decides what may happen (a Record, or a Refusal), and applies
// records, the same ones when they happen and when the journal is read again. Time comes in with
// them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ledger/ids.h"
#include "ledger/money.h"
#include "ledger/names.h"
#include "ledger/record.h"
#include "ledger/window.h"

namespace tradewind::ledger {

// How far a hard budget's window may be used before more of it has to survive a power cut. It is
// raised ahead of its use, so that requests seldom wait for the disk: what a cut takes of their
// records is at most what was leased, and counts as used from then on.
struct Lease {
  NanoUsd up_to = 0;        // as the journal says; 0: nothing is leased
  NanoUsd durable = 0;      // as the journal says after a power cut: what may be used now
  NanoUsd step = 0;         // so far ahead of its use `up_to` was
  uint64_t seq = 0;         // of the record that says so
  int64_t since_ns = 0;     // its time
  int64_t drawn_at_ns = 0;  // the last hold
  std::string boot_id;      // of the system that it was written on
};

// Pending amounts stand in a column of their own: what is reserved can never be spent twice, and
// ending a hold can never break a bound.
struct Account {
  NanoUsd limit = 0;  // of a budget's window; money accounts have none
  NanoUsd debits = 0, credits = 0;
  NanoUsd pending = 0;   // debits that holds have set aside
  NanoUsd in_doubt = 0;  // of pending: holds whose end is not known
  int64_t window_end_s = kEndOfTime;
  uint8_t warned_percent = 0;
  uint8_t lowered_percent = 0;  // what a correction left of it the last time,
  int64_t lowered_at_ns = 0;    // and when that was; 0: never
  NanoUsd expired = 0;          // of a credit's debits: spent by nobody in time
  // Of a budget: may have been spent by requests whose records a power cut took; and when that was,
  // 0: never. What ends and was held before it may have ended in those records already, and what it
  // did not cost may have been held again: so much more is unaccounted then.
  NanoUsd unaccounted = 0;
  int64_t cut_at_ns = 0;
  Lease lease;

  NanoUsd used() const;  // of a budget: all that is not available
  // What a hold may still take; negative after an overrun, or when a limit was lowered.
  NanoUsd available() const;
};

// When something is decided. Windows go by the ledger's own time, which never goes back; what a
// credit is worth by another one, so that a clock which was wrong for a moment spoils none.
struct Moment {
  Moment(int64_t both_ns) : time_ns(both_ns), credit_ns(both_ns) {}  // NOLINT: a time is one
  Moment(int64_t time, int64_t credit) : time_ns(time), credit_ns(credit) {}

  int64_t time_ns, credit_ns;
};

struct HoldRequest {
  HoldId id;
  NanoUsd cost = 0, charge = 0;            // at most
  std::span<const AccountNumber> budgets;  // of every scope the request falls into
  // Whose credits pay the charge, as far as they go; the rest is owed, or, of who is prepaid,
  // refused. Empty: all of it is owed.
  std::string_view payer;
  std::string_view purposes = {};       // what it is for, as credits' scopes say it, a line each
  AccountNumber payee = kUnknownPayee;  // whom the cost is owed to
  uint32_t price_version = 0;
  std::string text;  // kept for the records above the ledger
  // Its own record has to survive a power cut before it goes out, not only the bounds it keeps.
  bool is_strict = false;
};

// What was settled, put right. The book keeps nothing of what has ended: who asks says what stands,
// from where attempts are kept, and one at a time.
struct Adjustment {
  HoldId id;
  uint32_t number = 1;                         // of those of this attempt
  NanoUsd cost_before = 0, charge_before = 0;  // with earlier adjustments
  NanoUsd cost = 0, charge = 0;                // the new totals; a charge never rises
  std::span<const Leg> budgets = {};           // whose windows the attempt counts in
  std::span<const Leg> paid = {};              // of `charge_before`: by these credits
  AccountNumber payee = kUnknownPayee;
  int64_t admitted_ns = 0;  // when the attempt was
  std::string text = {};    // for the records above the ledger
};

struct Refusal {
  enum class Reason {
    kBudget,      // `account` has less left than was asked for
    kCredit,      // the payer is prepaid, and his credits together have less
    kDuplicate,   // there is such a hold
    kTooMany,     // holds at a time, or scopes of one
    kAmount,      // negative, or beyond what balances can hold
    kNoHold,      // there is no such hold, or it has ended
    kStopped,     // the ledger admits nothing: `detail` says why
    kHandedOver,  // another process has it, which can be asked
  };
  Reason reason = Reason::kAmount;
  AccountNumber account = 0;
  NanoUsd asked = 0, available = 0;
  int64_t resets_at_s = kEndOfTime;  // when the budget's next window begins
  std::string detail;
};
std::string_view RefusalName(Refusal::Reason reason);  // "budget_exhausted", ...
Refusal Stopped(std::string why);
Error ErrorOf(const Refusal& refusal);  // for those who cannot tell refusals apart

struct OpenHold {
  HoldState state = HoldState::kHeld;
  NanoUsd cost = 0, charge = 0;  // held
  NanoUsd metered_cost = 0, metered_charge = 0;
  std::string metered_text;  // of its end, for the records above the ledger; empty: none
  uint32_t price_version = 0;
  AccountNumber payee = kUnknownPayee;
  int64_t since_ns = 0;
  Legs legs;
  std::string text;
  std::string payer;        // whose credits pay; empty: nobody's
  std::string purposes;     // which of them, where some pay for few things
  std::string upstream_id;  // what the provider calls the request; empty: it has not said
};

// A budget's share of warn_percent was crossed, a settle went beyond its hold, or a power cut has
// taken records of a budget. Reading the
// journal again tells all that it still knows again: whoever keeps notices has to know them.
struct Notice {
  AccountNumber account = 0;  // of the budget; 0: an overrun
  AccountKey window;
  uint8_t percent = 0;
  HoldId hold;
  NanoUsd amount = 0;  // used in the window; of an overrun: beyond the hold; of a cut: unaccounted
  NanoUsd limit = 0;   // of the window
  int64_t cut_at_ns = 0;  // when; 0: it is of no power cut
  // Of the window's first refusal for want of room: what the request may have cost; 0: it is none.
  NanoUsd asked = 0;
  NanoUsd held = 0, in_doubt = 0;  // then, in the window
  // Of the window: a correction took back then what had been told. What is crossed again is another
  // crossing. 0: none did.
  int64_t lowered_at_ns = 0;
};

inline constexpr NanoUsd kAmountMax = 1'000'000'000'000'000;  // of one hold or credit: $1,000,000
inline constexpr size_t kOpenHoldsMax = 65'536;
inline constexpr size_t kPriceVersionsMax = 65'536;  // in force, or not long ago
// Requests that began before the prices were read again may still ask for the old ones.
inline constexpr int64_t kPriceReturnNs = int64_t{900} * 1'000'000'000;

// The field of an adjustment's error where it would change more accounts than a record has; no
// other error of one names it.
inline constexpr std::string_view kTooManyAccounts = "receipt";

// Whether an attempt still runs while it is metered.
enum class Metering : uint8_t { kRuns, kEnded };

// One thread at a time.
class Book {
 public:
  Book();

  // --- Decisions: what the record would be. They change nothing. ---

  // Takes from every budget and from the payer's credits, or from none of them. Credits pay in a
  // fixed order: promotional ones first, then the soonest to expire, then by priority, then the
  // oldest.
  std::expected<Record, Refusal> DecideHold(const HoldRequest& request, Moment now);
  // More of the same hold, by the same rules.
  std::expected<Record, Refusal> DecideExtend(HoldId id, NanoUsd cost, NanoUsd charge,
                                              std::string_view payer, Moment now);
  // The end: what it cost, and what it is charged, which is never more than was held. A cost beyond
  // its hold is posted whole, and told as an overrun: the provider has billed it. The charge is
  // paid by credits that were held for it, expired or not, and by what is free of others at
  // `credit_ns`; the rest is owed.
  std::expected<Record, Refusal> DecideSettle(HoldId id, NanoUsd cost, NanoUsd charge,
                                              std::string text, int64_t credit_ns) const;
  // Void is for what was surely not billed; in-doubt for what may have been. `text` says why.
  std::expected<Record, Refusal> DecideStep(RecordType type, HoldId id, std::string text) const;
  // While it runs only more can be metered; at its end what is known of it counts, also when it is
  // less than what had to be feared: also of one that is in doubt because its process gave the
  // journal away and took it back. A `text` stays until another one comes.
  std::expected<Record, Refusal> DecideProgress(HoldId id, NanoUsd cost, NanoUsd charge,
                                                Metering metering = Metering::kRuns,
                                                std::string text = {}) const;

  // Definitions replace those of the same name. Errors: kInvalidArgument with the field.
  Result<Record> DecideBudget(const BudgetSpec& budget, int64_t time_ns) const;
  Result<Record> DecideCredit(const CreditSpec& credit) const;
  // How somebody pays: from credits alone, or what is beyond them later. Errors: kInvalidArgument.
  Result<Record> DecidePayer(std::string_view payer, bool is_prepaid) const;
  Result<Record> DecidePayee(std::string_view name) const;
  // The next version of a price. Errors: kInvalidArgument, kResourceExhausted.
  Result<Record> DecidePrice(const PriceSpec& price) const;
  // Between two fixed accounts or payees. `text` says why, for the records above the ledger.
  Result<Record> DecideTransfer(AccountNumber debit, AccountNumber credit, NanoUsd amount,
                                std::string text) const;
  // Less is owed first, then what credits paid goes back to them, the last to pay first: as though
  // the charge had been so all along. Windows of budgets that are forgotten are left out. Errors:
  // kInvalidArgument with the field.
  Result<Record> DecideAdjust(const Adjustment& adjustment) const;
  // What has to be in the journal before a hold of these is: leases that it would go beyond, or
  // come near the end of. Requires that hard budgets have room for it.
  std::vector<Record> DecideLeases(const Legs& legs, int64_t time_ns) const;
  // What was leased ahead of the use of budgets that rest is given back; `is_last`: nothing is
  // leased any more, as nothing comes after it.
  std::vector<Record> DecideReturns(int64_t time_ns, bool is_last);
  // Of leases that were written on another start of the system: up to where they go was used,
  // however much less the journal knows of.
  std::vector<Record> DecideUnaccounted(std::string_view boot_id, int64_t time_ns) const;
  // Nothing that counts was in what the power cut took of a budget's window. Errors: kNotFound.
  Result<Record> DecideAccounted(AccountKey key) const;
  // Credits whose time is over at `credit_ns` and that have a free part.
  std::vector<Record> DecideExpiries(int64_t credit_ns) const;

  // --- Application ---

  // Errors: kCorruptFile when the record cannot follow what was applied; then nothing changed. A
  // record that this book has just decided never fails.
  Status Apply(const Record& record);

  // The record after which a hold of these, which has been applied, may go out; 0: it may.
  uint64_t DrawLeases(const Legs& legs, int64_t time_ns);
  // Leases are written on this start of the system from here on. A snapshot that is read forgets
  // it.
  void SetBootId(std::string boot_id) { boot_id_ = std::move(boot_id); }
  // Everything up to this record survives a power cut.
  void NoteDurable(uint64_t seq);

  // Everything, as the next records, which make any book equal to this one. Forgets budget windows
  // that ended long before `time_ns` first. Stops at the first error of `write`.
  Status Snapshot(int64_t time_ns, const std::function<Status(const Record&)>& write);

  // No snapshot of now takes more.
  uint64_t snapshot_bytes_max() const;

  // --- Views ---

  uint64_t seq() const { return seq_; }
  int64_t time_ns() const { return time_ns_; }
  std::optional<AccountNumber> FindBudget(std::string_view name) const;
  // Each whose name is this one but for the case of its letters: requests fall into all of them.
  template <typename Use>
  void ForEachBudget(AnyCase name, const Use& use) const {
    const auto [first, last] = budget_names_.equal_range(name);
    std::for_each(first, last, [&](const auto& named) { use(named.second); });
  }
  std::optional<AccountNumber> FindPayee(std::string_view name) const;
  std::optional<AccountNumber> FindCredit(std::string_view name) const;
  // The version with these terms that is in force, or was a moment ago; terms that come back after
  // longer are a version of their own.
  std::optional<uint32_t> FindPrice(std::string_view item, std::string_view terms,
                                    int64_t time_ns) const;
  const std::map<uint32_t, PriceSpec>& prices() const { return prices_; }
  const BudgetSpec* BudgetOf(AccountNumber number) const;
  bool IsPrepaid(std::string_view payer) const { return prepaid_.contains(payer); }
  const std::set<std::string, std::less<>>& prepaid() const { return prepaid_; }
  // What a hold of his for these purposes could take at `credit_ns` from credits alone.
  NanoUsd Spendable(std::string_view payer, int64_t credit_ns,
                    std::string_view purposes = {}) const;
  // A window that was opened stays as it was until its end, and the next one begins there, also
  // where the tz database has learnt other rules since. Requires a budget's number. The reference
  // is good until the next call.
  const Window& WindowNow(AccountNumber number, int64_t unix_s);
  // Of the window that `unix_s` lies in; a budget that was not used in it has its limit only. Of a
  // rolling one the sum of all that counts then; its end is when the first of that falls out.
  Account BudgetAccount(AccountNumber number, int64_t unix_s);
  Account AccountOf(AccountKey key) const;
  // The budget's accounts that count at `unix_s`: several of a rolling one, and those only that
  // there are.
  std::vector<AccountKey> KeysNow(AccountNumber number, int64_t unix_s);
  const OpenHold* Find(HoldId id) const;
  const std::unordered_map<HoldId, OpenHold, HashOfId>& holds() const { return holds_; }
  const std::set<HoldId>& doubts() const { return doubts_; }  // those in doubt
  const std::map<AccountNumber, BudgetSpec>& budgets() const { return budgets_; }
  const std::map<AccountNumber, CreditSpec>& credits() const { return credits_; }
  const std::map<AccountNumber, std::string>& payees() const { return payees_; }

  // A request was refused because the budget had no room for so much: told once in a window, as
  // long as the limit stays. In memory alone: a new start tells it again.
  void NoteRefused(AccountNumber number, NanoUsd asked, int64_t time_ns);

  // What has come to be told since the last call.
  std::vector<Notice> TakeNotices() { return std::exchange(notices_, {}); }

  // Computes every balance that can be computed another way, and compares: money sums to zero,
  // pending is what open holds say, no credit is overdrawn. (A hard budget may be: by a bill beyond
  // its hold, or a limit that was lowered.) Slow. Errors: kInternal with what differs.
  Status Audit() const;
  // The same, a part of it: looks at about `work_max` holds, legs and accounts, and goes on at the
  // next call. True: a round has ended with it.
  Result<bool> AuditStep(size_t work_max);

 private:
  using HeldByAccount = std::unordered_map<AccountKey, Account, HashOfId>;  // pending, in_doubt
  // Of AuditStep: how far it is, in buckets of the tables, and what it has seen.
  struct AuditRound {
    bool runs = false;
    size_t hold_buckets = 0, next_hold = 0;
    size_t account_buckets = 0, next_account = 0;
    HeldByAccount expected;
    __int128 debits = 0, credits = 0;
  };
  Status AuditAccount(AccountKey key, const Account& account, const HeldByAccount& expected) const;
  Status CheckWallets() const;  // all credits at once: they are few beside holds
  void AddHeld(const Legs& legs, HoldState state, int sign);
  // Of every change: what a hold that is there holds more (1) or less (-1), and what was moved.
  void NoteHeld(HoldId id, const Legs& legs, HoldState state, int sign);
  void NoteEnded(HoldId id, const OpenHold& hold);  // before it goes
  void NoteMoved(AccountKey debit, AccountKey credit, NanoUsd amount);

  Window WindowAt(AccountNumber number, int64_t unix_s) const;
  // What a hold in this window of a budget may still take.
  NanoUsd AvailableIn(AccountKey key) const;
  // book_rolling.cc: of the buckets that count while this one, the newest, runs.
  std::vector<std::pair<AccountKey, const Account*>> BucketsUntil(AccountKey newest) const;
  Account SumUntil(AccountKey newest) const;
  NanoUsd AvailableInBucket(AccountKey key) const;
  // When so much will have fallen out that `asked` fits; the end of time: never.
  int64_t FitsAt(AccountKey newest, NanoUsd asked) const;
  // The newest bucket that counts now beside this one, or counted last.
  AccountKey NewestBeside(AccountKey key, const Account& account) const;
  // What the shares of a window's limit go by: of a rolling budget all that counts beside it.
  Account WarnedOf(AccountKey key, const Account& account) const;
  // It is in use: a window of what its budget says now.
  void NoteOpened(AccountKey key, int64_t end_s);

  std::optional<Refusal> AddBudgetLegs(std::span<const AccountNumber> budgets, NanoUsd cost,
                                       NanoUsd charge, int64_t time_ns, Legs& legs);
  // A credit among those of its owner, in the order in which they pay.
  struct Place {
    bool is_paid = false;  // presents come first
    int64_t expires_s = 0;
    int32_t priority = 0;
    AccountNumber number = 0;

    auto operator<=>(const Place&) const = default;
  };
  // What an owner has: kept up with every change of his credits, so that nobody walks over them.
  struct Wallet {
    std::set<Place> free;            // that have something which no hold has set aside
    __int128 free_sum = 0;           // a file may say more than 64 bits hold
    size_t live = 0;                 // of which something is left, or set aside
    std::set<AccountNumber> scoped;  // of these: that pay for some purposes alone
  };
  // What of that one credit makes.
  struct Standing {
    NanoUsd free = 0;
    bool is_live = false;
  };
  // What credits have, in the order in which they pay.
  using Purses = std::vector<std::pair<AccountNumber, NanoUsd>>;

  std::optional<Refusal> AddCreditLegs(std::string_view payer, std::string_view purposes,
                                       NanoUsd charge, int64_t credit_ns, Legs& legs) const;
  bool MayPay(AccountNumber credit, std::string_view purposes) const;
  // What each credit pays of a charge; without a time only those that are held for it.
  Legs SharesOf(const OpenHold& hold, NanoUsd charge, std::optional<int64_t> credit_ns) const;
  // Who has what nobody spent in time.
  AccountKey ExpiredTo(AccountNumber credit) const;
  Status CheckShares(const OpenHold& hold, const Legs& shares, NanoUsd charge) const;
  Place PlaceOf(AccountNumber number) const;
  Standing StandingOf(AccountNumber number) const;
  // The owner's wallet, after the credit's account has changed from `before`.
  void Restand(AccountNumber number, Standing before);
  // Of free credits, and of `held` ones, as many as pay `wanted`; all, where that is more than
  // `count_max`.
  Purses PursesOf(const Wallet& wallet, std::span<const Leg> held, NanoUsd wanted, size_t count_max,
                  int64_t credit_ns, std::string_view purposes) const;
  Account& Open(const Leg& leg);
  // Sets aside, or gives back.
  Account& AddPending(const Leg& leg, NanoUsd amount);
  Status ApplyHold(const Record& record);
  Status ApplyExtend(const Record& record);
  Status ApplySettle(const Record& record);
  Status ApplyStep(const Record& record);
  Status ApplyDefinition(const Record& record);
  Status ApplyCredit(const Record& record);
  Status ApplyPrice(const Record& record);
  Status ApplyTransfer(const Record& record);
  Status ApplyAdjust(const Record& record);
  Status CheckAdjust(const Record& record) const;
  // A window's use and its lease move together: how far ahead of its use it is leased stays.
  void AdjustWindow(const Leg& leg, NanoUsd by, int64_t time_ns);
  // What a window is told of is not more than what is used: crossed again, it is told again.
  void LowerWarned(AccountKey key, Account& account, int64_t time_ns);
  Status ApplyLease(const Record& record);
  void TellOfCut(const Record& record, AccountKey key, const Account& account);
  static Record LeaseOf(AccountKey key, const Account& account);
  bool IsPlainMoney(AccountNumber number) const;  // neither budget nor credit
  Status ApplySnapshot(const Record& record);
  void ForgetPrices(int64_t time_ns);
  // `is_new`: not of a snapshot, so hard bounds have to hold.
  Status CheckLegs(const Legs& legs, bool is_new) const;
  void Reserve(const Legs& legs);
  void Release(const OpenHold& hold, NanoUsd cost, NanoUsd charge);
  void Post(HoldId id, const OpenHold& hold, NanoUsd cost, NanoUsd charge, const Legs& shares);
  void Warn(AccountNumber number, AccountKey key, Account& account);
  void NoteCrossed(AccountKey key, const Account& account, uint8_t percent);
  // What was used in a shorter or longer window with the same start counts in this one.
  void EndWindowsWithBudgets(int64_t time_ns);
  // Whether both balances have room for it. Both accounts are there.
  // Every balance that its end moves stays within 64 bits.
  bool CanPost(const OpenHold& hold, NanoUsd cost, NanoUsd charge) const;
  bool Fits(AccountKey debit, AccountKey credit, NanoUsd amount) const;
  void Move(AccountKey debit, AccountKey credit, NanoUsd amount);

  uint64_t seq_ = 0;
  int64_t time_ns_ = 0;
  AccountNumber next_number_ = kFirstNumber;
  std::unordered_map<AccountKey, Account, HashOfId> accounts_;
  std::map<AccountNumber, BudgetSpec> budgets_;
  std::map<AccountNumber, CreditSpec> credits_;
  std::map<AccountNumber, std::string> payees_;
  std::map<std::string, AccountNumber, NameLess> budget_names_;
  std::map<std::string, AccountNumber, std::less<>> credit_names_, payee_names_;
  std::map<std::string, Wallet, std::less<>> wallets_;  // of owners who have anything
  std::set<std::string, std::less<>> prepaid_;          // who pays from credits alone
  std::unordered_map<AccountNumber, Window> windows_;   // of now: looked up for every hold
  std::unordered_map<AccountNumber, Window> opened_;    // the last one that was used
  std::unordered_map<HoldId, OpenHold, HashOfId> holds_;
  std::set<HoldId> doubts_;
  AuditRound round_;
  std::string boot_id_;          // of the system that leases were written on last
  std::set<AccountKey> leased_;  // that something may be given back of
  struct WrittenLease {
    uint64_t seq = 0;
    AccountKey key;
    NanoUsd up_to = 0;
  };
  std::deque<WrittenLease> written_leases_;  // which a power cut may still take
  std::map<uint32_t, PriceSpec> prices_;
  std::map<std::string, std::vector<uint32_t>, std::less<>> prices_of_;  // the newest last
  uint32_t next_price_ = 1;
  uint64_t price_bytes_ = 0;
  uint64_t scope_bytes_ = 0;  // of all credits
  std::vector<Notice> notices_;
  std::map<AccountNumber, std::pair<int64_t, NanoUsd>> refused_;  // the window's start, its limit
};

}  // namespace tradewind::ledger
