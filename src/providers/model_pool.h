// The engines that are loaded: one per model id, loaded on demand, the least recently used idle one
// makes room.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
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
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "catalog/local_models.h"
#include "engine/engine.h"
#include "http/http.h"

namespace tradewind::providers {

// engine::Engine::Load, or a fake.
using EngineLoader = std::function<Result<std::unique_ptr<engine::Engine>>(
    const std::filesystem::path&, const engine::EngineOptions&)>;

struct LoadedModel {
  std::string id;
  engine::ModelInfo info;
  engine::EngineStats stats;
  int users = 0;  // answers and tokenizer calls that hold it now
};

class ModelPool {
 private:
  struct Entry;

 public:
  // Keeps an engine loaded while it lives. Copies share. May outlive the pool.
  class Lease {
   public:
    const std::string& id() const;
    engine::Engine& engine() const;

   private:
    friend class ModelPool;
    struct Hold;
    explicit Lease(std::shared_ptr<Hold> hold) : hold_(std::move(hold)) {}
    std::shared_ptr<Hold> hold_;
  };

  ModelPool(std::shared_ptr<const catalog::LocalModels> models, engine::EngineOptions options,
            int loaded_max, EngineLoader loader);
  ~ModelPool();  // joins the loading thread; must outlive the event loops that wait for it
  ModelPool(const ModelPool&) = delete;
  ModelPool& operator=(const ModelPool&) = delete;

  // The engine of a catalogue id, loading it if need be. On an event-loop thread.
  // Errors: kModelNotSupported; those of loading; kUnavailable with retry_after_ms (every loaded
  // model is busy, or draining); kDeadlineExceeded after kModelLoadDeadlineMs, or at
  // `deadline`.
  Task<Result<Lease>> Acquire(std::string id, std::chrono::steady_clock::time_point deadline =
                                                  std::chrono::steady_clock::time_point::max());
  // Starts to load without waiting. Any thread.
  Status Preload(const std::string& id);

  bool was_loaded(const std::string& id) const;                  // at least once
  std::optional<Error> load_error(const std::string& id) const;  // of the last try, if it failed
  std::vector<LoadedModel> loaded() const;
  void Drain();  // engines admit nothing more, nothing more is loaded

  const catalog::LocalModels& models() const { return *models_; }
  const engine::EngineOptions& options() const { return options_; }

 private:
  struct LoadJob {
    std::shared_ptr<Entry> entry;
    std::filesystem::path path;
    std::shared_ptr<Entry> victim;  // unloaded first, to make room
  };

  // The entry of `id`, held; starts loading when it is not there. With mutex_ held.
  Result<Lease> HoldEntry(const std::string& id);
  Result<std::shared_ptr<Entry>>
  MakeRoom();  // the victim, or null when none is needed. With mutex_ held
  void LoadLoop();

  const std::shared_ptr<const catalog::LocalModels> models_;
  const engine::EngineOptions options_;
  const size_t loaded_max_;
  const EngineLoader loader_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;  // loading and ready
  std::map<std::string, Error> errors_;
  std::set<std::string> once_loaded_;
  std::deque<LoadJob> jobs_;
  uint64_t tick_ = 0;
  bool draining_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tradewind::providers
