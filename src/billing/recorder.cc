// Whole because rows in memory, their batch and its transaction are one invariant.
#include "billing/recorder.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/thread_name.h"
#include "billing/correction.h"
#include "billing/credits.h"
#include "billing/recorder_parts.h"
#include "storage/migrations.h"
#include "telemetry/log.h"

namespace tradewind::billing {
namespace {

using ledger::HoldId;
using ledger::Record;
using ledger::RecordType;

// Records of one transaction: large enough that a flush of the disk is shared by thousands.
constexpr int kBatchRecords = 8192;
// A commit writes some fifty pages, however little is in it, and whoever reads catches up first: so
// few records wait for others, for a second.
constexpr auto kShortestPause = std::chrono::milliseconds(100);
constexpr auto kLongestPause = std::chrono::milliseconds(320);  // when there was nothing for long
constexpr int kPausesOfAFewRecords = 10;
constexpr int64_t kSlotNs = kSumSlotS * 1'000'000'000;
constexpr int64_t kSlotsOfADay = 96;  // of UTC

constexpr std::array<std::string_view, 5> kStateNames = {"held", "sent", "in_doubt", "settled",
                                                         "void"};

constexpr std::string_view kColumns =
    "request, attempt, org, project, key, user, model, provider, provider_model, own_key, priced, "
    "state, admitted_ns, ended_ns, held, cost, charge, price_version, input, cached, output, "
    "reasoning, source, finish, upstream_id, reason, cache_write, audio_input, audio_output, "
    "images, cache_write_1h, askable, unverifiable, service_tier, budgets";

}  // namespace

ledger::RequestId IdOf(std::span<const std::byte> bytes) {
  if (bytes.size() != 16) {
    return {};
  }
  return {__builtin_bswap64(LoadLe<uint64_t>(bytes.data())),
          __builtin_bswap64(LoadLe<uint64_t>(bytes.data() + 8))};
}

std::array<std::byte, 16> BytesOf(ledger::RequestId id) {
  std::array<std::byte, 16> bytes;
  StoreLe(bytes.data(), __builtin_bswap64(id.high));
  StoreLe(bytes.data() + 8, __builtin_bswap64(id.low));
  return bytes;
}

std::string_view AttemptColumns() {
  return kColumns;
}

AttemptRow RowOf(const storage::Statement& row) {
  AttemptRow out;
  out.id.request = IdOf(row.Blob(0));
  out.id.attempt = static_cast<uint16_t>(row.Integer(1));
  Purchase& bought = out.purchase;
  int column = 2;
  for (std::string* field : {&bought.org_id, &bought.project_id, &bought.key_id, &bought.user_id,
                             &bought.model, &bought.provider, &bought.provider_model}) {
    *field = row.Text(column++);
  }
  bought.own_key = row.Integer(9) != 0;
  bought.priced = row.Integer(10) != 0;
  out.state = static_cast<AttemptState>(std::clamp<int64_t>(row.Integer(11), 0, 4));
  out.admitted_ns = row.Integer(12);
  out.ended_ns = row.Integer(13);
  out.held = row.Integer(14);
  out.cost = row.Integer(15);
  out.charge = row.Integer(16);
  out.price_version = static_cast<uint32_t>(row.Integer(17));
  out.outcome = {row.Integer(18),
                 row.Integer(19),
                 row.Integer(20),
                 row.Integer(21),
                 UsageSourceFromName(row.Text(22)),
                 std::string(row.Text(23))};
  out.upstream_id = row.Text(24);
  out.reason = row.Text(25);
  out.outcome.cache_write_tokens = row.OptionalInteger(26);
  out.outcome.audio_input_tokens = row.Integer(27);
  out.outcome.audio_output_tokens = row.Integer(28);
  out.outcome.images = row.Integer(29);
  out.outcome.cache_write_1h_tokens = row.Integer(30);
  bought.askable = row.Integer(31) != 0;
  out.outcome.unverifiable_tokens = row.Integer(32);
  out.outcome.service_tier = row.Text(33);
  out.budgets = row.Text(34);
  return out;
}

namespace {

std::string AddingToSums(std::string_view table) {
  return fmt::format(
      "INSERT INTO {} VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15) "
      "ON CONFLICT DO UPDATE SET settled=settled+?6, voided=voided+?7, unpriced=unpriced+?8, "
      "cost=cost+?9, charge=charge+?10, input=input+?11, cached=cached+?12, output=output+?13, "
      "reasoning=reasoning+?14, own_key_cost=own_key_cost+?15",
      table);
}

bool HasEnded(AttemptState state) {
  return state >= AttemptState::kSettled;
}

bool Matches(const UsageFilter& filter, const AttemptRow& row) {
  const auto same = [](const std::string& wanted, const std::string& is) {
    return wanted.empty() || wanted == is;
  };
  return same(filter.org_id, row.purchase.org_id) && same(filter.key_id, row.purchase.key_id) &&
         same(filter.model, row.purchase.model) && same(filter.provider, row.purchase.provider) &&
         filter.from_ns <= row.admitted_ns && row.admitted_ns < filter.to_ns;
}

}  // namespace

std::string_view AttemptStateName(AttemptState state) {
  return kStateNames[static_cast<size_t>(state)];
}

Recorder::Recorder(ledger::Disk& disk, ledger::Ledger& ledger, storage::Database database,
                   const RecorderOptions& options)
    : disk_(disk),
      ledger_(ledger),
      watcher_(options.watcher),
      bars_(options.bars),
      database_(std::move(database)),
      retention_(new Retention{.keep = options.keep, .clock = options.clock}) {}

Result<std::unique_ptr<Recorder>> Recorder::Open(const std::filesystem::path& database,
                                                 ledger::Disk& disk, ledger::Ledger& ledger,
                                                 RecorderOptions options) {
  TW_ASSIGN_OR_RETURN(storage::Database opened, storage::Database::Open(database));
  std::unique_ptr<Recorder> recorder(new Recorder(disk, ledger, std::move(opened), options));
  TW_RETURN_IF_ERROR(recorder->Prepare());
  if (options.background) {
    recorder->thread_ = std::thread([raw = recorder.get()] { raw->Run(); });
  }
  return recorder;
}

Recorder::~Recorder() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(waiting_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
}

Status Recorder::Prepare() {
  TW_RETURN_IF_ERROR(storage::Migrate(database_, RecorderTables()));
  if (watcher_ != nullptr) {
    TW_RETURN_IF_ERROR(watcher_->Opened(database_));
  }
  TW_ASSIGN_OR_RETURN(
      storage::Statement put,
      database_.Prepare(
          "INSERT OR REPLACE INTO attempts (" + std::string(kColumns) +
          ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"
          "?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30,?31,?32,?33,?34,?35)"));
  TW_ASSIGN_OR_RETURN(storage::Statement add, database_.Prepare(AddingToSums("sums")));
  TW_ASSIGN_OR_RETURN(storage::Statement add_day, database_.Prepare(AddingToSums("day_sums")));
  TW_RETURN_IF_ERROR(PrepareBill());
  TW_RETURN_IF_ERROR(PrepareCredits());
  statements_.reset(
      new Statements{std::move(put), std::move(add), std::move(add_day), {}, {}, {}, {}, {}});
  TW_ASSIGN_OR_RETURN(storage::Statement open, database_.Prepare("SELECT " + std::string(kColumns) +
                                                                 " FROM attempts WHERE state < 3"));
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, open.Next());
    if (!has_row) {
      break;
    }
    AttemptRow row = RowOf(open);
    const HoldId id = row.id;
    statements_->open.emplace(id, std::move(row));
  }
  TW_ASSIGN_OR_RETURN(storage::Statement applied, database_.Prepare("SELECT seq FROM applied"));
  TW_ASSIGN_OR_RETURN(const bool has_seq, applied.Next());
  applied_seq_ = read_seq_ = has_seq ? static_cast<uint64_t>(applied.Integer(0)) : 0;
  if (applied_seq_ > ledger_.seq()) {
    return Fail(ErrorCode::kCorruptFile,
                "ledger.db has seen more than the journal: restore both from one backup");
  }
  ahead_.reset();
  TW_ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, ledger::ListSegments(disk_));
  reader_.emplace(disk_, segments.empty() ? 1 : segments.front());
  return {};
}

namespace {

// A cost by tokens that leaves something out; what was named by the provider's billing, or by an
// operator, does not.
void NoteIncomplete(AttemptRow& row) {
  const UsageSource source = row.outcome.source;
  const std::string_view field = !row.purchase.billed_apart.empty() ? row.purchase.billed_apart
                                 : row.outcome.is_other_tier        ? "service_tier"
                                 : row.outcome.has_unpriced_writes  ? kUnpricedWritesName
                                                                    : std::string_view();
  if (!field.empty() && source != UsageSource::kBilled && source != UsageSource::kOperator &&
      !row.outcome.is_told) {
    row.reason = IncompleteReason(field);
  }
}

}  // namespace

// Before it is written: a database that cannot be, keeps no bar from coming.
void Recorder::Bar(const AttemptRow& row, uint64_t seq) {
  if (bars_ == nullptr) {
    return;
  }
  if (const auto barred = BarredBy(row.purchase, row.outcome, row.cost, row.held);
      barred.has_value()) {
    bars_->Read(*barred, seq);
  }
}

// One record's effect on the rows in memory.
void Recorder::Take(const Record& record) {
  auto& open = statements_->open;
  if (record.type == RecordType::kPrice) {
    bill_->Note(record);
    return;
  }
  if (record.type == RecordType::kCredit) {
    bill_->NoteCredit(record);
    return;
  }
  if (record.type == RecordType::kHold || record.type == RecordType::kSnapshotHold) {
    // A snapshot's hold is known, unless the database was lost. What no column keeps of it comes
    // again with each start.
    if (const auto known = open.find(record.hold); known != open.end()) {
      const Purchase bought = DecodePurchase(record.text);
      known->second.purchase.open_ended = bought.open_ended;
      known->second.purchase.askable |= bought.askable;  // a text of before does not say it
      known->second.purchase.billed_apart = bought.billed_apart;
      known->second.budgets = BudgetsText(record.legs);
    } else {
      AttemptRow row;
      row.id = record.hold;
      row.purchase = DecodePurchase(record.text);
      row.admitted_ns = record.type == RecordType::kHold ? record.time_ns : record.since_ns;
      row.held = record.cost;
      row.budgets = BudgetsText(record.legs);
      row.price_version = record.price_version;
      row.reason = row.purchase.degraded ? kDegradedReason : "";
      open.emplace(record.hold, std::move(row));
      statements_->dirty.insert(record.hold);
    }
    return;
  }
  if (record.type == RecordType::kTransfer) {
    statements_->transfers.push_back(
        {record.seq, record.time_ns, record.account, record.key.number, record.cost, record.text});
    return;
  }
  if (record.type == RecordType::kAdjust) {
    statements_->corrections.push_back(CorrectionOf(record));
    return;
  }
  const auto found = open.find(record.hold);
  if (found == open.end()) {
    return;  // of accounts, or of an attempt that a lost database knew
  }
  AttemptRow& row = found->second;
  switch (record.type) {
    case RecordType::kSent:
      row.state = std::max(row.state, AttemptState::kSent);
      break;
    case RecordType::kUpstreamId:
      row.upstream_id = record.text;
      break;
    case RecordType::kProgress:
      row.cost = record.cost;
      row.charge = record.charge;
      return;  // the next start has it from the journal
    case RecordType::kExtend:
      row.held += record.cost;
      break;
    case RecordType::kInDoubt:
      row.state = AttemptState::kInDoubt;
      row.reason = record.text;
      break;
    case RecordType::kSettle:
      row.state = AttemptState::kSettled;
      row.cost = record.cost;
      row.charge = record.charge;
      row.outcome = DecodeOutcome(record.text);
      row.credits = CreditSharesOf(record);
      row.ended_ns = record.time_ns;
      NoteIncomplete(row);
      Bar(row, record.seq);
      break;
    case RecordType::kVoid:
      row.state = AttemptState::kVoid;
      row.cost = row.charge = 0;
      row.reason = record.text;
      row.ended_ns = record.time_ns;
      break;
    default:
      return;
  }
  if (HasEnded(row.state)) {
    statements_->dirty.erase(record.hold);
    statements_->ended.push_back(std::move(row));
    open.erase(found);
  } else {
    statements_->dirty.insert(record.hold);
  }
}

namespace {

// A row is written for every request: its texts are not copied once more.
Status PutRow(storage::Statement& put, const AttemptRow& row) {
  const std::array<std::byte, 16> id = BytesOf(row.id.request);
  const Purchase& bought = row.purchase;
  put.Reset();
  put.BindView(1, std::span<const std::byte>(id)).Bind(2, int64_t{row.id.attempt});
  int index = 3;
  for (const std::string* field :
       {&bought.org_id, &bought.project_id, &bought.key_id, &bought.user_id, &bought.model,
        &bought.provider, &bought.provider_model}) {
    put.BindView(index++, *field);
  }
  put.Bind(10, int64_t{bought.own_key}).Bind(11, int64_t{bought.priced});
  put.Bind(12, static_cast<int64_t>(row.state)).Bind(13, row.admitted_ns).Bind(14, row.ended_ns);
  put.Bind(15, row.held).Bind(16, row.cost).Bind(17, row.charge);
  put.Bind(18, int64_t{row.price_version});
  put.Bind(19, row.outcome.input_tokens).Bind(20, row.outcome.cached_tokens);
  put.Bind(21, row.outcome.output_tokens).Bind(22, row.outcome.reasoning_tokens);
  put.BindView(23, UsageSourceName(row.outcome.source)).BindView(24, row.outcome.finish);
  put.BindView(25, row.upstream_id).BindView(26, row.reason);
  put.Bind(27, row.outcome.cache_write_tokens);
  put.Bind(28, row.outcome.audio_input_tokens).Bind(29, row.outcome.audio_output_tokens);
  put.Bind(30, row.outcome.images).Bind(31, row.outcome.cache_write_1h_tokens);
  put.Bind(32, int64_t{bought.askable}).Bind(33, row.outcome.unverifiable_tokens);
  put.BindView(34, row.outcome.service_tier).BindView(35, row.budgets);
  return put.Run();
}

// Whose sums a row belongs to: slot or day, org, key, model, provider.
using SumKey =
    std::tuple<int64_t, std::string_view, std::string_view, std::string_view, std::string_view>;

// Of an attempt, or a correction of one; `row` has to stay.
SumKey SumKeyOf(const auto& row, int64_t unit_ns) {
  const Purchase& bought = row.purchase;
  return {row.admitted_ns / unit_ns, bought.org_id, bought.key_id, bought.model, bought.provider};
}

void AddTo(UsageSum& sum, const AttemptRow& row) {
  const bool is_settled = row.state == AttemptState::kSettled;
  ++(is_settled ? sum.settled : sum.voided);
  sum.unpriced += is_settled && !row.purchase.priced ? 1 : 0;
  sum.cost += row.cost;
  sum.charge += row.charge;
  sum.own_key_cost += row.purchase.own_key ? row.cost : 0;
  sum.input_tokens += row.outcome.input_tokens;
  sum.cached_tokens += row.outcome.cached_tokens;
  sum.output_tokens += row.outcome.output_tokens;
  sum.unverifiable_tokens += row.outcome.reasoning_tokens;
}

Status AddToSum(storage::Statement& add, const SumKey& key, const UsageSum& sum) {
  add.Reset();
  const auto& [slot, org, key_id, model, provider] = key;
  add.Bind(1, slot).Bind(2, org).Bind(3, key_id).Bind(4, model).Bind(5, provider);
  add.Bind(6, sum.settled).Bind(7, sum.voided).Bind(8, sum.unpriced);
  add.Bind(9, sum.cost).Bind(10, sum.charge).Bind(11, sum.input_tokens);
  add.Bind(12, sum.cached_tokens).Bind(13, sum.output_tokens).Bind(14, sum.unverifiable_tokens);
  add.Bind(15, sum.own_key_cost);
  return add.Run();
}

}  // namespace

// The rows and the number of the last record change together: a kill between two batches repeats
// nothing and leaves nothing out.
Result<bool> Recorder::ReadBatch() {
  const uint64_t synced = ledger_.synced_seq();
  // Those that the database has are none of a batch: a start reads snapshots that are longer than
  // it.
  for (int taken = 0; taken < kBatchRecords;) {
    if (!ahead_.has_value()) {
      TW_ASSIGN_OR_RETURN(ahead_, reader_->Next());
    }
    if (!ahead_.has_value() || ahead_->seq > synced) {
      break;
    }
    if (read_seq_ > 0 && ahead_->seq > read_seq_ + 1) {
      return Fail(ErrorCode::kCorruptFile,
                  fmt::format("ledger.db lacks what the journal no longer has, from record {} to "
                              "{}: restore both from one backup",
                              read_seq_ + 1, ahead_->seq - 1));
    }
    if (ahead_->seq > read_seq_) {
      Take(*ahead_);
      ++taken;
      read_seq_ = ahead_->seq;
    }
    ahead_.reset();
  }
  if (read_seq_ == applied_seq_) {
    return false;
  }
  TW_ASSIGN_OR_RETURN(storage::Transaction transaction, storage::Transaction::Begin(database_));
  for (const HoldId& id : statements_->dirty) {
    TW_RETURN_IF_ERROR(PutRow(statements_->put, statements_->open.at(id)));
  }
  std::map<SumKey, UsageSum> sums, days;  // most of a batch falls into a few
  for (const AttemptRow& row : statements_->ended) {
    TW_RETURN_IF_ERROR(PutRow(statements_->put, row));
    AddTo(sums[SumKeyOf(row, kSlotNs)], row);
    AddTo(days[SumKeyOf(row, kSlotNs * kSlotsOfADay)], row);
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Correction> corrections,
                      WriteCorrections(statements_->corrections));
  for (const Correction& correction : corrections) {
    for (const auto& [into, unit_ns] :
         {std::pair(&sums, kSlotNs), std::pair(&days, kSlotNs * kSlotsOfADay)}) {
      UsageSum& sum = (*into)[SumKeyOf(correction, unit_ns)];
      sum.unpriced -= correction.makes_cost_known() ? 1 : 0;
      sum.cost += correction.cost_change();
      sum.own_key_cost += correction.purchase.own_key ? correction.cost_change() : 0;
      sum.charge += correction.charge_change();
    }
  }
  for (const auto& [key, sum] : sums) {
    TW_RETURN_IF_ERROR(AddToSum(statements_->add, key, sum));
  }
  for (const auto& [key, sum] : days) {
    TW_RETURN_IF_ERROR(AddToSum(statements_->add_day, key, sum));
  }
  for (const TransferRow& row : statements_->transfers) {
    TW_RETURN_IF_ERROR(database_.Run("INSERT INTO transfers VALUES (?1,?2,?3,?4,?5,?6)",
                                     static_cast<int64_t>(row.seq), row.time_ns, int64_t{row.debit},
                                     int64_t{row.credit}, row.amount, std::string_view(row.text)));
  }
  statements_->put.Reset();
  statements_->add.Reset();
  statements_->add_day.Reset();
  TW_RETURN_IF_ERROR(WriteBill(statements_->ended, corrections));
  TW_RETURN_IF_ERROR(WriteCredits(statements_->ended));
  if (watcher_ != nullptr && !statements_->ended.empty()) {
    TW_RETURN_IF_ERROR(watcher_->Ended(database_, statements_->ended));
  }
  TW_RETURN_IF_ERROR(database_.Run("UPDATE applied SET seq = ?1", static_cast<int64_t>(read_seq_)));
  TW_RETURN_IF_ERROR(transaction.Commit());
  statements_->dirty.clear();
  statements_->ended.clear();
  bill_->new_prices.clear();
  bill_->new_credits.clear();
  statements_->transfers.clear();
  statements_->corrections.clear();
  applied_seq_ = read_seq_;
  TW_RETURN_IF_ERROR(ledger_.ForgetBefore(reader_->segment()));
  if (std::exchange(trimmed_at_, reader_->segment()) != reader_->segment()) {
    TW_RETURN_IF_ERROR(disk_.TrimRetired(ledger::kArchiveBytesMax));
  }
  return true;
}

void Recorder::Release() {
  static_cast<void>(CatchUp());
  const std::lock_guard lock(mutex_);
  statements_.reset();
  bill_.reset();
  database_.Release();
  ++retention_->openings;
}

Status Recorder::Reopen() {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(database_, storage::Database::Open(database_.path()));
  const Status prepared = Prepare();
  if (!prepared.has_value()) {
    statements_.reset();
    bill_.reset();
    database_.Release();  // as before: who has no statements writes no rows
  }
  return prepared;
}

Status Recorder::CheckOpen() const {
  if (!database_.is_open()) {
    return Fail(ErrorCode::kUnavailable, "another process has the ledger");
  }
  return {};
}

Status Recorder::CatchUp() {
  const uint64_t goal = ledger_.seq();
  if (ledger_.synced_seq() < goal) {
    TW_RETURN_IF_ERROR(ledger_.WaitDurable());
  }
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  while (applied_seq_ < goal) {
    TW_ASSIGN_OR_RETURN(const bool has_more, ReadBatch());
    if (!has_more) {
      break;
    }
  }
  return {};
}

void Recorder::Run() {
  NameThread("recorder");
  auto pause = kShortestPause;
  int pauses = 0;  // since something came
  std::string trouble;
  while (true) {
    {
      std::unique_lock lock(waiting_);
      if (wake_.wait_for(lock, pause, [this] { return stopping_; })) {
        break;
      }
    }
    if (const Result<bool> step = SetAsideStep(); !step.has_value()) {
      telemetry::Log(
          telemetry::Level::kError,
          "old requests could not be set aside, and stay in ledger.db: " + step.error().message);
    }
    const std::lock_guard lock(mutex_);
    // What fails is tried again: nothing is lost, and the ledger stops admitting before the journal
    // outgrows its bound.
    const uint64_t news =
        database_.is_open() ? std::max(ledger_.synced_seq(), applied_seq_) - applied_seq_ : 0;
    pause = news > 0 ? kShortestPause : std::min(pause * 2, kLongestPause);
    pauses = news > 0 ? pauses + 1 : 0;
    const bool is_few = news < kBatchRecords && pauses < kPausesOfAFewRecords;
    if (news > 0 && is_few && trouble.empty()) {
      continue;
    }
    const Result<bool> read = news > 0 ? ReadBatch() : Result<bool>(false);
    pauses = 0;
    if (std::string why = read.has_value() ? "" : read.error().message; why != trouble) {
      trouble = std::move(why);
      if (!trouble.empty()) {
        telemetry::Log(telemetry::Level::kError, "ledger.db is behind: " + trouble);
      }
      ledger_.NoteBehind(trouble);
    }
  }
  static_cast<void>(CatchUp());
}

// Of the slots or days from `from` to before `to`.
Status Recorder::AddSums(std::string_view table, std::string_view time, int64_t from, int64_t to,
                         const UsageFilter& filter, UsageSum& sum) {
  std::string sql = fmt::format(
      "SELECT sum(settled), sum(voided), sum(unpriced), sum(cost), sum(charge), "
      "sum(input), sum(cached), sum(output), sum(reasoning), sum(own_key_cost) FROM {} WHERE {} >= "
      "?1 AND {} < ?2",
      table, time, time);
  // Only what is asked for: what stands in an OR finds no index.
  const std::array<std::pair<std::string_view, const std::string*>, 4> asked = {
      {{"key", &filter.key_id},
       {"org", &filter.org_id},
       {"model", &filter.model},
       {"provider", &filter.provider}}};
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!asked[i].second->empty()) {
      sql += fmt::format(" AND {} = ?{}", asked[i].first, i + 3);
    }
  }
  TW_ASSIGN_OR_RETURN(storage::Statement query, database_.Prepare(sql));
  query.Bind(1, from).Bind(2, to);
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!asked[i].second->empty()) {
      query.Bind(static_cast<int>(i) + 3, std::string_view(*asked[i].second));
    }
  }
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  int column = 0;
  for (int64_t* value :
       {&sum.settled, &sum.voided, &sum.unpriced, &sum.cost, &sum.charge, &sum.input_tokens,
        &sum.cached_tokens, &sum.output_tokens, &sum.unverifiable_tokens, &sum.own_key_cost}) {
    *value += has_row ? query.Integer(column++) : 0;
  }
  return {};
}

Result<UsageSum> Recorder::Sum(const UsageFilter& filter) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  UsageSum sum;
  // Whole days are added up already; quarters of an hour are for what is before and behind them.
  const int64_t from = filter.from_ns / kSlotNs, to = filter.to_ns / kSlotNs;
  const int64_t first_day = (from + kSlotsOfADay - 1) / kSlotsOfADay, end_day = to / kSlotsOfADay;
  if (first_day >= end_day) {
    TW_RETURN_IF_ERROR(AddSums("sums", "slot", from, to, filter, sum));
  } else {
    TW_RETURN_IF_ERROR(AddSums("sums", "slot", from, first_day * kSlotsOfADay, filter, sum));
    TW_RETURN_IF_ERROR(AddSums("day_sums", "day", first_day, end_day, filter, sum));
    TW_RETURN_IF_ERROR(AddSums("sums", "slot", end_day * kSlotsOfADay, to, filter, sum));
  }
  // Of what was set aside before this was counted, the day of its end is known, and sums are of
  // that of its admission.
  sum.own_key_cost = std::min(sum.own_key_cost, sum.cost);
  for (const auto& [id, row] : statements_->open) {
    if (!Matches(filter, row)) {
      continue;
    }
    const bool is_doubtful = row.state == AttemptState::kInDoubt;
    ++(is_doubtful ? sum.in_doubt : sum.running);
    (is_doubtful ? sum.doubtful : sum.held) += row.held;
  }
  return sum;
}

uint64_t Recorder::applied_seq() {
  const std::lock_guard lock(mutex_);
  return applied_seq_;
}

uint64_t Recorder::behind() {
  const uint64_t synced = ledger_.synced_seq();
  const std::lock_guard lock(mutex_);
  return synced > applied_seq_ ? synced - applied_seq_ : 0;
}

Status Recorder::Change(const std::function<Status(storage::Database&)>& work) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Transaction transaction, storage::Transaction::Begin(database_));
  TW_RETURN_IF_ERROR(work(database_));
  return transaction.Commit();
}

Result<std::vector<AttemptRow>> Recorder::Find(ledger::RequestId id) {
  std::vector<AttemptRow> rows;
  TW_RETURN_IF_ERROR(ForEachOf({&id, 1}, [&](const AttemptRow& row) { rows.push_back(row); }));
  return rows;
}

Status Recorder::ForEachOf(std::span<const ledger::RequestId> ids,
                           const std::function<void(const AttemptRow&)>& take) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT " + std::string(kColumns) +
                                        " FROM attempts WHERE request = ?1 ORDER BY attempt"));
  for (const ledger::RequestId& id : ids) {
    const std::array<std::byte, 16> bytes = BytesOf(id);
    query.Reset();
    query.Bind(1, std::span<const std::byte>(bytes));
    std::vector<AttemptRow> rows;
    while (true) {
      TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
      if (!has_row) {
        break;
      }
      rows.push_back(RowOf(query));
    }
    TW_RETURN_IF_ERROR(LoadCredits(rows));
    std::ranges::for_each(rows, take);
  }
  return {};
}

}  // namespace tradewind::billing
