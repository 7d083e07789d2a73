// A journal's records from arbitrary bytes, applied to a book as a start does it: no crash, and
// whatever was applied, the book's balances agree.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "ledger/book.h"
#include "ledger/record.h"

using tradewind::LoadLe;
namespace ledger = tradewind::ledger;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  static_cast<void>(ledger::DecodeRecord(bytes, 0));  // the checksum stops most of it here
  // Without it: type, account, request, size, and the fields of the type.
  ledger::Book book;
  bool is_free_of_snapshots = true;
  constexpr size_t kHead = 4;
  while (bytes.size() > kHead) {
    ledger::Record record;
    record.type = static_cast<ledger::RecordType>(bytes[0]);
    record.account = LoadLe<uint8_t>(bytes.data() + 1);
    record.hold = {{0, LoadLe<uint8_t>(bytes.data() + 2)}, 1};
    const size_t fields = std::min<size_t>(LoadLe<uint8_t>(bytes.data() + 3), bytes.size() - kHead);
    if (ledger::DecodeFields(bytes.subspan(kHead, fields), record).has_value()) {
      record.seq = book.seq() + 1;
      record.time_ns = book.time_ns() + 1;
      std::vector<std::byte> written;
      ledger::EncodeRecord(record, 0, written);
      TW_CHECK(ledger::DecodeRecord(written, 0).has_value());
      // A snapshot may say anything of balances; the audit at a start refuses what is wrong.
      is_free_of_snapshots &= record.type < ledger::RecordType::kSnapshotBegin;
      if (book.Apply(record).has_value() && is_free_of_snapshots) {
        TW_CHECK(book.Audit().has_value());
      }
    }
    bytes = bytes.subspan(kHead + fields);
  }
  return 0;
}
