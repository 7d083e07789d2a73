// The tables that bills are made of: sums by the hour and kind of token, and versions of prices.
#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/file.h"
#include "billing/bill_sums.h"
#include "billing/correction.h"
#include "billing/meters.h"
#include "billing/price_version.h"
#include "billing/recorder_parts.h"

namespace tradewind::billing {
namespace {

constexpr size_t kCopiedAtOnceBytes = 1 << 20;
constexpr int64_t kKindsOfATier = 256, kKindsOfAService = 65'536;  // recorder_tables.cc

}  // namespace

std::string AddingToMeters(std::string_view table) {
  return fmt::format(
      "INSERT INTO {} VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14) "
      "ON CONFLICT DO UPDATE SET quantity=quantity+?11, cost=cost+?12, "
      "charge=charge+?13, unverifiable=unverifiable+?14",
      table);
}

Status AddMeter(storage::Statement& add, const MeterKey& key, const MeterSum& sum) {
  add.Reset();
  add.Bind(1, key.hour);
  int index = 2;
  for (const std::string* field : {&key.org_id, &key.project_id, &key.key_id, &key.model,
                                   &key.provider, &key.provider_model}) {
    add.Bind(index++, std::string_view(*field));
  }
  add.Bind(8, int64_t{key.own_key}).Bind(9, int64_t{key.price_version});
  add.Bind(10, static_cast<int64_t>(key.kind) + kKindsOfATier * key.tier +
                   kKindsOfAService * key.service);
  add.Bind(11, sum.quantity).Bind(12, sum.cost).Bind(13, sum.charge);
  add.Bind(14, sum.unverifiable);
  return add.Run();
}

void Recorder::Bill::Note(const ledger::Record& record) {
  if (prices.contains(record.price_version)) {
    return;  // a snapshot's
  }
  ledger::PriceSpec spec = record.price;
  spec.since_ns = spec.since_ns == 0 ? record.time_ns : spec.since_ns;
  prices[record.price_version] = VersionOf(record.price_version, spec).prices;
  new_prices.emplace_back(record.price_version, std::move(spec));
}

Status Recorder::PrepareBill() {
  TW_ASSIGN_OR_RETURN(storage::Statement add, database_.Prepare(AddingToMeters("meters")));
  TW_ASSIGN_OR_RETURN(storage::Statement add_day, database_.Prepare(AddingToMeters("day_meters")));
  TW_ASSIGN_OR_RETURN(storage::Statement put,
                      database_.Prepare("INSERT OR IGNORE INTO prices VALUES "
                                        "(?1,?2,?3,?4,?5,9223372036854775807)"));
  TW_ASSIGN_OR_RETURN(
      storage::Statement end,
      database_.Prepare("UPDATE prices SET until_ns = ?3 WHERE item = ?1 AND version < ?2 AND "
                        "until_ns = 9223372036854775807"));
  bill_.reset(new Bill{std::move(add), std::move(add_day), std::move(put), std::move(end)});
  TW_ASSIGN_OR_RETURN(storage::Statement known,
                      database_.Prepare("SELECT version, item, terms FROM prices"));
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, known.Next());
    if (!has_row) {
      return {};
    }
    const auto version = static_cast<uint32_t>(known.Integer(0));
    ledger::PriceSpec spec;
    spec.item = known.Text(1);
    spec.terms = known.Text(2);
    bill_->prices[version] = VersionOf(version, spec).prices;
  }
}

Status Recorder::WriteBill(std::vector<AttemptRow>& ended,
                           std::span<const Correction> corrections) {
  for (const auto& [version, spec] : bill_->new_prices) {
    bill_->put_price.Reset();
    bill_->put_price.Bind(1, int64_t{version}).Bind(2, std::string_view(spec.item));
    bill_->put_price.Bind(3, std::string_view(spec.terms)).Bind(4, std::string_view(spec.source));
    bill_->put_price.Bind(5, spec.since_ns);
    TW_RETURN_IF_ERROR(bill_->put_price.Run());
    bill_->end_price.Reset();
    bill_->end_price.Bind(1, std::string_view(spec.item)).Bind(2, int64_t{version});
    bill_->end_price.Bind(3, spec.since_ns);
    TW_RETURN_IF_ERROR(bill_->end_price.Run());
  }
  Meters meters;
  for (AttemptRow& row : ended) {
    if (row.state == AttemptState::kSettled) {
      const auto prices = bill_->prices.find(row.price_version);
      const bool is_known = prices != bill_->prices.end();
      AddToMeters(row, is_known ? &prices->second : nullptr, meters);
      row.dearer_tier = is_known ? DearerTier(prices->second, row.outcome) : std::string();
    }
  }
  for (const Correction& correction : corrections) {
    AddToMeters(correction, meters);
  }
  Meters by_day;
  for (const auto& [key, sum] : meters) {
    TW_RETURN_IF_ERROR(AddMeter(bill_->add_meter, key, sum));
    MeterKey day = key;
    day.hour = key.hour / kHoursOfADay * kHoursOfADay;
    by_day[std::move(day)] += sum;
  }
  for (const auto& [key, sum] : by_day) {
    TW_RETURN_IF_ERROR(AddMeter(bill_->add_day_meter, key, sum));
  }
  bill_->add_day_meter.Reset();
  bill_->add_meter.Reset();
  bill_->put_price.Reset();
  bill_->end_price.Reset();
  return {};
}

Result<BillSums> Recorder::SumsOf(const MeterFilter& filter, bool and_by_hour) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);  // nothing is recorded between these
  TW_RETURN_IF_ERROR(CheckOpen());
  BillSums sums;
  TW_RETURN_IF_ERROR(ReadMeters(filter, sums.meters));
  if (and_by_hour) {
    // Day by day into what lines of a statement tell apart: all hours at once may be a million.
    MeterFilter day = filter;
    day.by_day = false;
    for (int64_t hour = filter.from_hour; hour < filter.to_hour; hour = day.to_hour) {
      day.from_hour = hour;
      day.to_hour = std::min(hour + kHoursOfADay, filter.to_hour);
      Meters hours;
      TW_RETURN_IF_ERROR(ReadMeters(day, hours));
      for (const auto& [key, sum] : hours) {
        MeterKey line = key;
        line.hour = 0;
        line.provider_model.clear();
        sums.by_hour[std::move(line)] += sum;
      }
    }
  }
  TW_RETURN_IF_ERROR(ReadCreditUses(filter, sums.credits));
  TW_RETURN_IF_ERROR(ReadCorrected(filter, sums.corrected));
  TW_ASSIGN_OR_RETURN(sums.prices, ReadPrices(""));
  TW_ASSIGN_OR_RETURN(sums.last_end_ns, LastEndNs());
  return sums;
}

// Of attempts that are in the table, and of corrections.
Result<int64_t> Recorder::LastEndNs() {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT max(coalesce((SELECT max(ended_ns) FROM attempts INDEXED BY "
                        "attempts_by_end WHERE state >= 3), 0), "
                        "coalesce((SELECT max(time_ns) FROM corrections), 0))"));
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

Status Recorder::AddMeters(const MeterFilter& filter, std::map<MeterKey, MeterSum>& meters) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return ReadMeters(filter, meters);
}

Status Recorder::ReadMeters(const MeterFilter& filter, std::map<MeterKey, MeterSum>& meters) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(fmt::format(
          "SELECT hour, org, project, key, model, provider, provider_model, own_key, version, "
          "kind, quantity, cost, charge, unverifiable FROM {} WHERE hour >= ?1 AND hour < ?2 AND "
          "(?3 = '' OR org = ?3) AND (?4 = '' OR key = ?4)",
          filter.set_aside ? "set_aside_meters"
          : filter.by_day  ? "day_meters"
                           : "meters")));
  query.Bind(1, filter.from_hour).Bind(2, filter.to_hour);
  query.Bind(3, std::string_view(filter.org_id)).Bind(4, std::string_view(filter.key_id));
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return {};
    }
    MeterKey key;
    key.hour = query.Integer(0);
    int column = 1;
    for (std::string* field : {&key.org_id, &key.project_id, &key.key_id, &key.model, &key.provider,
                               &key.provider_model}) {
      *field = query.Text(column++);
    }
    key.own_key = query.Integer(7) != 0;
    key.price_version = static_cast<uint32_t>(query.Integer(8));
    constexpr auto kLast = static_cast<int64_t>(kMeterKinds) - 1;
    const int64_t kind = std::max<int64_t>(0, query.Integer(9));
    key.kind = static_cast<MeterKind>(std::min(kind % kKindsOfATier, kLast));
    key.tier = static_cast<uint8_t>(kind % kKindsOfAService / kKindsOfATier);
    key.service = static_cast<uint8_t>(kind / kKindsOfAService);
    meters[std::move(key)] +=
        {query.Integer(10), query.Integer(11), query.Integer(12), query.Integer(13)};
  }
}

Result<std::vector<PriceVersion>> Recorder::Prices(std::string_view model) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  return ReadPrices(model);
}

Result<std::vector<PriceVersion>> Recorder::ReadPrices(std::string_view model) {
  TW_ASSIGN_OR_RETURN(storage::Statement query,
                      database_.Prepare("SELECT version, item, terms, source, since_ns, until_ns "
                                        "FROM prices ORDER BY version"));
  std::vector<PriceVersion> versions;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return versions;
    }
    ledger::PriceSpec spec;
    spec.item = query.Text(1);
    spec.terms = query.Text(2);
    spec.source = query.Text(3);
    spec.since_ns = query.Integer(4);
    PriceVersion version = VersionOf(static_cast<uint32_t>(query.Integer(0)), spec);
    version.to_ns = query.Integer(5);
    if (model.empty() || version.model == model) {
      versions.push_back(std::move(version));
    }
  }
}

Result<std::vector<AttemptRow>> Recorder::Page(ledger::HoldId after, int64_t count) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare(fmt::format("SELECT {} FROM attempts WHERE (request, attempt) > (?1, ?2) "
                                    "ORDER BY request, attempt LIMIT ?3",
                                    AttemptColumns())));
  const std::array<std::byte, 16> bytes = BytesOf(after.request);
  query.Bind(1, std::span<const std::byte>(bytes)).Bind(2, int64_t{after.attempt}).Bind(3, count);
  std::vector<AttemptRow> rows;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      break;
    }
    rows.push_back(RowOf(query));
  }
  TW_RETURN_IF_ERROR(LoadCredits(rows));
  return rows;
}

Result<int64_t> Recorder::CountOpen(int64_t before_ns, std::string_view org_id) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(
      storage::Statement query,
      database_.Prepare("SELECT count(*) FROM attempts WHERE state < 3 AND admitted_ns < ?1 AND "
                        "(?2 = '' OR org = ?2)"));
  query.Bind(1, before_ns).Bind(2, org_id);
  TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
  return has_row ? query.Integer(0) : 0;
}

// The database first: the journal may know more than it, and never less. Nothing of the journal is
// forgotten meanwhile, as that is done under this lock.
Status Recorder::BackUp(const std::filesystem::path& folder) {
  TW_RETURN_IF_ERROR(CatchUp());
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_RETURN_IF_ERROR(database_.CopyTo(folder / "ledger.db"));
  std::error_code error;
  std::filesystem::create_directory(folder / "journal", error);
  std::filesystem::permissions(folder / "journal", std::filesystem::perms::owner_all, error);
  if (error) {
    return Fail(ErrorCode::kIo, fmt::format("{}: {}", folder.string(), error.message()));
  }
  // The last one first: when the ledger goes on to it meanwhile, what it follows is copied later
  // and whole, and a copy whose snapshot has no end is as good as none.
  TW_ASSIGN_OR_RETURN(std::vector<uint64_t> segments, ledger::ListSegments(disk_));
  std::ranges::reverse(segments);
  for (const uint64_t segment : segments) {
    const std::string name = ledger::SegmentName(segment);
    TW_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::Create(folder / "journal" / name, 0, 0600));
    for (uint64_t offset = 0;; offset += kCopiedAtOnceBytes) {
      TW_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          disk_.Read(name, offset, kCopiedAtOnceBytes));
      TW_RETURN_IF_ERROR(copy.Write(bytes));
      if (bytes.size() < kCopiedAtOnceBytes) {
        break;
      }
    }
    TW_RETURN_IF_ERROR(copy.Commit());
  }
  return {};
}

}  // namespace tradewind::billing
