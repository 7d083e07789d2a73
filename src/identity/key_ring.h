// token → Principal, for every request: in memory, no SQL, no waiting for the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "identity/principal.h"
#include "identity/token.h"

namespace tradewind::identity {

enum class TokenState { kUnknown, kLive, kExpired, kRevoked };

// One secret of a key; a rotated key has two until its grace is over.
struct RingEntry {
  Digest digest{};
  std::shared_ptr<const Principal> principal;
  std::optional<int64_t> expires_unix_s;  // of this secret
  bool is_revoked = false;
  std::shared_ptr<std::atomic<int64_t>> last_used_unix_s;  // shared by all snapshots
};

// Thread-safe: requests look up while the store publishes.
class KeyRing {
 public:
  KeyRing(TokenHasher hasher, const Clock& clock);

  struct Lookup {
    TokenState state = TokenState::kUnknown;
    std::shared_ptr<const Principal> principal;  // null unless kLive
    // For our log only: callers learn nothing of the state but that it is not live.
    std::string key_id;
  };
  // Marks a live key as used now.
  Lookup Check(std::string_view token) const;
  // Null unless the token is live.
  std::shared_ptr<const Principal> Find(std::string_view token) const {
    return Check(token).principal;
  }

  // True once a key was created, ever: calls without a token are over then.
  bool is_closed() const { return is_closed_.load(std::memory_order_acquire); }

  // By the store: replaces all entries at once.
  void Publish(std::vector<RingEntry> entries, bool is_closed);
  size_t size() const;

 private:
  struct HashOfDigest {
    size_t operator()(const Digest& digest) const;
  };
  struct EqualDigests {
    bool operator()(const Digest& a, const Digest& b) const;
  };
  using Snapshot = std::unordered_map<Digest, RingEntry, HashOfDigest, EqualDigests>;
  std::shared_ptr<const Snapshot> snapshot() const;

  const TokenHasher hasher_;
  const Clock& clock_;
  std::atomic<bool> is_closed_{false};
  // libstdc++ 12's atomic<shared_ptr> spins where this sleeps, and ThreadSanitizer cannot follow
  // it.
  mutable std::mutex mutex_;  // held for the copy of one pointer
  std::shared_ptr<const Snapshot> snapshot_;
};

}  // namespace tradewind::identity
