// Text in CSV files that people open with a spreadsheet.
#pragma once

#include <string>
#include <string_view>

namespace tradewind::billing {

// With an apostrophe before what a spreadsheet would take for a formula, and run: names of keys and
// models are others' words.
std::string NoFormula(std::string_view text);

std::string CsvQuoted(std::string_view text);  // RFC 4180
std::string CsvText(std::string_view text);    // no formula, and quoted where it has to be

}  // namespace tradewind::billing
