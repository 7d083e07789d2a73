#include "identity/key_ring.h"

#include <sodium.h>

#include "base/bytes.h"

namespace tradewind::identity {

// The digest is keyed: nobody outside can choose where it falls.
size_t KeyRing::HashOfDigest::operator()(const Digest& digest) const {
  return LoadLe<size_t>(digest.data());
}

bool KeyRing::EqualDigests::operator()(const Digest& a, const Digest& b) const {
  return sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

KeyRing::KeyRing(TokenHasher hasher, const Clock& clock)
    : hasher_(std::move(hasher)), clock_(clock), snapshot_(std::make_shared<Snapshot>()) {}

std::shared_ptr<const KeyRing::Snapshot> KeyRing::snapshot() const {
  const std::lock_guard lock(mutex_);
  return snapshot_;
}

KeyRing::Lookup KeyRing::Check(std::string_view token) const {
  if (!LooksLikeToken(token)) {
    return {};
  }
  const auto current = snapshot();
  const auto found = current->find(hasher_.Hash(token));
  if (found == current->end()) {
    return {};
  }
  const RingEntry& entry = found->second;
  if (entry.is_revoked) {
    return {TokenState::kRevoked, nullptr, entry.principal->key_id};
  }
  const int64_t now = clock_.UnixSeconds();
  const auto is_over = [now](const std::optional<int64_t>& at) { return at && *at <= now; };
  if (is_over(entry.expires_unix_s) || is_over(entry.principal->expires_unix_s)) {
    return {TokenState::kExpired, nullptr, entry.principal->key_id};
  }
  if (entry.last_used_unix_s->load(std::memory_order_relaxed) != now) {  // one write a second
    entry.last_used_unix_s->store(now, std::memory_order_relaxed);
  }
  return {TokenState::kLive, entry.principal, {}};
}

void KeyRing::Publish(std::vector<RingEntry> entries, bool is_closed) {
  auto next = std::make_shared<Snapshot>();
  next->reserve(entries.size());
  for (RingEntry& entry : entries) {
    const Digest digest = entry.digest;
    next->emplace(digest, std::move(entry));
  }
  if (is_closed) {
    is_closed_.store(true, std::memory_order_release);  // before the first key can be used
  }
  std::shared_ptr<const Snapshot> old = std::move(next);
  {
    const std::lock_guard lock(mutex_);
    snapshot_.swap(old);
  }
}

size_t KeyRing::size() const {
  return snapshot()->size();
}

}  // namespace tradewind::identity
