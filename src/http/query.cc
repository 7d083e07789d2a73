#include "http/query.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace tradewind::http {
namespace {

// "%2F" and "+" of a query; a broken escape stays as it is.
std::string Decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* at = text.data() + i;
    if (*at == '%' && text.size() - i > 2 &&
        std::from_chars(at + 1, at + 3, value, 16).ptr == at + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += *at == '+' ? ' ' : *at;
    }
  }
  return out;
}

}  // namespace

Query ParseQuery(std::string_view text) {
  constexpr size_t kFieldsMax = 64;
  Query out;
  while (!text.empty() && out.size() < kFieldsMax) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view field = text.substr(0, end);
    const size_t equals = std::min(field.find('='), field.size());
    std::string name = Decode(field.substr(0, equals));
    if (name.ends_with("[]")) {
      name.resize(name.size() - 2);
    }
    out.emplace_back(std::move(name), Decode(field.substr(std::min(equals + 1, field.size()))));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string First(const Query& query, std::string_view name) {
  for (const auto& [key, value] : query) {
    if (key == name) {
      return value;
    }
  }
  return "";
}

std::set<std::string> All(const Query& query, std::string_view name) {
  std::set<std::string> out;
  for (const auto& [key, value] : query) {
    std::string_view rest = key == name ? std::string_view(value) : std::string_view();
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      out.emplace(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return out;
}

std::string EncodeQuery(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c)
                 : fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

}  // namespace tradewind::http
