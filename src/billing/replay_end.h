// What became of an idempotency key, as one process tells another: a file in
// HOME/replies-handover/ holds this (locked_file.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "billing/replay_store.h"

namespace tradewind::billing {

struct ReplayEnd {
  ReplayKey key;
  std::optional<StoredAnswer> answer;

  bool operator==(const ReplayEnd&) const = default;
};

// Forgotten: without an answer.
std::string EncodeEnd(const ReplayKey& key, const StoredAnswer* answer);
// Nothing: it is no such text.
std::optional<ReplayEnd> DecodeEnd(std::string_view bytes);

// Headers as one text; no name and no value has the bytes 1E and 1F.
std::string EncodeHeaders(const std::vector<std::pair<std::string, std::string>>& headers);
std::vector<std::pair<std::string, std::string>> DecodeHeaders(std::string_view text);

}  // namespace tradewind::billing
