// An optional that costs a pointer while it is empty: for what is large and seldom there, in
// objects of which many coroutine frames hold one at once.
#pragma once

#include <memory>
#include <optional>
#include <utility>

namespace tradewind {

// One thread at a time, like std::optional. Copies deeply.
template <class T>
class Boxed {
 public:
  Boxed() = default;
  Boxed(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Boxed(std::optional<T> value) {
    if (value.has_value()) {
      value_ = std::make_unique<T>(std::move(*value));
    }
  }
  Boxed(const Boxed& other) : value_(other.value_ ? std::make_unique<T>(*other.value_) : nullptr) {}
  Boxed(Boxed&&) noexcept = default;  // leaves it empty
  Boxed& operator=(Boxed other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Boxed() = default;

  bool has_value() const { return value_ != nullptr; }
  // Undefined while it is empty.
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return value_.get(); }
  const T* operator->() const { return value_.get(); }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace tradewind
