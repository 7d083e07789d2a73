#include "engine/tokenizer/token_tables.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/ids.h"
#include "base/limits.h"

namespace tradewind::engine {
namespace {

// Slots for `expected` entries at a load of at most 2/3.
size_t SlotsFor(size_t expected) {
  return std::bit_ceil(expected + expected / 2 + 2);
}

uint64_t HashKey() {
  static const uint64_t key = SystemRandom().Next64() | 1;
  return key;
}

uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio

uint64_t HashWord(uint64_t word) {
  return Mix(word ^ HashKey(), kOdd ^ (HashKey() << 1));
}

uint64_t HashText(std::string_view text) {
  const uint64_t key = HashKey();
  uint64_t hash = key ^ text.size();
  const char* p = text.data();
  size_t left = text.size();
  for (; left >= 8; p += 8, left -= 8) {
    hash = Mix(hash ^ LoadLe<uint64_t>(p), kOdd ^ (key << 1));
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) {
    tail |= uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
  }
  return Mix(hash ^ tail, kOdd ^ key);
}

}  // namespace

TextIndex::TextIndex(const std::vector<std::string>& texts, size_t expected)
    : texts_(texts), slots_(SlotsFor(expected)) {}

size_t TextIndex::Locate(std::string_view text, uint32_t& tag) const {
  const uint64_t hash = HashText(text);
  tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id == kNoToken || (slot.tag == tag && texts_[static_cast<size_t>(slot.id)] == text)) {
      return i;
    }
  }
}

bool TextIndex::Insert(TokenId id) {
  const std::string& text = texts_[static_cast<size_t>(id)];
  uint32_t tag = 0;
  Slot& slot = slots_[Locate(text, tag)];
  if (slot.id != kNoToken) {
    return false;
  }
  slot = {tag, id};
  longest_ = std::max(longest_, text.size());
  return true;
}

TokenId TextIndex::Find(std::string_view text) const {
  if (text.size() > longest_) {
    return kNoToken;
  }
  uint32_t tag = 0;
  return slots_[Locate(text, tag)].id;
}

WordMap::WordMap(size_t expected) : slots_(SlotsFor(expected)) {}

size_t WordMap::Locate(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t i = HashWord(key) & mask;
  while (slots_[i].key != kAbsent && slots_[i].key != key) {
    i = (i + 1) & mask;
  }
  return i;
}

uint64_t WordMap::Insert(uint64_t key, uint64_t value) {
  TW_DCHECK(key != kAbsent);
  if ((used_ + 1) * 3 > slots_.size() * 2) {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
    for (const Slot& slot : old) {
      if (slot.key != kAbsent) {
        slots_[Locate(slot.key)] = slot;
      }
    }
  }
  Slot& slot = slots_[Locate(key)];
  if (slot.key == kAbsent) {
    slot = {key, value};
    ++used_;
  }
  return slot.value;
}

uint64_t WordMap::Find(uint64_t key) const {
  const Slot& slot = slots_[Locate(key)];
  return slot.key == kAbsent ? kAbsent : slot.value;
}

void SpecialMatcher::Add(std::string_view text, TokenId id) {
  if (text.empty() || text.size() > limits::kSpecialTokenBytesMax) {
    return;
  }
  starts_[static_cast<unsigned char>(text[0])] = true;
  uint64_t node = 0;
  for (const char c : text) {
    const uint64_t next = tokens_.size();
    node = edges_.Insert(node << 8 | static_cast<unsigned char>(c), next);
    if (node == next) {
      tokens_.push_back(kNoToken);
    }
  }
  if (tokens_[node] == kNoToken) {
    tokens_[node] = id;
  }
}

SpecialMatcher::Match SpecialMatcher::LongestAt(std::string_view text) const {
  Match match;
  uint64_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    node = edges_.Find(node << 8 | static_cast<unsigned char>(text[i]));
    if (node == WordMap::kAbsent) {
      break;
    }
    if (tokens_[node] != kNoToken) {
      match = {tokens_[node], i + 1};
    }
  }
  return match;
}

}  // namespace tradewind::engine
