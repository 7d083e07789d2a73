// The attempts behind a number, newest first.
#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "billing/recorder_parts.h"

namespace tradewind::billing {
namespace {

constexpr int64_t kStepRows = 2000;      // under the lock: some milliseconds
constexpr size_t kLookedAtMax = 20'000;  // for one list
constexpr int64_t kNanosPerMs = 1'000'000;
// A request is admitted after it came, by its deadline at most.
constexpr int64_t kAdmittedWithinMs = int64_t{3600} * 1000;

// Requests that came at a time or later; those without a time in their ids came before all.
ledger::RequestId FirstIdOf(int64_t unix_ms) {
  return {static_cast<uint64_t>(std::max<int64_t>(0, unix_ms)) << 16, 0};
}

// Nothing that comes before it in the listing is of the filter's time.
AttemptCursor StartOf(const AttemptFilter& filter, const AttemptCursor& after) {
  if (filter.to_ns == INT64_MAX) {
    return after;
  }
  AttemptCursor start = {filter.to_ns, {}};
  if (filter.by_admission) {
    start = {0, {FirstIdOf(filter.to_ns / kNanosPerMs + kAdmittedWithinMs), 0}};
    return start.id < after.id ? start : after;
  }
  return std::pair(start.time_ns, start.id) < std::pair(after.time_ns, after.id) ? start : after;
}

}  // namespace

bool Matches(const AttemptFilter& filter, const AttemptRow& row) {
  const Purchase& bought = row.purchase;
  const auto same = [](const std::string& wanted, const std::string& is) {
    return wanted.empty() || wanted == is;
  };
  const int64_t time_ns = filter.by_admission ? row.admitted_ns : row.ended_ns;
  return same(filter.key_id, bought.key_id) && same(filter.org_id, bought.org_id) &&
         same(filter.project_id, bought.project_id) && same(filter.user_id, bought.user_id) &&
         same(filter.model, bought.model) && same(filter.provider, bought.provider) &&
         row.state == filter.state.value_or(row.state) &&
         row.outcome.source == filter.source.value_or(row.outcome.source) &&
         bought.own_key == filter.own_key.value_or(bought.own_key) &&
         row.price_version == filter.price_version.value_or(row.price_version) &&
         filter.from_ns <= time_ns && time_ns < filter.to_ns;
}

Result<std::vector<AttemptRow>> Recorder::ListStep(const AttemptFilter& filter,
                                                   const AttemptCursor& after) {
  const std::array<std::byte, 16> id = BytesOf(after.id.request);
  std::string sql = fmt::format("SELECT {} FROM attempts ", AttemptColumns());
  std::string_view owner;
  if (filter.by_admission) {
    sql +=
        "WHERE (request, attempt) < (?1, ?2) AND request >= ?3 "
        "ORDER BY request DESC, attempt DESC ";
  } else {
    const std::string_view by = !filter.key_id.empty()   ? "key"
                                : !filter.org_id.empty() ? "org"
                                                         : "end";
    owner = !filter.key_id.empty() ? filter.key_id : filter.org_id;
    sql += fmt::format(
        "INDEXED BY attempts_by_{} WHERE state >= 3 {} AND (ended_ns, request, attempt) < "
        "(?5, ?1, ?2) AND ended_ns >= ?3 ORDER BY ended_ns DESC, request DESC, attempt DESC ",
        by, owner.empty() ? "" : fmt::format("AND {} = ?6", by));
  }
  TW_ASSIGN_OR_RETURN(storage::Statement query, database_.Prepare(sql + "LIMIT ?4"));
  query.Bind(1, std::span<const std::byte>(id)).Bind(2, int64_t{after.id.attempt});
  query.Bind(4, kStepRows);
  if (filter.by_admission) {
    const auto first = BytesOf(FirstIdOf(filter.from_ns / kNanosPerMs - kAdmittedWithinMs));
    query.Bind(3, std::span<const std::byte>(first));
  } else {
    query.Bind(3, filter.from_ns).Bind(5, after.time_ns);
    if (!owner.empty()) {
      query.Bind(6, owner);
    }
  }
  return storage::ReadAll(std::move(query), RowOf);
}

Result<AttemptList> Recorder::List(const AttemptFilter& filter, AttemptCursor after, size_t limit) {
  // So long that a thread which waits for the lock gets it, which a mutex does not promise.
  constexpr auto kPause = std::chrono::milliseconds(1);
  TW_RETURN_IF_ERROR(CatchUp());
  AttemptList list;
  after = StartOf(filter, after);
  for (size_t looked_at = 0;;) {
    std::vector<AttemptRow> rows;
    {
      const std::lock_guard lock(mutex_);
      TW_RETURN_IF_ERROR(CheckOpen());
      TW_ASSIGN_OR_RETURN(rows, ListStep(filter, after));
    }
    const bool is_last = rows.size() < kStepRows;
    looked_at += rows.size();
    for (AttemptRow& row : rows) {
      if (list.rows.size() == limit) {
        list.next = after;
        return list;
      }
      after = {filter.by_admission ? 0 : row.ended_ns, row.id};
      if (Matches(filter, row)) {
        list.rows.push_back(std::move(row));
      }
    }
    if (is_last) {
      return list;
    }
    if (looked_at >= kLookedAtMax) {
      list.next = after;
      return list;
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace tradewind::billing
