#include "engine/format/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::engine {
namespace {

constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kAlignmentMin = 8;  // the specification asks for a multiple of 8
// The fewest bytes that a key (length, one letter, type, one byte) and a tensor's entry (length,
// one letter, number of dimensions, type, offset) take: a count that cannot fit is found before
// anything is allocated for it.
constexpr uint64_t kKeyBytesMin = 8 + 1 + 4 + 1;
constexpr uint64_t kTensorBytesMin = 8 + 1 + 4 + 4 + 8;

// Bytes of one element by type id; 0 for strings and arrays, whose size is in the file.
constexpr uint8_t kElementBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string_view name)
      : bytes_(bytes), name_(name) {}

  Result<GgufPart> Parse() {
    TW_RETURN_IF_ERROR(ReadHeader());
    for (uint64_t i = 0; i < key_count_; ++i) {
      TW_RETURN_IF_ERROR(ReadKey());
    }
    TW_RETURN_IF_ERROR(
        CheckCount("tensors", tensor_count_, limits::kGgufTensorsMax, kTensorBytesMin));
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      TW_RETURN_IF_ERROR(ReadTensor());
    }
    TW_RETURN_IF_ERROR(PlaceTensors());
    TW_RETURN_IF_ERROR(CheckOverlaps());
    return std::move(part_);
  }

 private:
  // What is being read, for messages.
  struct Place {
    std::string_view kind = "header";  // "key", "tensor"
    std::string_view name;
    uint64_t byte = 0;
  };

  uint64_t remaining() const { return bytes_.size() - position_; }

  std::unexpected<Error> Refuse(ErrorCode code, const std::string& problem) const {
    std::string place(place_.kind);
    if (!place_.name.empty()) {
      place += " " + QuoteForMessage(place_.name);
    }
    return Fail(code, fmt::format("{}: {} (byte {}): {}", name_, place, place_.byte, problem));
  }
  std::unexpected<Error> Corrupt(const std::string& problem) const {
    return Refuse(ErrorCode::kCorruptFile, problem);
  }

  Status Need(uint64_t n, std::string_view what) const {
    if (n > remaining()) {
      return Corrupt(fmt::format("{} takes {} bytes from byte {} on, but the file ends at byte {}",
                                 what, n, position_, bytes_.size()));
    }
    return {};
  }

  template <class T>
  Result<T> Read(std::string_view what) {
    TW_RETURN_IF_ERROR(Need(sizeof(T), what));
    const T value = LoadLe<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return value;
  }

  Result<std::string_view> ReadString(std::string_view what, uint64_t bytes_max) {
    TW_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>("the length of a string"));
    if (length > bytes_max) {
      return Corrupt(
          fmt::format("{} is {} bytes long; at most {} are allowed", what, length, bytes_max));
    }
    TW_RETURN_IF_ERROR(Need(length, what));
    const std::string_view text = AsString(bytes_.subspan(position_, length));
    position_ += length;
    return text;
  }

  // A key or a tensor's name.
  Result<std::string_view> ReadName(std::string_view what, uint64_t bytes_max) {
    TW_ASSIGN_OR_RETURN(const std::string_view name, ReadString(what, bytes_max));
    if (name.empty()) {
      return Corrupt(fmt::format("{} is empty", what));
    }
    if (!IsValidUtf8(name)) {
      return Corrupt(fmt::format("{} {} is not valid UTF-8", what, QuoteForMessage(name)));
    }
    return name;
  }

  Status CheckCount(std::string_view what, uint64_t count, uint64_t count_max,
                    uint64_t bytes_each) {
    if (count > count_max) {
      return Corrupt(fmt::format("claims {} {}; at most {} are allowed", count, what, count_max));
    }
    if (count > remaining() / bytes_each) {
      return Corrupt(fmt::format(
          "claims {} {}, which do not fit into the {} bytes from byte {} to the end of the file",
          count, what, remaining(), position_));
    }
    return {};
  }

  Status ReadHeader();
  Status CheckVersion();
  Status ReadKey();
  Result<GgufValue> ReadValue(GgufType type);
  Result<bool> ReadBool();
  Result<GgufValue> ReadArray();
  Status SetAlignment();
  Status ReadTensor();
  Status CheckShape(const GgufTensor& tensor, uint64_t& nbytes) const;
  Status PlaceTensors();
  Status CheckOverlaps();

  // A tensor's entry, until its data is found.
  struct Entry {
    uint64_t byte = 0;    // where the entry lies
    uint64_t offset = 0;  // of the data, from the start of the data section
    uint64_t nbytes = 0;
  };

  const std::span<const std::byte> bytes_;
  const std::string_view name_;
  uint64_t position_ = 0;
  Place place_;
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
  uint64_t alignment_ = kDefaultAlignment;
  GgufPart part_;
  std::vector<Entry> entries_;  // beside part_.tensors
};

Status GgufParser::ReadHeader() {
  const std::string_view text = AsString(bytes_);
  if (!text.starts_with("GGUF")) {
    if (text.starts_with("version https://git-lfs")) {
      return Corrupt(
          "this is a Git LFS pointer, not the model; fetch the file itself (git lfs pull)");
    }
    return Corrupt("not a GGUF file: it does not begin with the letters GGUF");
  }
  position_ = 4;
  TW_RETURN_IF_ERROR(CheckVersion());
  TW_ASSIGN_OR_RETURN(tensor_count_, Read<uint64_t>("the number of tensors"));
  TW_ASSIGN_OR_RETURN(key_count_, Read<uint64_t>("the number of keys"));
  TW_RETURN_IF_ERROR(CheckCount("keys", key_count_, limits::kGgufKeysMax, kKeyBytesMin));
  return CheckCount("tensors", tensor_count_, limits::kGgufTensorsMax, kTensorBytesMin);
}

Status GgufParser::CheckVersion() {
  TW_ASSIGN_OR_RETURN(part_.version, Read<uint32_t>("the version"));
  if (part_.version == 2 || part_.version == 3) {
    return {};
  }
  if (part_.version != 0 && (part_.version & 0xFFFFu) == 0) {
    return Refuse(ErrorCode::kUnsupported,
                  "the file is big-endian; only little-endian GGUF is read");
  }
  return Refuse(
      ErrorCode::kUnsupported,
      fmt::format("GGUF version {} is not supported, only 2 and 3; convert the model again",
                  part_.version));
}

Status GgufParser::ReadKey() {
  place_ = {"key", {}, position_};
  TW_ASSIGN_OR_RETURN(const std::string_view key, ReadName("a key", limits::kGgufKeyBytesMax));
  place_.name = key;
  TW_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("the type"));
  TW_ASSIGN_OR_RETURN(GgufValue value, ReadValue(static_cast<GgufType>(type)));
  if (!part_.keys.emplace(key, std::move(value)).second) {
    return Corrupt("this key occurs twice");
  }
  return key == kAlignmentKey ? SetAlignment() : Status();
}

Result<GgufValue> GgufParser::ReadValue(GgufType type) {
  // Widens to the alternative of GgufValue that holds every value of T.
  const auto number = [&]<class T, class Wide>(T, Wide) -> Result<GgufValue> {
    TW_ASSIGN_OR_RETURN(const T value, Read<T>("the value"));
    return GgufValue(std::in_place_type<Wide>, static_cast<Wide>(value));
  };
  switch (type) {
    case GgufType::kU8:
      return number(uint8_t{}, uint64_t{});
    case GgufType::kI8:
      return number(int8_t{}, int64_t{});
    case GgufType::kU16:
      return number(uint16_t{}, uint64_t{});
    case GgufType::kI16:
      return number(int16_t{}, int64_t{});
    case GgufType::kU32:
      return number(uint32_t{}, uint64_t{});
    case GgufType::kI32:
      return number(int32_t{}, int64_t{});
    case GgufType::kF32:
      return number(float{}, double{});
    case GgufType::kU64:
      return number(uint64_t{}, uint64_t{});
    case GgufType::kI64:
      return number(int64_t{}, int64_t{});
    case GgufType::kF64:
      return number(double{}, double{});
    case GgufType::kBool: {
      TW_ASSIGN_OR_RETURN(const bool value, ReadBool());
      return GgufValue(value);
    }
    case GgufType::kString: {
      TW_ASSIGN_OR_RETURN(const std::string_view value,
                          ReadString("the value", limits::kGgufStringBytesMax));
      return GgufValue(value);
    }
    case GgufType::kArray:
      return ReadArray();
  }
  return Corrupt(fmt::format("has type {}, which GGUF does not have", static_cast<uint32_t>(type)));
}

Result<bool> GgufParser::ReadBool() {
  TW_ASSIGN_OR_RETURN(const uint8_t value, Read<uint8_t>("the value"));
  if (value > 1) {
    return Corrupt(fmt::format("byte {} is {}, where a bool has 0 or 1", position_ - 1, value));
  }
  return value == 1;
}

Result<GgufValue> GgufParser::ReadArray() {
  TW_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("the type of the elements"));
  TW_ASSIGN_OR_RETURN(const uint64_t count, Read<uint64_t>("the number of elements"));
  GgufArray array{static_cast<GgufType>(type), count, {}};
  if (array.element_type == GgufType::kArray) {
    return Refuse(ErrorCode::kUnsupported, "an array of arrays; only flat arrays are read");
  }
  if (type >= std::size(kElementBytes)) {
    return Corrupt(fmt::format("an array of type {}, which GGUF does not have", type));
  }
  const bool strings = array.element_type == GgufType::kString;
  const uint64_t bytes_each = strings ? sizeof(uint64_t) : kElementBytes[type];
  TW_RETURN_IF_ERROR(CheckCount("elements", count, UINT64_MAX, bytes_each));
  const uint64_t start = position_;
  if (strings) {
    for (uint64_t i = 0; i < count; ++i) {
      TW_RETURN_IF_ERROR(ReadString("an element", limits::kGgufStringBytesMax));
    }
  } else if (array.element_type == GgufType::kBool) {
    for (uint64_t i = 0; i < count; ++i) {
      TW_RETURN_IF_ERROR(ReadBool());
    }
  } else {
    position_ += count * bytes_each;
  }
  array.bytes = bytes_.subspan(start, position_ - start);
  return GgufValue(array);
}

Status GgufParser::SetAlignment() {
  const std::optional<int64_t> alignment = FindInteger(part_.keys, kAlignmentKey);
  alignment_ = alignment && *alignment > 0 ? static_cast<uint64_t>(*alignment) : 0;
  if (!std::has_single_bit(alignment_) || alignment_ < kAlignmentMin ||
      alignment_ > limits::kGgufAlignmentMax) {
    return Corrupt(fmt::format("must be a power of two from {} to {}", kAlignmentMin,
                               limits::kGgufAlignmentMax));
  }
  return {};
}

Status GgufParser::ReadTensor() {
  place_ = {"tensor", {}, position_};
  Entry entry{position_, 0, 0};
  GgufTensor tensor;
  TW_ASSIGN_OR_RETURN(tensor.name, ReadName("a tensor's name", limits::kGgufTensorNameBytesMax));
  place_.name = tensor.name;
  TW_ASSIGN_OR_RETURN(const uint32_t n_dims, Read<uint32_t>("the number of dimensions"));
  if (n_dims > limits::kGgufDimsMax) {
    return Corrupt(
        fmt::format("has {} dimensions; at most {} are allowed", n_dims, limits::kGgufDimsMax));
  }
  for (uint32_t i = 0; i < n_dims; ++i) {
    TW_ASSIGN_OR_RETURN(const uint64_t dim, Read<uint64_t>("a dimension"));
    tensor.dims.push_back(dim);
  }
  if (n_dims == 0) {
    tensor.dims.push_back(1);  // a scalar
  }
  TW_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("the type"));
  if (FindTensorType(type) == nullptr) {
    return Refuse(ErrorCode::kUnsupported,
                  fmt::format("has tensor type {}, which this build does not know", type));
  }
  tensor.type = static_cast<TensorType>(type);
  TW_ASSIGN_OR_RETURN(entry.offset, Read<uint64_t>("the offset"));
  TW_RETURN_IF_ERROR(CheckShape(tensor, entry.nbytes));
  part_.tensors.push_back(std::move(tensor));
  entries_.push_back(entry);
  return {};
}

Status GgufParser::CheckShape(const GgufTensor& tensor, uint64_t& nbytes) const {
  uint64_t elements = 1;
  for (const uint64_t dim : tensor.dims) {
    if (dim == 0) {
      return Corrupt("has a dimension of size 0");
    }
    if (!MultiplyChecked(elements, dim, elements) || elements > INT64_MAX) {
      return Corrupt("has more elements than 63 bits can count");
    }
  }
  const TensorTypeTraits& traits = TraitsOf(tensor.type);
  if (tensor.row_elements() % traits.block_elements != 0) {
    return Corrupt(fmt::format("rows of {} elements are not whole {} blocks of {}",
                               tensor.row_elements(), traits.name, traits.block_elements));
  }
  const std::optional<uint64_t> bytes = RowBytes(tensor.type, elements);
  if (!bytes) {
    return Corrupt("has more bytes than 64 bits can count");
  }
  nbytes = *bytes;
  return {};
}

Status GgufParser::PlaceTensors() {
  // position_ <= file size, far below 2^63: the sum cannot overflow.
  const uint64_t data_start = (position_ + alignment_ - 1) / alignment_ * alignment_;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    GgufTensor& tensor = part_.tensors[i];
    place_ = {"tensor", tensor.name, entry.byte};
    if (entry.offset % alignment_ != 0) {
      return Corrupt(fmt::format("offset {} is not a multiple of the alignment, {}", entry.offset,
                                 alignment_));
    }
    uint64_t begin = 0;
    uint64_t end = 0;
    if (!AddChecked(data_start, entry.offset, begin) || !AddChecked(begin, entry.nbytes, end)) {
      return Corrupt(fmt::format("offset {} and {} bytes do not fit into 64 bits", entry.offset,
                                 entry.nbytes));
    }
    if (end > bytes_.size()) {
      return Corrupt(fmt::format(
          "its data takes bytes {} to {}, but the file ends at byte {}; is the download complete?",
          begin, end, bytes_.size()));
    }
    tensor.data = bytes_.subspan(begin, entry.nbytes);
  }
  return {};
}

Status GgufParser::CheckOverlaps() {
  std::vector<uint32_t> order(entries_.size());
  for (uint32_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::ranges::sort(order, {}, [&](uint32_t i) { return entries_[i].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const Entry& before = entries_[order[i - 1]];
    const Entry& entry = entries_[order[i]];
    if (before.offset + before.nbytes > entry.offset) {
      place_ = {"tensor", part_.tensors[order[i]].name, entry.byte};
      return Corrupt(fmt::format(
          "its data, at offset {}, overlaps that of {}, {} bytes at offset {}", entry.offset,
          QuoteForMessage(part_.tensors[order[i - 1]].name), before.nbytes, before.offset));
    }
  }
  return {};
}

}  // namespace

Result<GgufPart> ParseGgufPart(std::span<const std::byte> bytes, std::string_view name) {
  return GgufParser(bytes, name).Parse();
}

}  // namespace tradewind::engine
