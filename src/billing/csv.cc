#include "billing/csv.h"

namespace tradewind::billing {

std::string NoFormula(std::string_view text) {
  const bool is_formula =
      !text.empty() && std::string_view("=+-@\t\r\n").find(text.front()) != text.npos;
  return (is_formula ? "'" : "") + std::string(text);
}

std::string CsvQuoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    out += c;
    if (c == '"') {
      out += c;
    }
  }
  return out + "\"";
}

std::string CsvText(std::string_view text) {
  std::string safe = NoFormula(text);
  return safe.find_first_of(",\"\r\n") == std::string::npos ? safe : CsvQuoted(safe);
}

}  // namespace tradewind::billing
