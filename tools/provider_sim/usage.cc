#include "provider_sim/usage.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <map>

#include <fmt/format.h>

#include "provider_sim/json_template.h"

namespace provider_sim {
namespace {

constexpr int64_t kDayS = 86'400;
constexpr std::string_view kPagePrefix = "page_";

bool IsAnthropic(Endpoint endpoint) {
  return endpoint == Endpoint::kUsageReport || endpoint == Endpoint::kCostReport;
}

std::optional<int64_t> Whole(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number)
                                                                  : std::nullopt;
}

std::string Decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, code, 16).ec == std::errc()) {
      out += static_cast<char>(code);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::map<std::string, std::string> Fields(std::string_view query) {
  std::map<std::string, std::string> fields;
  while (!query.empty()) {
    const std::string_view field = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), field.size() + 1));
    const size_t equals = std::min(field.find('='), field.size());
    fields[Decoded(field.substr(0, equals))] =
        Decoded(field.substr(std::min(field.size(), equals + 1)));
  }
  return fields;
}

// Unix seconds, or "2026-11-26T00:00:00Z".
std::optional<int64_t> Day(const std::string& text) {
  std::optional<int64_t> time = Whole(text);
  std::tm parts{};
  if (const char* const end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
      !time && end != nullptr && *end == '\0') {
    time = timegm(&parts);
  }
  return time && *time >= 0 && *time % kDayS == 0 ? time : std::nullopt;
}

std::string TimeText(int64_t time_s) {
  const std::time_t time = time_s;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

// Nano-USD as units of 10^-places of a dollar, exactly: 9 for dollars, 7 for cents.
std::string Amount(int64_t nanousd, int places) {
  const int64_t unit = places == 9 ? 1'000'000'000 : 10'000'000;
  return fmt::format("{}.{:0{}}", nanousd / unit, nanousd % unit, places);
}

std::string UsageResult(Endpoint endpoint, const DayUse& use, bool is_negative) {
  const Charge& sum = use.sum;
  const std::string model = JsonString(use.model);
  if (endpoint == Endpoint::kUsage) {
    return fmt::format(
        R"({{"object":"organization.usage.completions.result","input_tokens":{},)"
        R"("output_tokens":{}{},"input_cached_tokens":{},"num_model_requests":{},"model":{}}})",
        sum.prompt_tokens, is_negative ? "-1" : "", sum.completion_tokens, sum.cached_tokens,
        use.requests, model);
  }
  return fmt::format(
      R"({{"uncached_input_tokens":{},"cache_read_input_tokens":{},"cache_creation":)"
      R"({{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},)"
      R"("output_tokens":{}{},"model":{}}})",
      sum.prompt_tokens - sum.cached_tokens, sum.cached_tokens, is_negative ? "-1" : "",
      sum.completion_tokens, model);
}

std::string CostResult(Endpoint endpoint, const DayUse& use) {
  if (endpoint == Endpoint::kCosts) {
    return fmt::format(
        R"({{"object":"organization.costs.result","amount":{{"value":{},"currency":"usd"}},)"
        R"("line_item":null,"project_id":null}})",
        Amount(use.sum.cost_nanousd, 9));
  }
  return fmt::format(R"({{"currency":"USD","amount":"{}","cost_type":"tokens","model":{}}})",
                     Amount(use.sum.cost_nanousd, 7), JsonString(use.model));
}

std::string Bucket(const ReportAsk& ask, int64_t day_s, const std::vector<DayUse>& uses,
                   bool is_negative) {
  std::string results;
  Charge whole;
  bool is_used = false;
  for (const DayUse& use : uses) {
    if (use.day_s != day_s) {
      continue;
    }
    is_used = true;
    whole.cost_nanousd += use.sum.cost_nanousd;
    if (ask.endpoint != Endpoint::kCosts) {
      results += results.empty() ? "" : ",";
      results += ask.endpoint == Endpoint::kCostReport
                     ? CostResult(ask.endpoint, use)
                     : UsageResult(ask.endpoint, use, is_negative);
    }
  }
  if (ask.endpoint == Endpoint::kCosts && is_used) {
    results = CostResult(ask.endpoint, {day_s, "", 0, whole});
  }
  return IsAnthropic(ask.endpoint)
             ? fmt::format(R"({{"starting_at":"{}","ending_at":"{}","results":[{}]}})",
                           TimeText(day_s), TimeText(day_s + kDayS), results)
             : fmt::format(R"({{"object":"bucket","start_time":{},"end_time":{},"results":[{}]}})",
                           day_s, day_s + kDayS, results);
}

void Lie(const std::string& lie, const ReportAsk& ask, std::vector<DayUse>& uses) {
  if (lie == "empty") {
    uses.clear();
  }
  if (lie == "inflated") {
    for (DayUse& use : uses) {
      use.sum.completion_tokens += use.sum.completion_tokens / 5 + 1;
      use.sum.cost_nanousd += use.sum.cost_nanousd / 5 + 1;
    }
  }
  if (lie == "stray") {
    uses.push_back({ask.from_s, "model-of-nobody", 1, {1000, 0, 1000, 1'000'000'000}});
  }
}

}  // namespace

std::optional<ReportAsk> ReadReportAsk(Endpoint endpoint, std::string_view query,
                                       const Behaviour& how) {
  constexpr int64_t kDaysMax = 180;
  std::map<std::string, std::string> fields = Fields(query);
  const bool is_anthropic = IsAnthropic(endpoint);
  const auto from = Day(fields[is_anthropic ? "starting_at" : "start_time"]);
  const auto to = Day(fields[is_anthropic ? "ending_at" : "end_time"]);
  const auto limit = Whole(fields["limit"]);
  if (!from || !to || *from >= *to || (!fields["limit"].empty() && !limit)) {
    return std::nullopt;
  }
  ReportAsk ask{endpoint, *from, *to, *from, how.page_days > 0 ? how.page_days : limit.value_or(7)};
  ask.days = std::clamp<int64_t>(ask.days, 1, kDaysMax);
  if (const std::string& page = fields["page"]; !page.empty()) {
    const auto day =
        page.starts_with(kPagePrefix) ? Day(page.substr(kPagePrefix.size())) : std::nullopt;
    if (!day || *day < ask.from_s || *day >= ask.to_s) {
      return std::nullopt;
    }
    ask.page_s = *day;
  }
  return ask;
}

std::string ReportBody(const ReportAsk& ask, std::vector<DayUse> uses, const Behaviour& how) {
  Lie(how.report, ask, uses);
  const int64_t end_s = std::min(ask.to_s, ask.page_s + ask.days * kDayS);
  const bool is_repeated = how.report == "twice" && ask.page_s > ask.from_s;
  std::string data;
  for (int64_t day = ask.page_s - (is_repeated ? kDayS : 0); day < end_s; day += kDayS) {
    data += data.empty() ? "" : ",";
    data += Bucket(ask, day, uses, how.report == "negative");
  }
  const bool has_more = end_s < ask.to_s;
  const int64_t next_s = how.report == "loop" ? ask.page_s : end_s;
  const std::string next =
      has_more && how.report != "lost" ? fmt::format("\"{}{}\"", kPagePrefix, next_s) : "null";
  return fmt::format(R"({{"object":"page","data":[{}],"has_more":{},"next_page":{}}})", data,
                     has_more, next);
}

}  // namespace provider_sim
