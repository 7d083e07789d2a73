// Rests of a route or provider for one of our keys: who, why, until when. Bounded; not thread-safe.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "routing/failure.h"
#include "routing/window.h"

namespace tradewind::routing {

struct Hold {
  std::string key_ref;
  FailureKind kind = FailureKind::kRateLimited;
  int streak = 0;  // refusals without a success between them
  TimePoint since{};
  TimePoint until{};
};

class Holds {
 public:
  // The hold of this key, also one whose time is up (its streak still counts).
  const Hold* Find(std::string_view key_ref) const {
    const auto found = std::ranges::find(holds_, key_ref, &Hold::key_ref);
    return found == holds_.end() ? nullptr : &*found;
  }
  // Replaces the key's hold. When there is no room the one that ends first goes.
  void Set(Hold hold) {
    Clear(hold.key_ref);
    if (holds_.size() >= limits::kHoldsMax) {
      holds_.erase(std::ranges::min_element(holds_, {}, &Hold::until));
    }
    holds_.push_back(std::move(hold));
  }
  void Clear(std::string_view key_ref) {
    std::erase_if(holds_, [&](const Hold& hold) { return hold.key_ref == key_ref; });
  }
  void ClearAll() { holds_.clear(); }
  size_t size() const { return holds_.size(); }

 private:
  std::vector<Hold> holds_;
};

}  // namespace tradewind::routing
