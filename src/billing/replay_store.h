// Answers kept under the idempotency keys of their requests, so that asking again is answered again
// and charged once. HOME/replies.db; over an upgrade in place HOME/replies-handover/ too, with a
// file for each key that the old process still runs, which becomes its answer.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "billing/locked_file.h"
#include "ledger/ids.h"
#include "storage/database.h"

namespace tradewind::billing {

inline constexpr size_t kStoredAnswerBytesMax = 1 << 20;  // a longer one is not kept

struct ReplayLimits {
  int64_t keep_s = 86'400;
  // Of one organisation, and of all together. What is beyond goes, the oldest first: of the one
  // that is at its bound, else of the one that keeps most. Who keeps less than his share loses
  // nothing by what others do. Beyond the bytes an answer goes and its key stays, so that the
  // request is not run again; beyond the number the key goes too.
  int64_t answers_of_one_max = 100'000, answers_max = 400'000;
  int64_t bytes_of_one_max = int64_t{64} << 20, bytes_max = int64_t{256} << 20;
  // A longer one is not kept: only that it was given.
  size_t answer_bytes_max = kStoredAnswerBytesMax;
};

// By both clocks: one that jumps ends no key's day.
struct ReplayTime {
  int64_t wall_s = 0;
  std::chrono::steady_clock::time_point steady = {};
};

struct ReplayKey {
  std::string org_id, key_id;  // whose it is
  std::string name;            // as the client says it; at most 255 bytes

  auto operator<=>(const ReplayKey&) const = default;
};

struct StoredAnswer {
  int status = 200;
  bool is_stream = false;
  bool is_kept = true;  // false: it was too long, or has gone for others
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  bool operator==(const StoredAnswer&) const = default;
};

// What became of the first request with a key.
struct ReplayClaim {
  enum class Kind : uint8_t {
    kNew,      // there was none: the key is the caller's until Finish, Forget or Leave
    kDone,     // `answer` was given
    kRunning,  // it still runs
    kCut,      // by a kill or by its client, and it may have been billed: it is never run twice
    kOther,    // it was another request
  };
  Kind kind = Kind::kNew;
  StoredAnswer answer = {};
  std::string receipt = {};  // of the first request
};

// Thread-safe; calls wait for the disk, but for Leave. Errors of all: those of storage::Database.
class ReplayStore {
 public:
  // Whether no attempt of a request was billed, or may have been.
  using WasNeverBilled = std::function<Result<bool>(ledger::RequestId)>;

  static Result<std::unique_ptr<ReplayStore>> Open(const std::filesystem::path& path,
                                                   WasNeverBilled was_never_billed,
                                                   ReplayLimits limits = {});

  // When it returns, a kill does not lose that the key is taken. Errors besides: kTooManyRequests:
  // there is no room, as requests whose end is not known are kept for their day.
  Result<ReplayClaim> Begin(const ReplayKey& key, std::string_view request_hash,
                            ledger::RequestId receipt, ReplayTime now);
  Status Finish(const ReplayKey& key, StoredAnswer answer, ReplayTime now);
  // The client was told that it failed: asking again is asking anew.
  Status Forget(const ReplayKey& key);
  // Its end is not known to the client. Does not wait.
  void Leave(const ReplayKey& key);

  int64_t count();  // answers and open keys
  // Gives the answers to another process, and takes them back. What still runs here runs for that
  // process too, and its end reaches it.
  void Release();
  Status Reopen();

 private:
  ReplayStore(storage::Database database, WasNeverBilled was_never_billed, ReplayLimits limits)
      : was_never_billed_(std::move(was_never_billed)),
        limits_(limits),
        database_(std::move(database)) {}
  Status Prepare();          // requires mutex_
  Status CheckOpen() const;  // requires mutex_
  std::filesystem::path HandOverPath(const ReplayKey& key) const;
  // The end that another process has handed over in this file, if any. True: it still runs there.
  Result<bool> TakeOver(const std::filesystem::path& path);       // requires mutex_
  Status Keep(const ReplayKey& key, const StoredAnswer& answer);  // requires mutex_
  struct Size {
    int64_t answers = 0, bytes = 0;
  };
  // What is beyond the bounds goes, with room for `more` answers of `org`. Requires mutex_.
  Status ReadSizes();  // requires mutex_
  Result<bool> MakeRoom(const std::string& org, int64_t more, ReplayTime now);
  Result<bool> RemoveSurplus(const std::string& org, int64_t more);  // true: some of it
  // What was begun by then has had its day; requires mutex_.
  int64_t OldSince(ReplayTime now);
  Status RemoveOld(ReplayTime now);                            // requires mutex_
  enum class Beyond : uint8_t { kNothing, kAnswers, kBytes };  // of the bounds
  // All require mutex_. False: it has none.
  Result<bool> LetOldestGo(const std::string& org, Beyond beyond);
  Beyond BeyondOf(const std::string& org, int64_t more) const;
  Beyond BeyondOfAll(int64_t more) const;
  bool IsFull(const std::string& org, int64_t more) const;
  std::optional<std::string> WhoKeepsMost(Beyond beyond, const std::set<std::string>& but) const;
  Status Remove(const ReplayKey& key);                               // requires mutex_
  void Add(const std::string& org, int64_t answers, int64_t bytes);  // requires mutex_

  const WasNeverBilled was_never_billed_;
  const ReplayLimits limits_;
  std::mutex mutex_;  // guards what follows
  storage::Database database_;
  std::set<ReplayKey> running_;                  // in this process
  std::map<ReplayKey, LockedFile> handed_over_;  // of those, since Release
  // What the clocks said when keys were begun and ended: since a day ago, each second at most.
  std::deque<ReplayTime> looks_;
  std::map<std::string, Size> sizes_;  // by organisation
  Size all_;
};

}  // namespace tradewind::billing
