#include "billing/parquet_writer.h"

#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace tradewind::billing {
namespace {

constexpr std::string_view kMagic = "PAR1";
constexpr int kDecimalBytes = 16;
constexpr int kDecimalDigits = 38;

// Numbers of the format's own.
enum PhysicalType { kInt64 = 2, kByteArray = 6, kFixedBytes = 7 };
enum ConvertedType { kUtf8 = 0, kDecimalConverted = 5, kTimestampMicros = 10 };
enum Encoding { kPlain = 0, kRle = 3 };
constexpr int32_t kOptional = 1, kDataPage = 0, kUncompressed = 0;

// Thrift's compact protocol: structs whose fields have ascending numbers.
class Thrift {
 public:
  void Integer(int field, int64_t value, bool is_wide = false) {
    Header(field, is_wide ? 6 : 5);
    Zigzag(value);
  }
  void Text(int field, std::string_view text) {
    Header(field, 8);
    RawText(text);
  }
  // The elements follow; of integers and texts by Zigzag and RawText.
  void List(int field, size_t size, int type) {
    Header(field, 9);
    constexpr size_t kShort = 15;
    if (size < kShort) {
      out_ += static_cast<char>(size << 4 | static_cast<size_t>(type));
    } else {
      out_ += static_cast<char>(0xF0 | type);
      Varint(size);
    }
  }
  void BeginStruct(int field) {
    Header(field, kStruct);
    BeginElement();
  }
  void BeginElement() { last_.push_back(0); }  // of a list of structs
  void EndStruct() {
    out_ += '\0';
    last_.pop_back();
  }
  void Zigzag(int64_t value) {
    Varint(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63));
  }
  void RawText(std::string_view text) {
    Varint(text.size());
    out_ += text;
  }
  std::string Take() {
    out_ += '\0';
    return std::move(out_);
  }

  static constexpr int kI32 = 5, kBinary = 8, kStruct = 12;

 private:
  void Header(int field, int type) {
    const int delta = field - last_.back();
    TW_CHECK(delta > 0 && delta < 16);
    out_ += static_cast<char>(delta << 4 | type);
    last_.back() = field;
  }
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      out_ += static_cast<char>(value | 0x80);
    }
    out_ += static_cast<char>(value);
  }

  std::string out_;
  std::vector<int> last_ = {0};  // the last field, of each struct that is open
};

void AppendU32(std::string& out, uint32_t value) {
  char bytes[sizeof(value)];
  StoreLe(bytes, value);
  out.append(bytes, sizeof(bytes));
}

PhysicalType PhysicalOf(ParquetType type) {
  switch (type) {
    case ParquetType::kText:
      return kByteArray;
    case ParquetType::kDecimal:
      return kFixedBytes;
    case ParquetType::kTime:
    case ParquetType::kInteger:
      return kInt64;
  }
  return kByteArray;
}

// Which values are there, as runs of the same: each a length and the level, 0 or 1.
std::string Levels(const std::vector<bool>& is_there) {
  std::string runs;
  for (size_t i = 0; i < is_there.size();) {
    size_t end = i;
    while (end < is_there.size() && is_there[end] == is_there[i]) {
      ++end;
    }
    uint64_t header = (end - i) << 1;
    for (; header >= 0x80; header >>= 7) {
      runs += static_cast<char>(header | 0x80);
    }
    runs += static_cast<char>(header);
    runs += is_there[i] ? '\1' : '\0';
    i = end;
  }
  std::string out;
  AppendU32(out, static_cast<uint32_t>(runs.size()));
  return out + runs;
}

std::string PageHeader(size_t bytes, size_t values) {
  Thrift header;
  header.Integer(1, kDataPage);
  header.Integer(2, static_cast<int64_t>(bytes));
  header.Integer(3, static_cast<int64_t>(bytes));
  header.BeginStruct(5);
  header.Integer(1, static_cast<int64_t>(values));
  header.Integer(2, kPlain);
  header.Integer(3, kRle);
  header.Integer(4, kRle);
  header.EndStruct();
  return header.Take();
}

void WriteSchema(const std::vector<ParquetColumn>& columns, Thrift& footer) {
  footer.List(2, columns.size() + 1, Thrift::kStruct);
  footer.BeginElement();
  footer.Text(4, "schema");
  footer.Integer(5, static_cast<int64_t>(columns.size()));
  footer.EndStruct();
  for (const ParquetColumn& column : columns) {
    footer.BeginElement();
    footer.Integer(1, PhysicalOf(column.type));
    if (column.type == ParquetType::kDecimal) {
      footer.Integer(2, kDecimalBytes);
    }
    footer.Integer(3, kOptional);
    footer.Text(4, column.name);
    if (column.type != ParquetType::kInteger) {
      footer.Integer(6, column.type == ParquetType::kText      ? kUtf8
                        : column.type == ParquetType::kDecimal ? kDecimalConverted
                                                               : kTimestampMicros);
    }
    if (column.type == ParquetType::kDecimal) {
      footer.Integer(7, kParquetScale);
      footer.Integer(8, kDecimalDigits);
    }
    footer.EndStruct();
  }
}

}  // namespace

ParquetWriter::ParquetWriter(std::vector<ParquetColumn> columns, int64_t rows_per_group)
    : columns_(std::move(columns)),
      rows_per_group_(rows_per_group),
      values_(columns_.size()),
      file_(kMagic) {
  TW_CHECK(!columns_.empty() && rows_per_group_ > 0);
}

void ParquetWriter::Next(bool is_there) {
  values_[column_].is_there.push_back(is_there);
  if (++column_ < columns_.size()) {
    return;
  }
  column_ = 0;
  if (++rows_ == rows_per_group_) {
    EndGroup();
  }
}

void ParquetWriter::AddNull() {
  Next(false);
}

void ParquetWriter::AddText(std::string_view text) {
  TW_CHECK(columns_[column_].type == ParquetType::kText);
  std::string& bytes = values_[column_].bytes;
  AppendU32(bytes, static_cast<uint32_t>(text.size()));
  bytes += text;
  Next(true);
}

void ParquetWriter::AddDecimal(__int128 value) {
  TW_CHECK(columns_[column_].type == ParquetType::kDecimal);
  for (int shift = kDecimalBytes * 8 - 8; shift >= 0; shift -= 8) {
    values_[column_].bytes += static_cast<char>(value >> shift & 0xFF);
  }
  Next(true);
}

void ParquetWriter::AddTime(int64_t unix_us) {
  Add64(ParquetType::kTime, unix_us);
}

void ParquetWriter::AddInteger(int64_t value) {
  Add64(ParquetType::kInteger, value);
}

void ParquetWriter::Add64(ParquetType type, int64_t value) {
  TW_CHECK(columns_[column_].type == type);
  char bytes[sizeof(value)];
  StoreLe(bytes, value);
  values_[column_].bytes.append(bytes, sizeof(bytes));
  Next(true);
}

void ParquetWriter::EndGroup() {
  Group group;
  group.rows = rows_;
  for (Values& values : values_) {
    const std::string levels = Levels(values.is_there);
    const std::string header =
        PageHeader(levels.size() + values.bytes.size(), values.is_there.size());
    Chunk chunk;
    chunk.offset = taken_ + static_cast<int64_t>(file_.size());
    file_ += header;
    file_ += levels;
    file_ += values.bytes;
    chunk.bytes = taken_ + static_cast<int64_t>(file_.size()) - chunk.offset;
    group.chunks.push_back(chunk);
    values = {};
  }
  groups_.push_back(std::move(group));
  rows_ = 0;
}

std::string ParquetWriter::Footer() const {
  int64_t rows = 0;
  for (const Group& group : groups_) {
    rows += group.rows;
  }
  Thrift footer;
  footer.Integer(1, 1);  // the format's version
  WriteSchema(columns_, footer);
  footer.Integer(3, rows, true);
  footer.List(4, groups_.size(), Thrift::kStruct);
  for (const Group& group : groups_) {
    int64_t bytes = 0;
    footer.BeginElement();
    footer.List(1, group.chunks.size(), Thrift::kStruct);
    for (size_t i = 0; i < group.chunks.size(); ++i) {
      const Chunk& chunk = group.chunks[i];
      bytes += chunk.bytes;
      footer.BeginElement();
      footer.Integer(2, chunk.offset, true);
      footer.BeginStruct(3);
      footer.Integer(1, PhysicalOf(columns_[i].type));
      footer.List(2, 2, Thrift::kI32);
      footer.Zigzag(kPlain);
      footer.Zigzag(kRle);
      footer.List(3, 1, Thrift::kBinary);
      footer.RawText(columns_[i].name);
      footer.Integer(4, kUncompressed);
      footer.Integer(5, group.rows, true);
      footer.Integer(6, chunk.bytes, true);
      footer.Integer(7, chunk.bytes, true);
      footer.Integer(9, chunk.offset, true);
      footer.EndStruct();
      footer.EndStruct();
    }
    footer.Integer(2, bytes, true);
    footer.Integer(3, group.rows, true);
    footer.EndStruct();
  }
  footer.Text(6, "tradewind");
  return footer.Take();
}

std::string ParquetWriter::Take() {
  taken_ += static_cast<int64_t>(file_.size());
  return std::exchange(file_, {});
}

std::string ParquetWriter::Finish() {
  TW_CHECK(column_ == 0);
  if (rows_ > 0) {
    EndGroup();
  }
  const std::string footer = Footer();
  file_ += footer;
  AppendU32(file_, static_cast<uint32_t>(footer.size()));
  file_ += kMagic;
  return std::move(file_);
}

}  // namespace tradewind::billing
