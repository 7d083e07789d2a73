// The journal as tables: one row for each attempt, and sums by the hour. A thread reads the journal
// behind the ledger; requests never wait for it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "billing/barred.h"
#include "billing/bill_period.h"
#include "billing/purchase.h"
#include "billing/remote_bill.h"
#include "ledger/disk.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "storage/database.h"

namespace tradewind::billing {

enum class AttemptState : uint8_t { kHeld, kSent, kInDoubt, kSettled, kVoid };
std::string_view AttemptStateName(AttemptState state);  // "held", "sent", "in_doubt", ...

// What one credit, by its number in the ledger, paid of a charge.
struct CreditShare {
  ledger::AccountNumber credit = 0;
  ledger::NanoUsd amount = 0;

  bool operator==(const CreditShare&) const = default;
};

// One attempt, as it stands.
struct AttemptRow {
  ledger::HoldId id;
  Purchase purchase;
  Outcome outcome;
  AttemptState state = AttemptState::kHeld;
  int64_t admitted_ns = 0, ended_ns = 0;  // Unix time; 0: it has not ended
  ledger::NanoUsd held = 0, cost = 0, charge = 0;
  uint32_t price_version = 0;
  std::string upstream_id;
  std::string reason;  // of a void one, or one in doubt; what its cost lacks; kDegradedReason
  std::vector<CreditShare> credits;  // of a settled one, by number; the rest of the charge is owed
  // Whose windows it counts in (correction.h); empty: of none, or a program of before did not keep
  // it.
  std::string budgets;
  // Of a settled one, for watchers alone: the tier whose price is dearer than the usual one, "above
  // 200000 input tokens at priority"; "" = none.
  std::string dearer_tier = {};
};
// Answered on this device, because no budget had room for a provider.
inline constexpr std::string_view kDegradedReason = "degraded: budget";

// Whose use is summed up; empty fields match everything.
struct UsageFilter {
  std::string org_id = {}, key_id = {}, model = {}, provider = {};
  // By admission; of no multiple of kSumSlotS the one before it.
  int64_t from_ns = 0, to_ns = INT64_MAX;
};

// Sums are kept by quarters of an hour of admission: every zone's midnight is a multiple of it.
inline constexpr int64_t kSumSlotS = 900;

struct UsageSum {
  int64_t settled = 0, voided = 0, running = 0, in_doubt = 0;  // attempts
  int64_t unpriced = 0;  // of the settled ones: their cost is not known and not in the sums
  ledger::NanoUsd cost = 0, charge = 0, held = 0, doubtful = 0;
  ledger::NanoUsd own_key_cost = 0;  // of the cost: what callers' own provider keys paid
  int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;
  // Of the output: what a provider reports of thoughts. Nobody but it can count them.
  int64_t unverifiable_tokens = 0;
};

// Which attempts are listed; empty fields match everything.
struct AttemptFilter {
  std::string org_id = {}, project_id = {}, key_id = {}, user_id = {}, model = {}, provider = {};
  std::optional<AttemptState> state = {};
  std::optional<UsageSource> source = {};
  std::optional<bool> own_key = {};
  std::optional<uint32_t> price_version = {};
  // By their ends, as statements count, which running ones do not have; or by admission.
  bool by_admission = false;
  int64_t from_ns = 0, to_ns = INT64_MAX;
};

// Behind an attempt in the order of a listing; `time_ns` is that of its end, 0 by admission.
struct AttemptCursor {
  int64_t time_ns = INT64_MAX;
  ledger::HoldId id = {{UINT64_MAX, UINT64_MAX}, UINT16_MAX};

  bool operator==(const AttemptCursor&) const = default;
};

struct AttemptList {
  std::vector<AttemptRow> rows;       // newest first, without credits
  std::optional<AttemptCursor> next;  // there may be more behind it
};

// Money that moved between accounts, without a request.
struct TransferRow {
  uint64_t seq = 0;
  int64_t time_ns = 0;
  ledger::AccountNumber debit = 0, credit = 0;
  ledger::NanoUsd amount = 0;
  std::string text;
};

// What was imported of a provider's month.
struct ImportedBill {
  std::vector<BillLine> lines;
  // Some of the requests that it bills, which ended before, are in files alone: it cannot be
  // compared with them. Nullopt: none are.
  std::optional<int64_t> set_aside_until_s;
};

// What of a month is compared with a provider's bill of it.
enum class BillReach {
  kItsLines,    // the times that its lines cover: while more of it may come
  kWholeMonth,  // all of it: what no line covers is not billed
};

class BillCells;        // bill_cells.h
struct BillSums;        // bill_sums.h
struct Correction;      // correction.h
struct CorrectionList;  // likewise
struct MeterFilter;     // meters.h
struct MeterKey;
struct MeterSum;
struct PriceVersion;  // price_version.h
struct CreditName;    // credits.h
struct CreditUseKey;
struct ExportSums;  // export_sums.h

// Sees what is recorded, in the transaction that records it: what it writes is there exactly once,
// wherever the process is killed. Called under the recorder's lock, one thread at a time; after an
// error the rows come again. Tables of its own have names of their own.
class RecordWatcher {
 public:
  virtual ~RecordWatcher() = default;
  virtual Status Opened(storage::Database& database) = 0;  // before all else; again by Reopen
  virtual Status Ended(storage::Database& database, std::span<const AttemptRow> rows) = 0;
  // A provider's bill of a month was imported, and compared with what was recorded.
  virtual Status Compared(storage::Database&, const std::string& /*provider*/, const BillPeriod&,
                          std::span<const Difference>, int64_t /*now_ns*/) {
    return {};
  }
};

// Attempts are kept so long at least: providers' bills of a month come within the next.
inline constexpr std::chrono::days kKeptAtLeast{35};

struct RecorderOptions {
  RecordWatcher* watcher = nullptr;  // must outlive the recorder
  Bars* bars = nullptr;              // likewise: told of what bars a route as soon as it is read
  bool background = true;            // reads on a thread of its own; tests call CatchUp
  // Attempts of days that ended so long ago are set aside in HOME/archive; 0: never.
  std::chrono::days keep{0};
  const Clock* clock = &SystemClock();  // of that
};

// The only user of HOME/ledger.db. Thread-safe; calls wait for the disk: not on an event loop.
// Errors of all: those of storage::Database.
class Recorder {
 public:
  // Goes on where it stopped. `ledger` and `disk` must outlive it. Errors besides: kCorruptFile
  // when the journal lacks records that the database has not seen.
  static Result<std::unique_ptr<Recorder>> Open(const std::filesystem::path& database,
                                                ledger::Disk& disk, ledger::Ledger& ledger,
                                                RecorderOptions options = {});
  ~Recorder();

  // Writes everything that the journal says by now, once it survives a power cut: the tables are
  // never ahead of the journal.
  Status CatchUp();

  // Gives the database to another process, everything written; calls fail with kUnavailable until
  // Reopen. Errors of that: as Open.
  void Release();
  Status Reopen();

  Result<UsageSum> Sum(const UsageFilter& filter);
  // Of the last record that is in the tables.
  uint64_t applied_seq();
  // Records that survive a power cut and are not in the tables yet.
  uint64_t behind();
  // Runs `work` with the database, in a transaction of its own.
  Status Change(const std::function<Status(storage::Database&)>& work);
  // The attempts of one request, in order; empty when there is none.
  Result<std::vector<AttemptRow>> Find(ledger::RequestId id);
  // Those of many requests, each request's in order.
  Status ForEachOf(std::span<const ledger::RequestId> ids,
                   const std::function<void(const AttemptRow&)>& take);

  // At most `limit` attempts behind `after` (recorder_requests.cc). Looks through a bounded number,
  // in steps between which others go on: a list may be short, even empty, and have a next one.
  Result<AttemptList> List(const AttemptFilter& filter, AttemptCursor after, size_t limit);

  // --- Corrections (recorder_corrections.cc) ---

  // Of these requests, each attempt's in order.
  Status ForEachCorrectionOf(std::span<const ledger::RequestId> ids,
                             const std::function<void(const Correction&)>& take);
  // Of all, `count` behind that one of an attempt: to walk through all there are.
  Result<std::vector<Correction>> CorrectionPage(ledger::HoldId after, uint32_t number,
                                                 int64_t count);
  // Of a listing by ends, those that were made before `before_ns`, the newest first, at most
  // `limit`. Looks through a bounded number.
  Result<CorrectionList> ListCorrections(const AttemptFilter& filter, int64_t before_ns,
                                         size_t limit);
  // By how much, up or down, was corrected since then.
  Result<ledger::NanoUsd> CorrectedSince(int64_t time_ns);

  // --- Attempts that are in files only (recorder_set_aside.cc) ---

  // One step of setting aside what is due: into files, then out of the table. False: nothing is.
  // A step holds the lock for milliseconds; the recorder's thread takes one at a time.
  Result<bool> SetAsideStep();
  // What ended before has been set aside; INT64_MIN: nothing was.
  Result<int64_t> SetAsideUntil();
  // The file that a request is in, if it was set aside, and when that was.
  struct SetAsideFile {
    std::string file;
    int64_t at_s = 0;
  };
  Result<std::optional<SetAsideFile>> SetAsideOf(ledger::RequestId id);
  // Nothing is set aside while one of these lives: for who walks through many attempts.
  class Stillness {
   public:
    explicit Stillness(std::atomic<int>& count) : count_(count) { ++count_; }
    Stillness(const Stillness&) = delete;
    Stillness& operator=(const Stillness&) = delete;
    ~Stillness() { --count_; }

   private:
    std::atomic<int>& count_;
  };
  Stillness HoldStill() { return Stillness(still_); }

  // Whether another attempt was settled that this provider called the same; true when it cannot be
  // told.
  bool HasTwin(std::string_view provider, std::string_view upstream_id, ledger::HoldId but);

  // recorder_remote.cc: what providers bill, as it was imported, and what stands here against it.
  // A line replaces the one of the same cell. Others that count the same requests are dropped when
  // these take their place. Errors besides: kInvalidArgument: they do not, or are of one bill.
  Status PutBillLines(std::span<const BillLine> lines, bool takes_place = false);
  // All that a provider's usage interface says of [from_s, to_s): in place of what it said before.
  Status ReplaceBillLines(const std::string& provider, int64_t from_s, int64_t to_s,
                          std::span<const BillLine> lines, bool takes_place = false);
  // Months with invoices are told by these alone.
  Result<ImportedBill> BillOf(const std::string& provider, const BillPeriod& period);
  // Of a month, each cell with its difference; months with invoices are told by these alone. Walks
  // through the month's attempts in steps, between which others go on. Errors besides:
  // kInvalidArgument: some of those that the lines cover were set aside.
  Result<std::vector<Difference>> Differences(const std::string& provider, const BillPeriod& period,
                                              BillReach reach = BillReach::kItsLines);
  // Attempts admitted in a month that the server's own account pays, and that run or are in doubt.
  Result<int64_t> CountOpenOf(const std::string& provider, const BillPeriod& month);
  // A month that was closed and opened again is not.
  Result<bool> IsClosed(const std::string& provider, const BillPeriod& month);
  // Shows them to the watcher.
  Status TellDifferences(const std::string& provider, const BillPeriod& period,
                         std::span<const Difference> differences, int64_t now_ns);
  // Providers with imported lines in a month.
  Result<std::vector<std::string>> BilledProviders(const BillPeriod& period);
  // Transfers whose text begins so, oldest first.
  Result<std::vector<TransferRow>> Transfers(std::string_view prefix);

  // --- For bills (recorder_bill.cc) ---

  // All that a bill is made of, as of one moment. `and_by_hour`: its meters of hours besides.
  Result<BillSums> SumsOf(const MeterFilter& filter, bool and_by_hour = false);
  // Parts of it, each as of a moment of its own: what was settled in whole hours, by kind of token.
  Status AddMeters(const MeterFilter& filter, std::map<MeterKey, MeterSum>& meters);
  // Of what has no price, by the lines of statements: how many attempts a correction of the same
  // time has given a cost (recorder_corrections.cc).
  Status AddCorrected(const MeterFilter& filter, std::map<MeterKey, MeterSum>& meters);
  // What credits paid, and what each is called (recorder_credits.cc).
  Status AddCreditUses(const MeterFilter& filter, std::map<CreditUseKey, ledger::NanoUsd>& uses);
  Result<std::map<ledger::AccountNumber, CreditName>> Credits();
  // What an export of `filter` (by hours) begins with; its rows are read by the two above
  // (recorder_export.cc).
  Status BeginExport(const MeterFilter& filter, ExportSums& sums);
  // All versions, or those of one model, the oldest first.
  Result<std::vector<PriceVersion>> Prices(std::string_view model = {});
  // Attempts by their ids, `count` of them behind `after`: to walk through all there are.
  Result<std::vector<AttemptRow>> Page(ledger::HoldId after, int64_t count);
  // Running and in doubt, admitted before `before_ns`; `org_id` empty: of all.
  Result<int64_t> CountOpen(int64_t before_ns, std::string_view org_id);
  // A copy of the database and of the journal that belongs to it, in a folder that is there.
  Status BackUp(const std::filesystem::path& folder);

 private:
  Recorder(ledger::Disk& disk, ledger::Ledger& ledger, storage::Database database,
           const RecorderOptions& options);
  Status Prepare();
  Status CheckOpen() const;  // requires mutex_
  Result<bool> AddUses(const std::string& provider, std::array<std::byte, 16>& from,
                       const std::array<std::byte, 16>& to, BillCells& cells);
  // Of a listing, the next so many and where they end; requires mutex_.
  Result<std::vector<AttemptRow>> ListStep(const AttemptFilter& filter, const AttemptCursor& after);
  Result<bool> ReadBatch();                 // requires mutex_; false: there is nothing new
  void Take(const ledger::Record& record);  // requires mutex_
  void Bar(const AttemptRow& row, uint64_t seq);
  Status AddSums(std::string_view table, std::string_view time, int64_t from, int64_t to,
                 const UsageFilter& filter, UsageSum& sum);  // requires mutex_
  Status PrepareBill();                                      // requires mutex_
  // As those of public names; these require mutex_.
  Status ReadMeters(const MeterFilter& filter, std::map<MeterKey, MeterSum>& meters);
  Status ReadCorrected(const MeterFilter& filter, std::map<MeterKey, MeterSum>& meters);
  Status ReadCreditUses(const MeterFilter& filter, std::map<CreditUseKey, ledger::NanoUsd>& uses);
  Status ReadCreditUses(const MeterFilter& filter,
                        const std::function<void(CreditUseKey, ledger::NanoUsd)>& take);
  Result<std::vector<PriceVersion>> ReadPrices(std::string_view model);
  Result<int64_t> LastEndNs();
  // Of a batch; requires mutex_.
  Status WriteBill(std::vector<AttemptRow>& ended, std::span<const Correction> corrections);
  Result<std::vector<Correction>> WriteCorrections(std::span<const Correction> corrections);
  Status PrepareCredits();
  Status WriteCredits(const std::vector<AttemptRow>& ended);
  Status LoadCredits(std::span<AttemptRow> rows);  // sorted by their ids; requires mutex_
  void Run();

  ledger::Disk& disk_;
  ledger::Ledger& ledger_;
  RecordWatcher* const watcher_;
  Bars* const bars_;
  std::mutex mutex_;  // guards what follows
  storage::Database database_;
  std::optional<ledger::JournalReader> reader_;
  uint64_t trimmed_at_ = 0;              // the segment that was read when the archive was trimmed
  std::optional<ledger::Record> ahead_;  // read, and not yet sure to survive a power cut
  uint64_t read_seq_ = 0;                // of the last record that the rows in memory know
  uint64_t applied_seq_ = 0;             // of the last one that is in the database
  bool has_credits_ = false;             // any attempt was paid by one
  struct Statements;
  std::unique_ptr<Statements> statements_;
  struct Bill;
  std::unique_ptr<Bill> bill_;

  Result<bool> CollectDue();              // these require mutex_
  Result<bool> HasOpenBill(int64_t day);  // requires mutex_
  Result<std::string> SetAsideName();
  Result<bool> NoteWritten();
  Status NoteSetAside(const std::string& file);
  Result<bool> DropSetAside();
  struct Retention;  // of the recorder's thread, or who calls SetAsideStep in its place
  const std::unique_ptr<Retention> retention_;
  std::atomic<int> still_ = 0;

  std::mutex waiting_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tradewind::billing
