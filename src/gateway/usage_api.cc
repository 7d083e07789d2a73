#include "gateway/usage_api.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "billing/bill_period.h"
#include "billing/usage_json.h"
#include "http/query.h"
#include "providers/retry_after.h"

namespace tradewind::gateway {
namespace {

using billing::BillLine;
using billing::UsagePage;
using catalog::UsageApi;

constexpr int64_t kDayS = 86'400;

// One list of pages.
struct Report {
  std::string_view path, query;
  bool tells_cost = false;
};
constexpr std::array<Report, 2> kOpenAi = {
    {{"/organization/usage/completions", "bucket_width=1d&group_by=model&limit=31", false},
     {"/organization/costs", "bucket_width=1d&limit=31", true}}};
constexpr std::array<Report, 2> kAnthropic = {
    {{"/organizations/usage_report/messages", "bucket_width=1d&group_by%5B%5D=model&limit=31",
      false},
     {"/organizations/cost_report", "group_by%5B%5D=description&limit=31", true}}};

// What is told by model, and has none: searches, say. Not "", which is all models together.
constexpr std::string_view kNoModel = "(no model)";

std::string TargetOf(const UsageSource& source, const Report& report, const UsageDays& days,
                     const std::string& page) {
  std::string target =
      source.api == UsageApi::kOpenAi
          ? fmt::format("{}?start_time={}&end_time={}&{}", report.path, days.from_s, days.to_s,
                        report.query)
          : fmt::format("{}?starting_at={}&ending_at={}&{}", report.path,
                        http::EncodeQuery(billing::UtcTime(days.from_s)),
                        http::EncodeQuery(billing::UtcTime(days.to_s)), report.query);
  if (!page.empty()) {
    target += "&page=" + http::EncodeQuery(page);
  }
  return target;
}

http::UpstreamRequest RequestOf(const UsageSource& source, std::string target, const Clock& clock) {
  http::UpstreamRequest request;
  request.method = "GET";
  request.url = source.url;
  request.target = std::move(target);
  request.headers.Set("Accept", "application/json");
  if (source.api == UsageApi::kOpenAi) {
    request.headers.Set("Authorization", "Bearer " + source.key);
  } else {
    request.headers.Set("x-api-key", source.key);
    request.headers.Set("anthropic-version", "2023-06-01");
  }
  request.allow_private = source.allow_private;
  request.deadlines.overall = clock.Now() + std::chrono::milliseconds(limits::kBillingDeadlineMs);
  return request;
}

std::unexpected<Error> Wrong(const UsageSource& source, std::string_view what) {
  return Fail(ErrorCode::kUpstreamFailed,
              fmt::format("the usage API of {} {}; nothing of it was taken", source.provider, what),
              "usage_api");
}

Error Refused(const UsageSource& source, std::string_view path, int status,
              std::optional<int64_t> retry_after_ms) {
  const std::string said = fmt::format("the usage API of {} answers {} to {}{}", source.provider,
                                       status, source.url.target_prefix, path);
  if (status == 401 || status == 403) {
    return {status == 401 ? ErrorCode::kUnauthenticated : ErrorCode::kPermissionDenied,
            said +
                ": it takes a key of the organisation (an admin key), not one of requests; "
                "set usage_api_key_env or usage_api_key_file",
            "usage_api_key_env",
            {}};
  }
  if (status == 429 || status == 503) {
    return {status == 429 ? ErrorCode::kTooManyRequests : ErrorCode::kUpstreamFailed,
            retry_after_ms.has_value()
                ? fmt::format("{}: ask again in {} s", said, (*retry_after_ms + 999) / 1000)
                : said + ": ask again later",
            "usage_api", retry_after_ms};
  }
  return {ErrorCode::kUpstreamFailed,
          said + ": look at usage_api and usage_api_url, which says what stands before that path",
          "usage_api_url",
          {}};
}

// How one try at one page went; of a failure, when the next one may be.
struct Asked {
  Result<std::string> body = std::string();
  std::optional<int64_t> again_after_ms;
};

Task<Asked> AskOnce(http::UpstreamClient& client, const UsageSource& source,
                    const std::string& target, const Clock& clock) {
  constexpr int64_t kPauseMs = 500;
  const std::unique_ptr<http::UpstreamCall> call = client.Start(RequestOf(source, target, clock));
  const auto failed = [&](Error error, std::optional<int64_t> again_after_ms) {
    return Asked{Fail(std::move(error)), again_after_ms};
  };
  const auto is_passing = [](ErrorCode code) {
    return code == ErrorCode::kUnavailable || code == ErrorCode::kDeadlineExceeded;
  };
  const auto broken = [&](Error error) {
    const bool may_pass = is_passing(error.code);
    error.message =
        fmt::format("the usage API of {} gave no whole answer: {}", source.provider, error.message);
    error.param = "usage_api";
    return failed(std::move(error), may_pass ? std::optional(kPauseMs) : std::nullopt);
  };
  if (const Status head = co_await call->AwaitHead(); !head.has_value()) {
    co_return broken(head.error());
  }
  if (const int status = call->status(); status != 200) {
    const auto after_ms = providers::RetryAfterMs(call->headers(), clock.WallNow());
    const std::string_view path = std::string_view(target).substr(0, target.find('?'));
    const bool may_pass = status == 429 || status >= 500;
    co_return failed(Refused(source, path, status, after_ms),
                     may_pass ? std::optional(after_ms.value_or(kPauseMs)) : std::nullopt);
  }
  auto body = co_await http::ReadBody(*call, limits::kBillingAnswerBytesMax);
  if (!body.has_value()) {
    co_return broken(body.error());
  }
  co_return Asked{std::move(body), std::nullopt};
}

Task<Result<std::string>> AskPage(http::UpstreamClient& client, const UsageSource& source,
                                  const std::string& target, const Clock& clock) {
  const auto wakeup = http::Wakeup::Create();
  for (int tries = 1;; ++tries) {
    Asked asked = co_await AskOnce(client, source, target, clock);
    if (asked.body.has_value() || !asked.again_after_ms.has_value() || tries == kUsageTriesMax ||
        *asked.again_after_ms > kUsageWaitMaxMs) {
      co_return std::move(asked.body);
    }
    static_cast<void>(co_await wakeup->Wait(
        clock.Now() + std::chrono::milliseconds(*asked.again_after_ms << (tries - 1))));
  }
}

// What all reports say together.
class Lines {
 public:
  Lines(const UsageSource& source, const UsageDays& days) : source_(source), days_(days) {}

  // Errors: those of a page that contradicts the question or the pages before it.
  Status Add(const Report& report, UsagePage page, std::set<int64_t>& seen_days) {
    for (const auto& [start_s, end_s] : page.times) {
      if (end_s - start_s != kDayS || start_s < days_.from_s || end_s > days_.to_s) {
        return Wrong(source_, fmt::format("tells of {} to {}, which it was not asked for",
                                          billing::UtcTime(start_s), billing::UtcTime(end_s)));
      }
      if (!seen_days.insert(start_s).second) {
        return Wrong(source_, fmt::format("tells of {} twice", billing::UtcDate(start_s)));
      }
    }
    for (BillLine& line : page.lines) {
      if (report.tells_cost && source_.api == UsageApi::kAnthropic && line.model.empty()) {
        line.model = kNoModel;
      }
      const auto [cell, is_new] = cells_.try_emplace({line.start_s, line.model}, line);
      if (!is_new) {
        Merge(line, cell->second);
      }
    }
    return {};
  }

  // A day without lines was not billed: that has to stand there, or nobody would notice.
  std::vector<BillLine> Take() {
    for (int64_t day = days_.from_s; day < days_.to_s; day += kDayS) {
      const auto first = cells_.lower_bound({day, ""});
      if (first == cells_.end() || first->first.first != day) {
        BillLine idle;
        idle.provider = source_.provider;
        idle.start_s = day;
        idle.end_s = day + kDayS;
        idle.cost = 0;
        cells_.emplace(std::pair(day, ""), std::move(idle));
      }
    }
    std::vector<BillLine> lines;
    for (auto& [cell, line] : cells_) {
      lines.push_back(std::move(line));
    }
    return lines;
  }

 private:
  // One report tells the tokens of a cell, the other its cost.
  static void Merge(const BillLine& more, BillLine& line) {
    for (const auto field : {&BillLine::requests, &BillLine::input_tokens, &BillLine::cached_tokens,
                             &BillLine::output_tokens, &BillLine::cost}) {
      if ((more.*field).has_value()) {
        line.*field = more.*field;
      }
    }
  }

  const UsageSource& source_;
  const UsageDays days_;
  std::map<std::pair<int64_t, std::string>, BillLine> cells_;  // day, model
};

Task<Status> FetchReport(http::UpstreamClient& client, const UsageSource& source,
                         const Report& report, const UsageDays& days, const Clock& clock,
                         Lines& lines) {
  std::string next;
  std::set<std::string> seen_pages;
  std::set<int64_t> seen_days;
  for (int pages = 0; pages < kUsagePagesMax; ++pages) {
    TW_CO_ASSIGN_OR_RETURN(
        const std::string body,
        co_await AskPage(client, source, TargetOf(source, report, days, next), clock));
    auto page = billing::ReadUsagePage(body, source.provider, false);
    if (!page.has_value()) {
      co_return Wrong(source, "says what is no report: " + page.error().message);
    }
    const bool has_more = page->has_more;
    next = page->next_page;
    TW_CO_RETURN_IF_ERROR(lines.Add(report, std::move(*page), seen_days));
    if (!has_more) {
      co_return Status();
    }
    if (next.empty() || !seen_pages.insert(next).second) {
      co_return Wrong(source, next.empty() ? "has more pages and does not say where (`next_page`)"
                                           : "leads to the same page again (`next_page`)");
    }
  }
  co_return Wrong(
      source, fmt::format("has more than {} pages; ask for fewer days at a time", kUsagePagesMax));
}

}  // namespace

UsageDays UsageDaysAt(int64_t now_s) {
  constexpr int64_t kMonthBeforeS = 3 * kDayS;
  const int64_t to_s = (now_s - kUsageLateS) / kDayS * kDayS;
  return {billing::MonthOf(to_s - 1 - kMonthBeforeS).from_s, to_s};
}

Task<Result<std::vector<BillLine>>> FetchUsage(http::UpstreamClient& client, UsageSource source,
                                               UsageDays days, const Clock& clock) {
  Lines lines(source, days);
  for (const Report& report : source.api == UsageApi::kOpenAi ? kOpenAi : kAnthropic) {
    TW_CO_RETURN_IF_ERROR(co_await FetchReport(client, source, report, days, clock, lines));
  }
  co_return lines.Take();
}

}  // namespace tradewind::gateway
