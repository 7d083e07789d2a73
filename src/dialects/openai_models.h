// GET /v1/models and /v1/models/{id}.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tradewind::dialects {

struct ModelEntry {
  std::string id;
  int64_t created = 0;   // Unix seconds: when the file was last written
  std::string owned_by;  // the organisation in the id, else "local"
  int64_t bytes = 0;
  int64_t context = 0;  // positions a sequence may use; 0 = not loaded yet, so not known
  bool loaded = false;
};

std::string FormatModel(const ModelEntry& entry);
std::string FormatModelList(std::span<const ModelEntry> entries);

}  // namespace tradewind::dialects
