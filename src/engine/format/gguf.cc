#include "engine/format/gguf.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "engine/format/gguf_parser.h"

namespace tradewind::engine {
namespace {

constexpr double kInt64End = 0x1p63;  // the first double above int64

template <class T>
int64_t ToInt64(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) {
      return 0;
    }
    if (static_cast<double>(value) >= kInt64End) {
      return INT64_MAX;
    }
    return static_cast<double>(value) < -kInt64End ? INT64_MIN : static_cast<int64_t>(value);
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return value > INT64_MAX ? INT64_MAX : static_cast<int64_t>(value);
  } else {
    return value;
  }
}

// Calls visit(element) with the element's own C++ type.
template <class Visit>
auto VisitNumber(const GgufArray& array, uint64_t i, Visit visit) {
  TW_CHECK(i < array.count && array.is_number());
  const auto at = [&]<class T>(T) { return LoadLe<T>(array.bytes.data() + i * sizeof(T)); };
  switch (array.element_type) {
    case GgufType::kU8:
      return visit(at(uint8_t{}));
    case GgufType::kI8:
      return visit(at(int8_t{}));
    case GgufType::kU16:
      return visit(at(uint16_t{}));
    case GgufType::kI16:
      return visit(at(int16_t{}));
    case GgufType::kU32:
      return visit(at(uint32_t{}));
    case GgufType::kI32:
      return visit(at(int32_t{}));
    case GgufType::kF32:
      return visit(at(float{}));
    case GgufType::kU64:
      return visit(at(uint64_t{}));
    case GgufType::kI64:
      return visit(at(int64_t{}));
    case GgufType::kF64:
      return visit(at(double{}));
    default:
      return visit(at(uint8_t{}));  // bool
  }
}

// NAME-00002-of-00003.gguf
struct SplitName {
  std::string prefix;  // path and NAME
  int64_t number = 0;  // from 1
  int64_t count = 0;

  std::string PathOf(int64_t n) const {
    return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, n, count);
  }
};

std::optional<int64_t> ParseFiveDigits(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.front() == '-') {
    return std::nullopt;
  }
  return value;
}

std::optional<SplitName> ParseSplitName(std::string_view path) {
  constexpr size_t kTailBytes = std::string_view("-00001-of-00001.gguf").size();
  if (path.size() <= kTailBytes) {
    return std::nullopt;
  }
  const std::string_view tail = path.substr(path.size() - kTailBytes);
  const auto number = ParseFiveDigits(tail.substr(1, 5));
  const auto count = ParseFiveDigits(tail.substr(10, 5));
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || !tail.ends_with(".gguf") || !number ||
      !count || *number < 1 || *number > *count) {
    return std::nullopt;
  }
  return SplitName{std::string(path.substr(0, path.size() - kTailBytes)), *number, *count};
}

std::unexpected<Error> Corrupt(const std::string& name, const std::string& problem) {
  return Fail(ErrorCode::kCorruptFile, fmt::format("{}: {}", name, problem));
}

struct MappedPart {
  MappedFile map;
  GgufPart part;  // views into the map
};

Result<MappedPart> MapPart(const std::string& name) {
  MappedPart mapped;
  TW_ASSIGN_OR_RETURN(mapped.map, MappedFile::Open(name));
  TW_ASSIGN_OR_RETURN(mapped.part, ParseGgufPart(mapped.map.bytes(), name));
  return mapped;
}

// Of how many files is this one? 1 unless its keys say otherwise; then its name has to agree.
Result<int64_t> CountOfParts(const GgufPart& part, const std::string& name,
                             const std::optional<SplitName>& split) {
  const auto count = FindInteger(part.keys, "split.count");
  if (!count) {
    if (part.keys.contains("split.count")) {
      return Corrupt(name, "key 'split.count': is not an integer");
    }
    if (split && split->count > 1) {
      return Corrupt(name, fmt::format("is named as one of {} parts, but has no key 'split.count'",
                                       split->count));
    }
    return 1;
  }
  if (*count == 0 || *count == 1) {
    return 1;
  }
  if (*count < 0 || *count > static_cast<int64_t>(limits::kGgufSplitsMax)) {
    return Corrupt(name, fmt::format("key 'split.count': is {}; 1 to {} are allowed", *count,
                                     limits::kGgufSplitsMax));
  }
  if (!split || split->count != *count) {
    return Corrupt(
        name, fmt::format(
                  "key 'split.count': this is one of {0} parts, but it is not named so; rename the "
                  "parts to NAME-00001-of-{0:05}.gguf and so on",
                  *count));
  }
  return *count;
}

Status CheckPart(const GgufPart& part, const std::string& name, int64_t number, int64_t count) {
  const auto own_count = FindInteger(part.keys, "split.count");
  if (own_count != count) {
    return Corrupt(name, fmt::format("key 'split.count': is {}, where the other parts have {}",
                                     own_count ? std::to_string(*own_count) : "missing", count));
  }
  const auto own_no = FindInteger(part.keys, "split.no");
  if (own_no != number - 1) {
    return Corrupt(
        name, fmt::format("key 'split.no': is {}, but the file is named as part {} (from 0: {})",
                          own_no ? std::to_string(*own_no) : "missing", number, number - 1));
  }
  return {};
}

}  // namespace

std::optional<int64_t> FindInteger(const GgufKeys& keys, std::string_view key) {
  const auto found = keys.find(key);
  if (found == keys.end()) {
    return std::nullopt;
  }
  const GgufValue& value = found->second;
  if (const auto* i = std::get_if<int64_t>(&value)) {
    return *i;
  }
  if (const auto* u = std::get_if<uint64_t>(&value); u != nullptr && *u <= INT64_MAX) {
    return static_cast<int64_t>(*u);
  }
  if (const auto* d = std::get_if<double>(&value);
      d != nullptr && std::trunc(*d) == *d && *d >= -kInt64End && *d < kInt64End) {
    return static_cast<int64_t>(*d);
  }
  return std::nullopt;
}

std::string QuoteForMessage(std::string_view text) {
  constexpr size_t kBytesMax = 80;
  const bool cut = text.size() > kBytesMax;
  std::string out = ReplaceInvalidUtf8(
      cut ? text.substr(0, CompleteUtf8Prefix(text.substr(0, kBytesMax))) : text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      c = '?';
    }
  }
  return fmt::format("'{}{}'", out, cut ? "..." : "");
}

double GgufArray::NumberAt(uint64_t i) const {
  return VisitNumber(*this, i, [](auto value) { return static_cast<double>(value); });
}

int64_t GgufArray::IntegerAt(uint64_t i) const {
  return VisitNumber(*this, i, [](auto value) { return ToInt64(value); });
}

std::vector<std::string_view> GgufArray::Strings() const {
  std::vector<std::string_view> strings;
  if (element_type != GgufType::kString) {
    return strings;
  }
  strings.reserve(count);
  std::string_view rest = AsString(bytes);
  for (uint64_t i = 0; i < count; ++i) {
    const auto length = LoadLe<uint64_t>(rest.data());
    strings.push_back(rest.substr(sizeof(length), length));
    rest.remove_prefix(sizeof(length) + length);
  }
  return strings;
}

uint64_t GgufTensor::rows() const {
  uint64_t rows = 1;
  for (size_t i = 1; i < dims.size(); ++i) {
    rows *= dims[i];
  }
  return rows;
}

Status GgufFile::Append(GgufPart part, const std::string& part_name) {
  for (GgufTensor& tensor : part.tensors) {
    if (!index_.emplace(tensor.name, tensors_.size()).second) {
      return Corrupt(part_name, fmt::format("tensor {}: this name occurs twice",
                                            QuoteForMessage(tensor.name)));
    }
    tensors_.push_back(std::move(tensor));
  }
  return {};
}

Result<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile file;
  file.name_ = std::move(name);
  TW_ASSIGN_OR_RETURN(GgufPart part, ParseGgufPart(bytes, file.name_));
  file.version_ = part.version;
  file.keys_ = std::move(part.keys);
  TW_RETURN_IF_ERROR(file.Append(std::move(part), file.name_));
  return file;
}

Result<GgufFile> GgufFile::Open(const std::filesystem::path& path) {
  GgufFile file;
  file.name_ = path.string();
  TW_ASSIGN_OR_RETURN(MappedPart named, MapPart(file.name_));
  const auto split = ParseSplitName(file.name_);
  TW_ASSIGN_OR_RETURN(const int64_t count, CountOfParts(named.part, file.name_, split));
  for (int64_t number = 1; number <= count; ++number) {
    const bool is_named = count == 1 || number == split->number;
    const std::string part_name = is_named ? file.name_ : split->PathOf(number);
    MappedPart mapped;
    if (is_named) {
      mapped = std::move(named);
    } else {
      TW_ASSIGN_OR_RETURN(mapped, MapPart(part_name));
    }
    if (count > 1) {
      TW_RETURN_IF_ERROR(CheckPart(mapped.part, part_name, number, count));
    }
    if (number == 1) {
      file.version_ = mapped.part.version;
      file.keys_ = std::move(mapped.part.keys);
    }
    file.parts_.push_back(std::move(mapped.map));
    TW_RETURN_IF_ERROR(file.Append(std::move(mapped.part), part_name));
  }
  const auto tensors = file.Integer("split.tensors.count");
  if (count > 1 && tensors && *tensors != static_cast<int64_t>(file.tensors_.size())) {
    return Corrupt(file.name_,
                   fmt::format("key 'split.tensors.count': is {}, but the {} parts have {} tensors",
                               *tensors, count, file.tensors_.size()));
  }
  return file;
}

void GgufFile::Release(std::span<const std::byte> data) const {
  for (const MappedFile& part : parts_) {
    const std::span<const std::byte> bytes = part.bytes();
    if (data.data() >= bytes.data() && data.data() < bytes.data() + bytes.size()) {
      part.Release(data);
    }
  }
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

std::optional<int64_t> GgufFile::Integer(std::string_view key) const {
  return FindInteger(keys_, key);
}

std::optional<double> GgufFile::Float(std::string_view key) const {
  const auto found = keys_.find(key);
  if (found == keys_.end()) {
    return std::nullopt;
  }
  if (const auto* d = std::get_if<double>(&found->second)) {
    return *d;
  }
  if (const auto* i = std::get_if<int64_t>(&found->second)) {
    return static_cast<double>(*i);
  }
  if (const auto* u = std::get_if<uint64_t>(&found->second)) {
    return static_cast<double>(*u);
  }
  return std::nullopt;
}

std::optional<bool> GgufFile::Bool(std::string_view key) const {
  const auto found = keys_.find(key);
  const auto* value = found == keys_.end() ? nullptr : std::get_if<bool>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::string_view> GgufFile::String(std::string_view key) const {
  const auto found = keys_.find(key);
  const auto* value =
      found == keys_.end() ? nullptr : std::get_if<std::string_view>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const GgufArray* GgufFile::Array(std::string_view key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : std::get_if<GgufArray>(&found->second);
}

uint64_t GgufFile::tensor_bytes() const {
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : tensors_) {
    bytes += tensor.data.size();
  }
  return bytes;
}

}  // namespace tradewind::engine
