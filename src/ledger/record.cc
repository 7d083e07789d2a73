#include "ledger/record.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"

namespace tradewind::ledger {
namespace {

constexpr std::array<std::string_view, 3> kModeNames = {"hard", "soft", "warn"};

// Where a field of the header lies.
constexpr size_t kSizeAt = 0;      // u32: the record's bytes without padding
constexpr size_t kChecksumAt = 4;  // u32
constexpr size_t kSeqAt = 8;       // u64
constexpr size_t kTimeAt = 16;     // i64
constexpr size_t kRequestAt = 24;  // u64 high, u64 low
constexpr size_t kTypeAt = 40;     // u8
constexpr size_t kVersionAt = 41;  // u8
constexpr size_t kAttemptAt = 42;  // u16
constexpr size_t kAccountAt = 44;  // u32
static_assert(kAccountAt + sizeof(uint32_t) == kRecordHeaderBytes);

constexpr uint8_t kFormatVersion = 1;
constexpr size_t kZoneBytesMax = 64;

// What the fields of a type are is said once; writing and reading are two ways to walk them.
template <class Walker>
bool WalkLeg(Walker& walker, Leg& leg) {
  return walker.Number(leg.account.number) && walker.Number(leg.account.window_start_s) &&
         walker.Number(leg.window_end_s) && walker.Enum(leg.dimension, Dimension::kCharge) &&
         walker.Flag(leg.is_credit) && walker.Number(leg.amount);
}

template <class Walker>
bool WalkBudget(Walker& walker, BudgetSpec& budget) {
  return walker.Text(budget.name, kRecordTextBytesMax) && walker.Number(budget.limit) &&
         walker.Enum(budget.mode, Mode::kWarn) &&
         walker.Enum(budget.dimension, Dimension::kCharge) &&
         walker.Enum(budget.period, Period::kRolling) && walker.Text(budget.zone, kZoneBytesMax) &&
         std::ranges::all_of(budget.warn_percent,
                             [&](auto& share) { return walker.Number(share); }) &&
         walker.Flag(budget.closed);
}

template <class Walker>
bool WalkCredit(Walker& walker, CreditSpec& credit) {
  return walker.Text(credit.name, kRecordTextBytesMax) &&
         walker.Text(credit.owner, kRecordTextBytesMax) && walker.Number(credit.amount) &&
         walker.Number(credit.expires_s) && walker.Number(credit.priority) &&
         walker.Flag(credit.promotional) &&
         (!walker.HasMore(credit.granted_ns != 0 || !credit.note.empty() ||
                          !credit.scope.empty()) ||
          (walker.Number(credit.granted_ns) && walker.Text(credit.note, kCreditNoteBytesMax))) &&
         (!walker.HasMore(!credit.scope.empty()) ||
          walker.Text(credit.scope, kCreditScopeBytesMax));
}

// Whose credits pay, and for what: behind the fields that every hold has.
template <class Walker>
bool WalkPayer(Walker& walker, Record& record) {
  return (!walker.HasMore(!record.payer.empty() || !record.purposes.empty()) ||
          walker.Text(record.payer, kPayerBytesMax)) &&
         (!walker.HasMore(!record.purposes.empty()) ||
          walker.Text(record.purposes, kPurposesBytesMax));
}

template <class Walker>
bool WalkFields(Walker& walker, Record& record) {
  switch (record.type) {
    case RecordType::kHold:
      return walker.Number(record.cost) && walker.Number(record.charge) &&
             walker.Number(record.price_version) && walker.Legs(record.legs) &&
             walker.Text(record.text, kRecordTextBytesMax) && WalkPayer(walker, record);
    case RecordType::kSent:
    case RecordType::kSnapshotBegin:
    case RecordType::kSnapshotEnd:
      return true;
    case RecordType::kUpstreamId:
    case RecordType::kVoid:
    case RecordType::kInDoubt:
      return walker.Text(record.text, kRecordTextBytesMax);
    case RecordType::kProgress:
      return walker.Number(record.cost) && walker.Number(record.charge) &&
             walker.Text(record.text, kRecordTextBytesMax);
    case RecordType::kSettle:
      return walker.Number(record.cost) && walker.Number(record.charge) &&
             walker.Text(record.text, kRecordTextBytesMax) &&
             (!walker.HasMore(record.legs.size() > 0) || walker.Legs(record.legs));
    case RecordType::kExtend:
      return walker.Number(record.cost) && walker.Number(record.charge) && walker.Legs(record.legs);
    case RecordType::kBudget: {
      const bool has_span = record.budget.span_s != 0;
      const bool has_first_day = has_span || record.budget.first_day != 1;
      return WalkBudget(walker, record.budget) &&
             (!walker.HasMore(has_first_day || record.window_end_s != kEndOfTime) ||
              (walker.Number(record.key.window_start_s) && walker.Number(record.window_end_s))) &&
             (!walker.HasMore(has_first_day) || walker.Number(record.budget.first_day)) &&
             (!walker.HasMore(has_span) || walker.Number(record.budget.span_s));
    }
    case RecordType::kCredit:
      return WalkCredit(walker, record.credit);
    case RecordType::kPayee:
      return walker.Text(record.text, kRecordTextBytesMax);
    case RecordType::kExpire:
      return walker.Number(record.cost);
    case RecordType::kPrice:
      return walker.Number(record.price_version) &&
             walker.Text(record.price.item, kPriceTextBytesMax) &&
             walker.Text(record.price.terms, kPriceTextBytesMax) &&
             walker.Text(record.price.source, kPriceTextBytesMax) &&
             walker.Number(record.price.since_ns);
    case RecordType::kPayer:
      return walker.Text(record.payer, kPayerBytesMax) && walker.Flag(record.is_prepaid);
    case RecordType::kLease:
      return walker.Number(record.key.window_start_s) && walker.Number(record.window_end_s) &&
             walker.Number(record.cost) && walker.Number(record.charge) &&
             walker.Number(record.since_ns) && walker.Text(record.text, kBootIdBytesMax);
    case RecordType::kAdjust:
      return walker.Number(record.cost) && walker.Number(record.charge) &&
             walker.Number(record.metered_cost) && walker.Number(record.metered_charge) &&
             walker.Number(record.price_version) && walker.Legs(record.legs) &&
             walker.Text(record.text, kRecordTextBytesMax) && walker.Number(record.since_ns);
    case RecordType::kTransfer:
      return walker.Number(record.key.number) && walker.Number(record.cost) &&
             walker.Text(record.text, kRecordTextBytesMax);
    case RecordType::kSnapshotAccount:
      return walker.Number(record.key.number) && walker.Number(record.key.window_start_s) &&
             walker.Number(record.window_end_s) && walker.Number(record.cost) &&
             walker.Number(record.debits) && walker.Number(record.credits) &&
             walker.Number(record.warned_percent) &&
             (!walker.HasMore(record.charge != 0 || record.since_ns != 0) ||
              walker.Number(record.charge)) &&
             (!walker.HasMore(record.since_ns != 0) ||
              (walker.Number(record.since_ns) && walker.Number(record.lowered_percent)));
    case RecordType::kSnapshotHold:
      return walker.Number(record.cost) && walker.Number(record.charge) &&
             walker.Number(record.price_version) && walker.Legs(record.legs) &&
             walker.Text(record.text, kRecordTextBytesMax) &&
             walker.Enum(record.state, HoldState::kInDoubt) && walker.Number(record.metered_cost) &&
             walker.Number(record.metered_charge) && walker.Number(record.since_ns) &&
             WalkPayer(walker, record);
  }
  return false;
}

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  template <class T>
  bool Number(const T& value) {
    const size_t at = out_.size();
    out_.resize(at + sizeof(T));
    StoreLe(out_.data() + at, value);
    return true;
  }
  template <class T>
  bool Enum(const T& value, T /*last*/) {
    return Number(static_cast<uint8_t>(value));
  }
  bool Flag(const bool& value) { return Number(static_cast<uint8_t>(value)); }
  bool Text(const std::string& text, size_t bytes_max) {
    TW_CHECK(text.size() <= bytes_max);
    Number(static_cast<uint32_t>(text.size()));
    const auto bytes = AsBytes(text);
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return true;
  }
  // Fields at the end that older records lack are written when they say something.
  bool HasMore(bool has) { return has; }
  bool Legs(class Legs& legs) {
    Number(static_cast<uint8_t>(legs.size()));
    return std::ranges::all_of(legs.all(), [this](Leg& leg) { return WalkLeg(*this, leg); });
  }

 private:
  std::vector<std::byte>& out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  bool Number(T& value) {
    if (bytes_.size() < sizeof(T)) {
      return false;
    }
    value = LoadLe<T>(bytes_.data());
    bytes_ = bytes_.subspan(sizeof(T));
    return true;
  }
  template <class T>
  bool Enum(T& value, T last) {
    uint8_t number = 0;
    if (!Number(number) || number > static_cast<uint8_t>(last)) {
      return false;
    }
    value = static_cast<T>(number);
    return true;
  }
  bool Flag(bool& value) {
    uint8_t number = 0;
    if (!Number(number) || number > 1) {
      return false;
    }
    value = number == 1;
    return true;
  }
  bool Text(std::string& text, size_t bytes_max) {
    uint32_t size = 0;
    if (!Number(size) || size > bytes_max || size > bytes_.size()) {
      return false;
    }
    text = AsString(bytes_.first(size));
    bytes_ = bytes_.subspan(size);
    return true;
  }
  bool HasMore(bool /*has*/) { return !at_end(); }
  bool Legs(class Legs& legs) {
    uint8_t count = 0;
    if (!Number(count) || count > kLegsMax) {
      return false;
    }
    for (int i = 0; i < count; ++i) {
      Leg leg;
      if (!WalkLeg(*this, leg)) {
        return false;
      }
      legs.Push(leg);
    }
    return true;
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
};

// Of the record before, then of this one without its own checksum.
uint32_t ChecksumOf(std::span<const std::byte> record, uint32_t previous) {
  std::array<std::byte, sizeof(previous)> chain;
  StoreLe(chain.data(), previous);
  const uint32_t crc = Crc32c(record.first(kChecksumAt), Crc32c(chain));
  return Crc32c(record.subspan(kSeqAt), crc);
}

std::unexpected<Error> Corrupt(std::string_view what) {
  return Fail(ErrorCode::kCorruptFile, fmt::format("the journal's record {}", what));
}

// Its checksum fits, so it is as it was written.
std::unexpected<Error> WrittenByAnother(std::string_view what) {
  return Fail(ErrorCode::kUnsupported,
              fmt::format("the journal was written by a newer program: a record {}; start that "
                          "program again, nothing was changed",
                          what));
}

}  // namespace

std::string_view ModeName(Mode mode) {
  return kModeNames[static_cast<size_t>(mode)];
}

Result<Mode> ParseMode(std::string_view name) {
  const auto* found = std::ranges::find(kModeNames, name);
  if (found == kModeNames.end()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" is no mode: hard, soft, warn", name.substr(0, 64)), "mode");
  }
  return static_cast<Mode>(found - kModeNames.begin());
}

std::string_view DimensionName(Dimension dimension) {
  return dimension == Dimension::kCharge ? "charge" : "cost";
}

Result<Dimension> ParseDimension(std::string_view name) {
  for (const Dimension dimension : {Dimension::kCost, Dimension::kCharge}) {
    if (name == DimensionName(dimension)) {
      return dimension;
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("\"{}\" is nothing that a budget is of: cost (what providers bill) or "
                          "charge (what users are charged)",
                          name.substr(0, 64)),
              "of");
}

uint32_t EncodeRecord(const Record& record, uint32_t previous, std::vector<std::byte>& out) {
  const size_t start = out.size();
  out.resize(start + kRecordHeaderBytes);
  Writer writer(out);
  // Walkers take what they could change; this one changes nothing.
  TW_CHECK(WalkFields(writer, const_cast<Record&>(record)));
  const size_t size = out.size() - start;
  out.resize(start + (size + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment);

  std::byte* header = out.data() + start;
  StoreLe(header + kSizeAt, static_cast<uint32_t>(size));
  StoreLe(header + kSeqAt, record.seq);
  StoreLe(header + kTimeAt, record.time_ns);
  StoreLe(header + kRequestAt, record.hold.request.high);
  StoreLe(header + kRequestAt + 8, record.hold.request.low);
  StoreLe(header + kTypeAt, static_cast<uint8_t>(record.type));
  StoreLe(header + kVersionAt, kFormatVersion);
  StoreLe(header + kAttemptAt, record.hold.attempt);
  StoreLe(header + kAccountAt, record.account);
  const uint32_t checksum = ChecksumOf({header, size}, previous);
  StoreLe(header + kChecksumAt, checksum);
  return checksum;
}

Result<DecodedRecord> DecodeRecord(std::span<const std::byte> bytes, uint32_t previous) {
  if (bytes.size() < kRecordHeaderBytes) {
    return Corrupt("ends in its header");
  }
  const auto size = LoadLe<uint32_t>(bytes.data() + kSizeAt);
  if (size < kRecordHeaderBytes || size > kRecordBytesMax) {
    return Corrupt("has a size that none has");
  }
  DecodedRecord decoded;
  decoded.bytes = (size + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
  if (bytes.size() < decoded.bytes) {
    return Corrupt("ends before its end");
  }
  const std::byte* header = bytes.data();
  decoded.checksum = ChecksumOf(bytes.first(size), previous);
  if (decoded.checksum != LoadLe<uint32_t>(header + kChecksumAt)) {
    return Corrupt("does not match its checksum");
  }
  if (LoadLe<uint8_t>(header + kVersionAt) != kFormatVersion) {
    return WrittenByAnother("has a format of another version");
  }
  Record& record = decoded.record;
  record.seq = LoadLe<uint64_t>(header + kSeqAt);
  record.time_ns = LoadLe<int64_t>(header + kTimeAt);
  record.hold.request.high = LoadLe<uint64_t>(header + kRequestAt);
  record.hold.request.low = LoadLe<uint64_t>(header + kRequestAt + 8);
  record.type = static_cast<RecordType>(LoadLe<uint8_t>(header + kTypeAt));
  record.hold.attempt = LoadLe<uint16_t>(header + kAttemptAt);
  record.account = LoadLe<uint32_t>(header + kAccountAt);
  TW_RETURN_IF_ERROR(
      DecodeFields(bytes.subspan(kRecordHeaderBytes, size - kRecordHeaderBytes), record));
  return decoded;
}

Status DecodeFields(std::span<const std::byte> bytes, Record& record) {
  Reader reader(bytes);
  if (!WalkFields(reader, record) || !reader.at_end()) {
    return WrittenByAnother(
        fmt::format("of type {} says what this one does not know", static_cast<int>(record.type)));
  }
  return {};
}

}  // namespace tradewind::ledger
