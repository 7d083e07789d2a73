// A table as an Apache Parquet file: uncompressed, PLAIN values, one page for each column of a row
// group, every column optional. Source: github.com/apache/parquet-format, with Thrift's compact
// protocol.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tradewind::billing {

enum class ParquetType : uint8_t {
  kText,     // UTF-8
  kDecimal,  // 38 digits, kParquetScale of them behind the point
  kTime,     // microseconds since 1970, UTC
  kInteger,  // of 64 bits
};

inline constexpr int kParquetScale = 18;

struct ParquetColumn {
  std::string name;
  ParquetType type = ParquetType::kText;
};

// One thread. A row group is in memory until it is full, what is written until it is taken.
class ParquetWriter {
 public:
  explicit ParquetWriter(std::vector<ParquetColumn> columns, int64_t rows_per_group = 10'000);

  // The next value of the row: one call for each column, in their order. Requires its type.
  void AddNull();
  void AddText(std::string_view text);
  void AddDecimal(__int128 value);  // times 10^-kParquetScale
  void AddTime(int64_t unix_us);
  void AddInteger(int64_t value);

  // What is written of the file since this was called last: whole row groups.
  std::string Take();
  // The rest of the file: all of it where nothing was taken. Requires whole rows; call once.
  std::string Finish();

 private:
  void Add64(ParquetType type, int64_t value);
  struct Values {
    std::vector<bool> is_there;
    std::string bytes;
  };
  struct Chunk {
    int64_t offset = 0, bytes = 0;
  };
  struct Group {
    std::vector<Chunk> chunks;
    int64_t rows = 0;
  };

  void Next(bool is_there);
  void EndGroup();
  std::string Footer() const;

  const std::vector<ParquetColumn> columns_;
  const int64_t rows_per_group_;
  std::vector<Values> values_;  // of the group that is being filled
  size_t column_ = 0;           // that is next
  int64_t rows_ = 0;            // of that group
  std::vector<Group> groups_;
  std::string file_;   // that was not taken yet
  int64_t taken_ = 0;  // bytes
};

}  // namespace tradewind::billing
