// Whole because all of it runs under one lock, and its order with the journal is the promise.
#include "ledger/ledger.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/thread_name.h"

namespace tradewind::ledger {
namespace {

constexpr auto kFlushPause = std::chrono::milliseconds(2);  // gathers what one flush can cover
constexpr auto kTendPause = std::chrono::seconds(1);
// While requests come in, the flusher looks again by itself: to wake it up costs a request more
// than the flush that it waits for. Not for long: a look costs about as much.
constexpr int kIdleRounds = 3;
constexpr int64_t kNanosPerSecond = 1'000'000'000;
// Holds, legs and accounts: less than half a millisecond of everybody's time. The largest books
// there may be are through in some minutes.
constexpr size_t kAuditedAtOnce = 4096;
// A disk that cannot flush gets another segment at once, this often; then after one second, two,
// four, and so on: it is not filled with segments.
constexpr int kTriesAtOnce = 3;
constexpr std::chrono::seconds kTryPauseMax{600};

}  // namespace

Result<std::unique_ptr<Ledger>> Ledger::Open(Disk& disk, const Clock& clock,
                                             LedgerOptions options) {
  std::unique_ptr<Ledger> ledger(new Ledger(disk, clock, options));
  ledger->ledger_time_.Look(ledger->WallNs(), clock.SinceBoot());
  TW_RETURN_IF_ERROR(ledger->Recover());
  ledger->has_started_ = true;
  ledger->credit_time_.Look(ledger->WallNs(), clock.SinceBoot());
  ledger->LookAtDisk();
  if (options.background) {
    ledger->thread_ = std::thread([raw = ledger.get()] { raw->Run(); });
  }
  return ledger;
}

Ledger::~Ledger() {
  {
    const std::lock_guard lock(mutex_);
    if (has_started_) {
      GiveBackLeases(true);  // the power may be cut after it as often as it likes
    }
    stopping_ = true;
  }
  if (thread_.joinable()) {
    dirty_.notify_all();
    thread_.join();
  } else if (has_started_) {
    static_cast<void>(journal_->Sync());
  }
  const std::lock_guard lock(mutex_);
  FailWaiting();
}

int64_t Ledger::WallNs() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.WallNow().time_since_epoch())
      .count();
}

int64_t Ledger::After(int64_t wall_ns) const {
  return std::max(book_.time_ns() + 1, ledger_time_.Now(wall_ns, clock_.SinceBoot()));
}

int64_t Ledger::TimeNs() {
  const std::lock_guard lock(mutex_);
  return NowNs();
}

Moment Ledger::MomentNow() const {
  const int64_t wall_ns = WallNs();
  return {After(wall_ns), credit_time_.Now(wall_ns)};
}

void Ledger::Stop(std::string why) {
  if (stopped_because_.empty()) {
    stopped_because_ = std::move(why);
  }
}

// A quarter of a segment is kept for what runs when the next one cannot be made.
uint64_t Ledger::SegmentBytes() const {
  constexpr uint64_t kMegabyte = 1 << 20;
  const uint64_t wanted = book_.snapshot_bytes_max() * 4;
  return wanted <= options_.segment_bytes ? options_.segment_bytes
                                          : (wanted + kMegabyte - 1) / kMegabyte * kMegabyte;
}

Status Ledger::RotateAndSnapshot() {
  journal_->SetSegmentBytes(SegmentBytes());
  TW_RETURN_IF_ERROR(journal_->Rotate());
  TW_RETURN_IF_ERROR(
      book_.Snapshot(NowNs(), [this](const Record& record) { return journal_->Append(record); }));
  snapshot_segment_ = journal_->segment();
  snapshot_seq_ = book_.seq();
  return {};
}

Status Ledger::MakeRoom() {
  if (journal_->sync_failed()) {
    return TryAnotherSegment();
  }
  if (!journal_->is_nearly_full()) {
    return {};
  }
  TW_RETURN_IF_ERROR(CheckSegments());
  return RotateAndSnapshot();
}

// Instead of one that could not be flushed.
Status Ledger::TryAnotherSegment() {
  if (clock_.Now() < try_again_at_) {
    return CheckFlushed();
  }
  TW_RETURN_IF_ERROR(CheckSegments());
  if (++unflushed_tries_ > kTriesAtOnce) {
    const int doublings = std::min(unflushed_tries_ - kTriesAtOnce - 1, 10);
    try_again_at_ = clock_.Now() + std::min(kTryPauseMax, std::chrono::seconds(1 << doublings));
  }
  return RotateAndSnapshot();
}

Status Ledger::CheckSegments() const {
  if (journal_->segment() - first_segment_ + 1 < options_.segments_max) {
    return {};
  }
  return Fail(ErrorCode::kResourceExhausted,
              CheckFlushed().has_value()
                  ? "the journal is as large as it may get: what reads it has fallen behind"
                  : "the journal is as large as it may get, of segments that could not be flushed: "
                    "start the server anew once the disk is mended");
}

// Of a flush that failed once, the next segment tells whether it was more than that.
Status Ledger::CheckFlushed() const {
  if (unflushed_tries_ < 2) {
    return {};
  }
  return Fail(ErrorCode::kIo,
              "the journal cannot be flushed; mend its disk, and it goes on by itself, within ten "
              "minutes");
}

// What cannot be written did not happen: the book changes after the journal. Several records are
// one write; when it fails in the middle, the first ones have happened.
Status Ledger::Commit(std::span<Record> records) {
  if (is_released_) {
    return HandOver(records);
  }
  const Status room = MakeRoom();  // without it there is still some in this segment
  Status written = AppendAndApply(records);
  if (!written.has_value()) {
    // A segment that cannot be written is left for the next one, which knows all of it.
    if (Status rotated = RotateAndSnapshot(); rotated.has_value()) {
      written = AppendAndApply(records);
    }
  }
  if (!written.has_value()) {
    Stop(fmt::format("the journal cannot be written: {}", written.error().message));
    return written;
  }
  if (flusher_sleeps_) {
    dirty_.notify_one();  // a system call, so only when somebody waits for it
  }
  return {};
}

// Leaves those in `records` that could not be written.
Status Ledger::AppendAndApply(std::span<Record>& records) {
  uint64_t seq = book_.seq();
  int64_t time_ns = NowNs();
  for (Record& record : records) {
    record.seq = ++seq;
    record.time_ns = time_ns++;
  }
  Journal::Appended appended = journal_->Append(records);
  for (const Record& record : records.first(appended.records)) {
    const Status applied = book_.Apply(record);
    TW_CHECK(applied.has_value());
  }
  records = records.subspan(appended.records);
  return std::move(appended.status);
}

Status Ledger::CommitDecided(std::expected<Record, Refusal> decided) {
  if (!decided.has_value()) {
    return Fail(ErrorOf(decided.error()));
  }
  return Commit(*decided);
}

Status Ledger::Step(RecordType type, HoldId id, std::string text) {
  const std::lock_guard lock(mutex_);
  return CommitDecided(book_.DecideStep(type, id, std::move(text)));
}

bool Ledger::IsMetered(HoldId id) {
  const std::lock_guard lock(mutex_);
  const OpenHold* hold = book_.Find(id);
  return hold != nullptr && hold->metered_cost > 0;
}

Status Ledger::CommitWithUpstreamId(std::expected<Record, Refusal> decided,
                                    std::string& upstream_id) {
  if (!decided.has_value() || upstream_id.empty()) {
    return CommitDecided(std::move(decided));
  }
  std::array<Record, 2> records = {Record{}, std::move(*decided)};
  records[0].type = RecordType::kUpstreamId;
  records[0].hold = records[1].hold;
  records[0].text = upstream_id;
  TW_RETURN_IF_ERROR(Commit(records));
  upstream_id.clear();
  return {};
}

std::expected<Hold, Refusal> Ledger::Take(const HoldRequest& request, Send send) {
  const std::lock_guard lock(mutex_);
  if (!stopped_because_.empty()) {
    return std::unexpected(Stopped(stopped_because_));
  }
  if (is_released_) {
    Refusal refusal = Stopped("another process has the ledger");
    refusal.reason = Refusal::Reason::kHandedOver;
    return std::unexpected(std::move(refusal));
  }
  // What is left is for the ends of what runs. What costs nothing and falls into no budget goes on.
  const bool is_paid = request.cost > 0 || !request.budgets.empty();
  if (is_paid && !disk_state_.low_because.empty()) {
    return std::unexpected(Stopped(disk_state_.low_because));
  }
  // Until there is room again, and what is written stays.
  for (const Status& able : {MakeRoom(), CheckFlushed()}) {
    if (!able.has_value()) {
      return std::unexpected(Stopped(able.error().message));
    }
  }
  std::expected<Record, Refusal> decided = book_.DecideHold(request, MomentNow());
  if (!decided.has_value()) {
    return std::unexpected(std::move(decided).error());
  }
  std::array<Record, 2> records = {std::move(*decided), Record{}};
  records[1].type = RecordType::kSent;
  records[1].hold = request.id;
  const bool is_sent = send == Send::kNow;
  if (const Status written = CommitWithLeases(std::span(records).first(is_sent ? 2 : 1));
      !written.has_value()) {
    return std::unexpected(Stopped(written.error().message));
  }
  Hold hold(*this, request.id, request.cost, request.charge, std::string(request.payer));
  hold.sent_ = is_sent;
  const uint64_t leased_at = book_.DrawLeases(records[0].legs, book_.time_ns());
  hold.is_strict_ = request.is_strict;
  hold.goes_out_after_ = request.is_strict ? book_.seq() : leased_at;
  return hold;
}

Status Ledger::ResolveSettled(HoldId id, NanoUsd cost, NanoUsd charge, std::string text) {
  const std::lock_guard lock(mutex_);
  const OpenHold* hold = book_.Find(id);
  if (hold != nullptr && hold->state != HoldState::kInDoubt) {
    return Fail(ErrorCode::kInvalidArgument, "the request is still running", "id");
  }
  return CommitDecided(DecideSettle(id, cost, charge, std::move(text)));
}

std::expected<Record, Refusal> Ledger::DecideSettle(HoldId id, NanoUsd cost, NanoUsd charge,
                                                    std::string text) {
  auto decided = book_.DecideSettle(id, cost, charge, std::move(text), CreditNowNs());
  if (!decided.has_value() && decided.error().reason == Refusal::Reason::kAmount) {
    full_because_ = fmt::format("{} nano-USD of request {} do not fit into an account", cost,
                                id.request.ToString());
  }
  return decided;
}

Status Ledger::ResolveVoid(HoldId id, std::string reason) {
  const std::lock_guard lock(mutex_);
  const OpenHold* hold = book_.Find(id);
  if (hold != nullptr && hold->state != HoldState::kInDoubt) {
    return Fail(ErrorCode::kInvalidArgument, "the request is still running", "id");
  }
  return CommitDecided(book_.DecideStep(RecordType::kVoid, id, std::move(reason)));
}

Result<AccountNumber> Ledger::Define(const BudgetSpec& budget) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(Record record, book_.DecideBudget(budget, NowNs()));
  TW_RETURN_IF_ERROR(Commit(record));
  return record.account;
}

Status Ledger::CloseBudget(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const std::optional<AccountNumber> number = book_.FindBudget(name);
  if (!number.has_value()) {
    return Fail(ErrorCode::kNotFound, "there is no such budget", "name");
  }
  BudgetSpec closed = *book_.BudgetOf(*number);
  closed.closed = true;
  TW_ASSIGN_OR_RETURN(Record record, book_.DecideBudget(closed, NowNs()));
  return Commit(record);
}

Result<AccountNumber> Ledger::Grant(const CreditSpec& credit) {
  const std::lock_guard lock(mutex_);
  // By the time that decides what holds may spend: a clock set back is no way around it.
  if (credit.expires_s <= CreditNowNs() / kNanosPerSecond) {
    return Fail(ErrorCode::kInvalidArgument, "the credit would be over before it is granted",
                "expires");
  }
  TW_ASSIGN_OR_RETURN(Record record, book_.DecideCredit(credit));
  TW_RETURN_IF_ERROR(Commit(record));
  return record.account;
}

Status Ledger::SetPrepaid(std::string_view payer, bool is_prepaid) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(Record record, book_.DecidePayer(payer, is_prepaid));
  return book_.IsPrepaid(payer) == is_prepaid ? Status() : Commit(record);
}

std::optional<NanoUsd> Ledger::PrepaidLeft(std::string_view payer, std::string_view purposes) {
  const std::lock_guard lock(mutex_);
  return book_.IsPrepaid(payer) ? std::optional(book_.Spendable(payer, CreditNowNs(), purposes))
                                : std::nullopt;
}

CreditState Ledger::StateOf(AccountNumber number, const CreditSpec& spec, int64_t now_s) const {
  const Account account = book_.AccountOf({number, 0});
  CreditState state{number, spec};
  const bool is_over = spec.expires_s <= now_s;  // also before the sweep has come by
  state.left = is_over ? 0 : account.available();
  state.held = account.pending;
  state.expired = account.expired + (is_over ? account.available() : 0);
  return state;
}

std::vector<CreditState> Ledger::Credits(std::string_view owner, AccountNumber after, size_t max) {
  const std::lock_guard lock(mutex_);
  const int64_t now_s = CreditNowNs() / kNanosPerSecond;
  std::vector<CreditState> states;
  for (auto credit = book_.credits().upper_bound(after);
       credit != book_.credits().end() && states.size() < max; ++credit) {
    const auto& [number, spec] = *credit;
    if (owner.empty() || spec.owner == owner) {
      states.push_back(StateOf(number, spec, now_s));
    }
  }
  return states;
}

std::optional<AccountNumber> Ledger::FindCredit(std::string_view name) {
  const std::lock_guard lock(mutex_);
  return book_.FindCredit(name);
}

std::map<std::string, CreditSum> Ledger::CreditSums(std::string_view owner) {
  const std::lock_guard lock(mutex_);
  const int64_t now_s = CreditNowNs() / kNanosPerSecond;
  std::map<std::string, CreditSum> sums;
  for (const auto& [number, spec] : book_.credits()) {
    if (owner.empty() || spec.owner == owner) {
      const Account account = book_.AccountOf({number, 0});
      CreditSum& sum = sums[spec.owner];
      sum.left += spec.expires_s <= now_s ? 0 : account.available();
      sum.held += account.pending;
    }
  }
  return sums;
}

std::vector<std::string> Ledger::PrepaidPayers() {
  const std::lock_guard lock(mutex_);
  return {book_.prepaid().begin(), book_.prepaid().end()};
}

Result<AccountNumber> Ledger::Payee(std::string_view name) {
  const std::lock_guard lock(mutex_);
  if (const auto known = book_.FindPayee(name); known.has_value()) {
    return *known;
  }
  TW_ASSIGN_OR_RETURN(Record record, book_.DecidePayee(name));
  TW_RETURN_IF_ERROR(Commit(record));
  return record.account;
}

Result<uint32_t> Ledger::PriceVersion(const PriceSpec& price) {
  const std::lock_guard lock(mutex_);
  if (const auto known = book_.FindPrice(price.item, price.terms, NowNs()); known.has_value()) {
    return *known;
  }
  TW_ASSIGN_OR_RETURN(Record record, book_.DecidePrice(price));
  TW_RETURN_IF_ERROR(Commit(record));
  return record.price_version;
}

Status Ledger::Transfer(AccountNumber debit, AccountNumber credit, NanoUsd amount,
                        std::string text) {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(Record record, book_.DecideTransfer(debit, credit, amount, std::move(text)));
  return Commit(record);
}

Status Ledger::Adjust(const Adjustment& adjustment) {
  const std::lock_guard lock(mutex_);
  // As new requests: what is left of the disk is for the ends of what runs.
  for (const std::string& why : {stopped_because_, disk_state_.low_because}) {
    if (!why.empty()) {
      return Fail(ErrorCode::kResourceExhausted, "nothing is corrected now: " + why);
    }
  }
  TW_ASSIGN_OR_RETURN(Record record, book_.DecideAdjust(adjustment));
  return Commit(record);
}

Status Ledger::CheckAdjust(const Adjustment& adjustment) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(book_.DecideAdjust(adjustment));
  return {};
}

std::vector<PayeeState> Ledger::Payees() {
  const std::lock_guard lock(mutex_);
  std::vector<PayeeState> states;
  for (const auto& [number, name] : book_.payees()) {
    const Account account = book_.AccountOf({number, 0});
    states.push_back({number, name, account.credits, account.debits});
  }
  return states;
}

NanoUsd Ledger::OwedToUnknown() {
  const std::lock_guard lock(mutex_);
  return book_.AccountOf({kUnknownPayee, 0}).credits;
}

NanoUsd Ledger::OwedTo(std::string_view payee) {
  const std::lock_guard lock(mutex_);
  const std::optional<AccountNumber> number = book_.FindPayee(payee);
  if (!number.has_value()) {
    return 0;
  }
  const Account account = book_.AccountOf({*number, 0});
  return account.credits - account.debits;
}

// By the ledger's own time, which decides holds too: a clock set back opens no window again.
BudgetState Ledger::StateOf(AccountNumber number) {
  const int64_t now_s = NowNs() / kNanosPerSecond;
  const BudgetSpec& spec = *book_.BudgetOf(number);
  BudgetState state{number, spec, book_.BudgetAccount(number, now_s),
                    book_.WindowNow(number, now_s)};
  if (spec.period == Period::kRolling) {
    state.window = {now_s - spec.span_s, state.account.window_end_s};
  }
  return state;
}

std::optional<BudgetState> Ledger::FindBudget(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const std::optional<AccountNumber> number = book_.FindBudget(name);
  return number.has_value() ? std::optional(StateOf(*number)) : std::nullopt;
}

std::optional<std::string> Ledger::BudgetInAnyCase(std::string_view name) {
  const std::lock_guard lock(mutex_);
  std::optional<std::string> found;
  book_.ForEachBudget({name}, [&](AccountNumber number) {
    const BudgetSpec& spec = *book_.BudgetOf(number);
    if (!spec.closed && (!found.has_value() || spec.name == name)) {
      found = spec.name;
    }
  });
  return found;
}

std::optional<BudgetState> Ledger::FindBudget(AccountNumber number) {
  const std::lock_guard lock(mutex_);
  return book_.BudgetOf(number) == nullptr ? std::nullopt : std::optional(StateOf(number));
}

std::vector<BudgetRoom> Ledger::FindRoom(std::span<const std::string_view> names) {
  const std::lock_guard lock(mutex_);
  const int64_t now_s = NowNs() / kNanosPerSecond;
  std::vector<BudgetRoom> rooms;
  for (const std::string_view name : names) {
    book_.ForEachBudget({name}, [&](AccountNumber number) {
      const BudgetSpec* const spec = book_.BudgetOf(number);
      if (spec != nullptr && !spec->closed) {
        rooms.push_back(
            {number, spec->mode, spec->dimension, book_.BudgetAccount(number, now_s).available()});
      }
    });
  }
  return rooms;
}

std::vector<BudgetState> Ledger::Budgets() {
  const std::lock_guard lock(mutex_);
  std::vector<BudgetState> states;
  for (const auto& [number, spec] : book_.budgets()) {
    if (!spec.closed) {
      states.push_back(StateOf(number));
    }
  }
  return states;
}

std::vector<std::pair<HoldId, OpenHold>> Ledger::HoldsInDoubt() {
  constexpr size_t kAtOnce = 256;  // so many are copied while others wait
  std::vector<std::pair<HoldId, OpenHold>> holds;
  while (true) {
    const std::lock_guard lock(mutex_);
    const std::set<HoldId>& doubts = book_.doubts();
    auto next = holds.empty() ? doubts.begin() : doubts.upper_bound(holds.back().first);
    for (size_t i = 0; i < kAtOnce && next != doubts.end(); ++i, ++next) {
      holds.emplace_back(*next, *book_.Find(*next));
    }
    if (next == doubts.end()) {
      return holds;
    }
  }
}

std::optional<NanoUsd> Ledger::HeldBy(HoldId id) {
  const std::lock_guard lock(mutex_);
  const OpenHold* hold = book_.Find(id);
  return hold == nullptr ? std::nullopt : std::optional(hold->cost);
}

size_t Ledger::open_holds() {
  const std::lock_guard lock(mutex_);
  return book_.holds().size();
}

void Ledger::NoteRefused(const Refusal& refusal) {
  if (refusal.reason == Refusal::Reason::kBudget) {
    const std::lock_guard lock(mutex_);
    book_.NoteRefused(refusal.account, refusal.asked, NowNs());
  }
}

std::vector<Notice> Ledger::TakeNotices() {
  const std::lock_guard lock(mutex_);
  return book_.TakeNotices();
}

std::string Ledger::BudgetName(AccountNumber number) {
  const std::lock_guard lock(mutex_);
  const BudgetSpec* budget = book_.BudgetOf(number);
  return budget == nullptr ? "" : budget->name;
}

uint64_t Ledger::seq() {
  const std::lock_guard lock(mutex_);
  return book_.seq();
}

std::string Ledger::stopped_because() {
  const std::lock_guard lock(mutex_);
  return stopped_because_;
}

// The database that falls behind is told before it stops anything: there is time to mend it.
Trouble Ledger::trouble() {
  const std::lock_guard lock(mutex_);
  if (is_released_) {
    return {};  // another process has the books, and tells of them
  }
  if (!stopped_because_.empty()) {
    return {Trouble::Kind::kStopped,
            fmt::format("{}; start the server anew once that is mended", stopped_because_)};
  }
  if (const Status flushed = CheckFlushed(); !flushed.has_value()) {
    return {Trouble::Kind::kStopped, CheckSegments().has_value() ? flushed.error().message
                                                                 : CheckSegments().error().message};
  }
  if (journal_->is_nearly_full() && !CheckSegments().has_value()) {
    return {Trouble::Kind::kStopped,
            fmt::format("{}{}{}", CheckSegments().error().message,
                        behind_because_.empty() ? "" : ": ", behind_because_)};
  }
  if (!behind_because_.empty()) {
    return {Trouble::Kind::kBehind, behind_because_};
  }
  if (!full_because_.empty()) {
    return {Trouble::Kind::kFull, full_because_};
  }
  std::string doubted = ClockDoubted();
  return doubted.empty() ? Trouble() : Trouble{Trouble::Kind::kClock, std::move(doubted)};
}

std::string Ledger::ClockDoubted() const {
  constexpr auto kMinutes = [](std::chrono::nanoseconds time) {
    return std::chrono::ceil<std::chrono::minutes>(time).count();
  };
  if (const auto ahead = ledger_time_.DoubtedAhead(); ahead.has_value()) {
    return fmt::format(
        "the clock of this machine has jumped ahead by {} minutes; it is believed after {}, until "
        "then requests are dated as if it had not, to a minute",
        kMinutes(*ahead), kMinutes(LedgerTime::kBelievedAfter));
  }
  const std::chrono::nanoseconds behind(book_.time_ns() - WallNs());
  if (behind > LedgerTime::kSlack) {
    return fmt::format(
        "the clock of this machine is {} minutes behind the last request, and the ledger's time "
        "does not go back: until it is past {:%Y-%m-%d %H:%M} UTC, requests are dated so, and "
        "count in that time's windows and bills; if the clock is wrong, set it right",
        kMinutes(behind), fmt::gmtime(static_cast<time_t>(book_.time_ns() / kNanosPerSecond)));
  }
  return "";
}

void Ledger::NoteBehind(std::string why) {
  const std::lock_guard lock(mutex_);
  behind_because_ = std::move(why);
}

DiskState Ledger::disk() {
  const std::lock_guard lock(mutex_);
  return disk_state_;
}

// What cannot be told is not held against the disk: a full one refuses writes by itself.
void Ledger::LookAtDisk() {
  constexpr uint64_t kMegabyte = 1 << 20;
  const Result<DiskRoom> room = disk_.Room();
  DiskState state;
  if (room.has_value()) {
    state.room = *room;
    if (const uint64_t mark = LowWaterOf(*room); room->free_bytes < mark) {
      state.low_because = fmt::format(
          "the disk of {} has {} MiB free, and {} MiB are kept for the records of what runs; free "
          "some space there, and it goes on by itself",
          room->where, room->free_bytes / kMegabyte, (mark + kMegabyte - 1) / kMegabyte);
    }
  }
  const std::lock_guard lock(mutex_);
  disk_state_ = std::move(state);
}

void Ledger::Release() {
  const std::lock_guard lock(mutex_);
  if (is_released_) {
    return;
  }
  CountAllOfWhatRuns();
  const std::lock_guard flushing(flushing_);
  is_released_ = true;
  if (Covers(journal_->Sync().has_value())) {
    NoteSynced(book_.seq());
  } else {
    is_unflushed_elsewhere_ = true;
  }
  FailWaiting();
  BeginHandOver();
}

bool Ledger::is_released() {
  const std::lock_guard lock(mutex_);
  return is_released_;
}

Status Ledger::Reopen() {
  const std::lock_guard lock(mutex_);
  const std::lock_guard flushing(flushing_);
  for (const auto& [id, hold] : book_.holds()) {
    if (hold.state != HoldState::kInDoubt && !orphans_.contains(id)) {
      runs_here_.insert(id);
    }
  }
  const std::set<HoldId> elsewhere = std::move(elsewhere_);
  const auto elsewhere_until = elsewhere_until_;
  book_ = Book();
  recovery_ = {};
  is_released_ = hands_over_ = is_unflushed_elsewhere_ = false;
  if (const Status recovered = Recover(); !recovered.has_value()) {
    is_released_ = true;
    return recovered;
  }
  std::erase_if(runs_here_, [&](HoldId id) { return !book_.doubts().contains(id); });
  // The process that failed runs nothing any more; one before this one may.
  std::erase_if(elsewhere_, [&](HoldId id) { return !elsewhere.contains(id); });
  elsewhere_until_ = elsewhere_until;
  return {};
}

Status Ledger::ForgetBefore(uint64_t segment) {
  const std::lock_guard lock(mutex_);
  if (is_released_) {
    return Fail(ErrorCode::kUnavailable, "another process has the ledger");
  }
  const uint64_t last = std::min(segment, synced_snapshot_segment_);
  for (; first_segment_ < last; ++first_segment_) {
    const Status retired = disk_.Retire(SegmentName(first_segment_));
    if (!retired.has_value() && retired.error().code != ErrorCode::kNotFound) {
      return retired;
    }
  }
  return {};
}

// --- The thread: flushing in groups, and the sweeps ---

Status Ledger::WaitDurable() {
  std::unique_lock lock(mutex_);
  const uint64_t seq = book_.seq();
  if (!thread_.joinable()) {
    lock.unlock();
    return Flush(seq) ? Status() : Fail(ErrorCode::kIo, "the journal cannot be flushed");
  }
  dirty_.notify_one();
  synced_.wait(lock, [&] { return synced_seq_ >= seq || last_sync_failed_ || stopping_; });
  if (synced_seq_ < seq) {
    return Fail(ErrorCode::kIo, "the journal cannot be flushed");
  }
  return {};
}

void Ledger::WhenDurable(uint64_t seq, std::move_only_function<void(bool)> done) {
  const std::lock_guard lock(mutex_);
  if (synced_seq_ >= seq || stopping_) {
    done(synced_seq_ >= seq);
    return;
  }
  waiting_.push_back({seq, std::move(done)});
  dirty_.notify_one();
}

void Ledger::NoteSynced(uint64_t seq) {
  synced_seq_ = std::max(synced_seq_, seq);
  if (synced_seq_ >= snapshot_seq_) {
    synced_snapshot_segment_ = snapshot_segment_;
  }
  last_sync_failed_ = false;
  unflushed_tries_ = 0;
  try_again_at_ = {};
  book_.NoteDurable(synced_seq_);
  std::erase_if(waiting_, [this](Waiting& one) {
    const bool is_durable = one.seq <= synced_seq_;
    if (is_durable) {
      one.done(true);
    }
    return is_durable;
  });
  synced_.notify_all();
}

void Ledger::FailWaiting() {
  for (Waiting& one : std::exchange(waiting_, {})) {
    one.done(false);
  }
}

Status Ledger::CommitWithLeases(std::span<Record> records) {
  std::vector<Record> leases = book_.DecideLeases(records.front().legs, NowNs());
  if (!leases.empty()) {
    TW_RETURN_IF_ERROR(Commit(leases));
  }
  return Commit(records);
}

// Nobody needs it: what cannot be written is tried again, and stops nothing.
void Ledger::GiveBackLeases(bool is_last) {
  if (is_released_ || !MakeRoom().has_value()) {
    return;
  }
  std::vector<Record> returns = book_.DecideReturns(NowNs(), is_last);
  if (std::span<Record> records(returns); !records.empty()) {
    static_cast<void>(AppendAndApply(records));
  }
}

Status Ledger::ReleaseUnaccounted(std::string_view budget) {
  const std::lock_guard lock(mutex_);
  const std::optional<AccountNumber> number = book_.FindBudget(budget);
  if (!number.has_value()) {
    return Fail(ErrorCode::kNotFound, "there is no such budget", "budget");
  }
  std::vector<Record> records;
  for (const AccountKey key : book_.KeysNow(*number, NowNs() / kNanosPerSecond)) {
    if (Result<Record> record = book_.DecideAccounted(key); record.has_value()) {
      records.push_back(std::move(*record));
    }
  }
  if (records.empty()) {
    return Fail(ErrorCode::kNotFound,
                "nothing of this budget is set aside for what a power cut may have taken",
                "budget");
  }
  return Commit(records);
}

uint64_t Ledger::synced_seq() {
  const std::lock_guard lock(mutex_);
  return synced_seq_;
}

void Ledger::Tend() {
  bool wants_spare = false;
  uint64_t seq = 0;
  {
    const std::lock_guard lock(mutex_);
    if (is_released_) {
      return;
    }
    wants_spare = journal_->wants_spare();
    seq = book_.seq();
  }
  bool is_synced = false;
  {
    const std::lock_guard flushing(flushing_);
    is_synced = journal_->Sync().has_value();
  }
  {
    const std::lock_guard lock(mutex_);
    if (Covers(is_synced)) {
      NoteSynced(seq);
    } else if (!is_released_) {
      // Once more, should the disk have come back. Where the segment before could not be flushed,
      // and this one lacks its snapshot, some of what is known stands in none.
      const bool lacks_snapshot = !hands_over_ && snapshot_segment_ != journal_->segment();
      static_cast<void>(lacks_snapshot ? TryAnotherSegment() : MakeRoom());
    }
  }
  constexpr size_t kAdoptedAtOnceMax = 4096;
  std::vector<Record> ends;
  {
    const std::lock_guard flushing(flushing_);
    if (wants_spare) {
      static_cast<void>(journal_->PrepareSpare());  // on a full disk: tried again
    }
    ends = ReadHandOvers(kAdoptedAtOnceMax);
  }
  LookAtDisk();
  const std::lock_guard lock(mutex_);
  if (is_released_) {
    return;
  }
  Adopt(ends);
  {
    const std::lock_guard flushing(flushing_);
    ForgetHandOvers();
  }
  ledger_time_.Look(WallNs(), clock_.SinceBoot(), book_.time_ns());
  if (const auto over_ns = credit_time_.Look(WallNs(), clock_.SinceBoot()); over_ns.has_value()) {
    for (Record& expired : book_.DecideExpiries(*over_ns)) {
      if (!Commit(expired).has_value()) {
        return;
      }
    }
  }
  GiveBackLeases(false);
  if (const auto audited = book_.AuditStep(kAuditedAtOnce); !audited.has_value()) {
    Stop(audited.error().message);
  }
}

// What could not be flushed may be gone with the process: a new segment has all there is to know,
// at once, and not with the next record, before which it may be killed. Who waits for the disk
// waits for that one's flush. Where it cannot be flushed either, TryAnotherSegment says when the
// next one is tried.
void Ledger::LeaveSegment() {
  const bool is_first = !std::exchange(last_sync_failed_, true);
  if (!is_first || is_released_ || !MakeRoom().has_value()) {
    FailWaiting();
  }
}

// A segment whose snapshot could not be written says nothing of what the one before it said.
bool Ledger::Covers(bool is_synced) const {
  return is_synced &&
         (hands_over_ ? !is_unflushed_elsewhere_ : snapshot_segment_ == journal_->segment());
}

bool Ledger::Flush(uint64_t seq) {
  bool is_synced = false;
  {
    const std::lock_guard flushing(flushing_);
    is_synced = journal_->Sync().has_value();
  }
  {
    const std::lock_guard lock(mutex_);
    is_synced = Covers(is_synced);
    is_synced ? NoteSynced(seq) : LeaveSegment();
  }
  synced_.notify_all();
  return is_synced;
}

void Ledger::Run() {
  NameThread("ledger-flush");
  auto tend_at = clock_.Now() + kTendPause;
  int idle_rounds = 0;
  bool is_last = false;
  while (!is_last) {
    uint64_t seq = 0;
    bool is_dirty = false;
    {
      std::unique_lock lock(mutex_);
      dirty_.wait_for(lock, kFlushPause, [&] { return !waiting_.empty() || stopping_; });
      const auto has_work = [&] { return stopping_ || book_.seq() > synced_seq_; };
      idle_rounds = has_work() ? 0 : idle_rounds + 1;
      const bool has_slept = idle_rounds > kIdleRounds;
      if (has_slept) {
        flusher_sleeps_ = true;
        dirty_.wait_for(lock, kTendPause, has_work);
        flusher_sleeps_ = false;
      }
      seq = book_.seq();
      is_last = stopping_;
      // What comes first is seldom alone.
      is_dirty = seq > synced_seq_ && (!has_slept || !waiting_.empty() || stopping_);
    }
    if (is_dirty) {
      Flush(seq);
    }
    if (clock_.Now() >= tend_at) {
      Tend();
      tend_at = clock_.Now() + kTendPause;
    }
  }
}

}  // namespace tradewind::ledger
