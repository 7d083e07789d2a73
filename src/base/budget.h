// A bound on a sum, such as the bytes that all requests together hold: each holder takes a share
// and gives it back.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace tradewind {

// Thread-safe. Must outlive its shares.
class Budget {
 public:
  explicit Budget(int64_t max) : max_(max) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  int64_t max() const { return max_; }
  int64_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  friend class BudgetShare;

  bool Take(int64_t amount) {
    int64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (amount > max_ - used) {
        return false;
      }
    } while (!used_.compare_exchange_weak(used, used + amount, std::memory_order_relaxed));
    return true;
  }
  void GiveBack(int64_t amount) { used_.fetch_sub(amount, std::memory_order_relaxed); }

  const int64_t max_;
  std::atomic<int64_t> used_{0};
};

// One holder's part, at first 0; given back when destroyed. One thread at a time.
class BudgetShare {
 public:
  BudgetShare() = default;  // of no budget: cannot grow
  explicit BudgetShare(Budget& budget) : budget_(&budget) {}
  BudgetShare(BudgetShare&& other) noexcept
      : budget_(other.budget_), amount_(std::exchange(other.amount_, 0)) {}
  BudgetShare& operator=(BudgetShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(amount_, other.amount_);
    return *this;
  }
  ~BudgetShare() { Release(); }

  // False, and nothing changes, when the budget has no room for what is missing. Never shrinks.
  [[nodiscard]] bool GrowTo(int64_t amount) {
    if (amount <= amount_) {
      return true;
    }
    if (budget_ == nullptr || !budget_->Take(amount - amount_)) {
      return false;
    }
    amount_ = amount;
    return true;
  }
  void Release() {
    if (amount_ > 0) {
      budget_->GiveBack(std::exchange(amount_, 0));
    }
  }
  int64_t amount() const { return amount_; }

 private:
  Budget* budget_ = nullptr;
  int64_t amount_ = 0;
};

}  // namespace tradewind
