// One GGUF file, checked and cut into views. Used by gguf.cc only, which joins the parts of a
// split.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/format/gguf.h"

namespace tradewind::engine {

using GgufKeys = std::map<std::string_view, GgufValue, std::less<>>;

struct GgufPart {
  uint32_t version = 0;
  GgufKeys keys;
  std::vector<GgufTensor> tensors;  // file order; their names may still repeat
};

// `bytes` must outlive the result; `name` begins every message. Errors as GgufFile::Open.
// Allocates in proportion to what the file holds, never to what it claims to hold.
Result<GgufPart> ParseGgufPart(std::span<const std::byte> bytes, std::string_view name);

// Shared with gguf.cc, which defines the two. As GgufFile::Integer:
std::optional<int64_t> FindInteger(const GgufKeys& keys, std::string_view key);

// For messages: quoted, cut to a readable length, control characters and invalid UTF-8 replaced.
std::string QuoteForMessage(std::string_view text);

}  // namespace tradewind::engine
