#include "identity/secret.h"

#include <cstring>
#include <sodium.h>
#include <utility>

namespace tradewind::identity {

Secret::Secret(std::string_view text)
    : bytes_(std::make_unique<char[]>(text.size())), size_(text.size()) {
  if (!text.empty()) {
    std::memcpy(bytes_.get(), text.data(), text.size());
  }
}

Secret Secret::TakeFrom(std::string& text) {
  Secret out{std::string_view(text)};
  WipeText(text);
  return out;
}

Secret Secret::OfSize(size_t size) {
  Secret out;
  out.bytes_ = std::make_unique<char[]>(size);
  out.size_ = size;
  return out;
}

Secret::Secret(Secret&& other) noexcept
    : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    Wipe();
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Secret::~Secret() {
  Wipe();
}

void Secret::Wipe() {
  if (bytes_ != nullptr) {
    sodium_memzero(bytes_.get(), size_);
  }
}

bool SecretsEqual(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

void WipeText(std::string& text) {
  sodium_memzero(text.data(), text.size());
  text.clear();
}

}  // namespace tradewind::identity
