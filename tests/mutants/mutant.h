// Which fault of tests/mutants is awake in this process: the number in TW_MUTANT, or none.
#pragma once

#include <cstdlib>

namespace tradewind {

inline bool MutantIs(int number) {
  static const int awake = [] {
    const char* text = std::getenv("TW_MUTANT");
    return text == nullptr ? 0 : std::atoi(text);
  }();
  return awake == number;
}

}  // namespace tradewind
