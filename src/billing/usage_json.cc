#include "billing/usage_json.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "dialects/json_reader.h"

namespace tradewind::billing {
namespace {

namespace json = boost::json;
using ledger::NanoUsd;

std::unexpected<Error> Wrong(std::string_view what) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("The bill {}.", what), "file");
}

// Nothing: it is not said. What is said and is no count is never taken for nothing.
Result<std::optional<int64_t>> Count(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || value->is_null()) {
    return std::nullopt;
  }
  const auto count = dialects::AsInteger(*value);
  if (!count.has_value() || *count < 0 || *count > kBillCountMax) {
    return Wrong(fmt::format("has a `{}` that is no count", name));
  }
  return count;
}

std::string Text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

// Unix seconds, or RFC 3339.
std::optional<int64_t> Time(const json::object& bucket, std::string_view seconds,
                            std::string_view text) {
  constexpr int64_t kYear2200 = 7'258'118'400;  // times are counted in nanoseconds elsewhere
  const auto count = Count(bucket, seconds);
  if (count.has_value() && count->has_value()) {
    return **count < kYear2200 ? *count : std::nullopt;
  }
  return ReadBillTime(Text(bucket, text));
}

// Both are within kBillCountMax, which leaves room.
Status Add(std::string_view name, std::optional<int64_t>& sum, const std::optional<int64_t>& more) {
  if (more.has_value()) {
    sum = sum.value_or(0) + *more;
    if (std::abs(*sum) > kBillCountMax) {
      return Wrong(fmt::format("has more of `{}` than anybody can count", name));
    }
  }
  return {};
}

// {"value":0.06,"currency":"usd"} of dollars, or "6.0" of cents. A number's shortest text is what
// its sender wrote.
Result<std::optional<NanoUsd>> Amount(const json::object& result) {
  const json::value* amount = result.if_contains("amount");
  if (amount == nullptr || amount->is_null()) {
    return std::nullopt;
  }
  std::optional<NanoUsd> cost;
  std::string currency = Text(result, "currency");
  if (amount->is_object()) {
    const json::value* value = amount->get_object().if_contains("value");
    currency = Text(amount->get_object(), "currency");
    if (value != nullptr && value->is_string()) {
      cost = ReadBillUsd(std::string_view(value->get_string()));
    } else if (value != nullptr && value->is_double()) {
      cost = ReadBillUsd(fmt::format("{}", value->get_double()));
    } else if (value != nullptr && value->is_int64()) {
      cost = ReadBillUsd(std::to_string(value->get_int64()));
    }
  } else if (amount->is_string()) {
    cost = ReadBillUsd(fmt::format("{}e-2", std::string_view(amount->get_string())));
  }
  if (!cost.has_value() || (!currency.empty() && AsciiLower(currency) != "usd")) {
    return Wrong("has an `amount` that is no amount of USD");
  }
  return cost;
}

// Tokens written to the cache, whatever their kinds are called.
Result<int64_t> Written(const json::object& result) {
  int64_t sum = 0;
  const json::value* written = result.if_contains("cache_creation");
  if (written != nullptr && written->is_object()) {
    for (const auto& [name, tokens] : written->get_object()) {
      const auto count = Count(written->get_object(), name);
      if (!count.has_value()) {
        return Wrong("has a `cache_creation` of what is no count");
      }
      sum = std::min(sum + count->value_or(0), kBillCountMax);
    }
  }
  return sum;
}

Status AddResult(const json::object& result, BillLine& line) {
  TW_ASSIGN_OR_RETURN(const auto requests, Count(result, "num_model_requests"));
  TW_ASSIGN_OR_RETURN(std::optional<int64_t> input, Count(result, "input_tokens"));
  TW_ASSIGN_OR_RETURN(std::optional<int64_t> cached, Count(result, "input_cached_tokens"));
  TW_ASSIGN_OR_RETURN(const auto output, Count(result, "output_tokens"));
  TW_ASSIGN_OR_RETURN(const auto uncached, Count(result, "uncached_input_tokens"));
  if (uncached.has_value()) {
    // Here the parts stand beside each other.
    TW_ASSIGN_OR_RETURN(cached, Count(result, "cache_read_input_tokens"));
    TW_ASSIGN_OR_RETURN(const int64_t written, Written(result));
    input = *uncached + cached.value_or(0) + written;
  }
  if (cached.value_or(0) > input.value_or(kBillCountMax)) {
    return Wrong("has more cached tokens than `input_tokens`");
  }
  TW_RETURN_IF_ERROR(Add("num_model_requests", line.requests, requests));
  TW_RETURN_IF_ERROR(Add("input_tokens", line.input_tokens, input));
  TW_RETURN_IF_ERROR(Add("input_cached_tokens", line.cached_tokens, cached));
  TW_RETURN_IF_ERROR(Add("output_tokens", line.output_tokens, output));
  TW_ASSIGN_OR_RETURN(const std::optional<NanoUsd> cost, Amount(result));
  return Add("amount", line.cost, cost);
}

// Those of one time.
using Cells = std::map<std::tuple<int64_t, int64_t, std::string>, BillLine>;
Status AddBucket(const json::value& entry, std::string_view provider, bool is_invoice,
                 UsagePage& page, Cells& cells) {
  const json::object* bucket = entry.if_object();
  const auto start = bucket == nullptr ? std::nullopt : Time(*bucket, "start_time", "starting_at");
  const auto end = bucket == nullptr ? std::nullopt : Time(*bucket, "end_time", "ending_at");
  const json::value* results = bucket == nullptr ? nullptr : bucket->if_contains("results");
  if (!start || !end || *end <= *start || results == nullptr || !results->is_array()) {
    return Wrong("has an entry without a start, an end and `results`");
  }
  page.times.emplace_back(*start, *end);
  for (const json::value& one : results->get_array()) {
    const json::object* result = one.if_object();
    if (result == nullptr) {
      return Wrong("has a result that is no object");
    }
    BillLine& line = cells[{*start, *end, Text(*result, "model")}];
    line.provider = provider;
    line.model = Text(*result, "model");
    line.start_s = *start;
    line.end_s = *end;
    line.is_invoice = is_invoice;
    TW_RETURN_IF_ERROR(AddResult(*result, line));
  }
  return {};
}

}  // namespace

Result<UsagePage> ReadUsagePage(std::string_view text, std::string_view provider, bool is_invoice) {
  const auto object = dialects::ParseJsonObject(text);
  const json::value* data = object.has_value() ? object->if_contains("data") : nullptr;
  if (data == nullptr || !data->is_array()) {
    return Wrong("is neither CSV nor a page of usage with `data`");
  }
  UsagePage page;
  const json::value* more = object->if_contains("has_more");
  page.has_more = more != nullptr && more->is_bool() && more->get_bool();
  page.next_page = Text(*object, "next_page");
  Cells cells;
  for (const json::value& entry : data->get_array()) {
    TW_RETURN_IF_ERROR(AddBucket(entry, provider, is_invoice, page, cells));
  }
  for (auto& [key, line] : cells) {
    page.lines.push_back(std::move(line));
  }
  return page;
}

Result<std::vector<BillLine>> ReadUsageJson(std::string_view text, std::string_view provider,
                                            bool is_invoice) {
  TW_ASSIGN_OR_RETURN(UsagePage page, ReadUsagePage(text, provider, is_invoice));
  if (page.has_more) {
    return Wrong(
        "has more pages; ask for all of them at once, import one after the other with `has_more` "
        "false, or let `tradewind reconcile fetch` ask");
  }
  return std::move(page.lines);
}

}  // namespace tradewind::billing
