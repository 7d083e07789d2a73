// JSON of keys and provider keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"
#include "identity/store.h"
#include "ledger/record.h"

namespace tradewind::console_api {

struct NewKey {
  identity::KeySpec spec;
  std::optional<ledger::BudgetSpec> budget;  // what it may spend; its name is not set
};

// The body of POST /tw/v1/keys. Errors: kInvalidArgument naming the field, also for one that is not
// known.
Result<NewKey> ParseNewKey(std::string_view body, int64_t now_unix_s);

// A list of texts; a single text with commas is one too.
void ReadTexts(dialects::Fields& fields, std::string_view name, std::vector<std::string>& out);

// "30d", "12h", "90m", "2026-12-31" (its first second, UTC) or "2026-12-31T23:59:59Z"; the result is
// not before the year 1970. Errors: kInvalidArgument (param expires).
Result<int64_t> ParseExpiry(std::string_view text, int64_t now_unix_s);

// "30d", "12h", "90m", in seconds: at most a hundred years. nullopt: it is none.
std::optional<int64_t> ReadSpan(std::string_view text);

std::string FormatTime(int64_t unix_s);  // RFC 3339 in UTC, whole seconds

// Fields of an open object; the state is live, expired or revoked.
void WriteKey(const identity::KeyInfo& key, int64_t now_unix_s, dialects::JsonWriter& json);
void WriteProviderKey(const identity::ProviderKeyInfo& key, dialects::JsonWriter& json);

}  // namespace tradewind::console_api
