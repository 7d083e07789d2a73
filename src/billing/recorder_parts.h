// What the sources of the recorder share, and nobody else uses.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "billing/meters.h"
#include "billing/recorder.h"
#include "catalog/mapping.h"
#include "ledger/credit_time.h"
#include "ledger/record.h"
#include "storage/database.h"
#include "storage/migrations.h"

namespace tradewind::billing {

std::span<const storage::Migration> RecorderTables();
std::string AddingToMeters(std::string_view table);  // the statement that AddMeter runs
Status AddMeter(storage::Statement& add, const MeterKey& key, const MeterSum& sum);
std::string_view AttemptColumns();  // as RowOf reads them
AttemptRow RowOf(const storage::Statement& row);
// Big-endian, so that the order of the bytes is the order in time.
std::array<std::byte, 16> BytesOf(ledger::RequestId id);
ledger::RequestId IdOf(std::span<const std::byte> bytes);

bool Matches(const AttemptFilter& filter, const AttemptRow& row);

// Whether the last that was done of a provider's month is that it was closed.
Result<bool> IsMonthClosed(storage::Database& database, std::string_view provider,
                           const BillPeriod& month);

// What is prepared once, and what changed since the last commit.
struct Recorder::Statements {
  storage::Statement put, add, add_day;
  std::unordered_map<ledger::HoldId, AttemptRow, ledger::HashOfId> open;  // held, sent, in doubt
  std::set<ledger::HoldId> dirty;  // of them: rows to be written
  std::vector<AttemptRow> ended;   // rows to be written for the last time
  std::vector<TransferRow> transfers;
  std::vector<Correction> corrections;
};

// Of the bill: what is prepared once, and what changed since the last commit.
struct Recorder::Bill {
  storage::Statement add_meter, add_day_meter, put_price, end_price;
  std::map<uint32_t, catalog::Prices> prices = {};  // by version
  std::vector<std::pair<uint32_t, ledger::PriceSpec>> new_prices = {};
  std::vector<std::pair<ledger::AccountNumber, ledger::CreditSpec>> new_credits = {};

  void Note(const ledger::Record& record);  // of a price
  void NoteCredit(const ledger::Record& record);
};

// Attempts on their way from the table into a file.
struct Recorder::Retention {
  std::chrono::days keep{0};
  const Clock* clock = nullptr;
  ledger::CreditTime time = {};         // what is set aside does not come back, as credits do not
  int64_t now_s = 0;                    // that was believed at the last step
  std::vector<AttemptRow> rows = {};    // of one file, in the order of their ends
  int64_t day = 0;                      // since 1970, in which they ended
  std::string file = {};                // that is on the disk with these rows, and not noted yet
  bool is_written = false;              // it is noted, and rows may be dropped
  size_t dropped = 0;                   // of them
  int64_t again_s = 0;                  // before that nothing is due, or what failed is not tried
  uint64_t openings = 0, begun_at = 0;  // of the database; when `rows` was begun
};

}  // namespace tradewind::billing
