// Little-endian fields out of untrusted bytes, and small byte helpers. All hosts we build for are
// little-endian.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace tradewind {

static_assert(std::endian::native == std::endian::little);

// Reads a T at `p`, whatever its alignment. The caller has checked that sizeof(T) bytes are there.
template <class T>
T LoadLe(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

template <class T>
void StoreLe(void* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

inline std::span<const std::byte> AsBytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}
inline std::string_view AsString(std::span<const std::byte> b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

// a * b, or false when it does not fit: for sizes that come out of a file.
inline bool MultiplyChecked(uint64_t a, uint64_t b, uint64_t& product) {
  return !__builtin_mul_overflow(a, b, &product);
}
inline bool AddChecked(uint64_t a, uint64_t b, uint64_t& sum) {
  return !__builtin_add_overflow(a, b, &sum);
}

}  // namespace tradewind
