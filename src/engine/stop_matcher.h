// Finds stop strings across token borders: text that could still become one is held back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tradewind::engine {

// One per sequence; not thread-safe.
class StopMatcher {
 public:
  // Empty strings are ignored. `stops` are valid UTF-8, and so is the text: cuts fall between
  // characters.
  explicit StopMatcher(std::vector<std::string> stops);

  // Adds text; returns what can no longer become part of a stop string. Once a stop string is
  // complete, returns the text before it, and stopped() is true for good. The one that is complete
  // first counts (of several that end together, the longest): so the pieces do not matter.
  std::string Push(std::string_view text);
  // At the end of a generation: what is still held back was no stop string.
  std::string Flush();

  bool stopped() const { return stopped_; }

 private:
  size_t HeldFrom() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace tradewind::engine
