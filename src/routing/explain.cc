#include "routing/explain.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tradewind::routing {
namespace {

namespace json = boost::json;

std::string Ordinal(size_t n) {
  const bool teen = n % 100 >= 11 && n % 100 <= 13;
  const std::string_view end = teen          ? "th"
                               : n % 10 == 1 ? "st"
                               : n % 10 == 2 ? "nd"
                               : n % 10 == 3 ? "rd"
                                             : "th";
  return fmt::format("{}{}", n, end);
}

std::string_view StatusText(const RouteFacts& route) {
  switch (route.health.reason) {
    case HoldReason::kKey:
      return "key";
    case HoldReason::kThrottled:
      return "paused";
    case HoldReason::kTrialsBusy:
      return "trial";
    case HoldReason::kFaultsInARow:
    case HoldReason::kErrorRate:
      return "open";
    case HoldReason::kNone:
      break;
  }
  if (route.health.availability == Availability::kTrial) {
    return "trial";
  }
  switch (route.status) {
    case RouteStatus::kStaging:
      return "staging";
    case RouteStatus::kError:
      return "error";
    case RouteStatus::kLive:
      break;
  }
  return route.is_local ? "ready" : "live";
}

std::string PriceText(const RouteFacts& route) {
  if (!route.price.has_value()) {
    return "-";
  }
  const Price& price = *route.price;
  if (!route.price_is_energy && price.input_nanousd_per_mtok == 0 &&
      price.output_nanousd_per_mtok == 0 && price.request_nanousd == 0) {
    return "free";
  }
  std::string text =
      fmt::format("{}{}/{}", route.price_is_energy ? "energy " : "",
                  UsdText(price.input_nanousd_per_mtok), UsdText(price.output_nanousd_per_mtok));
  if (price.request_nanousd != 0) {
    text += fmt::format("+{}", UsdText(price.request_nanousd));
  }
  return text;
}

std::string TokensText(std::optional<int64_t> tokens) {
  if (!tokens.has_value()) {
    return "-";
  }
  // Makers count both ways: 128,000 and 131,072 are "128k".
  const int64_t thousand = *tokens % 1'000 != 0 && *tokens % 1'024 == 0 ? 1'024 : 1'000;
  return *tokens >= 1'000 ? fmt::format("{}k", *tokens / thousand) : fmt::format("{}", *tokens);
}

std::string_view KnownText(Known known) {
  return known == Known::kYes ? "yes" : known == Known::kNo ? "no" : "?";
}

// Why the first of the order is first.
std::string WhyChosen(const RouteFacts& route, const RouteNeeds& needs) {
  if (!needs.order.empty()) {
    return "by provider.order";
  }
  switch (needs.sort) {
    case SortBy::kPrice:
      return "lowest price for this request";
    case SortBy::kThroughput:
      return "highest throughput";
    case SortBy::kLatency:
      return "lowest latency";
    case SortBy::kPolicy:
      break;
  }
  switch (PolicyOf(route, needs)) {
    case Policy::kFastest:
      return ExpectedMs(route.health, needs).has_value()
                 ? fmt::format("fastest, about {:.1f} s expected",
                               *ExpectedMs(route.health, needs) / 1'000)
                 : "fastest; none is measured yet";
    case Policy::kCheapest:
      return route.price.has_value() ? "cheapest for this request" : "no route has a price";
    case Policy::kPreferred:
      return "first in the preferred order";
    case Policy::kPrivate:
      return "first of those that keep no data";
    case Policy::kPinned:
      return "named by the request";
    case Policy::kLocal:
      return "this device";
  }
  return {};
}

std::string WhyLastResort(const RouteFacts& route) {
  const std::string words = HealthWords(route.health);
  if (!words.empty()) {
    return words;
  }
  return route.status_words.empty() ? "the last check failed" : route.status_words;
}

json::value Usd(const std::optional<Price>& price, int64_t Price::* field) {
  return price.has_value() ? json::value(UsdText((*price).*field)) : json::value(nullptr);
}

template <class T>
json::value OrNull(const std::optional<T>& value) {
  return value.has_value() ? json::value(*value) : json::value(nullptr);
}

json::value KnownJson(Known known) {
  return known == Known::kUnknown ? json::value(nullptr) : json::value(known == Known::kYes);
}

json::object RouteJson(const RouteFacts& route, std::string_view decision,
                       std::optional<int64_t> place, std::string_view code,
                       std::string_view reason) {
  const HealthSnapshot& health = route.health;
  return {{"provider", route.provider},
          {"model", route.model},
          {"provider_model", route.provider_model},
          {"status", StatusText(route)},
          {"decision", decision},
          {"place", OrNull(place)},
          {"code", code.empty() ? json::value(nullptr) : json::value(code)},
          {"reason", reason},
          {"input_usd_per_mtok", Usd(route.price, &Price::input_nanousd_per_mtok)},
          {"output_usd_per_mtok", Usd(route.price, &Price::output_nanousd_per_mtok)},
          {"request_usd", Usd(route.price, &Price::request_nanousd)},
          {"currency", "USD"},
          {"price_is_energy", route.price_is_energy},
          {"first_token_latency_ms", OrNull(health.ttft_ms)},
          {"tokens_per_second", OrNull(health.tokens_per_second)},
          {"context_length", OrNull(route.context_length)},
          {"max_output_tokens", OrNull(route.max_output_tokens)},
          {"quantization",
           route.quantization.empty() ? json::value(nullptr) : json::value(route.quantization)},
          {"supports_tools", KnownJson(route[Capability::kTools])},
          {"supports_structured_output", KnownJson(route[Capability::kStructuredOutput])},
          {"supports_vision", KnownJson(route[Capability::kVision])},
          {"held_for_ms", health.held_for_ms},
          {"window_successes", health.window_successes},
          {"window_faults", health.window_faults}};
}

bool SeveralModels(std::span<const RouteFacts> facts) {
  return std::ranges::any_of(facts, [&](const RouteFacts& r) { return r.model != facts[0].model; });
}

ExplainRow RowOf(const RouteFacts& route, bool with_model) {
  const HealthSnapshot& health = route.health;
  return {
      .place = with_model ? fmt::format("{}:{}", route.model, route.provider) : route.provider,
      .status = std::string(StatusText(route)),
      .prices = PriceText(route),
      .ttft = health.ttft_ms.has_value() ? fmt::format("{:.2f} s", *health.ttft_ms / 1'000) : "-",
      .speed = health.tokens_per_second.has_value()
                   ? fmt::format("{:.{}f}", *health.tokens_per_second,
                                 *health.tokens_per_second < 10 ? 1 : 0)
                   : "-",
      .context = TokensText(route.context_length),
      .quant = route.quantization.empty() ? "?" : route.quantization,
      .tools = std::string(KnownText(route[Capability::kTools])),
      .decision = {}};
}

// What comes from a provider may hold anything: a table's cell is one line.
std::string OneLine(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, ' ');
  return text;
}

}  // namespace

std::vector<ExplainRow> ExplainRows(std::span<const RouteFacts> facts, const RouteNeeds& needs,
                                    const Ranking& ranking) {
  const bool with_model = SeveralModels(facts);
  std::vector<ExplainRow> rows;
  rows.reserve(facts.size());
  for (size_t i = 0; i < ranking.candidates.size(); ++i) {
    const Candidate& candidate = ranking.candidates[i];
    const RouteFacts& route = facts[candidate.index];
    ExplainRow row = RowOf(route, with_model);
    const std::string rest = candidate.last_resort ? WhyLastResort(route) : std::string();
    if (i == 0) {
      row.kind = DecisionKind::kChosen;
      row.decision = candidate.last_resort ? fmt::format("CHOSEN as the last resort: {}", rest)
                                           : fmt::format("CHOSEN: {}", WhyChosen(route, needs));
    } else if (candidate.last_resort) {
      row.kind = DecisionKind::kLastResort;
      row.decision = fmt::format("last resort ({}): {}", Ordinal(i + 1), rest);
    } else {
      row.kind = DecisionKind::kNext;
      row.decision = Ordinal(i + 1);
    }
    row.decision = OneLine(std::move(row.decision));
    rows.push_back(std::move(row));
  }
  for (const LeftOut& out : ranking.left_out) {
    ExplainRow row = RowOf(facts[out.index], with_model);
    row.decision = OneLine(fmt::format("excluded: {}", out.reason));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string ExplainText(std::span<const ExplainRow> rows) {
  constexpr size_t kColumns = 9;
  using Cells = std::array<std::string_view, kColumns>;
  std::vector<Cells> table = {
      {"PLACE", "STATUS", "IN/OUT $/M", "TTFT", "TOK/S", "CTX", "QUANT", "TOOLS", "DECISION"}};
  for (const ExplainRow& row : rows) {
    table.push_back({row.place, row.status, row.prices, row.ttft, row.speed, row.context, row.quant,
                     row.tools, row.decision});
  }
  std::array<size_t, kColumns> widths{};
  for (const Cells& cells : table) {
    for (size_t c = 0; c + 1 < kColumns; ++c) {
      widths[c] = std::max(widths[c], cells[c].size());
    }
  }
  std::string text;
  for (const Cells& cells : table) {
    for (size_t c = 0; c + 1 < kColumns; ++c) {
      text += fmt::format("{:<{}}  ", cells[c], widths[c]);
    }
    text += fmt::format("{}\n", cells.back());
  }
  return text;
}

json::object ExplainJson(std::string_view model, std::span<const RouteFacts> facts,
                         const RouteNeeds& needs, const Ranking& ranking) {
  json::array routes;
  for (size_t i = 0; i < ranking.candidates.size(); ++i) {
    const Candidate& candidate = ranking.candidates[i];
    const RouteFacts& route = facts[candidate.index];
    const std::string_view decision = i == 0                  ? "chosen"
                                      : candidate.last_resort ? "last_resort"
                                                              : "next";
    routes.push_back(RouteJson(route, decision, static_cast<int64_t>(i + 1), {},
                               candidate.last_resort ? WhyLastResort(route)
                               : i == 0              ? WhyChosen(route, needs)
                                                     : std::string()));
  }
  for (const LeftOut& out : ranking.left_out) {
    routes.push_back(
        RouteJson(facts[out.index], "excluded", {}, ExclusionName(out.code), out.reason));
  }
  json::value chosen(nullptr);
  if (!ranking.candidates.empty()) {
    const RouteFacts& first = facts[ranking.candidates.front().index];
    chosen = json::object{{"provider", first.provider},
                          {"model", first.model},
                          {"provider_model", first.provider_model}};
  }
  json::array capabilities;
  for (const Capability capability : needs.capabilities) {
    capabilities.emplace_back(CapabilityWords(capability));
  }
  return {{"schema", "tradewind.route_explain/v1"},
          {"model", model},
          {"policy", PolicyName(needs.policy)},
          {"needs", std::move(capabilities)},
          {"chosen", std::move(chosen)},
          {"routes", std::move(routes)}};
}

std::string WhyNoCandidate(std::span<const RouteFacts> facts, const Ranking& ranking,
                           size_t reasons_max) {
  const bool with_model = SeveralModels(facts);
  std::vector<std::string> reasons;
  std::set<std::string> seen;
  for (const LeftOut& out : ranking.left_out) {
    const RouteFacts& route = facts[out.index];
    std::string reason = OneLine(fmt::format(
        "{}: {}",
        with_model ? fmt::format("{} at {}", route.model, route.provider) : route.provider,
        out.reason));
    if (seen.insert(reason).second) {
      reasons.push_back(std::move(reason));
    }
  }
  const size_t more = reasons.size() > reasons_max ? reasons.size() - reasons_max : 0;
  reasons.resize(reasons.size() - more);
  std::string text = fmt::format("{}", fmt::join(reasons, "; "));
  if (more > 0) {
    text += fmt::format("; and {} more", more);
  }
  return text;
}

}  // namespace tradewind::routing
