// Fields of one TOML table, each error with file, line, field and the next step.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <toml++/toml.h>

#include "base/decimal.h"
#include "base/result.h"

namespace tradewind::cli {

// Errors: kInvalidArgument with file and line of a syntax error.
Result<toml::table> ParseToml(std::string_view text, const std::string& file);

std::string TomlPlace(const std::string& file, const toml::source_region& source);  // "FILE line 3"

// The first wrong field is remembered; later calls go on harmlessly, so a parser reads as a list
// and asks once, at the end. An absent field is nullopt.
class TomlReader {
 public:
  // `table` must outlive this. `path` names it in errors: "providers[0]".
  TomlReader(const toml::table& table, const std::string& file, std::string path)
      : table_(table), file_(file), path_(std::move(path)) {}

  std::optional<std::string> Text(std::string_view key);
  std::optional<bool> Flag(std::string_view key);
  std::optional<int64_t> Count(std::string_view key);  // a whole number above 0
  // Text, so that it never passes through a double; a whole number may stand without quotes.
  std::optional<Decimal> Price(std::string_view key);
  std::optional<std::vector<std::string>> Texts(std::string_view key);
  const toml::array* Array(std::string_view key);
  const toml::table* Table(std::string_view key);

  // `message` follows the name of the field: "must be ...". The value is not repeated.
  void Wrong(std::string_view key, std::string_view message);
  std::string Place(std::string_view key) const;  // of the field if it is there, else of the table
  std::string Path(std::string_view key) const { return path_ + "." + std::string(key); }
  // For each field that no call asked for.
  void WarnOfUnknown(std::vector<std::string>& warnings) const;
  Status status() const { return error_ ? Status(std::unexpected(*error_)) : Status(); }

 private:
  const toml::node* Find(std::string_view key);

  const toml::table& table_;
  const std::string& file_;
  std::string path_;
  std::set<std::string, std::less<>> known_;
  std::optional<Error> error_;
};

}  // namespace tradewind::cli
