// What providers bill, as it was imported, and what was recorded of the same time.
#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "billing/bill_boundary.h"
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

}  // namespace

Status Recorder::PutBillLines(std::span<const BillLine> lines) {
  return Change([&](storage::Database& database) { return PutLines(database, lines); });
}

Status Recorder::ReplaceBillLines(const std::string& provider, int64_t from_s, int64_t to_s,
                                  std::span<const BillLine> lines) {
  return Change([&](storage::Database& database) -> Status {
    {
      TW_ASSIGN_OR_RETURN(storage::Statement drop,
                          database.Prepare("DELETE FROM bill_lines WHERE provider = ?1 AND "
                                           "is_invoice = 0 AND start >= ?2 AND end <= ?3"));
      drop.Bind(1, std::string_view(provider)).Bind(2, from_s).Bind(3, to_s);
      TW_RETURN_IF_ERROR(drop.Run());
    }
    return PutLines(database, lines);
  });
}

Result<LocalCell> Recorder::LocalUse(const BillLine& cell) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(
          "SELECT state, priced, admitted_ns, input, cached, output, cost, model, "
          "provider_model, price_version FROM attempts "
          "WHERE request >= ?1 AND request < ?2 AND admitted_ns >= ?3 AND admitted_ns < ?4 "
          "AND provider = ?5 AND (?6 = '' OR provider_model = ?6 OR model = ?6) AND own_key = 0 "
          "AND state < 4"));
  const auto from = FirstIdOf(cell.start_s - kEdgeS - kAdmittedWithinS);
  const auto to = FirstIdOf(cell.end_s + kEdgeS + 1);
  query.Bind(1, std::span<const std::byte>(from)).Bind(2, std::span<const std::byte>(to));
  query.Bind(3, (cell.start_s - kEdgeS) * kNanosPerSecond);
  query.Bind(4, (cell.end_s + kEdgeS) * kNanosPerSecond);
  query.Bind(5, std::string_view(cell.provider)).Bind(6, std::string_view(cell.model));
  LocalCell local;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return local;
    }
    const int64_t at_s = query.Integer(2) / kNanosPerSecond;
    const bool is_inside = cell.start_s <= at_s && at_s < cell.end_s;
    // What runs is not known any better.
    const bool is_doubtful = query.Integer(0) < static_cast<int64_t>(AttemptState::kSettled);
    const int64_t cost = query.Integer(6);
    if (is_doubtful) {
      local.in_doubt += is_inside ? 1 : 0;
      continue;
    }
    for (auto& [end_s, edges] :
         {std::pair(cell.start_s, &local.at_start), std::pair(cell.end_s, &local.at_end)}) {
      if (end_s - kEdgeS <= at_s && at_s < end_s + kEdgeS) {
        (at_s < end_s ? edges->before : edges->after).Add(query.Integer(3), query.Integer(5), cost);
      }
    }
    if (!is_inside) {
      continue;
    }
    ++local.requests;
    if (local.requests == 1) {
      local.hf_model = query.Text(7);
      local.provider_model = query.Text(8);
    }
    local.has_many_models |=
        query.Text(7) != local.hf_model || query.Text(8) != local.provider_model;
    local.unpriced += query.Integer(1) == 0 ? 1 : 0;
    local.input_tokens += query.Integer(3);
    local.cached_tokens += query.Integer(4);
    local.output_tokens += query.Integer(5);
    local.cost += cost;
    local.price_version = std::max(local.price_version, static_cast<uint32_t>(query.Integer(9)));
  }
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

using ModelNames = std::set<std::pair<std::string, std::string>>;  // the provider's, the Hub's

Result<ModelNames> ModelsOf(storage::Database& database, const std::string& provider,
                            const BillPeriod& period) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database.Prepare("SELECT DISTINCT provider_model, model FROM attempts WHERE "
                                       "request >= ?1 AND request < ?2 AND provider = ?3 AND "
                                       "own_key = 0 AND state < 4"));
  const auto from = FirstIdOf(period.from_s), to = FirstIdOf(period.to_s);
  query.Bind(1, std::span<const std::byte>(from)).Bind(2, std::span<const std::byte>(to));
  query.Bind(3, std::string_view(provider));
  ModelNames models;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return models;
    }
    models.emplace(query.Text(0), query.Text(1));
  }
}

// A line of nothing for each model that was used in a time that the bill covers, and that it does
// not name there.
void AddUnnamed(const ModelNames& models, std::vector<BillLine>& lines) {
  std::set<std::pair<int64_t, int64_t>> covered;
  for (const BillLine& line : lines) {
    covered.emplace(line.start_s, line.end_s);
  }
  const size_t named = lines.size();
  for (const auto& [start_s, end_s] : covered) {
    for (const auto& [provider_model, model] : models) {
      const bool has_line = std::any_of(
          lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(named),
          [&](const BillLine& line) {
            return line.start_s == start_s && line.end_s == end_s &&
                   (line.model.empty() || line.model == provider_model || line.model == model);
          });
      if (!has_line) {
        BillLine missing;
        missing.provider = lines.front().provider;
        missing.model = provider_model;
        missing.start_s = start_s;
        missing.end_s = end_s;
        missing.is_invoice = lines.front().is_invoice;
        missing.cost = 0;
        lines.push_back(std::move(missing));
      }
    }
  }
}

}  // namespace

Result<std::vector<Difference>> Recorder::Differences(const std::string& provider,
                                                      const BillPeriod& period) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(std::vector<BillLine> lines, LinesOf(database_, provider, period));
  TW_ASSIGN_OR_RETURN(const ModelNames models, ModelsOf(database_, provider, period));
  AddUnnamed(models, lines);
  std::vector<Difference> differences;
  for (BillLine& line : lines) {
    Difference difference;
    TW_ASSIGN_OR_RETURN(difference.local, LocalUse(line));
    difference.line = std::move(line);
    difference.kind = Compare(difference.line, difference.local);
    differences.push_back(std::move(difference));
  }
  JudgeBoundaries(differences);
  for (Difference& difference : differences) {
    const auto price = bill_->prices.find(difference.local.price_version);
    if (difference.kind == DifferenceClass::kPrice && price != bill_->prices.end()) {
      difference.local.prices = price->second;
    }
  }
  return differences;
}

Status Recorder::TellDifferences(const std::string& provider, const BillPeriod& period,
                                 int64_t now_ns) {
  if (watcher_ == nullptr) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Difference> differences, Differences(provider, period));
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
