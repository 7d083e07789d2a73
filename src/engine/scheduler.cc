#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::engine {
namespace {

// A shorter beginning is evaluated faster than it is looked up, copied and waited for.
constexpr int64_t kBeginningMin = 16;

// A prompt gets at least so many rows of a step that it takes part in: fewer would not fill a tile.
constexpr int64_t kPrefillRowsMin = 16;

int64_t CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

}  // namespace

Scheduler::Scheduler(const KvShape& shape, const SchedulerOptions& options)
    : options_(options), pool_(shape, options.kv_blocks_max) {
  TW_CHECK(options.kv_blocks_max >= KvBlocksFor(options.context));
  running_.reserve(static_cast<size_t>(options.slots));  // who left the queue must not get lost
}

void Scheduler::Enqueue(std::unique_ptr<Sequence>&& sequence) {
  waiting_.emplace_back().number = ++arrivals_;
  waiting_.back().sequence = std::move(sequence);
}

int64_t Scheduler::EndCancelled(TimePoint now) {
  int64_t ended = 0;
  const auto end = [&](Sequence& sequence) {
    if (sequence.queue().cancelled() && !sequence.finished()) {
      sequence.FinishWith(FinishReason::kCancelled, {}, now);
      ++ended;
    }
  };
  for (const Running& one : running_) {
    end(*one.sequence);
  }
  RemoveFinished();
  for (const Waiting& one : waiting_) {
    end(*one.sequence);
  }
  std::erase_if(waiting_, [](const Waiting& one) { return one.sequence->finished(); });
  return ended;
}

void Scheduler::Admit(TimePoint now) {
  while (!waiting_.empty() && running() < options_.slots) {
    if (!MayFitNow()) {
      return;
    }
    Sequence& sequence = *waiting_.front().sequence;
    ++tries_total_;
    Beginning beginning = FindBeginning(sequence, waiting_.front().number);
    Running admitted{nullptr, waiting_.front().number, beginning.leader, beginning.shared, false};
    const bool grows = beginning.shared > beginning.positions;
    const bool fits = TryBegin(sequence, std::move(beginning));
    if (!fits && !running_.empty()) {
      refused_ = {admitted.number, running(), pool_.blocks_available(), grows};
      return;  // in turn: a shorter one behind it does not overtake
    }
    if (!fits) {
      sequence.Admit(now);
      sequence.FinishWith(FinishReason::kError,
                          "out of memory for the KV cache; lower --ctx or --kv-memory", now);
      waiting_.pop_front();
      continue;
    }
    refused_ = {};
    sequence.Admit(now);
    admitted.sequence = std::move(waiting_.front().sequence);
    waiting_.pop_front();
    const auto place = std::ranges::upper_bound(running_, admitted.number, {}, &Running::number);
    running_.insert(place, std::move(admitted));
  }
}

bool Scheduler::MayFitNow() const {
  return waiting_.front().number != refused_.number || running() != refused_.running ||
         pool_.blocks_available() > refused_.available || refused_.grows;
}

Scheduler::Beginning Scheduler::FindBeginning(const Sequence& sequence, uint64_t number) {
  Beginning best;
  const auto ids = sequence.tokens().first(static_cast<size_t>(sequence.reusable()));
  if (!options_.prefix_cache || static_cast<int64_t>(ids.size()) < kBeginningMin) {
    return best;
  }
  PrefixCache::Match match = prefixes_.Find(sequence.request().cache_scope, ids);
  best.blocks = std::move(match.blocks);
  best.positions = match.positions;
  const KvSequence* source = nullptr;
  for (const Running& one : running_) {
    const Sequence& other = *one.sequence;
    if (&other == &sequence || other.finished() ||
        other.request().cache_scope != sequence.request().cache_scope) {
      continue;
    }
    const int64_t common = CommonPrefix(ids, other.tokens());
    if (std::min(common, other.evaluated()) > best.positions) {
      best.positions = std::min(common, other.evaluated());
      source = other.cache_or_null();
    }
    // Only of older ones, or two might wait for each other; and of none whose client does not read.
    if (one.number < number && !other.decoding() && !other.paused() && common > best.shared) {
      best.leader = one.sequence.get();
      best.shared = common;
    }
  }
  if (source != nullptr) {
    best.blocks.assign(source->blocks().begin(), source->blocks().end());
  }
  if (best.positions < kBeginningMin) {
    best.positions = 0;
  }
  if (best.shared < best.positions + kBeginningMin) {
    best.leader = nullptr;
  }
  best.blocks.resize(static_cast<size_t>(KvBlocksFor(best.positions)));
  return best;
}

bool Scheduler::TryBegin(Sequence& sequence, Beginning beginning) {
  // With room for the token after those that are known, so that it gets on at least that far.
  const int64_t length =
      std::min(static_cast<int64_t>(sequence.tokens().size()) + 1, options_.context);
  // Everybody who runs may need another block soon: rather wait than send somebody back.
  const int64_t spare = running();
  const auto fits = [&] {
    const int64_t whole = beginning.positions / limits::kKvBlockPositions;
    return pool_.blocks_available() >= KvBlocksFor(length) - whole + spare;
  };
  if (!fits()) {  // a block that is only copied takes memory twice
    const int64_t whole = beginning.positions / limits::kKvBlockPositions;
    beginning.positions = whole * limits::kKvBlockPositions;
    beginning.blocks.resize(static_cast<size_t>(whole));
    if (!fits()) {
      return false;
    }
  }
  auto cache = std::make_unique<KvSequence>(pool_);
  const bool copies = beginning.positions % limits::kKvBlockPositions != 0;
  if (copies && pool_.blocks_used() == pool_.blocks_max()) {
    prefixes_.EvictOne();
  }
  const int64_t positions = cache->BeginWith(beginning.blocks, beginning.positions);
  beginning.blocks.clear();
  if (!MakeRoom(*cache, length)) {
    return false;
  }
  Begin(sequence, std::move(cache), positions);
  return true;
}

void Scheduler::Begin(Sequence& sequence, std::unique_ptr<KvSequence> cache, int64_t positions) {
  const int before = sequence.cached_tokens();
  sequence.Begin(std::move(cache), positions);
  cached_tokens_total_ += static_cast<uint64_t>(std::max(sequence.cached_tokens() - before, 0));
}

bool Scheduler::MakeRoom(KvSequence& cache, int64_t length) {
  while (!cache.Reserve(length)) {
    if (!prefixes_.EvictOne()) {
      return false;
    }
  }
  return true;
}

Step& Scheduler::Plan(TimePoint now) {
  step_.rows.clear();
  step_.owners.clear();
  step_.logit_rows = 0;
  step_.freed = false;
  PlanDecodes(now);
  PlanPrefills();
  RemoveFinished();
  return step_;
}

// The oldest first: whoever has to be put back is younger and has no rows in the step yet.
void Scheduler::PlanDecodes(TimePoint now) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i].sequence;
    if (!sequence.decoding() || sequence.paused() || sequence.finished()) {
      continue;
    }
    while (i < running_.size() && !MakeRoom(sequence.cache(), sequence.evaluated() + 1)) {
      step_.freed = true;
      if (running_.size() == 1) {
        sequence.FinishWith(FinishReason::kError,
                            "out of memory for the KV cache; lower --ctx or --kv-memory", now);
        return;
      }
      PutYoungestBack();
    }
    if (i < running_.size()) {
      PlanRows(sequence, 1);
    }
  }
}

// Prompts share the rows evenly; what one does not need is left to the others. Who was first in one
// step is last in the next.
void Scheduler::PlanPrefills() {
  struct Share {
    Sequence* sequence;
    uint64_t number;
    int64_t rows = 0;
  };
  std::vector<Share> shares;
  for (Running& one : running_) {
    const Sequence& sequence = *one.sequence;
    if (!sequence.decoding() && !sequence.finished() && !sequence.paused() && MayPrefill(one)) {
      shares.push_back({one.sequence.get(), one.number});
    }
  }
  if (shares.empty()) {
    return;
  }
  std::ranges::rotate(shares, std::ranges::find_if(shares, [&](const Share& share) {
                        return share.number > prefilled_first_;
                      }));
  prefilled_first_ = shares.front().number;
  int64_t left = step_.rows.empty() ? limits::kBatchTokensMax : limits::kPrefillRowsBesideDecodes;
  const auto sharers =
      std::clamp<size_t>(static_cast<size_t>(left / kPrefillRowsMin), 1, shares.size());
  std::vector<Share*> by_need;
  for (size_t i = 0; i < sharers; ++i) {
    by_need.push_back(&shares[i]);
  }
  std::ranges::sort(by_need, {}, [](const Share* share) { return share->sequence->left(); });
  for (size_t i = 0; i < sharers; ++i) {
    const int64_t even = left / static_cast<int64_t>(sharers - i);
    by_need[i]->rows = std::min(by_need[i]->sequence->left(), even);
    left -= by_need[i]->rows;
  }
  for (size_t i = sharers; i < shares.size(); ++i) {
    shares[i].rows = std::min(shares[i].sequence->left(), left);
    left -= shares[i].rows;
  }
  for (const Share& share : shares) {
    PlanRows(*share.sequence, share.rows);
  }
}

bool Scheduler::MayPrefill(Running& one) {
  if (one.leader != nullptr) {
    if (one.leader->evaluated() < one.shared && !one.leader->paused()) {
      return false;
    }
    one.leader = nullptr;
    one.looks_again = true;
  }
  if (one.looks_again) {
    one.looks_again = false;
    BeginAgain(one);
  }
  return one.leader == nullptr;
}

void Scheduler::BeginAgain(Running& one) {
  Sequence& sequence = *one.sequence;
  Beginning beginning = FindBeginning(sequence, one.number);
  one.leader = beginning.leader;
  one.shared = beginning.shared;
  if (beginning.positions <= sequence.evaluated()) {
    return;
  }
  // What it holds is given up first. That is enough: it shares no fewer blocks than before.
  const auto blocks = static_cast<int64_t>(sequence.cache().blocks().size());
  sequence.DropCache();
  auto cache = std::make_unique<KvSequence>(pool_);
  const int64_t positions = cache->BeginWith(beginning.blocks, beginning.positions);
  TW_CHECK(cache->Reserve(blocks * limits::kKvBlockPositions));
  Begin(sequence, std::move(cache), positions);
}

// Appends up to `rows_max` rows of a sequence whose cache has room for them; returns how many.
int64_t Scheduler::PlanRows(Sequence& sequence, int64_t rows_max) {
  const int64_t wanted = std::min(rows_max, sequence.left());
  int64_t count = 0;
  for (; count < wanted; ++count) {
    const int64_t position = sequence.evaluated() + count;
    const bool is_last = count + 1 == sequence.left();
    const bool wants_logits = is_last || sequence.wants_prompt_logits(position);
    if (wants_logits && step_.logit_rows == limits::kLogitRowsMax) {
      break;
    }
    const TokenId token = sequence.tokens()[static_cast<size_t>(position)];
    step_.rows.push_back({token, position, &sequence.cache(), wants_logits});
    step_.owners.push_back({&sequence, is_last});
    step_.logit_rows += wants_logits ? 1 : 0;
  }
  return count;
}

void Scheduler::PutYoungestBack() {
  Running& youngest = running_.back();
  Retire(*youngest.sequence);
  const auto place = std::ranges::upper_bound(waiting_, youngest.number, {}, &Waiting::number);
  const auto waiting = waiting_.insert(place, Waiting{nullptr, youngest.number});
  waiting->sequence = std::move(youngest.sequence);
  waiting->sequence->PutBack();
  running_.pop_back();
  ++requeued_total_;
}

void Scheduler::Retire(Sequence& sequence) {
  ForgetLeader(&sequence);
  const KvSequence* const cache = sequence.cache_or_null();
  if (options_.prefix_cache && cache != nullptr && !sequence.failed()) {
    prefixes_.Insert(sequence.request().cache_scope,
                     sequence.tokens().first(static_cast<size_t>(sequence.evaluated())),
                     cache->blocks());
  }
}

void Scheduler::ForgetLeader(const Sequence* leader) {
  for (Running& one : running_) {
    if (one.leader == leader) {
      one.leader = nullptr;
      one.looks_again = true;
    }
  }
}

void Scheduler::RemoveFinished() {
  for (const Running& one : running_) {
    if (one.sequence->finished()) {
      Retire(*one.sequence);
    }
  }
  std::erase_if(running_, [](const Running& one) { return one.sequence->finished(); });
}

void Scheduler::FailRunning(const std::string& error, TimePoint now) {
  const auto fail = [&](Sequence& sequence) {
    if (!sequence.finished()) {
      sequence.FinishWith(FinishReason::kError, error, now);
    }
  };
  if (running_.empty() && !waiting_.empty()) {
    fail(*waiting_.front().sequence);
    waiting_.pop_front();
  }
  for (const Running& one : running_) {
    fail(*one.sequence);
  }
  running_.clear();
}

void Scheduler::CancelAll(TimePoint now) {
  const auto end = [&](Sequence& sequence) {
    if (!sequence.finished()) {
      sequence.FinishWith(FinishReason::kCancelled, {}, now);
    }
  };
  for (const Running& one : running_) {
    end(*one.sequence);
  }
  for (const Waiting& one : waiting_) {
    end(*one.sequence);
  }
  running_.clear();
  waiting_.clear();
}

}  // namespace tradewind::engine
