// The filter functions, by kind of subject; filters.cc has the table of names.
#pragma once

#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

using FilterFunction = ValueResult (*)(Run&, std::string_view name, const Value& subject,
                                       const Args&);

struct FilterEntry {
  std::string_view name;
  FilterFunction function;
};

extern const std::initializer_list<FilterEntry> kTextFilters;      // filters_text.cc
extern const std::initializer_list<FilterEntry> kMarkupFilters;    // filters_markup.cc
extern const std::initializer_list<FilterEntry> kNumberFilters;    // filters_number.cc
extern const std::initializer_list<FilterEntry> kSequenceFilters;  // filters_sequence.cc
extern const std::initializer_list<FilterEntry> kSelectFilters;    // filters_select.cc

}  // namespace tradewind::engine::prompt
