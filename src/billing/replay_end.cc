#include "billing/replay_end.h"

#include <algorithm>

#include "base/bytes.h"

namespace tradewind::billing {
namespace {

constexpr char kNameEnd = '\x1F', kFieldEnd = '\x1E';  // no header has them

}  // namespace

std::string EncodeHeaders(const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string text;
  for (const auto& [name, value] : headers) {
    text += name + kNameEnd + value + kFieldEnd;
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> DecodeHeaders(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> headers;
  while (!text.empty()) {
    const size_t end = std::min(text.find(kFieldEnd), text.size());
    const std::string_view field = text.substr(0, end);
    const size_t split = std::min(field.find(kNameEnd), field.size());
    headers.emplace_back(field.substr(0, split), field.substr(std::min(split + 1, field.size())));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return headers;
}

std::string EncodeEnd(const ReplayKey& key, const StoredAnswer* answer) {
  std::string bytes;
  const auto put = [&](std::string_view text) {
    char size[sizeof(uint32_t)];
    StoreLe(size, static_cast<uint32_t>(text.size()));
    bytes.append(size, sizeof(size)).append(text);
  };
  put(key.org_id);
  put(key.key_id);
  put(key.name);
  if (answer != nullptr) {
    char status[sizeof(int32_t)];
    StoreLe(status, int32_t{answer->status});
    put({status, sizeof(status)});
    put(answer->is_stream ? "1" : "");
    put(answer->is_kept ? "1" : "");
    put(EncodeHeaders(answer->headers));
    put(answer->body);
  }
  return bytes;
}

std::optional<ReplayEnd> DecodeEnd(std::string_view bytes) {
  std::vector<std::string> fields;
  while (bytes.size() >= sizeof(uint32_t)) {
    const size_t size = LoadLe<uint32_t>(bytes.data());
    bytes.remove_prefix(sizeof(uint32_t));
    if (size > bytes.size()) {
      return std::nullopt;
    }
    fields.emplace_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  const bool has_answer = fields.size() == 8 && fields[3].size() == sizeof(int32_t);
  if (!bytes.empty() || (fields.size() != 3 && !has_answer)) {
    return std::nullopt;
  }
  ReplayEnd end{{fields[0], fields[1], fields[2]}, std::nullopt};
  if (has_answer) {
    StoredAnswer& answer = end.answer.emplace();
    answer.status = LoadLe<int32_t>(fields[3].data());
    answer.is_stream = !fields[4].empty();
    answer.is_kept = !fields[5].empty();
    answer.headers = DecodeHeaders(fields[6]);
    answer.body = std::move(fields[7]);
  }
  return end;
}

}  // namespace tradewind::billing
