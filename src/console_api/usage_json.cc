#include "console_api/usage_json.h"

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "dialects/json_reader.h"

namespace tradewind::console_api {
namespace {

namespace json = boost::json;
using billing::BillLine;
using ledger::NanoUsd;

std::unexpected<Error> Wrong(std::string_view what) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("The bill {}.", what), "file");
}

std::optional<int64_t> Count(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  const auto count = value == nullptr ? std::nullopt : dialects::AsInteger(*value);
  return count.has_value() && *count >= 0 ? count : std::nullopt;
}

std::string Text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

// Unix seconds, or RFC 3339.
std::optional<int64_t> Time(const json::object& bucket, std::string_view seconds,
                            std::string_view text) {
  const auto count = Count(bucket, seconds);
  return count.has_value() ? count : billing::ReadBillTime(Text(bucket, text));
}

void Add(std::optional<int64_t>& sum, const std::optional<int64_t>& more) {
  if (more.has_value()) {
    sum = sum.value_or(0) + *more;
  }
}

// {"value":0.06,"currency":"usd"} of dollars, or "6.0" of cents. A number's shortest text is what
// its sender wrote.
Result<std::optional<NanoUsd>> Amount(const json::object& result) {
  const json::value* amount = result.if_contains("amount");
  if (amount == nullptr || amount->is_null()) {
    return std::nullopt;
  }
  std::optional<NanoUsd> cost;
  if (amount->is_object()) {
    const json::value* value = amount->get_object().if_contains("value");
    if (value != nullptr && value->is_string()) {
      cost = billing::ReadBillUsd(std::string_view(value->get_string()));
    } else if (value != nullptr && value->is_double()) {
      cost = billing::ReadBillUsd(fmt::format("{}", value->get_double()));
    } else if (value != nullptr && value->is_int64()) {
      cost = billing::ReadBillUsd(std::to_string(value->get_int64()));
    }
  } else if (amount->is_string()) {
    constexpr NanoUsd kCents = 100;
    cost = billing::ReadBillUsd(std::string_view(amount->get_string()));
    if (cost.has_value()) {
      cost = *cost / kCents + (*cost % kCents > 0 ? 1 : 0);
    }
  }
  if (!cost.has_value()) {
    return Wrong("has an `amount` that is no amount of USD");
  }
  return cost;
}

Status AddResult(const json::object& result, BillLine& line) {
  Add(line.requests, Count(result, "num_model_requests"));
  std::optional<int64_t> input = Count(result, "input_tokens");
  std::optional<int64_t> cached = Count(result, "input_cached_tokens");
  if (const auto uncached = Count(result, "uncached_input_tokens"); uncached.has_value()) {
    // Here the parts stand beside each other.
    cached = Count(result, "cache_read_input_tokens");
    input = *uncached + cached.value_or(0);
    if (const json::value* written = result.if_contains("cache_creation");
        written != nullptr && written->is_object()) {
      for (const auto& [name, tokens] : written->get_object()) {
        *input += std::max<int64_t>(0, dialects::AsInteger(tokens).value_or(0));
      }
    }
  }
  Add(line.input_tokens, input);
  Add(line.cached_tokens, cached);
  Add(line.output_tokens, Count(result, "output_tokens"));
  TW_ASSIGN_OR_RETURN(const std::optional<NanoUsd> cost, Amount(result));
  Add(line.cost, cost);
  return {};
}

}  // namespace

Result<std::vector<BillLine>> ReadUsageJson(std::string_view text, std::string_view provider,
                                            bool is_invoice) {
  const auto page = dialects::ParseJsonObject(text);
  const json::value* data = page.has_value() ? page->if_contains("data") : nullptr;
  if (data == nullptr || !data->is_array()) {
    return Wrong("is neither CSV nor a page of usage with `data`");
  }
  if (const json::value* more = page->if_contains("has_more");
      more != nullptr && more->is_bool() && more->get_bool()) {
    return Wrong(
        "has more pages; ask for all of them at once, or import one after the other "
        "with `has_more` false");
  }
  std::map<std::tuple<int64_t, int64_t, std::string>, BillLine> cells;
  for (const json::value& entry : data->get_array()) {
    const json::object* bucket = entry.if_object();
    const auto start =
        bucket == nullptr ? std::nullopt : Time(*bucket, "start_time", "starting_at");
    const auto end = bucket == nullptr ? std::nullopt : Time(*bucket, "end_time", "ending_at");
    const json::value* results = bucket == nullptr ? nullptr : bucket->if_contains("results");
    if (!start || !end || *end <= *start || results == nullptr || !results->is_array()) {
      return Wrong("has an entry without a start, an end and `results`");
    }
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
  }
  std::vector<BillLine> lines;
  for (auto& [key, line] : cells) {
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace tradewind::console_api
