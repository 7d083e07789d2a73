#include "billing/replay_store.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "storage/migrations.h"

namespace tradewind::billing {
namespace {

constexpr std::array<storage::Migration, 1> kMigrations = {{{"replies", R"(
CREATE TABLE replies (
  org TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,
  receipt TEXT NOT NULL, begun_s INTEGER NOT NULL, is_done INTEGER NOT NULL,
  is_stream INTEGER NOT NULL, is_kept INTEGER NOT NULL, status INTEGER NOT NULL,
  headers TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (org, key, name)) STRICT;
CREATE INDEX replies_by_age ON replies (begun_s);
)"}}};

constexpr char kNameEnd = '\x1F', kFieldEnd = '\x1E';  // no header has them

std::string Encode(const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string text;
  for (const auto& [name, value] : headers) {
    text += name + kNameEnd + value + kFieldEnd;
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> Decode(std::string_view text) {
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

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Result<std::unique_ptr<ReplayStore>> ReplayStore::Open(const std::filesystem::path& path,
                                                       WasNeverBilled was_never_billed,
                                                       ReplayLimits limits) {
  TW_ASSIGN_OR_RETURN(storage::Database database, storage::Database::Open(path));
  std::unique_ptr<ReplayStore> store(
      new ReplayStore(std::move(database), std::move(was_never_billed), limits));
  TW_RETURN_IF_ERROR(store->Prepare());
  return store;
}

Status ReplayStore::Prepare() {
  TW_RETURN_IF_ERROR(storage::Migrate(database_, kMigrations));
  TW_ASSIGN_OR_RETURN(
      storage::Statement sizes,
      database_.Prepare("SELECT count(*), coalesce(sum(length(body)), 0) FROM replies"));
  TW_ASSIGN_OR_RETURN(const bool has_row, sizes.Next());
  count_ = has_row ? sizes.Integer(0) : 0;
  bytes_ = has_row ? sizes.Integer(1) : 0;
  return {};
}

Status ReplayStore::CheckOpen() const {
  if (!database_.is_open()) {
    return Fail(ErrorCode::kUnavailable, "Another process has the answers that were kept.");
  }
  return {};
}

// What is too old goes, and of what is too much the oldest; never what runs here.
Status ReplayStore::MakeRoom(int64_t now_s) {
  while (true) {
    constexpr int64_t kAtOnce = 64;
    TW_ASSIGN_OR_RETURN(
        storage::Statement query,
        database_.Prepare("SELECT org, key, name, begun_s FROM replies ORDER BY begun_s LIMIT ?1"));
    query.Bind(1, kAtOnce + static_cast<int64_t>(running_.size()));
    std::vector<ReplayKey> old;
    const bool is_full = count_ >= limits_.answers_max || bytes_ > limits_.bytes_max;
    while (true) {
      TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
      if (!has_row) {
        break;
      }
      ReplayKey key{std::string(query.Text(0)), std::string(query.Text(1)),
                    std::string(query.Text(2))};
      const bool is_old = query.Integer(3) <= now_s - limits_.keep_s;
      if ((is_old || (is_full && old.empty())) && !running_.contains(key)) {
        old.push_back(std::move(key));
      }
    }
    for (const ReplayKey& key : old) {
      TW_RETURN_IF_ERROR(Remove(key));
    }
    const bool is_still_full = count_ >= limits_.answers_max || bytes_ > limits_.bytes_max;
    if (old.empty() || !is_still_full) {
      return {};
    }
  }
}

Status ReplayStore::Remove(const ReplayKey& key) {
  TW_ASSIGN_OR_RETURN(
      storage::Statement size,
      database_.Prepare(
          "SELECT length(body) FROM replies WHERE org = ?1 AND key = ?2 AND name = ?3"));
  size.Bind(1, std::string_view(key.org_id)).Bind(2, std::string_view(key.key_id));
  size.Bind(3, std::string_view(key.name));
  TW_ASSIGN_OR_RETURN(const bool has_row, size.Next());
  if (has_row) {
    const int64_t bytes = size.Integer(0);
    size.Reset();
    TW_RETURN_IF_ERROR(database_.Run(
        "DELETE FROM replies WHERE org = ?1 AND key = ?2 AND name = ?3",
        std::string_view(key.org_id), std::string_view(key.key_id), std::string_view(key.name)));
    --count_;
    bytes_ -= bytes;
  }
  return {};
}

Result<ReplayClaim> ReplayStore::Begin(const ReplayKey& key, std::string_view request_hash,
                                       ledger::RequestId receipt, int64_t now_s) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_RETURN_IF_ERROR(MakeRoom(now_s));
  std::optional<storage::Statement> query;
  {
    TW_ASSIGN_OR_RETURN(
        query, database_.Prepare(
                   "SELECT hash, receipt, begun_s, is_done, is_stream, is_kept, status, headers, "
                   "body FROM replies WHERE org = ?1 AND key = ?2 AND name = ?3"));
  }
  query->Bind(1, std::string_view(key.org_id)).Bind(2, std::string_view(key.key_id));
  query->Bind(3, std::string_view(key.name));
  TW_ASSIGN_OR_RETURN(const bool is_known, query->Next());
  if (is_known && query->Integer(2) > now_s - limits_.keep_s) {
    ReplayClaim claim;
    claim.receipt = query->Text(1);
    if (query->Text(0) != request_hash) {
      claim.kind = ReplayClaim::Kind::kOther;
      return claim;
    }
    if (running_.contains(key)) {
      claim.kind = ReplayClaim::Kind::kRunning;
      return claim;
    }
    const auto earlier = ledger::RequestId::Parse(claim.receipt).value_or(ledger::RequestId());
    if (query->Integer(3) != 0) {
      claim.kind = ReplayClaim::Kind::kDone;
      claim.answer.is_stream = query->Integer(4) != 0;
      claim.answer.is_kept = query->Integer(5) != 0;
      claim.answer.status = static_cast<int>(query->Integer(6));
      claim.answer.headers = Decode(query->Text(7));
      claim.answer.body = AsText(query->Blob(8));
      return claim;
    }
    TW_ASSIGN_OR_RETURN(const bool is_free, was_never_billed_(earlier));
    if (!is_free) {
      claim.kind = ReplayClaim::Kind::kCut;
      return claim;
    }
  }
  query.reset();
  TW_RETURN_IF_ERROR(Remove(key));
  TW_RETURN_IF_ERROR(database_.Run("INSERT INTO replies VALUES (?1,?2,?3,?4,?5,?6,0,0,1,0,'',x'')",
                                   std::string_view(key.org_id), std::string_view(key.key_id),
                                   std::string_view(key.name), request_hash,
                                   std::string_view(receipt.ToString()), now_s));
  ++count_;
  running_.insert(key);
  return ReplayClaim{};
}

Status ReplayStore::Finish(const ReplayKey& key, StoredAnswer answer, int64_t now_s) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
  TW_RETURN_IF_ERROR(CheckOpen());
  if (answer.body.size() > limits_.answer_bytes_max) {
    answer.is_kept = false;
    answer.body.clear();
  }
  const std::string headers = Encode(answer.headers);
  TW_RETURN_IF_ERROR(database_.Run(
      "UPDATE replies SET is_done = 1, is_stream = ?4, is_kept = ?5, status = ?6, headers = ?7, "
      "body = ?8 WHERE org = ?1 AND key = ?2 AND name = ?3",
      std::string_view(key.org_id), std::string_view(key.key_id), std::string_view(key.name),
      int64_t{answer.is_stream}, int64_t{answer.is_kept}, int64_t{answer.status},
      std::string_view(headers), std::as_bytes(std::span(answer.body))));
  bytes_ += static_cast<int64_t>(answer.body.size());
  return MakeRoom(now_s);
}

Status ReplayStore::Forget(const ReplayKey& key) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
  TW_RETURN_IF_ERROR(CheckOpen());
  return Remove(key);
}

void ReplayStore::Leave(const ReplayKey& key) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
}

int64_t ReplayStore::count() {
  const std::lock_guard lock(mutex_);
  return count_;
}

void ReplayStore::Release() {
  const std::lock_guard lock(mutex_);
  database_.Release();
}

Status ReplayStore::Reopen() {
  const std::lock_guard lock(mutex_);
  TW_ASSIGN_OR_RETURN(database_, storage::Database::Open(database_.path()));
  return Prepare();
}

}  // namespace tradewind::billing
