// What one rendering may use up. A bound that is reached stays reached: every loop that does work
// for a template asks ok(), and the interpreter turns the state into an error at its next step. So
// helpers need no error path of their own.
#pragma once

#include <cstdint>
#include <string>

#include "base/limits.h"

namespace tradewind::engine::prompt {

struct TemplateLimits {
  int64_t steps_max = limits::kTemplateStepsMax;
  int64_t bytes_max = limits::kTemplateBytesMax;
  int64_t output_bytes_max = limits::kTemplateOutputBytesMax;
  int depth_max =
      limits::kTemplateDepthMax;  // nesting of source, and of the values a template builds
  int run_depth_max = limits::kTemplateRunDepthMax;  // nesting of the interpreter's own calls
};

class Budget {
 public:
  explicit Budget(const TemplateLimits& bounds)
      : bounds_(bounds), work_left_(bounds.steps_max * kWorkPerStep) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // A step stands for a node of the template or for 1 KiB of text copied or 64 bytes of text
  // converted.
  bool SpendSteps(int64_t steps) { return Spend(steps * kWorkPerStep); }
  bool SpendCopy(int64_t bytes) { return Spend(bytes); }
  bool SpendConversion(int64_t bytes) { return Spend(bytes * 16); }

  bool Take(int64_t bytes) {
    if (bytes > bounds_.bytes_max - bytes_) {
      Exhaust(Bound::kMemory);
      return false;
    }
    bytes_ += bytes;
    return true;
  }
  void Give(int64_t bytes) { bytes_ -= bytes; }
  bool Fits(int64_t bytes) {
    if (bytes <= bounds_.bytes_max - bytes_) {
      return ok();
    }
    Exhaust(Bound::kMemory);
    return false;
  }

  enum class Bound { kNone, kSteps, kMemory, kOutput, kDepth };
  void Exhaust(Bound bound) {
    if (exhausted_ == Bound::kNone) {
      exhausted_ = bound;
    }
  }
  bool ok() const { return exhausted_ == Bound::kNone; }
  std::string Message() const;
  const TemplateLimits& bounds() const { return bounds_; }

 private:
  static constexpr int64_t kWorkPerStep = 1024;
  bool Spend(int64_t work) {
    work_left_ -= work;
    if (work_left_ < 0) {
      Exhaust(Bound::kSteps);
    }
    return ok();
  }

  const TemplateLimits bounds_;
  int64_t work_left_;
  int64_t bytes_ = 0;
  Bound exhausted_ = Bound::kNone;
};

// Bytes taken from a budget for as long as this lives. Without a budget (constants of a template)
// it counts nothing.
class MemoryCharge {
 public:
  explicit MemoryCharge(Budget* budget) : budget_(budget) {}
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;
  ~MemoryCharge() { Set(0); }

  // False when the budget does not hold that much: the charge is then unchanged and the budget
  // exhausted.
  bool Set(int64_t bytes) {
    if (budget_ == nullptr) {
      return true;
    }
    if (bytes > bytes_ && !budget_->Take(bytes - bytes_)) {
      return false;
    }
    if (bytes < bytes_) {
      budget_->Give(bytes_ - bytes);
    }
    bytes_ = bytes;
    return true;
  }
  Budget* budget() const { return budget_; }

 private:
  Budget* budget_;
  int64_t bytes_ = 0;
};

}  // namespace tradewind::engine::prompt
