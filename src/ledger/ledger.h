// The ledger: one book of all money, every step of which is in the journal before it counts.
//
// The promise: not one nano-dollar over a hard budget, whatever happens in between and wherever the
// process is killed; no request refused that there was room for; nothing billed that is lost.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "ledger/book.h"
#include "ledger/credit_time.h"
#include "ledger/disk.h"
#include "ledger/journal.h"
#include "ledger/ledger_time.h"

namespace tradewind::ledger {

class Ledger;

enum class Send : bool { kLater, kNow };

// Money set aside for one attempt. Whoever has it ends it: Settle, Void or Doubt. Destroyed without
// an end, it is void when nothing was sent, and in doubt otherwise, as metered: in full when nobody
// metered it. No hold is ever forgotten.
// Movable; one thread at a time; must not outlive its ledger.
class Hold {
 public:
  Hold() = default;
  Hold(Hold&& other) noexcept;
  Hold& operator=(Hold&& other) noexcept;
  ~Hold();

  HoldId id() const { return id_; }
  bool is_open() const { return ledger_ != nullptr; }
  NanoUsd cost() const { return cost_; }      // held
  NanoUsd charge() const { return charge_; }  // held
  // Nothing may go out before this record survives a power cut (Ledger::WhenDurable), or the bound
  // would be lost with it; 0: it may. Seldom, and for a flush or two.
  uint64_t goes_out_after() const { return goes_out_after_; }

  // Before the first byte goes to the provider. Errors of all: kIo, kResourceExhausted when the
  // journal cannot be written; then the hold stays, and the next start finds it in doubt.
  Status Sent();
  // What the provider calls the request: written at once, or with the next record where that
  // follows in a moment, which saves a system call.
  Status UpstreamId(std::string_view id);
  void UpstreamIdWithNext(std::string_view id) { upstream_id_ = id; }
  // All in all so far, so that a kill still knows it; by Book::DecideProgress.
  Status Progress(NanoUsd cost, NanoUsd charge, Metering metering = Metering::kRuns,
                  std::string text = {});
  std::expected<void, Refusal> Extend(NanoUsd cost, NanoUsd charge);
  // The ends. `text` is for the records above the ledger.
  Status Settle(NanoUsd cost, NanoUsd charge, std::string text);
  Status Void(std::string reason);
  Status Doubt(std::string reason);

 private:
  friend class Ledger;
  Hold(Ledger& ledger, HoldId id, NanoUsd cost, NanoUsd charge, std::string payer)
      : ledger_(&ledger), id_(id), cost_(cost), charge_(charge), payer_(std::move(payer)) {}
  void End();
  void Leave();  // requires the ledger's mutex_
  Status DoubtUnended();

  Ledger* ledger_ = nullptr;
  HoldId id_;
  NanoUsd cost_ = 0, charge_ = 0;
  uint64_t goes_out_after_ = 0;
  bool is_strict_ = false;
  std::string payer_;
  std::string upstream_id_;  // to be written with the next record
  bool sent_ = false;
};

struct LedgerOptions {
  uint64_t segment_bytes = kSegmentBytes;
  uint64_t segments_max = 64;  // of the journal; beyond it nothing new is admitted
  bool background = true;      // flushes and audits on a thread of its own; tests call Tend
};

// So much of the journal's disk is kept for what runs: ten minutes of 5,000 requests a second, but
// at most this share of a small disk. Below it nothing new that costs money is admitted.
inline constexpr uint64_t kLowWaterBytes = uint64_t{2} << 30;
inline constexpr uint64_t kLowWaterShare = 32;
constexpr uint64_t LowWaterOf(const DiskRoom& room) {
  const uint64_t share = room.total_bytes / kLowWaterShare;
  return share < kLowWaterBytes ? share : kLowWaterBytes;
}

// As it was looked at last.
struct DiskState {
  DiskRoom room;
  // Empty: there is enough. Otherwise for people: what is short, where, and what helps.
  std::string low_because;
};

// What is wrong with the books themselves, rather than with the room for them (DiskState).
struct Trouble {
  enum class Kind {
    kNone,
    // Nothing new is admitted: until a restart, or until what reads the journal has caught up or
    // its disk can flush again; `why` says which.
    kStopped,
    kBehind,  // what reads the journal cannot write what it read
    kFull,    // an account has no room for what a request cost: that is in doubt
    kClock,   // requests are dated by another time than the wall clock's
  };
  Kind kind = Kind::kNone;
  std::string why;  // for people; empty: all is well

  bool operator==(const Trouble&) const = default;
};

// What the last start found.
struct Recovery {
  uint64_t records = 0;
  int64_t voided = 0;         // holds that had not been sent
  int64_t in_doubt = 0;       // holds that had been, with those that were in doubt before
  NanoUsd in_doubt_cost = 0;  // held by these
  NanoUsd unaccounted = 0;    // of all budgets, set aside for what a power cut has taken
};

struct BudgetState {
  AccountNumber number = 0;
  BudgetSpec spec;
  Account account;  // of the window that is now
  Window window;
};

// What a decision about an attempt needs of a budget.
struct BudgetRoom {
  AccountNumber number = 0;
  Mode mode = Mode::kHard;
  Dimension dimension = Dimension::kCost;
  NanoUsd available = 0;  // of the window that is now; negative: used beyond its limit
};

struct CreditState {
  AccountNumber number = 0;
  CreditSpec spec;   // `owner` is who may spend it
  NanoUsd left = 0;  // that a hold may take now
  NanoUsd held = 0, expired = 0;

  NanoUsd spent() const { return spec.amount - left - held - expired; }
};

// Who is owed money, all in all since the books began: the difference is what is owed now.
struct PayeeState {
  AccountNumber number = 0;
  std::string name;
  NanoUsd credits = 0, debits = 0;
};

struct CreditSum {
  NanoUsd left = 0, held = 0;
};

// Thread-safe: calls take microseconds, under one lock.
class Ledger {
 public:
  // Reads what is in the journal, and ends what the last process left: a hold that was never sent
  // is void, every other one is in doubt. Errors: kCorruptFile (records are missing: never a fresh
  // start over old money), those of Disk.
  static Result<std::unique_ptr<Ledger>> Open(Disk& disk, const Clock& clock,
                                              LedgerOptions options = {});
  ~Ledger();

  // Nothing may be sent to a provider before this has returned and Hold::Sent too. `send` does both
  // in one write, for a request that goes out at once.
  std::expected<Hold, Refusal> Take(const HoldRequest& request, Send send = Send::kLater);

  // Ends a hold in doubt: by what the provider says of it, or by an operator. Errors: kNotFound,
  // kInvalidArgument (not in doubt, amount), those of Hold.
  Status ResolveSettled(HoldId id, NanoUsd cost, NanoUsd charge, std::string text);
  Status ResolveVoid(HoldId id, std::string reason);

  // A budget's definition acts at once, on what is held and used in its window too. Errors:
  // kInvalidArgument with the field.
  Result<AccountNumber> Define(const BudgetSpec& budget);
  Status CloseBudget(std::string_view name);  // kNotFound
  Result<AccountNumber> Grant(const CreditSpec& credit);
  // Whether somebody pays from credits alone. Errors: kInvalidArgument (param owner).
  Status SetPrepaid(std::string_view payer, bool is_prepaid);
  // What a hold of his may take from credits at most; nullopt: he owes what is beyond them.
  std::optional<NanoUsd> PrepaidLeft(std::string_view payer, std::string_view purposes = {});
  // Of one owner, or of all; in the order in which they were granted: at most `max` of those behind
  // `after`.
  std::vector<CreditState> Credits(std::string_view owner = {}, AccountNumber after = 0,
                                   size_t max = kCreditsMax);
  std::optional<AccountNumber> FindCredit(std::string_view name);
  // Of all credits together, by owner.
  std::map<std::string, CreditSum> CreditSums(std::string_view owner = {});
  std::vector<std::string> PrepaidPayers();
  Result<AccountNumber> Payee(std::string_view name);  // the one of that name, made when missing
  // Errors: kInvalidArgument: not two money accounts, or no amount; those of Hold.
  Status Transfer(AccountNumber debit, AccountNumber credit, NanoUsd amount, std::string text);
  // Puts right what an attempt that has ended did cost. Errors: those of Book::DecideAdjust and of
  // Hold.
  Status Adjust(const Adjustment& adjustment);
  // Whether it could, as the books are now: nothing is written.
  Status CheckAdjust(const Adjustment& adjustment);
  std::vector<PayeeState> Payees();
  NanoUsd OwedToUnknown();  // to providers that had no account when they were asked
  // What is owed to a payee; negative: what it owes. 0 when there is none.
  NanoUsd OwedTo(std::string_view payee);

  // The version of a price: the one with these terms, made when it is new. Errors: those of
  // Book::DecidePrice, kUnavailable, kIo.
  Result<uint32_t> PriceVersion(const PriceSpec& price);

  std::optional<BudgetState> FindBudget(std::string_view name);
  // The name of the one that is not closed and has this name, or but for its case.
  std::optional<std::string> BudgetInAnyCase(std::string_view name);
  std::optional<BudgetState> FindBudget(AccountNumber number);
  // Of those of these names, in whatever case, that there are, and that are not closed.
  std::vector<BudgetRoom> FindRoom(std::span<const std::string_view> names);
  std::vector<BudgetState> Budgets();
  std::vector<std::pair<HoldId, OpenHold>> HoldsInDoubt();  // by id
  // Without those that run, here after an upgrade that failed, or perhaps in the old process of
  // one: what a provider says of one that runs is not its end.
  std::vector<std::pair<HoldId, OpenHold>> DoubtsToAskAbout();
  std::optional<OpenHold> DoubtToAskAbout(HoldId id);  // where it is one of these
  std::optional<NanoUsd> HeldBy(HoldId id);            // the cost of an open hold
  size_t open_holds();
  // A request is refused for it, and nobody tries again: a budget that has no room is told of.
  void NoteRefused(const Refusal& refusal);
  std::vector<Notice> TakeNotices();
  std::string BudgetName(AccountNumber number);  // "" when there is none
  const Recovery& recovery() const { return recovery_; }
  uint64_t seq();
  // The time by which requests are dated (ledger_time.h), and by which to look at what they spent.
  int64_t TimeNs();
  // Empty: all is well. Otherwise why nothing new is admitted; what runs is still recorded.
  std::string stopped_because();
  Trouble trouble();
  // Why what reads the journal cannot write what it read; empty: it can.
  void NoteBehind(std::string why);
  DiskState disk();  // looked at once a second

  // Gives the journal to another process. From then on nothing new is admitted here (kHandedOver),
  // and what still runs is in doubt there: with its whole cost, so that no budget is overspent if
  // this process dies. How it ends is written into a file of its own (Segments::kHandOver), which
  // that process reads and books.
  void Release();
  bool is_released();
  // Takes it back, with all that the other process has written. Errors: as Open.
  Status Reopen();

  // Says of a budget that nothing that counts was in what a power cut took of its window's records:
  // what is set aside for them is free again. Errors: kNotFound.
  Status ReleaseUnaccounted(std::string_view budget);

  // Waits until everything up to now survives a power cut. Errors: those of Disk.
  Status WaitDurable();
  // Calls `done` once, with whether everything up to this record survives a power cut: not where a
  // flush failed. On any thread, under the ledger's lock.
  void WhenDurable(uint64_t seq, std::move_only_function<void(bool)> done);
  // Of the last record that survives a power cut.
  uint64_t synced_seq();
  // Segments before this one are in the database and in backups: they may go, as far as a later one
  // has a whole snapshot that survives a power cut.
  Status ForgetBefore(uint64_t segment);

  // One round of what the thread does: flush, make the next segment's file, look at the disk's
  // room, let credits expire, audit a part. For tests with background = false.
  void Tend();

 private:
  friend class Hold;
  Ledger(Disk& disk, const Clock& clock, LedgerOptions options)
      : disk_(disk), clock_(clock), options_(options) {}

  Status Recover();
  Result<std::optional<uint64_t>> FindLastSnapshot();
  Status EndWhatWasOpen();
  Status CountWhatWasLost();
  int64_t WallNs() const;
  int64_t NowNs() const { return After(WallNs()); }  // the ledger's own: it never goes back
  int64_t After(int64_t wall_ns) const;
  std::string ClockDoubted() const;  // requires mutex_; "" = it is well
  int64_t CreditNowNs() const { return credit_time_.Now(WallNs()); }  // as Moment has it
  Moment MomentNow() const;
  BudgetState StateOf(AccountNumber number);  // requires mutex_
  CreditState StateOf(AccountNumber number, const CreditSpec& spec, int64_t now_s) const;
  Status Commit(std::span<Record> records);  // requires mutex_; stamps them
  Status Commit(Record& record) { return Commit(std::span(&record, 1)); }
  Status AppendAndApply(std::span<Record>& records);  // requires mutex_
  Status RotateAndSnapshot();                         // requires mutex_
  void NoteSynced(uint64_t seq);                      // requires mutex_
  void FailWaiting();                                 // requires mutex_
  void LeaveSegment();                                // requires mutex_
  // The first one is of a hold, or of more of it. Requires mutex_.
  Status CommitWithLeases(std::span<Record> records);
  void GiveBackLeases(bool is_last);  // requires mutex_
  bool Covers(bool is_synced) const;  // requires mutex_: a flush has all that counts
  uint64_t SegmentBytes() const;      // requires mutex_
  Status MakeRoom();                  // requires mutex_
  Status TryAnotherSegment();         // requires mutex_
  Status CheckSegments() const;       // requires mutex_
  Status CheckFlushed() const;        // requires mutex_
  void Stop(std::string why);         // requires mutex_
  Status Step(RecordType type, HoldId id, std::string text);
  // Requires mutex_; as Book's.
  std::expected<Record, Refusal> DecideSettle(HoldId id, NanoUsd cost, NanoUsd charge,
                                              std::string text);
  bool IsMetered(HoldId id);  // something is known of what it has cost so far
  Status CommitDecided(std::expected<Record, Refusal> decided);  // requires mutex_
  // With the id, if there is one, in front; `upstream_id` is empty once it is written. Requires
  // mutex_.
  Status CommitWithUpstreamId(std::expected<Record, Refusal> decided, std::string& upstream_id);
  bool Flush(uint64_t seq);
  void LookAtDisk();
  bool MayRun(HoldId id) const;  // of one in doubt; requires mutex_
  // hand_over.cc, requires mutex_, the first of each pair in the process that gives the journal
  // away, the second in the one that has it. Those with flushing_ require that instead.
  void CountAllOfWhatRuns();
  void BeginHandOver();  // requires flushing_ too
  Status HandOver(std::span<Record> records);
  Status FindHandOvers();                         // requires flushing_, or a start
  std::vector<Record> ReadHandOvers(size_t max);  // requires flushing_, or a start; not mutex_
  void Adopt(std::span<const Record> ends);
  void ForgetHandOvers();  // requires flushing_ too
  void Run();

  Disk& disk_;
  const Clock& clock_;
  const LedgerOptions options_;
  Recovery recovery_;

  std::mutex mutex_;  // guards book_, journal_ as far as one thread at a time needs it, and:
  Book book_;
  CreditTime credit_time_;
  LedgerTime ledger_time_;
  std::unique_ptr<Journal> journal_;
  uint64_t first_segment_ = 1;  // the oldest that was not forgotten
  std::string stopped_because_;
  std::string behind_because_;
  std::string full_because_;
  DiskState disk_state_;
  bool has_started_ = false;  // all that the last process left was counted
  bool stopping_ = false;
  bool flusher_sleeps_ = false;  // until dirty_ is notified
  bool is_released_ = false;
  bool hands_over_ = false;              // journal_ is a hand-over's file,
  bool is_unflushed_elsewhere_ = false;  // and what was flushed last before it is not
  std::vector<HoldId> handed_over_;      // in doubt since the start: some may run elsewhere
  uint64_t all_adopted_seq_ = 0;         // where the last of them had ended; 0: not yet
  std::set<HoldId> elsewhere_;           // of those: whose end has not been read yet
  std::chrono::steady_clock::time_point elsewhere_until_ = {};  // by then the old process is gone
  std::set<HoldId> runs_here_;  // in doubt only because the book was read anew
  std::set<HoldId> orphans_;    // that nobody has any more, and whose end could not be written
  uint64_t synced_seq_ = 0;
  uint64_t snapshot_segment_ = 0;         // the last one with a whole snapshot,
  uint64_t snapshot_seq_ = 0;             // where that ends,
  uint64_t synced_snapshot_segment_ = 0;  // and the last whose snapshot is synced
  bool last_sync_failed_ = false;
  int unflushed_tries_ = 0;  // segments that were begun since the last good flush, instead of
                             // ones that could not be flushed
  std::chrono::steady_clock::time_point try_again_at_ = {};
  struct Waiting {
    uint64_t seq = 0;
    std::move_only_function<void(bool)> done;
  };
  std::vector<Waiting> waiting_;  // for a flush
  std::condition_variable dirty_, synced_;
  std::mutex flushing_;  // held while journal_ is used without mutex_; taken after it. Guards:
  std::vector<JournalReader> hand_overs_;  // of processes before this one that may still run
  std::thread thread_;
};

}  // namespace tradewind::ledger
