#include "ledger/ids.h"

#include <charconv>

namespace tradewind::ledger {

RequestId RequestId::Make(int64_t unix_ms, Random& random) {
  const uint64_t more = random.Next64() & 0xFFFF;
  return {(static_cast<uint64_t>(unix_ms) << 16) | more, random.Next64()};
}

std::optional<RequestId> RequestId::Parse(std::string_view text) {
  if (text.size() != 32) {
    return std::nullopt;
  }
  RequestId id;
  const auto read = [](std::string_view digits, uint64_t& value) {
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!read(text.substr(0, 16), id.high) || !read(text.substr(16), id.low)) {
    return std::nullopt;
  }
  return id;
}

std::string RequestId::ToString() const {
  // By hand: a formatter takes ten times as long, and every request has some.
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr int kHalf = 16;
  std::string text(size_t{2} * kHalf, '0');
  for (int i = 0; i < kHalf; ++i) {
    const int shift = 4 * (kHalf - 1 - i);
    text[static_cast<size_t>(i)] = kDigits[(high >> shift) & 0xF];
    text[static_cast<size_t>(kHalf + i)] = kDigits[(low >> shift) & 0xF];
  }
  return text;
}

}  // namespace tradewind::ledger
