// Which sequences run, and which rows they add to a step.
//
// - Sequences run in the order in which they came, as slots and memory allow: one is admitted when
//   its whole prompt has room. Memory of ended sequences, kept for those that begin alike, makes
//   room first. When a running sequence still finds none for its next token, the youngest one goes
//   back to the head of the queue and later goes on where it was, by evaluating its tokens again:
//   its client sees a pause, and the same answer. The oldest always gets on.
// - A step takes one row of every sequence that decodes, and shares the rest among the prompts.
//   Rows of prompts beside decodes are few, so that no step is long for those who wait for a token.
// - A sequence whose beginning is known, from an ended or a running sequence of its scope, begins
//   there. One whose beginning is just being evaluated waits for it.
//
// Where memory of the process runs out, std::bad_alloc comes through; no sequence is lost, and
// FailRunning puts things in order again.
//
// Engine's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "engine/cache/kv_cache.h"
#include "engine/cache/prefix_cache.h"
#include "engine/model/batch.h"
#include "engine/sequence.h"

namespace tradewind::engine {

struct SchedulerOptions {
  int slots = 1;
  int64_t context = 0;        // positions a sequence may use
  int64_t kv_blocks_max = 0;  // at least one context's
  bool prefix_cache = true;
};

struct Step {
  // What a row stands for, beside its BatchRow.
  struct Owner {
    Sequence* sequence;
    bool is_last;  // the next token is sampled from its logits; otherwise they are of a prompt
                   // position
  };
  std::vector<BatchRow> rows;
  std::vector<Owner> owners;  // one per row
  int64_t logit_rows = 0;
  // A sequence ended or was put back while the step was planned: what it held is free.
  bool freed = false;
};

class Scheduler {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Scheduler(const KvShape& shape, const SchedulerOptions& options);

  // Takes the sequence, unless it throws.
  void Enqueue(std::unique_ptr<Sequence>&& sequence);
  // Ends what was cancelled; returns how many.
  int64_t EndCancelled(TimePoint now);
  void Admit(TimePoint now);
  // Rows whose positions have room in their caches. Empty when nobody can move.
  Step& Plan(TimePoint now);
  // After a step: lets finished sequences go.
  void RemoveFinished();
  // All that run fail, and nothing of them is kept. When nobody runs, the head of the queue does:
  // what failed was to let it begin.
  void FailRunning(const std::string& error, TimePoint now);
  void CancelAll(TimePoint now);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  const KvBlockPool& pool() const { return pool_; }
  uint64_t cached_tokens_total() const { return cached_tokens_total_; }
  uint64_t requeued_total() const { return requeued_total_; }
  // How often it was looked up what is known of a waiting sequence: for tests.
  uint64_t tries_total() const { return tries_total_; }

 private:
  struct Running {
    std::unique_ptr<Sequence> sequence;
    uint64_t number = 0;
    // Somebody older who is evaluating the first `shared` positions of this prompt.
    Sequence* leader = nullptr;
    int64_t shared = 0;
    bool looks_again = false;  // the leader got there, or is gone
  };
  struct Waiting {
    std::unique_ptr<Sequence> sequence;
    uint64_t number = 0;  // in the order of arrival
  };
  struct Beginning {
    std::vector<KvBlockRef> blocks;
    int64_t positions = 0;
    Sequence* leader = nullptr;
    int64_t shared = 0;
  };

  // The head of the queue when it did not fit last, and what may have changed since.
  struct Refused {
    uint64_t number = 0;
    int64_t running = 0;
    int64_t available = 0;  // blocks
    bool grows = false;  // somebody is evaluating a prompt that begins alike: less is missing soon
  };

  // False while the head of the queue fits no better than when it was looked up last: looking it up
  // costs time in every step.
  bool MayFitNow() const;
  // The best that is known of a sequence's tokens. `number` is its place in the order of arrival.
  Beginning FindBeginning(const Sequence& sequence, uint64_t number);
  // False when memory is short: the sequence is as before, but known beginnings may be forgotten.
  bool TryBegin(Sequence& sequence, Beginning beginning);
  // Forgets known beginnings until there is room. False when that is not enough.
  bool MakeRoom(KvSequence& cache, int64_t length);
  void Begin(Sequence& sequence, std::unique_ptr<KvSequence> cache, int64_t positions);
  // False while the sequence had better wait for what its leader is evaluating.
  bool MayPrefill(Running& one);
  void BeginAgain(Running& one);
  void PlanDecodes(TimePoint now);
  void PlanPrefills();
  int64_t PlanRows(Sequence& sequence, int64_t rows_max);
  void PutYoungestBack();
  // Keeps its blocks for others, unless it failed.
  void Retire(Sequence& sequence);
  void ForgetLeader(const Sequence* leader);

  const SchedulerOptions options_;
  KvBlockPool pool_;  // outlives all that holds blocks
  PrefixCache prefixes_;
  std::deque<Waiting> waiting_;   // by number
  std::vector<Running> running_;  // by number: the oldest first; at most options_.slots
  Step step_;
  uint64_t arrivals_ = 0;
  uint64_t prefilled_first_ = 0;  // number of the one that was first to share the last step's rows
  uint64_t cached_tokens_total_ = 0;
  uint64_t requeued_total_ = 0;
  uint64_t tries_total_ = 0;
  Refused refused_;
};

}  // namespace tradewind::engine
