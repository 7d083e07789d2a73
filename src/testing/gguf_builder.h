// For tests only: writes GGUF files, well-made or broken on purpose. Knows nothing of the reader,
// so that each checks the other.
//
//   GgufBuilder builder;
//   builder.Set("general.architecture", "llama").Set("llama.block_count", uint32_t{2});
//   builder.Set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
//   builder.TensorF32("token_embd.weight", {64, 2}, values);
//   std::string file = builder.Build();
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/quant/types.h"

namespace tradewind::testing {

class GgufBuilder {
 public:
  explicit GgufBuilder(uint32_t version = 3) : version_(version) {}

  // A scalar of exactly the given C++ type: bool, (u)int8..64_t, float or double.
  template <class T>
    requires std::is_arithmetic_v<T>
  GgufBuilder& Set(std::string_view key, T value) {
    return SetRaw(key, TypeId<T>(), Bytes(value));
  }
  GgufBuilder& Set(std::string_view key, std::string_view value) {
    return SetRaw(key, kStringId, String(value));
  }
  GgufBuilder& Set(std::string_view key, const char* value) {
    return Set(key, std::string_view(value));
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  GgufBuilder& Set(std::string_view key, const std::vector<T>& values) {
    std::string bytes = Bytes(TypeId<T>()) + Bytes(uint64_t{values.size()});
    for (const T value : values) {
      bytes += Bytes(value);
    }
    return SetRaw(key, kArrayId, std::move(bytes));
  }
  GgufBuilder& Set(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = Bytes(kStringId) + Bytes(uint64_t{values.size()});
    for (const std::string& value : values) {
      bytes += String(value);
    }
    return SetRaw(key, kArrayId, std::move(bytes));
  }
  // Any type id with any bytes after it. A key that is set twice is written twice.
  GgufBuilder& SetRaw(std::string_view key, uint32_t type, std::string bytes) {
    keys_.push_back(String(key) + Bytes(type) + std::move(bytes));
    return *this;
  }
  // Writes general.alignment and lays the data out by it.
  GgufBuilder& SetAlignment(uint32_t alignment) {
    alignment_ = alignment;
    return Set("general.alignment", alignment);
  }

  // dims[0] is the fastest. `data` is written as it is, whatever dims say.
  GgufBuilder& Tensor(std::string_view name, engine::TensorType type, std::vector<uint64_t> dims,
                      std::string data) {
    return TensorRaw(name, static_cast<uint32_t>(type), std::move(dims), std::move(data));
  }
  GgufBuilder& TensorF32(std::string_view name, std::vector<uint64_t> dims,
                         const std::vector<float>& values) {
    std::string data(values.size() * sizeof(float), '\0');
    std::memcpy(data.data(), values.data(), data.size());
    return Tensor(name, engine::TensorType::kF32, std::move(dims), std::move(data));
  }
  GgufBuilder& TensorRaw(std::string_view name, uint32_t type, std::vector<uint64_t> dims,
                         std::string data) {
    tensors_.push_back({std::string(name), type, std::move(dims), std::move(data)});
    return *this;
  }

  std::string Build() const { return Build(keys_, 0, tensors_.size()); }

  // The parts of a split: all keys in the first, tensors dealt out in order, split.* keys in each.
  std::vector<std::string> BuildSplit(uint16_t count) const {
    std::vector<std::string> parts;
    for (uint16_t no = 0; no < count; ++no) {
      GgufBuilder split(version_);
      split.Set("split.no", no).Set("split.count", count);
      split.Set("split.tensors.count", static_cast<int32_t>(tensors_.size()));
      std::vector<std::string> keys = no == 0 ? keys_ : std::vector<std::string>();
      keys.insert(keys.end(), split.keys_.begin(), split.keys_.end());
      const size_t n = tensors_.size();
      parts.push_back(Build(keys, n * no / count, n * (no + 1u) / count));
    }
    return parts;
  }

  static void WriteFile(const std::filesystem::path& path, std::string_view bytes) {
    std::ofstream out(path, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.close();
    TW_CHECK(out.good());
  }
  // "stem-00001-of-00003.gguf" for number 1 of 3.
  static std::string SplitName(std::string_view stem, int number, int count) {
    std::array<char, 32> tail{};
    std::snprintf(tail.data(), tail.size(), "-%05d-of-%05d.gguf", number, count);
    return std::string(stem) + tail.data();
  }

  template <class T>
  static std::string Bytes(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string String(std::string_view text) {
    return Bytes(uint64_t{text.size()}) + std::string(text);
  }

 private:
  struct TensorEntry {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> dims;
    std::string data;
  };

  static constexpr uint32_t kStringId = 8;
  static constexpr uint32_t kArrayId = 9;

  template <class T>
  static constexpr uint32_t TypeId() {
    if constexpr (std::same_as<T, bool>) {
      return 7;
    } else if constexpr (std::floating_point<T>) {
      return sizeof(T) == 4 ? 6 : 12;
    } else {
      constexpr uint32_t kUnsigned = sizeof(T) == 1   ? 0
                                     : sizeof(T) == 2 ? 2
                                     : sizeof(T) == 4 ? 4
                                                      : 10;
      return kUnsigned + (std::is_signed_v<T> ? 1 : 0);
    }
  }

  void Pad(std::string& bytes) const {
    bytes.resize((bytes.size() + alignment_ - 1) / alignment_ * alignment_, '\0');
  }

  std::string Build(const std::vector<std::string>& keys, size_t first, size_t last) const {
    std::string file =
        "GGUF" + Bytes(version_) + Bytes(uint64_t{last - first}) + Bytes(uint64_t{keys.size()});
    for (const std::string& key : keys) {
      file += key;
    }
    std::string data;
    for (size_t i = first; i < last; ++i) {
      const TensorEntry& tensor = tensors_[i];
      file += String(tensor.name) + Bytes(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) {
        file += Bytes(dim);
      }
      file += Bytes(tensor.type) + Bytes(uint64_t{data.size()});
      data += tensor.data;
      Pad(data);
    }
    if (first < last) {
      Pad(file);
    }
    return file + data;
  }

  uint32_t version_;
  uint32_t alignment_ = 32;
  std::vector<std::string> keys_;
  std::vector<TensorEntry> tensors_;
};

}  // namespace tradewind::testing
