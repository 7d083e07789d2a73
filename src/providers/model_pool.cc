#include "providers/model_pool.h"

#include <algorithm>
#include <chrono>
#include <exception>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::providers {

// Guarded by the pool's mutex_, except `users`, which leases lower without it. It rises only with
// the mutex held, so an entry that is seen idle there stays idle.
struct ModelPool::Entry {
  std::string id;
  std::unique_ptr<engine::Engine> engine;  // set once, before ready; then constant
  bool ready = false;
  std::optional<Error> error;
  std::vector<std::shared_ptr<http::Wakeup>> waiters;
  uint64_t used_tick = 0;
  std::atomic<int> users{0};
};

struct ModelPool::Lease::Hold {
  explicit Hold(std::shared_ptr<Entry> held) : entry(std::move(held)) { ++entry->users; }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { --entry->users; }
  std::shared_ptr<Entry> entry;
};

const std::string& ModelPool::Lease::id() const {
  return hold_->entry->id;
}
engine::Engine& ModelPool::Lease::engine() const {
  return *hold_->entry->engine;
}

ModelPool::ModelPool(std::shared_ptr<const catalog::LocalModels> models,
                     engine::EngineOptions options, int loaded_max, EngineLoader loader)
    : models_(std::move(models)),
      options_(std::move(options)),
      loaded_max_(static_cast<size_t>(std::max(loaded_max, 1))),
      loader_(std::move(loader)),
      thread_([this] { LoadLoop(); }) {}

ModelPool::~ModelPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::shared_ptr<ModelPool::Entry>> ModelPool::MakeRoom() {
  if (entries_.size() < loaded_max_) {
    return nullptr;
  }
  auto oldest = entries_.end();
  for (auto at = entries_.begin(); at != entries_.end(); ++at) {
    const Entry& entry = *at->second;
    if (entry.ready && entry.users == 0 &&
        (oldest == entries_.end() || entry.used_tick < oldest->second->used_tick)) {
      oldest = at;
    }
  }
  if (oldest == entries_.end()) {
    return Fail(Error{
        ErrorCode::kUnavailable,
        fmt::format(
            "All {} models that may be loaded at once are busy ({} and others); try again soon.",
            loaded_max_, entries_.begin()->first),
        "model", 5000});
  }
  std::shared_ptr<Entry> victim = oldest->second;
  entries_.erase(oldest);
  return victim;
}

Result<ModelPool::Lease> ModelPool::HoldEntry(const std::string& id) {
  if (draining_) {
    return Fail(Error{ErrorCode::kUnavailable, "The server is shutting down.", "", 5000});
  }
  const catalog::LocalModel* model = models_->Find(id);
  if (model == nullptr) {
    return Fail(
        ErrorCode::kModelNotSupported,
        fmt::format("The model \"{}\" is not on this device; GET /v1/models lists those that are.",
                    id),
        "model");
  }
  if (const auto found = entries_.find(model->id); found != entries_.end()) {
    found->second->used_tick = ++tick_;
    return Lease(std::make_shared<Lease::Hold>(found->second));
  }
  if (model->error.has_value()) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("The model \"{}\" cannot be served: {}.", id, *model->error), "model");
  }
  TW_ASSIGN_OR_RETURN(std::shared_ptr<Entry> victim, MakeRoom());
  auto entry = std::make_shared<Entry>();
  entry->id = model->id;
  entry->used_tick = ++tick_;
  entries_.emplace(model->id, entry);
  jobs_.push_back({entry, model->path, std::move(victim)});
  changed_.notify_all();
  return Lease(std::make_shared<Lease::Hold>(std::move(entry)));
}

Task<Result<ModelPool::Lease>> ModelPool::Acquire(std::string id,
                                                  std::chrono::steady_clock::time_point deadline) {
  const auto wakeup = http::Wakeup::Create();
  Result<Lease> lease = Fail(ErrorCode::kInternal, "");
  {
    const std::lock_guard lock(mutex_);
    lease = HoldEntry(id);
    if (!lease.has_value() || lease->hold_->entry->ready) {
      co_return lease;
    }
    lease->hold_->entry->waiters.push_back(wakeup);
  }
  deadline = std::min(deadline, std::chrono::steady_clock::now() +
                                    std::chrono::milliseconds(limits::kModelLoadDeadlineMs));
  if (!co_await wakeup->Wait(deadline)) {
    co_return Fail(ErrorCode::kDeadlineExceeded, fmt::format("Loading \"{}\" took too long.", id));
  }
  const std::lock_guard lock(mutex_);
  if (const auto& error = lease->hold_->entry->error; error.has_value()) {
    co_return Fail(*error);
  }
  co_return lease;
}

Status ModelPool::Preload(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const Result<Lease> lease = HoldEntry(id);
  return lease.has_value() ? Status() : Fail(lease.error());
}

void ModelPool::LoadLoop() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) {
      return;
    }
    LoadJob job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    if (job.victim != nullptr) {
      // Nobody uses it. Its engine joins its thread here, and its memory is free before the next
      // one asks for more.
      job.victim->engine.reset();
      job.victim.reset();
    }
    Result<std::unique_ptr<engine::Engine>> engine = Fail(ErrorCode::kInternal, "");
    try {
      engine = loader_(job.path, options_);
    } catch (const std::exception&) {
      engine = Fail(ErrorCode::kResourceExhausted, "There is not enough memory to load this model.",
                    "model");
    }
    lock.lock();
    Entry& entry = *job.entry;
    if (engine.has_value()) {
      entry.engine = std::move(*engine);
      entry.ready = true;
      once_loaded_.insert(entry.id);
      errors_.erase(entry.id);
    } else {
      entry.error = engine.error();
      errors_.insert_or_assign(entry.id, engine.error());
      entries_.erase(entry.id);  // the next request tries again
    }
    for (const auto& waiter : std::exchange(entry.waiters, {})) {
      waiter->Notify();
    }
  }
}

bool ModelPool::was_loaded(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return once_loaded_.contains(id);
}

std::optional<Error> ModelPool::load_error(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = errors_.find(id);
  return found == errors_.end() ? std::nullopt : std::optional<Error>(found->second);
}

std::vector<LoadedModel> ModelPool::loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<LoadedModel> out;
  for (const auto& [id, entry] : entries_) {
    if (entry->ready) {
      out.push_back({id, entry->engine->info(), entry->engine->stats(), entry->users});
    }
  }
  return out;
}

void ModelPool::Drain() {
  // Engines go on: a request that is running may still have sequences to submit.
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

}  // namespace tradewind::providers
