// Old attempts go into files, and out of the table: docs/adr/0026-old-requests-are-set-aside.md.
#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/file.h"
#include "billing/meters.h"
#include "billing/parquet_writer.h"
#include "billing/recorder_parts.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kStepRows = 500;      // under the lock: some milliseconds
constexpr size_t kFileRows = 50'000;    // in memory until they are written
constexpr int64_t kLookEveryS = 60;     // when nothing is due
constexpr int64_t kFailedAgainS = 600;  // when a disk was full
constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kDayS = 86'400, kDayNs = kDayS * kNanosPerSecond;
constexpr int64_t kNanosPerMicro = 1000;
constexpr __int128 kPerNanoUsd = 1'000'000'000;  // of 10^-18 USD

std::vector<ParquetColumn> Columns() {
  using enum ParquetType;
  return {{"receipt", kText},
          {"attempt", kInteger},
          {"org", kText},
          {"project", kText},
          {"key", kText},
          {"user", kText},
          {"model", kText},
          {"provider", kText},
          {"provider_model", kText},
          {"own_key", kInteger},
          {"priced", kInteger},
          {"state", kText},
          {"admitted", kTime},
          {"ended", kTime},
          {"admitted_ns", kInteger},
          {"ended_ns", kInteger},
          {"held_usd", kDecimal},
          {"cost_usd", kDecimal},
          {"charge_usd", kDecimal},
          {"credits", kText},
          {"price_version", kInteger},
          {"input_tokens", kInteger},
          {"cached_tokens", kInteger},
          {"cache_write_tokens", kInteger},
          {"cache_write_1h_tokens", kInteger},
          {"output_tokens", kInteger},
          {"reasoning_tokens", kInteger},
          {"unverifiable_tokens", kInteger},
          {"audio_input_tokens", kInteger},
          {"audio_output_tokens", kInteger},
          {"images", kInteger},
          {"service_tier", kText},
          {"usage_source", kText},
          {"finish", kText},
          {"upstream_id", kText},
          {"reason", kText}};
}

// All that a row of the table has; "credits" is "5:1200 7:30", numbers of credits and nano-USD.
void Add(const AttemptRow& row, ParquetWriter& file) {
  const Purchase& bought = row.purchase;
  const Outcome& used = row.outcome;
  file.AddText(row.id.request.ToString());
  file.AddInteger(row.id.attempt);
  for (const std::string* text :
       {&bought.org_id, &bought.project_id, &bought.key_id, &bought.user_id, &bought.model,
        &bought.provider, &bought.provider_model}) {
    file.AddText(*text);
  }
  file.AddInteger(bought.own_key);
  file.AddInteger(bought.priced);
  file.AddText(AttemptStateName(row.state));
  file.AddTime(row.admitted_ns / kNanosPerMicro);
  file.AddTime(row.ended_ns / kNanosPerMicro);
  file.AddInteger(row.admitted_ns);
  file.AddInteger(row.ended_ns);
  for (const ledger::NanoUsd amount : {row.held, row.cost, row.charge}) {
    file.AddDecimal(amount * kPerNanoUsd);
  }
  std::string credits;
  for (const CreditShare& share : row.credits) {
    credits += fmt::format("{}{}:{}", credits.empty() ? "" : " ", share.credit, share.amount);
  }
  file.AddText(credits);
  file.AddInteger(row.price_version);
  file.AddInteger(used.input_tokens);
  file.AddInteger(used.cached_tokens);
  used.cache_write_tokens.has_value() ? file.AddInteger(*used.cache_write_tokens) : file.AddNull();
  for (const int64_t tokens :
       {used.cache_write_1h_tokens, used.output_tokens, used.reasoning_tokens,
        used.unverifiable_tokens, used.audio_input_tokens, used.audio_output_tokens, used.images}) {
    file.AddInteger(tokens);
  }
  file.AddText(used.service_tier);
  file.AddText(UsageSourceName(used.source));
  for (const std::string* text : {&used.finish, &row.upstream_id, &row.reason}) {
    file.AddText(*text);
  }
}

// On the disk when it returns.
Status WriteRows(const std::filesystem::path& path, std::span<const AttemptRow> rows) {
  std::error_code error;
  std::filesystem::create_directory(path.parent_path(), error);
  std::filesystem::permissions(path.parent_path(), std::filesystem::perms::owner_all, error);
  if (error) {
    return Fail(ErrorCode::kIo,
                fmt::format("{}: {}", path.parent_path().string(), error.message()));
  }
  ParquetWriter file(Columns());
  for (const AttemptRow& row : rows) {
    Add(row, file);
  }
  return WriteFileAtomic(path, file.Finish(), 0600);
}

std::string FileName(int64_t day, int64_t part) {
  const std::string date = UtcTime(day * kDayS).substr(0, std::string_view("2026-11-27").size());
  return fmt::format("requests-{}{}.parquet", date, part > 1 ? fmt::format("-{}", part) : "");
}

}  // namespace

Result<bool> Recorder::SetAsideStep() {
  Retention& going = *retention_;
  if (going.keep.count() == 0) {
    return false;
  }
  const std::optional<int64_t> believed_ns =
      going.time.Look(std::chrono::nanoseconds(going.clock->WallNow().time_since_epoch()).count(),
                      going.clock->Now());
  if (!believed_ns.has_value()) {
    return false;
  }
  const int64_t now_s = going.now_s = *believed_ns / kNanosPerSecond;
  const auto step = [&]() -> Result<bool> {
    std::filesystem::path path;
    {
      const std::lock_guard lock(mutex_);
      if (!database_.is_open() || still_ > 0 || now_s < going.again_s) {
        return false;
      }
      if (std::exchange(going.begun_at, going.openings) != going.openings) {
        going.rows.clear();  // another process had the tables meanwhile
        going.file.clear();
        going.is_written = false;
      }
      if (!going.file.empty()) {
        return NoteWritten();
      }
      if (going.is_written) {
        return DropSetAside();
      }
      TW_ASSIGN_OR_RETURN(const bool has_more, CollectDue());
      if (has_more) {
        return true;
      }
      if (going.rows.empty()) {
        going.again_s = now_s + kLookEveryS;
        return false;
      }
      TW_ASSIGN_OR_RETURN(const std::string name, SetAsideName());
      path = database_.path().parent_path() / "archive" / name;
    }
    TW_RETURN_IF_ERROR(WriteRows(path, going.rows));
    going.file = path.filename().string();
    return true;
  };
  Result<bool> done = step();
  if (!done.has_value()) {
    going.again_s = now_s + kFailedAgainS;
    if (!going.is_written) {
      going.rows.clear();
      going.file.clear();
    }
  }
  return done;
}

// A provider's bill of the day's month, which is not closed: comparing it, and closing, takes the
// rows of all the month.
Result<bool> Recorder::HasOpenBill(int64_t day) {
  const BillPeriod month = MonthOf(day * kDayS);
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT DISTINCT provider FROM bill_lines WHERE start < ?2 AND end > ?1"));
  query.Bind(1, month.from_s).Bind(2, month.to_s);
  TW_ASSIGN_OR_RETURN(const std::vector<std::string> providers,
                      storage::ReadAll(std::move(query), [](const storage::Statement& row) {
                        return std::string(row.Text(0));
                      }));
  for (const std::string& provider : providers) {
    TW_ASSIGN_OR_RETURN(const bool is_closed, IsMonthClosed(database_, provider, month));
    if (!is_closed) {
      return true;
    }
  }
  return false;
}

// The next rows of the file. False: it has all that belongs into it, or nothing is due.
Result<bool> Recorder::CollectDue() {
  Retention& going = *retention_;
  if (going.rows.empty()) {
    TW_ASSIGN_OR_RETURN(
        storage::Statement oldest,
        database_.Prepare("SELECT ended_ns FROM attempts INDEXED BY attempts_by_end "
                          "WHERE state >= 3 ORDER BY ended_ns LIMIT 1"));
    TW_ASSIGN_OR_RETURN(const bool has_row, oldest.Next());
    if (!has_row) {
      return false;
    }
    going.day = oldest.Integer(0) / kDayNs;
    const int64_t due_s = (going.day + 1 + going.keep.count()) * kDayS;
    // What is in doubt for so long keeps its day: somebody will ask what was around it.
    const bool has_open = std::ranges::any_of(statements_->open, [&](const auto& entry) {
      return entry.second.admitted_ns / kDayNs <= going.day;
    });
    if (going.now_s < due_s || has_open) {
      return false;
    }
    TW_ASSIGN_OR_RETURN(const bool awaits_close, HasOpenBill(going.day));
    if (awaits_close) {
      return false;
    }
  }
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare(fmt::format(
                          "SELECT {} FROM attempts INDEXED BY attempts_by_end WHERE state >= 3 AND "
                          "(ended_ns, request, attempt) > (?1, ?2, ?3) AND ended_ns < ?4 "
                          "ORDER BY ended_ns, request, attempt LIMIT ?5",
                          AttemptColumns())));
  const AttemptRow* last = going.rows.empty() ? nullptr : &going.rows.back();
  const std::array<std::byte, 16> id =
      BytesOf(last == nullptr ? ledger::RequestId() : last->id.request);
  query.Bind(1, last == nullptr ? INT64_MIN : last->ended_ns);
  query.Bind(2, std::span<const std::byte>(id));
  query.Bind(3, last == nullptr ? int64_t{0} : int64_t{last->id.attempt});
  query.Bind(4, (going.day + 1) * kDayNs).Bind(5, kStepRows);
  TW_ASSIGN_OR_RETURN(std::vector<AttemptRow> rows, storage::ReadAll(std::move(query), RowOf));
  for (AttemptRow& row : rows) {
    TW_RETURN_IF_ERROR(LoadCredits({&row, 1}));
  }
  const bool is_full = rows.size() == kStepRows;
  std::ranges::move(rows, std::back_inserter(going.rows));
  return is_full && going.rows.size() < kFileRows;
}

// A file that no table names, because of a kill, is written anew under its name.
Result<std::string> Recorder::SetAsideName() {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT count(*) FROM set_aside WHERE day = ?1"));
  query.Bind(1, retention_->day);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return FileName(retention_->day, has_row ? query.Integer(0) + 1 : 1);
}

// False: the month was opened again while the file was written, and keeps its rows.
Result<bool> Recorder::NoteWritten() {
  Retention& going = *retention_;
  const std::string file = std::exchange(going.file, {});
  TW_ASSIGN_OR_RETURN(const bool awaits_close, HasOpenBill(going.day));
  if (awaits_close) {
    going.rows.clear();
    return false;
  }
  TW_RETURN_IF_ERROR(NoteSetAside(file));
  going.is_written = true;
  going.dropped = 0;
  return true;
}

Status Recorder::NoteSetAside(const std::string& file) {
  const Retention& going = *retention_;
  const auto [first, last] = std::ranges::minmax(going.rows, {}, &AttemptRow::id);
  const auto from = BytesOf(first.id.request), to = BytesOf(last.id.request);
  return database_.Run("INSERT OR REPLACE INTO set_aside VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
                       std::string_view(file), going.day, static_cast<int64_t>(going.rows.size()),
                       going.now_s, std::span<const std::byte>(from),
                       std::span<const std::byte>(to), going.rows.front().ended_ns,
                       going.rows.back().ended_ns);
}

// The next rows leave the table, and what statements count of them is kept, in one transaction. A
// kill leaves rows in the table that are in the file too: they go into another file.
Result<bool> Recorder::DropSetAside() {
  Retention& going = *retention_;
  const size_t end = std::min(going.rows.size(), going.dropped + size_t{kStepRows});
  TW_ASSIGN_OR_RETURN(storage::Transaction transaction, storage::Transaction::Begin(database_));
  TW_ASSIGN_OR_RETURN(
      storage::Statement drop,
      database_.Prepare("DELETE FROM attempts WHERE request = ?1 AND attempt = ?2 AND state >= 3"));
  Meters meters;
  std::map<std::tuple<int64_t, std::string_view, std::string_view, std::string_view,
                      ledger::AccountNumber>,
           ledger::NanoUsd>
      credits;
  for (size_t i = going.dropped; i < end; ++i) {
    const AttemptRow& row = going.rows[i];
    const std::array<std::byte, 16> id = BytesOf(row.id.request);
    drop.Reset();
    drop.Bind(1, std::span<const std::byte>(id)).Bind(2, int64_t{row.id.attempt});
    TW_RETURN_IF_ERROR(drop.Run());
    if (database_.changes() == 0) {
      continue;
    }
    if (row.state == AttemptState::kSettled) {
      const auto prices = bill_->prices.find(row.price_version);
      AddToMeters(row, prices == bill_->prices.end() ? nullptr : &prices->second, meters);
    }
    for (const CreditShare& share : row.credits) {
      credits[{going.day * kHoursOfADay, row.purchase.org_id, row.purchase.project_id,
               row.purchase.key_id, share.credit}] += share.amount;
    }
    if (!row.credits.empty()) {
      TW_RETURN_IF_ERROR(
          database_.Run("DELETE FROM attempt_credits WHERE request = ?1 AND attempt = ?2",
                        std::span<const std::byte>(id), int64_t{row.id.attempt}));
    }
  }
  TW_ASSIGN_OR_RETURN(storage::Statement add,
                      database_.Prepare(AddingToMeters("set_aside_meters")));
  for (const auto& [key, sum] : meters) {
    MeterKey day = key;
    day.hour = key.hour / kHoursOfADay * kHoursOfADay;
    TW_RETURN_IF_ERROR(AddMeter(add, day, sum));
  }
  for (const auto& [key, amount] : credits) {
    const auto& [hour, org, project, key_id, credit] = key;
    TW_RETURN_IF_ERROR(
        database_.Run("INSERT INTO set_aside_credits VALUES (?1,?2,?3,?4,?5,?6) "
                      "ON CONFLICT DO UPDATE SET amount = amount + ?6",
                      hour, org, project, key_id, int64_t{credit}, amount));
  }
  drop.Reset();
  add.Reset();
  TW_RETURN_IF_ERROR(transaction.Commit());
  going.dropped = end;
  if (going.dropped == going.rows.size()) {
    going.rows.clear();
    going.is_written = false;
  }
  return true;
}

Result<int64_t> Recorder::SetAsideUntil() {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT max(to_ns) + 1 FROM set_aside"));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.OptionalInteger(0).value_or(INT64_MIN) : INT64_MIN;
}

Result<std::optional<Recorder::SetAsideFile>> Recorder::SetAsideOf(ledger::RequestId id) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT file, at_s FROM set_aside WHERE first_request <= ?1 AND "
                        "last_request >= ?1 ORDER BY day, at_s LIMIT 1"));
  const std::array<std::byte, 16> bytes = BytesOf(id);
  query.Bind(1, std::span<const std::byte>(bytes));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  if (!has_row) {
    return std::nullopt;
  }
  return SetAsideFile{std::string(query.Text(0)), query.Integer(1)};
}

}  // namespace tradewind::billing
