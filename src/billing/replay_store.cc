#include "billing/replay_store.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "billing/hash.h"
#include "billing/replay_end.h"
#include "storage/migrations.h"

namespace tradewind::billing {
namespace {

constexpr std::array<storage::Migration, 3> kMigrations = {{{"replies", R"(
CREATE TABLE replies (
  org TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,
  receipt TEXT NOT NULL, begun_s INTEGER NOT NULL, is_done INTEGER NOT NULL,
  is_stream INTEGER NOT NULL, is_kept INTEGER NOT NULL, status INTEGER NOT NULL,
  headers TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (org, key, name)) STRICT;
CREATE INDEX replies_by_age ON replies (begun_s);
)"},
                                                            {"replies_by_org", R"(
CREATE INDEX replies_of_org ON replies (org, is_done, begun_s);
)"},
                                                            {"replies_with_answers", R"(
CREATE INDEX replies_with_answers ON replies (org, begun_s) WHERE is_done = 1 AND is_kept = 1;
)"}}};

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
  TW_RETURN_IF_ERROR(ReadSizes());
  std::error_code none;
  std::filesystem::directory_iterator file(HandOverPath({}).parent_path(), none);
  for (; file != std::filesystem::directory_iterator(); file.increment(none)) {
    static_cast<void>(TakeOver(file->path()));  // what cannot be read says nothing
  }
  return {};
}

std::filesystem::path ReplayStore::HandOverPath(const ReplayKey& key) const {
  constexpr char kEnd = '\x1F';
  const std::string name = key.org_id + kEnd + key.key_id + kEnd + key.name;
  return database_.path().parent_path() / "replies-handover" / Sha256Hex(name);
}

Result<bool> ReplayStore::TakeOver(const std::filesystem::path& path) {
  const Result<LockedText> read = ReadLockedFile(path);
  if (!read.has_value()) {
    return read.error().code == ErrorCode::kNotFound ? Result<bool>(false) : Fail(read.error());
  }
  if (read->is_locked) {
    return true;
  }
  if (const auto end = DecodeEnd(read->text.value_or("")); end.has_value()) {
    TW_RETURN_IF_ERROR(end->answer.has_value() ? Keep(end->key, *end->answer) : Remove(end->key));
  }
  std::error_code none;
  std::filesystem::remove(path, none);
  return false;
}

Status ReplayStore::ReadSizes() {
  sizes_.clear();
  all_ = {};
  TW_ASSIGN_OR_RETURN(
      storage::Statement sizes,
      database_.Prepare("SELECT org, count(*), sum(length(body)) FROM replies GROUP BY org"));
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool has_row, sizes.Next());
    if (!has_row) {
      return {};
    }
    const Size size{sizes.Integer(1), sizes.Integer(2)};
    sizes_[std::string(sizes.Text(0))] = size;
    all_.answers += size.answers;
    all_.bytes += size.bytes;
  }
}

Status ReplayStore::CheckOpen() const {
  if (!database_.is_open()) {
    return Fail(ErrorCode::kUnavailable, "Another process has the answers that were kept.");
  }
  return {};
}

// A day ago by the wall clock, but not after what that said a day ago by the steady clock. What was
// begun before this process was has the wall clock alone.
int64_t ReplayStore::OldSince(ReplayTime now) {
  if (!looks_.empty() && looks_.back().wall_s > now.wall_s) {
    for (ReplayTime& look :
         looks_) {  // set back: what is begun from here on came after all of them
      look.wall_s = std::min(look.wall_s, now.wall_s - 1);
    }
  }
  if (looks_.empty() || looks_.back().wall_s != now.wall_s) {
    looks_.push_back(now);
  }
  const auto a_day_ago = now.steady - std::chrono::seconds(limits_.keep_s);
  while (looks_.size() > 1 && looks_[1].steady <= a_day_ago) {
    looks_.pop_front();
  }
  const ReplayTime& then = looks_.front();
  const int64_t seen_s = then.steady <= a_day_ago ? then.wall_s : then.wall_s - 1;
  return std::min(now.wall_s - limits_.keep_s, seen_s);
}

// A round of those whose day is over; never what runs here.
Status ReplayStore::RemoveOld(ReplayTime now) {
  constexpr int64_t kAtOnce = 64;
  std::vector<ReplayKey> old;
  {
    TW_ASSIGN_OR_RETURN(storage::Statement query,
                        database_.Prepare("SELECT org, key, name FROM replies WHERE begun_s <= ?1 "
                                          "ORDER BY begun_s LIMIT ?2"));
    query.Bind(1, OldSince(now));
    query.Bind(2, kAtOnce + static_cast<int64_t>(running_.size()));
    while (true) {
      TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
      if (!has_row) {
        break;
      }
      ReplayKey key{std::string(query.Text(0)), std::string(query.Text(1)),
                    std::string(query.Text(2))};
      if (!running_.contains(key)) {
        old.push_back(std::move(key));
      }
    }
  }
  for (const ReplayKey& key : old) {
    TW_RETURN_IF_ERROR(Remove(key));
  }
  return {};
}

// What was answered: a request whose end is not known may have been billed, and is kept. Where the
// bytes are too many, that it was answered is kept too: a key without its answer still protects.
Result<bool> ReplayStore::LetOldestGo(const std::string& org, Beyond beyond) {
  ReplayKey key;
  int64_t bytes = 0;
  {
    TW_ASSIGN_OR_RETURN(storage::Statement query,
                        database_.Prepare(beyond == Beyond::kBytes
                                              ? "SELECT key, name, length(body) FROM replies WHERE "
                                                "org = ?1 AND is_done = 1 AND is_kept = 1 "
                                                "ORDER BY begun_s LIMIT 1"
                                              : "SELECT key, name, 0 FROM replies WHERE org = ?1 "
                                                "AND is_done = 1 ORDER BY begun_s LIMIT 1"));
    query.Bind(1, std::string_view(org));
    TW_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) {
      return false;
    }
    key = {org, std::string(query.Text(0)), std::string(query.Text(1))};
    bytes = query.Integer(2);
  }
  if (beyond == Beyond::kAnswers) {
    TW_RETURN_IF_ERROR(Remove(key));
    return true;
  }
  TW_RETURN_IF_ERROR(database_.Run(
      "UPDATE replies SET is_kept = 0, headers = '', body = x'' WHERE org = ?1 AND key = ?2 AND "
      "name = ?3",
      std::string_view(key.org_id), std::string_view(key.key_id), std::string_view(key.name)));
  Add(org, 0, -bytes);
  return true;
}

ReplayStore::Beyond ReplayStore::BeyondOf(const std::string& org, int64_t more) const {
  const auto found = sizes_.find(org);
  const Size one = found == sizes_.end() ? Size() : found->second;
  return one.answers + more > limits_.answers_of_one_max ? Beyond::kAnswers
         : one.bytes > limits_.bytes_of_one_max          ? Beyond::kBytes
                                                         : Beyond::kNothing;
}

ReplayStore::Beyond ReplayStore::BeyondOfAll(int64_t more) const {
  return all_.answers + more > limits_.answers_max ? Beyond::kAnswers
         : all_.bytes > limits_.bytes_max          ? Beyond::kBytes
                                                   : Beyond::kNothing;
}

bool ReplayStore::IsFull(const std::string& org, int64_t more) const {
  return BeyondOf(org, more) != Beyond::kNothing || BeyondOfAll(more) != Beyond::kNothing;
}

// Nothing: all but `but` keep nothing.
std::optional<std::string> ReplayStore::WhoKeepsMost(Beyond beyond,
                                                     const std::set<std::string>& but) const {
  const auto size = [&](const Size& of) {
    return beyond == Beyond::kBytes ? of.bytes : of.answers;
  };
  auto most = sizes_.end();
  for (auto one = sizes_.begin(); one != sizes_.end(); ++one) {
    if (!but.contains(one->first) &&
        (most == sizes_.end() || size(one->second) > size(most->second))) {
      most = one;
    }
  }
  return most == sizes_.end() ? std::nullopt : std::optional(most->first);
}

// A bounded number at a time, so that nobody waits for a store that was filled under other bounds.
Result<bool> ReplayStore::RemoveSurplus(const std::string& org, int64_t more) {
  constexpr int kAtOnce = 256;
  int removed = 0;
  std::set<std::string> empty_handed;  // whose ends are all unknown
  for (Beyond beyond; removed < kAtOnce && (beyond = BeyondOf(org, more)) != Beyond::kNothing;) {
    TW_ASSIGN_OR_RETURN(const bool is_gone, LetOldestGo(org, beyond));
    if (!is_gone) {
      break;
    }
    ++removed;
  }
  for (Beyond beyond; removed < kAtOnce && (beyond = BeyondOfAll(more)) != Beyond::kNothing;) {
    const std::optional<std::string> most = WhoKeepsMost(beyond, empty_handed);
    if (!most.has_value()) {
      break;
    }
    TW_ASSIGN_OR_RETURN(const bool is_gone, LetOldestGo(*most, beyond));
    if (is_gone) {
      ++removed;
    } else {
      empty_handed.insert(*most);
    }
  }
  return removed > 0;
}

// True: there is room, or there will be.
Result<bool> ReplayStore::MakeRoom(const std::string& org, int64_t more, ReplayTime now) {
  TW_RETURN_IF_ERROR(RemoveOld(now));
  if (!IsFull(org, more)) {
    return true;
  }
  Result<bool> has_removed = false;
  {
    TW_ASSIGN_OR_RETURN(storage::Transaction transaction, storage::Transaction::Begin(database_));
    has_removed = RemoveSurplus(org, more);
    if (has_removed.has_value()) {
      if (Status done = transaction.Commit(); !done.has_value()) {
        has_removed = std::unexpected(std::move(done).error());
      }
    }
  }
  if (!has_removed.has_value()) {
    TW_RETURN_IF_ERROR(ReadSizes());  // what was to go is still there
    return has_removed;
  }
  return *has_removed || !IsFull(org, more);
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
    Add(key.org_id, -1, -bytes);
  }
  return {};
}

void ReplayStore::Add(const std::string& org, int64_t answers, int64_t bytes) {
  Size& one = sizes_[org];
  one.answers += answers;
  one.bytes += bytes;
  all_.answers += answers;
  all_.bytes += bytes;
  if (one.answers == 0) {
    sizes_.erase(org);
  }
}

Result<ReplayClaim> ReplayStore::Begin(const ReplayKey& key, std::string_view request_hash,
                                       ledger::RequestId receipt, ReplayTime now) {
  const std::lock_guard lock(mutex_);
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_ASSIGN_OR_RETURN(const bool runs_elsewhere, TakeOver(HandOverPath(key)));
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
  if (is_known && query->Integer(2) > OldSince(now)) {
    ReplayClaim claim;
    claim.receipt = query->Text(1);
    if (query->Text(0) != request_hash) {
      claim.kind = ReplayClaim::Kind::kOther;
      return claim;
    }
    if (running_.contains(key) || runs_elsewhere) {
      claim.kind = ReplayClaim::Kind::kRunning;
      return claim;
    }
    const auto earlier = ledger::RequestId::Parse(claim.receipt).value_or(ledger::RequestId());
    if (query->Integer(3) != 0) {
      claim.kind = ReplayClaim::Kind::kDone;
      claim.answer.is_stream = query->Integer(4) != 0;
      claim.answer.is_kept = query->Integer(5) != 0;
      claim.answer.status = static_cast<int>(query->Integer(6));
      claim.answer.headers = DecodeHeaders(query->Text(7));
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
  TW_ASSIGN_OR_RETURN(const bool has_room, MakeRoom(key.org_id, 1, now));
  if (!has_room) {
    constexpr int64_t kRetryAfterMs = 60'000;
    return Fail(Error{ErrorCode::kTooManyRequests,
                      "The end of too many requests with an Idempotency-Key is not known; ask "
                      "again later, or without a key.",
                      "Idempotency-Key", kRetryAfterMs});
  }
  TW_RETURN_IF_ERROR(database_.Run("INSERT INTO replies VALUES (?1,?2,?3,?4,?5,?6,0,0,1,0,'',x'')",
                                   std::string_view(key.org_id), std::string_view(key.key_id),
                                   std::string_view(key.name), request_hash,
                                   std::string_view(receipt.ToString()), now.wall_s));
  Add(key.org_id, 1, 0);
  running_.insert(key);
  return ReplayClaim{};
}

Status ReplayStore::Finish(const ReplayKey& key, StoredAnswer answer, ReplayTime now) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
  if (answer.body.size() > limits_.answer_bytes_max) {
    answer.is_kept = false;
    answer.body.clear();
  }
  if (auto file = handed_over_.extract(key); !file.empty()) {
    return file.mapped().Write(EncodeEnd(key, &answer));
  }
  TW_RETURN_IF_ERROR(CheckOpen());
  TW_RETURN_IF_ERROR(Keep(key, answer));
  TW_RETURN_IF_ERROR(MakeRoom(key.org_id, 0, now));
  return {};
}

Status ReplayStore::Keep(const ReplayKey& key, const StoredAnswer& answer) {
  const std::string headers = EncodeHeaders(answer.headers);
  TW_RETURN_IF_ERROR(database_.Run(
      "UPDATE replies SET is_done = 1, is_stream = ?4, is_kept = ?5, status = ?6, headers = ?7, "
      "body = ?8 WHERE org = ?1 AND key = ?2 AND name = ?3 AND is_done = 0",
      std::string_view(key.org_id), std::string_view(key.key_id), std::string_view(key.name),
      int64_t{answer.is_stream}, int64_t{answer.is_kept}, int64_t{answer.status},
      std::string_view(headers), std::as_bytes(std::span(answer.body))));
  Add(key.org_id, 0, database_.changes() > 0 ? static_cast<int64_t>(answer.body.size()) : 0);
  return {};
}

Status ReplayStore::Forget(const ReplayKey& key) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
  if (auto file = handed_over_.extract(key); !file.empty()) {
    return file.mapped().Write(EncodeEnd(key, nullptr));
  }
  TW_RETURN_IF_ERROR(CheckOpen());
  return Remove(key);
}

void ReplayStore::Leave(const ReplayKey& key) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
  handed_over_.erase(key);
}

int64_t ReplayStore::count() {
  const std::lock_guard lock(mutex_);
  return all_.answers;
}

void ReplayStore::Release() {
  const std::lock_guard lock(mutex_);
  std::error_code none;  // without its file a key that runs here is one that was cut
  std::filesystem::create_directory(HandOverPath({}).parent_path(), none);
  for (const ReplayKey& key : running_) {
    if (auto file = LockedFile::Create(HandOverPath(key)); file.has_value()) {
      handed_over_.emplace(key, std::move(*file));
    }
  }
  database_.Release();
}

Status ReplayStore::Reopen() {
  const std::lock_guard lock(mutex_);
  handed_over_.clear();
  TW_ASSIGN_OR_RETURN(database_, storage::Database::Open(database_.path()));
  return Prepare();
}

}  // namespace tradewind::billing
