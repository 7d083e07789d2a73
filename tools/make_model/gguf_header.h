// The part of a GGUF file before its tensors' data (docs/formats/gguf.md), version 3.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "make_model/shape.h"

namespace tradewind::make_model {

class GgufHeader {
 public:
  static constexpr uint64_t kAlignment = 32;
  static uint64_t Align(uint64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  void Set(std::string_view key, std::string_view text) {
    Key(key, kString);
    Text(text);
  }
  // bool, int32_t, uint32_t or float.
  template <class T>
    requires std::is_arithmetic_v<T>
  void Set(std::string_view key, T value) {
    Key(key, TypeId<T>());
    Raw(value);
  }
  void Set(std::string_view key, std::span<const std::string> texts) {
    Key(key, kArray);
    Raw(kString);
    Raw(uint64_t{texts.size()});
    for (const std::string& text : texts) {
      Text(text);
    }
  }
  void Set(std::string_view key, std::span<const int32_t> numbers) {
    Key(key, kArray);
    Raw(TypeId<int32_t>());
    Raw(uint64_t{numbers.size()});
    for (const int32_t number : numbers) {
      Raw(number);
    }
  }

  // The whole header, padded. The data of the tensors follows it in order, each padded by Align.
  std::string Build(std::span<const TensorSpec> tensors) const;

 private:
  static constexpr uint32_t kString = 8, kArray = 9;

  template <class T>
  static constexpr uint32_t TypeId() {
    if constexpr (std::same_as<T, uint32_t>) {
      return 4;
    } else if constexpr (std::same_as<T, int32_t>) {
      return 5;
    } else if constexpr (std::same_as<T, float>) {
      return 6;
    } else {
      static_assert(std::same_as<T, bool>);
      return 7;
    }
  }

  void Key(std::string_view key, uint32_t type) {
    Text(key);
    Raw(type);
    ++count_;
  }
  void Text(std::string_view text) {
    Raw(uint64_t{text.size()});
    keys_ += text;
  }
  template <class T>
  void Raw(T value) {
    keys_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  std::string keys_;
  uint64_t count_ = 0;
};

}  // namespace tradewind::make_model
