#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace tradewind::engine {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

// Where the longest suffix of held_ begins that is a proper prefix of a stop string.
size_t StopMatcher::HeldFrom() const {
  size_t from = held_.size();
  for (const std::string& stop : stops_) {
    const size_t longest = std::min(held_.size(), stop.size() - 1);
    for (size_t length = longest; length > 0 && held_.size() - length < from; --length) {
      if (std::string_view(held_).substr(held_.size() - length) ==
          std::string_view(stop).substr(0, length)) {
        from = held_.size() - length;
      }
    }
  }
  return from;
}

std::string StopMatcher::Push(std::string_view text) {
  if (stopped_) {
    return {};
  }
  held_.append(text);
  // The stop that is complete first, whatever pieces the text comes in; of those that end together,
  // the longest.
  size_t first_end = std::string::npos;
  size_t begin = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) {
      continue;
    }
    const size_t end = at + stop.size();
    if (end < first_end || (end == first_end && at < begin)) {
      first_end = end;
      begin = at;
    }
  }
  if (first_end != std::string::npos) {
    stopped_ = true;
    held_.resize(begin);
    return std::exchange(held_, {});
  }
  const size_t from = HeldFrom();
  std::string out = held_.substr(0, from);
  held_.erase(0, from);
  return out;
}

std::string StopMatcher::Flush() {
  return std::exchange(held_, {});
}

}  // namespace tradewind::engine
