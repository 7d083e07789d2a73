// GGUF v2 and v3 model files, one or split, mapped read-only. A file is untrusted input: every
// offset, size, count, type and string is checked here, so that the rest of the engine may trust
// what it gets. Source: the GGUF specification; docs/formats/gguf.md has the grammar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "engine/quant/types.h"

namespace tradewind::engine {

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// A one-dimensional array as it lies in the file; elements are read on demand, nothing is copied or
// allocated.
struct GgufArray {
  GgufType element_type = GgufType::kU8;
  uint64_t count = 0;
  // Numbers: count * size bytes. Strings: (u64 length, bytes) each, validated.
  std::span<const std::byte> bytes;

  bool is_number() const {
    return element_type != GgufType::kString && element_type != GgufType::kArray;
  }
  // Number at `i`, whatever its width. i < count, is_number(). As an integer, fractions are cut,
  // what int64 cannot hold becomes its nearest end, and NaN becomes 0.
  double NumberAt(uint64_t i) const;
  int64_t IntegerAt(uint64_t i) const;
  // All strings, in order: views into the file. Empty unless element_type is kString.
  std::vector<std::string_view> Strings() const;
};

using GgufValue = std::variant<int64_t, uint64_t, double, bool, std::string_view, GgufArray>;

// One tensor: views into the map, valid while the GgufFile lives.
struct GgufTensor {
  std::string_view name;
  TensorType type = TensorType::kF32;
  // 1 to 4, none 0, product fits int64. dims[0] is the fastest: a [out, in] matrix has {in, out}. A
  // scalar (no dimensions in the file) has {1}.
  std::vector<uint64_t> dims;
  // Exactly the tensor's bytes. 32-byte aligned in well-made files; do not rely on it.
  std::span<const std::byte> data;

  // A multiple of the type's block.
  uint64_t row_elements() const { return dims.empty() ? 1 : dims[0]; }
  uint64_t rows() const;  // product of the other dims
};

struct GgufPart;  // what one file of a split holds (gguf_parser.h)

// Immutable after Open; any thread may read. Movable: views stay valid.
//
// What is promised beyond the types: keys and tensor names are unique, not empty and valid UTF-8;
// string values and array elements may be any bytes (vocabularies have such tokens); tensors of one
// file do not overlap.
class GgufFile {
 public:
  GgufFile() = default;  // empty: no keys, no tensors
  // Opens one file, or, when `path` is any part of a split NAME-00001-of-0000N.gguf, all of its
  // parts (keys come from the first). Errors: kNotFound (a part may be missing), kIo, kCorruptFile
  // (says what is wrong and at which byte or key), kUnsupported (version 1, big-endian, a version
  // above 3, nested arrays, a tensor type that we do not know). Every message begins with the name
  // of the file at fault.
  static Result<GgufFile> Open(const std::filesystem::path& path);

  // The same checks over bytes in memory, for fuzzing and tests. `bytes` must outlive the result.
  // Of a split it reads this one part, and does not look at the split.* keys.
  static Result<GgufFile> Parse(std::span<const std::byte> bytes, std::string name);

  GgufFile(GgufFile&&) = default;
  GgufFile& operator=(GgufFile&&) = default;

  const std::map<std::string_view, GgufValue, std::less<>>& keys() const { return keys_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;

  // Lenient number access (files disagree on widths): nullopt when the key is absent or not of that
  // family. Integer accepts a whole double, and is nullopt for what int64 cannot hold; Float
  // accepts integers, and may be NaN or infinite as the file has it; negative values are returned
  // as they are.
  std::optional<int64_t> Integer(std::string_view key) const;
  std::optional<double> Float(std::string_view key) const;
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::string_view> String(std::string_view key) const;
  const GgufArray* Array(std::string_view key) const;

  // Gives up the memory of pages inside `data`, a part of some tensor's data, when the file is
  // mapped; they are read again when touched.
  void Release(std::span<const std::byte> data) const;

  uint32_t version() const { return version_; }
  uint64_t tensor_bytes() const;                     // sum over tensors
  const std::string& name() const { return name_; }  // for messages: the path

 private:
  Status Append(GgufPart part, const std::string& part_name);

  std::string name_;
  uint32_t version_ = 0;
  std::vector<MappedFile> parts_;
  std::map<std::string_view, GgufValue, std::less<>> keys_;
  std::vector<GgufTensor> tensors_;                        // file order
  std::map<std::string_view, size_t, std::less<>> index_;  // name -> position in tensors_
};

}  // namespace tradewind::engine
