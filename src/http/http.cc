#include "http/http.h"

#include <algorithm>

#include "http/wire.h"

namespace tradewind::http {

void Headers::Set(std::string name, std::string value) {
  Remove(name);
  Add(std::move(name), std::move(value));
}

void Headers::Remove(std::string_view name) {
  std::erase_if(fields_, [name](const auto& field) {
    return field.first.size() == name.size() && SameToken(field.first, name);
  });
}

void Headers::Add(std::string name, std::string value) {
  constexpr size_t kUsual = 12;  // one piece of memory for most messages
  if (fields_.empty()) {
    fields_.reserve(kUsual);
  }
  fields_.emplace_back(std::move(name), std::move(value));
}

std::optional<std::string_view> Headers::Find(std::string_view name) const {
  const auto at = std::ranges::find_if(fields_, [name](const auto& field) {
    return field.first.size() == name.size() && SameToken(field.first, name);
  });
  if (at == fields_.end()) {
    return std::nullopt;
  }
  return at->second;
}

Result<std::string> WholeBody(Response response) {
  while (response.more) {
    TW_ASSIGN_OR_RETURN(const std::string piece, response.more());
    if (piece.empty()) {
      break;
    }
    response.body += piece;
  }
  return std::move(response.body);
}

}  // namespace tradewind::http
