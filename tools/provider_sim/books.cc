#include "provider_sim/books.h"

#include <algorithm>
#include <ctime>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <openssl/sha.h>

namespace provider_sim {
namespace {

namespace json = boost::json;

constexpr int64_t kDayS = 86'400;

size_t SizeOf(const LogEntry& entry) {
  size_t bytes = sizeof(LogEntry) + entry.path.size() + entry.body.size();
  for (const auto& [name, value] : entry.headers) {
    bytes += name.size() + value.size() + 2 * sizeof(std::string);
  }
  return bytes;
}

json::object ChargeJson(const Charge& charge) {
  return {{"prompt_tokens", charge.prompt_tokens},
          {"cached_tokens", charge.cached_tokens},
          {"completion_tokens", charge.completion_tokens},
          {"cost_nanousd", std::to_string(charge.cost_nanousd)}};
}

json::value EntryJson(const LogEntry& entry) {
  json::array headers;
  for (const auto& [name, value] : entry.headers) {
    headers.push_back(json::array{name, value});
  }
  return json::object{{"number", entry.number},
                      {"begin_ms", entry.begin_ms},
                      {"end_ms", entry.end_ms},
                      {"method", entry.method},
                      {"path", entry.path},
                      {"headers", std::move(headers)},
                      {"key_sha256", entry.key_sha256},
                      {"body", entry.body},
                      {"body_bytes", entry.body_bytes},
                      {"provider", entry.provider},
                      {"endpoint", entry.endpoint},
                      {"model", entry.model},
                      {"billing_id", entry.billing_id},
                      {"status", entry.status},
                      {"outcome", entry.outcome},
                      {"bytes_sent", entry.bytes_sent},
                      {"events_sent", entry.events_sent},
                      {"tokens_sent", entry.tokens_sent},
                      {"client_closed", entry.client_closed},
                      {"billed", ChargeJson(entry.charge)}};
}

void Add(const Charge& charge, Charge& sum) {
  sum.prompt_tokens += charge.prompt_tokens;
  sum.cached_tokens += charge.cached_tokens;
  sum.completion_tokens += charge.completion_tokens;
  sum.cost_nanousd += charge.cost_nanousd;
}

}  // namespace

void Books::Log(const std::shared_ptr<LogEntry>& entry) {
  if (!keep_log_) {
    return;
  }
  const std::lock_guard lock(mutex_);
  log_bytes_ += SizeOf(*entry);
  log_.push_back(entry);
  while (log_.size() > kLogEntriesMax || (log_bytes_ > kLogBytesMax && log_.size() > 1)) {
    log_bytes_ -= SizeOf(*log_.front());
    log_.pop_front();
    ++dropped_;
  }
}

void Books::Bill(const std::string& provider, const std::string& model, const std::string& key,
                 const std::vector<std::string>& ids, const Charge& charge) {
  const std::lock_guard lock(mutex_);
  auto at = std::make_tuple(provider, model, key);
  if (bill_.size() >= kBillRowsMax && !bill_.contains(at)) {
    at = {"other", "other", "other"};
  }
  Row& row = bill_[std::move(at)];
  ++row.requests;
  Add(charge, row.sum);
  const int64_t now_s = std::time(nullptr);
  auto day = std::make_tuple(provider, now_s - now_s % kDayS, model);
  if (days_.size() >= kBillRowsMax && !days_.contains(day)) {
    std::get<2>(day) = "other";
  }
  Row& row_of_day = days_[std::move(day)];
  ++row_of_day.requests;
  Add(charge, row_of_day.sum);
  for (const std::string& id : ids) {
    if (!id.empty() && costs_.emplace(id, charge.cost_nanousd).second) {
      cost_order_.push_back(id);
    }
  }
  while (cost_order_.size() > kBillingIdsMax) {
    costs_.erase(cost_order_.front());
    cost_order_.pop_front();
  }
}

json::value Books::LogJson(uint64_t since, size_t limit, std::string_view provider) const {
  json::array entries;
  const std::lock_guard lock(mutex_);
  std::vector<const LogEntry*> chosen;
  for (auto entry = log_.rbegin(); entry != log_.rend() && chosen.size() < limit; ++entry) {
    if ((*entry)->number > since && (provider.empty() || (*entry)->provider == provider)) {
      chosen.push_back(entry->get());
    }
  }
  for (auto entry = chosen.rbegin(); entry != chosen.rend(); ++entry) {
    entries.push_back(EntryJson(**entry));
  }
  return json::object{{"entries", std::move(entries)}, {"dropped", dropped_}};
}

json::value Books::BillJson() const {
  json::array rows;
  Row total;
  const std::lock_guard lock(mutex_);
  for (const auto& [at, row] : bill_) {
    json::object line{{"provider", std::get<0>(at)},
                      {"model", std::get<1>(at)},
                      {"key_sha256", std::get<2>(at)},
                      {"requests", row.requests}};
    for (auto& [key, value] : ChargeJson(row.sum)) {
      line[key] = value;
    }
    rows.push_back(std::move(line));
    total.requests += row.requests;
    Add(row.sum, total.sum);
  }
  json::object sum = ChargeJson(total.sum);
  sum["requests"] = total.requests;
  return json::object{{"rows", std::move(rows)}, {"total", std::move(sum)}};
}

std::vector<DayUse> Books::Days(const std::string& provider, int64_t from_s, int64_t to_s) const {
  std::vector<DayUse> days;
  const std::lock_guard lock(mutex_);
  for (auto at = days_.lower_bound({provider, from_s, ""});
       at != days_.end() && std::get<0>(at->first) == provider && std::get<1>(at->first) < to_s;
       ++at) {
    const auto& [name, day_s, model] = at->first;
    days.push_back({day_s, model, at->second.requests, at->second.sum});
  }
  return days;
}

std::optional<int64_t> Books::CostOf(const std::string& billing_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = costs_.find(billing_id);
  return found == costs_.end() ? std::nullopt : std::optional(found->second);
}

void Books::Reset() {
  const std::lock_guard lock(mutex_);
  log_.clear();
  log_bytes_ = 0;
  dropped_ = 0;
  bill_.clear();
  days_.clear();
  costs_.clear();
  cost_order_.clear();
}

std::string Sha256(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string out;
  for (const unsigned char byte : digest) {
    out.push_back(kHex[byte >> 4]);
    out.push_back(kHex[byte & 15]);
  }
  return out;
}

}  // namespace provider_sim
