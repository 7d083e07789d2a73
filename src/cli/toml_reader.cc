#include "cli/toml_reader.h"

#include <fmt/format.h>

namespace tradewind::cli {

Result<toml::table> ParseToml(std::string_view text, const std::string& file) {
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: {}; correct the file or name another with --config",
                    TomlPlace(file, error.source()), std::string_view(error.description())));
  }
}

std::string TomlPlace(const std::string& file, const toml::source_region& source) {
  return fmt::format("{} line {}", file, source.begin.line);
}

const toml::node* TomlReader::Find(std::string_view key) {
  known_.emplace(key);
  return table_.get(key);
}

std::string TomlReader::Place(std::string_view key) const {
  const toml::node* node = table_.get(key);
  return TomlPlace(file_, node == nullptr ? table_.source() : node->source());
}

void TomlReader::Wrong(std::string_view key, std::string_view message) {
  if (!error_) {
    error_ = Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: {} {}", Place(key), Path(key), message),
                   Path(key),
                   {}};
  }
}

std::optional<std::string> TomlReader::Text(std::string_view key) {
  const toml::node* node = Find(key);
  if (node == nullptr) {
    return std::nullopt;
  }
  if (!node->is_string()) {
    Wrong(key, "must be text in quotes");
    return std::nullopt;
  }
  return node->as_string()->get();
}

std::optional<bool> TomlReader::Flag(std::string_view key) {
  const toml::node* node = Find(key);
  if (node == nullptr) {
    return std::nullopt;
  }
  if (!node->is_boolean()) {
    Wrong(key, "must be true or false, without quotes");
    return std::nullopt;
  }
  return node->as_boolean()->get();
}

std::optional<int64_t> TomlReader::Count(std::string_view key) {
  constexpr int64_t kMax = int64_t{1} << 40;
  const toml::node* node = Find(key);
  if (node == nullptr) {
    return std::nullopt;
  }
  if (!node->is_integer() || node->as_integer()->get() <= 0 || node->as_integer()->get() > kMax) {
    Wrong(key, "must be a whole number above 0, without quotes");
    return std::nullopt;
  }
  return node->as_integer()->get();
}

std::optional<Decimal> TomlReader::Price(std::string_view key) {
  const toml::node* node = Find(key);
  if (node == nullptr) {
    return std::nullopt;
  }
  std::string text;
  if (node->is_string()) {
    text = node->as_string()->get();
  } else if (node->is_integer()) {
    text = std::to_string(node->as_integer()->get());
  } else {
    Wrong(key, "must be a price in quotes, such as \"0.10\", so that it stays exact");
    return std::nullopt;
  }
  const auto price = Decimal::Parse(text);
  if (!price || price->is_negative()) {
    Wrong(key, fmt::format("must be USD {} such as \"0.10\"{}; leave it out when the price is not "
                           "known, \"0\" means free",
                           key.ends_with("_per_mtok") ? "per million tokens" : "for each",
                           price ? ", not below 0" : ", and " + price.error().message));
    return std::nullopt;
  }
  return *price;
}

const toml::array* TomlReader::Array(std::string_view key) {
  const toml::node* node = Find(key);
  if (node == nullptr) {
    return nullptr;
  }
  if (!node->is_array()) {
    Wrong(key, "must be a list in brackets");
  }
  return node->as_array();
}

const toml::table* TomlReader::Table(std::string_view key) {
  const toml::node* node = Find(key);
  if (node == nullptr) {
    return nullptr;
  }
  if (!node->is_table()) {
    Wrong(key, "must be a table in braces");
  }
  return node->as_table();
}

std::optional<std::vector<std::string>> TomlReader::Texts(std::string_view key) {
  const toml::array* array = Array(key);
  if (array == nullptr) {
    return std::nullopt;
  }
  std::vector<std::string> out;
  for (const toml::node& node : *array) {
    if (!node.is_string()) {
      Wrong(key, "must be a list of texts in quotes");
      return std::nullopt;
    }
    out.push_back(node.as_string()->get());
  }
  return out;
}

void TomlReader::WarnOfUnknown(std::vector<std::string>& warnings) const {
  for (const auto& [key, node] : table_) {
    if (!known_.contains(key.str())) {
      warnings.push_back(fmt::format("{}: {} is not known to this version",
                                     TomlPlace(file_, node.source()), Path(key.str())));
    }
  }
}

}  // namespace tradewind::cli
