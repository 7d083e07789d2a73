// What the sources of the recorder share, and nobody else uses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "billing/recorder.h"
#include "catalog/mapping.h"
#include "ledger/record.h"
#include "storage/database.h"
#include "storage/migrations.h"

namespace tradewind::billing {

std::span<const storage::Migration> RecorderTables();
std::string_view AttemptColumns();  // as RowOf reads them
AttemptRow RowOf(const storage::Statement& row);
// Big-endian, so that the order of the bytes is the order in time.
std::array<std::byte, 16> BytesOf(ledger::RequestId id);
ledger::RequestId IdOf(std::span<const std::byte> bytes);

// Of the bill: what is prepared once, and what changed since the last commit.
struct Recorder::Bill {
  storage::Statement add_meter, add_day_meter, put_price, end_price;
  std::map<uint32_t, catalog::Prices> prices = {};  // by version
  std::vector<std::pair<uint32_t, ledger::PriceSpec>> new_prices = {};
  std::vector<std::pair<ledger::AccountNumber, ledger::CreditSpec>> new_credits = {};

  void Note(const ledger::Record& record);  // of a price
  void NoteCredit(const ledger::Record& record);
};

}  // namespace tradewind::billing
