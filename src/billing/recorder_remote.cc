// What providers bill, as it was imported, and what was recorded of the same time.
#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "billing/bill_cells.h"
#include "billing/bill_overlap.h"
#include "billing/recorder.h"
#include "billing/recorder_parts.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

// The first id of a second: ids of requests begin with their time.
std::array<std::byte, 16> FirstIdOf(int64_t unix_s) {
  std::array<std::byte, 16> bytes{};
  const auto ms = static_cast<uint64_t>(std::max<int64_t>(0, unix_s)) * 1000;
  StoreLe(bytes.data(), __builtin_bswap64(ms << 16));
  return bytes;
}

// A request is admitted after it came, by its deadline at most.
constexpr int64_t kAdmittedWithinS = 3600;

BillLine LineOf(const storage::Statement& row) {
  BillLine line;
  line.provider = row.Text(0);
  line.is_invoice = row.Integer(1) != 0;
  line.start_s = row.Integer(2);
  line.end_s = row.Integer(3);
  line.model = row.Text(4);
  int column = 5;
  for (const auto field : {&BillLine::requests, &BillLine::input_tokens, &BillLine::cached_tokens,
                           &BillLine::output_tokens, &BillLine::cost}) {
    line.*field = row.OptionalInteger(column++);
  }
  return line;
}

// Within a transaction.
Status PutLines(storage::Database& database, std::span<const BillLine> lines) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement put,
      database.Prepare("INSERT OR REPLACE INTO bill_lines VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,"
                       "?10)"));
  for (const BillLine& line : lines) {
    put.Reset();
    put.Bind(1, std::string_view(line.provider)).Bind(2, int64_t{line.is_invoice});
    put.Bind(3, line.start_s).Bind(4, line.end_s).Bind(5, std::string_view(line.model));
    put.Bind(6, line.requests).Bind(7, line.input_tokens).Bind(8, line.cached_tokens);
    put.Bind(9, line.output_tokens).Bind(10, line.cost);
    TW_RETURN_IF_ERROR(put.Run());
  }
  return {};
}

// By which a provider and the Hub call what was settled in a time.
Result<ModelNames> NamesIn(storage::Database& database, const std::string& provider, int64_t from_s,
                           int64_t to_s) {
  constexpr int64_t kHourS = 3600, kDayHours = 24;
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database.Prepare("SELECT DISTINCT provider_model, model FROM day_meters WHERE hour >= ?1 AND "
                       "hour <= ?2 AND provider = ?3"));
  query.Bind(1, from_s / kHourS - kDayHours).Bind(2, to_s / kHourS);
  query.Bind(3, std::string_view(provider));
  ModelNames names;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return names;
    }
    names.emplace(query.Text(0), query.Text(1));
  }
}

// Of the kind and of about the time of these lines.
Result<std::vector<BillLine>> LinesBeside(storage::Database& database, const BillLine& first,
                                          int64_t from_s, int64_t to_s) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database.Prepare("SELECT provider, is_invoice, start, end, model, requests, input, cached, "
                       "output, cost FROM bill_lines WHERE provider = ?1 AND is_invoice = ?2 AND "
                       "start < ?3 AND end > ?4"));
  query.Bind(1, std::string_view(first.provider)).Bind(2, int64_t{first.is_invoice});
  query.Bind(3, to_s).Bind(4, from_s);
  std::vector<BillLine> lines;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return lines;
    }
    lines.push_back(LineOf(query));
  }
}

// Lines that were put, against those that were there: within the transaction.
Status SettleOverlaps(storage::Database& database, std::span<const BillLine> lines,
                      bool takes_place) {
  if (lines.empty()) {
    return {};
  }
  const int64_t from_s = std::ranges::min(lines, {}, &BillLine::start_s).start_s;
  const int64_t to_s = std::ranges::max(lines, {}, &BillLine::end_s).end_s;
  TW_ASSIGN_OR_RETURN(const ModelNames names,
                      NamesIn(database, lines.front().provider, from_s, to_s));
  const auto refuse = [](const Overlap& overlap, std::string_view advice) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The line of {} counts requests that the line of {} counts too: {}",
                            CellName(overlap.line), CellName(overlap.other), advice),
                "file");
  };
  if (const auto within = FindOverlaps(lines, lines, names); !within.empty()) {
    return refuse(within.front(), "leave one of the two out of the bill.");
  }
  TW_ASSIGN_OR_RETURN(const std::vector<BillLine> all,
                      LinesBeside(database, lines.front(), from_s, to_s));
  for (const Overlap& overlap : FindOverlaps(lines, all, names)) {
    const BillLine& before = overlap.other;
    if (!takes_place) {
      return refuse(overlap,
                    "that was imported before, and is dropped when this bill is imported with "
                    "--replace.");
    }
    TW_RETURN_IF_ERROR(
        database.Run("DELETE FROM bill_lines WHERE provider = ?1 AND is_invoice = ?2 AND "
                     "start = ?3 AND end = ?4 AND model = ?5",
                     std::string_view(before.provider), int64_t{before.is_invoice}, before.start_s,
                     before.end_s, std::string_view(before.model)));
  }
  return {};
}

}  // namespace

Status Recorder::PutBillLines(std::span<const BillLine> lines, bool takes_place) {
  return Change([&](storage::Database& database) -> Status {
    TW_RETURN_IF_ERROR(PutLines(database, lines));
    return SettleOverlaps(database, lines, takes_place);
  });
}

Status Recorder::ReplaceBillLines(const std::string& provider, int64_t from_s, int64_t to_s,
                                  std::span<const BillLine> lines, bool takes_place) {
  return Change([&](storage::Database& database) -> Status {
    TW_RETURN_IF_ERROR(
        database.Run("DELETE FROM bill_lines WHERE provider = ?1 AND is_invoice = 0 AND "
                     "start >= ?2 AND end <= ?3",
                     std::string_view(provider), from_s, to_s));
    TW_RETURN_IF_ERROR(PutLines(database, lines));
    return SettleOverlaps(database, lines, takes_place);
  });
}

namespace {

// Those of invoices alone, when there are some.
Result<std::vector<BillLine>> LinesOf(storage::Database& database, const std::string& provider,
                                      const BillPeriod& period) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database.Prepare("SELECT provider, is_invoice, start, end, model, requests, input, cached, "
                       "output, cost FROM bill_lines WHERE provider = ?1 AND start >= ?2 AND "
                       "start < ?3 ORDER BY start, end, model"));
  query.Bind(1, std::string_view(provider)).Bind(2, period.from_s).Bind(3, period.to_s);
  std::vector<BillLine> lines;
  bool has_invoice = false;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      std::erase_if(lines, [&](const BillLine& line) { return line.is_invoice != has_invoice; });
      return lines;
    }
    lines.push_back(LineOf(query));
    has_invoice |= lines.back().is_invoice;
  }
}

}  // namespace

// Of the attempts from `from` on, so many as hold the lock for milliseconds; `from` moves behind
// them. False: those were the last ones before `to`.
Result<bool> Recorder::AddUses(const std::string& provider, std::array<std::byte, 16>& from,
                               const std::array<std::byte, 16>& to, BillCells& cells) {
  constexpr int64_t kAttempts = 4096;
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Statement find,
                      database_.Prepare("SELECT request FROM attempts WHERE request > ?1 AND "
                                        "request < ?2 ORDER BY request LIMIT 1 OFFSET ?3"));
  find.Bind(1, std::span<const std::byte>(from)).Bind(2, std::span<const std::byte>(to));
  find.Bind(3, kAttempts);
  TW_ASSIGN_OR_RETURN(const bool has_more, find.Next());
  const std::array<std::byte, 16> end = has_more ? BytesOf(IdOf(find.Blob(0))) : to;
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT state, priced OR EXISTS (SELECT 1 FROM corrections c "
                        "WHERE c.request = attempts.request AND c.attempt = attempts.attempt), "
                        "admitted_ns, input, cached, output, "
                        "cost + coalesce((SELECT sum(c.cost - c.cost_before) FROM corrections c "
                        "WHERE c.request = attempts.request AND c.attempt = attempts.attempt), 0), "
                        "model, "
                        "provider_model, price_version, source FROM attempts WHERE request >= ?1 "
                        "AND request < ?2 "
                        "AND provider = ?3 AND own_key = 0 AND state < 4"));
  query.Bind(1, std::span<const std::byte>(from)).Bind(2, std::span<const std::byte>(end));
  query.Bind(3, std::string_view(provider));
  from = end;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return has_more;
    }
    BilledUse use;
    // What runs is not known any better.
    use.is_doubtful = query.Integer(0) < static_cast<int64_t>(AttemptState::kSettled);
    use.is_priced = query.Integer(1) != 0;
    use.at_s = query.Integer(2) / kNanosPerSecond;
    use.input_tokens = query.Integer(3);
    use.cached_tokens = query.Integer(4);
    use.output_tokens = query.Integer(5);
    use.cost = query.Integer(6);
    use.model = query.Text(7);
    use.provider_model = query.Text(8);
    use.price_version = static_cast<uint32_t>(query.Integer(9));
    use.source = UsageSourceFromName(query.Text(10));
    cells.Add(use);
  }
}

Result<ImportedBill> Recorder::BillOf(const std::string& provider, const BillPeriod& period) {
  ImportedBill bill;
  {
    const std::lock_guard lock(mutex_);
    TW_RETURN_IF_ERROR(CheckOpen());
    TW_ASSIGN_OR_RETURN(bill.lines, LinesOf(database_, provider, period));
  }
  TW_ASSIGN_OR_RETURN(const int64_t set_aside_until_ns, SetAsideUntil());
  const int64_t until_s = set_aside_until_ns / kNanosPerSecond;
  if (!bill.lines.empty() && BillCells(bill.lines).from_s() < until_s) {
    bill.set_aside_until_s = until_s;
  }
  return bill;
}

Result<std::vector<Difference>> Recorder::Differences(const std::string& provider,
                                                      const BillPeriod& period, BillReach reach) {
  // So long that a thread which waits for the lock gets it, which a mutex does not promise.
  constexpr auto kPause = std::chrono::milliseconds(1);
  TW_RETURN_IF_ERROR(CatchUp());
  const Stillness still = HoldStill();
  TW_ASSIGN_OR_RETURN(ImportedBill bill, BillOf(provider, period));
  if (bill.lines.empty()) {
    return std::vector<Difference>();
  }
  if (bill.set_aside_until_s.has_value()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("Requests until {} were set aside into HOME/archive: bills of {} "
                            "cannot be compared with them any more; keep them longer with "
                            "[billing] keep_requests.",
                            UtcTime(*bill.set_aside_until_s), period.name),
                "period");
  }
  BillCells cells = reach == BillReach::kWholeMonth ? BillCells(std::move(bill.lines), period)
                                                    : BillCells(std::move(bill.lines));
  std::array<std::byte, 16> from = FirstIdOf(cells.from_s() - kAdmittedWithinS);
  const std::array<std::byte, 16> to = FirstIdOf(cells.to_s() + 1);
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_more, AddUses(provider, from, to, cells));
    if (!has_more) {
      break;
    }
    std::this_thread::sleep_for(kPause);
  }
  std::vector<Difference> differences = cells.Take();
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  for (Difference& difference : differences) {
    const auto price = bill_->prices.find(difference.local.price_version);
    if (difference.kind == DifferenceClass::kPrice && price != bill_->prices.end()) {
      difference.local.prices = price->second;
    }
  }
  return differences;
}

Result<int64_t> Recorder::CountOpenOf(const std::string& provider, const BillPeriod& month) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT count(*) FROM attempts WHERE state < 3 AND provider = ?1 AND "
                        "own_key = 0 AND admitted_ns >= ?2 AND admitted_ns < ?3"));
  query.Bind(1, std::string_view(provider));
  query.Bind(2, month.from_s * kNanosPerSecond).Bind(3, month.to_s * kNanosPerSecond);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

Result<bool> IsMonthClosed(storage::Database& database, std::string_view provider,
                           const BillPeriod& month) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT substr(text, 1, length(?1)) = ?1 FROM transfers "
                                       "WHERE substr(text, 1, length(?1)) = ?1 OR "
                                       "substr(text, 1, length(?2)) = ?2 "
                                       "ORDER BY seq DESC LIMIT 1"));
  const std::string closed = TransferText("close", provider, month);
  const std::string opened = TransferText("reopen", provider, month);
  query.Bind(1, std::string_view(closed)).Bind(2, std::string_view(opened));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row && query.Integer(0) != 0;
}

Result<bool> Recorder::IsClosed(const std::string& provider, const BillPeriod& month) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return IsMonthClosed(database_, provider, month);
}

Status Recorder::TellDifferences(const std::string& provider, const BillPeriod& period,
                                 std::span<const Difference> differences, int64_t now_ns) {
  if (watcher_ == nullptr) {
    return {};
  }
  return Change([&](storage::Database& database) {
    return watcher_->Compared(database, provider, period, differences, now_ns);
  });
}

Result<std::vector<std::string>> Recorder::BilledProviders(const BillPeriod& period) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT DISTINCT provider FROM bill_lines "
                                        "WHERE start >= ?1 AND start < ?2 ORDER BY provider"));
  query.Bind(1, period.from_s).Bind(2, period.to_s);
  std::vector<std::string> providers;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return providers;
    }
    providers.emplace_back(query.Text(0));
  }
}

Result<std::vector<TransferRow>> Recorder::Transfers(std::string_view prefix) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT seq, time_ns, debit, credit, amount, text FROM transfers "
                        "WHERE substr(text, 1, length(?1)) = ?1 ORDER BY seq"));
  query.Bind(1, prefix);
  std::vector<TransferRow> rows;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return rows;
    }
    rows.push_back({static_cast<uint64_t>(query.Integer(0)), query.Integer(1),
                    static_cast<ledger::AccountNumber>(query.Integer(2)),
                    static_cast<ledger::AccountNumber>(query.Integer(3)), query.Integer(4),
                    std::string(query.Text(5))});
  }
}

bool Recorder::HasTwin(std::string_view provider, std::string_view upstream_id,
                       ledger::HoldId but) {
  const auto find = [&]() -> Result<bool> {
    TW_RETURN_IF_ERROR(CatchUp());
    const std::lock_guard lock(mutex_);
    TW_RETURN_IF_ERROR(CheckOpen());
    TW_ASSIGN_OR_RETURN(
        storage::Statement query,
        database_.Prepare(
            "SELECT 1 FROM attempts WHERE upstream_id = ?1 AND upstream_id <> '' AND "
            "askable = 1 AND provider = ?2 AND state = 3 AND NOT (request = ?3 AND attempt = ?4) "
            "LIMIT 1"));
    const std::array<std::byte, 16> id = BytesOf(but.request);
    query.Bind(1, upstream_id).Bind(2, provider);
    query.Bind(3, std::span<const std::byte>(id)).Bind(4, int64_t{but.attempt});
    return query.Next();
  };
  return find().value_or(true);
}

}  // namespace tradewind::billing
