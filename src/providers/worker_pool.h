// A few threads for work that would block an event loop: rendering and tokenizing long prompts,
// parsing large bodies; in pools of their own, what waits for the disk.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "base/task.h"
#include "http/http.h"

namespace tradewind::providers {

struct WorkerPoolOptions {
  const char* name = "prompt-worker";  // of its threads; at most 15 characters
  int threads = limits::kWorkerThreads;
  int jobs_max = limits::kWorkerJobsMax;  // that wait
  // What is said to those that find too many waiting, and to those that waited too long.
  std::string too_many = "Too many requests are being prepared; try again soon.";
  std::string too_long = "Preparing the prompt took too long.";
};

// Thread-safe. Must outlive the event loops whose coroutines wait on it. The destructor finishes
// the running jobs and drops the waiting ones.
class WorkerPool {
 public:
  explicit WorkerPool(WorkerPoolOptions options = {});
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs `job` on a worker thread; the caller, on an event-loop thread, awaits its result. The job
  // owns what it touches: the coroutine may be gone before it ends. Errors: the job's;
  // kTooManyRequests when `jobs_max` wait; kDeadlineExceeded after kWorkerDeadlineMs, or at
  // `deadline`; kResourceExhausted when the job ran out of memory.
  template <class T>
  Task<Result<T>> Run(std::function<Result<T>()> job,
                      std::chrono::steady_clock::time_point deadline =
                          std::chrono::steady_clock::time_point::max());

 private:
  bool Post(std::function<void()> job);  // false: too many wait
  void Work();

  const WorkerPoolOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

template <class T>
Task<Result<T>> WorkerPool::Run(std::function<Result<T>()> job,
                                std::chrono::steady_clock::time_point deadline) {
  struct Shared {
    std::shared_ptr<http::Wakeup> wakeup = http::Wakeup::Create();
    std::optional<Result<T>> result;  // written before Notify, read after Wait
  };
  auto shared = std::make_shared<Shared>();
  const bool posted = Post([shared, job = std::move(job)] {
    try {
      shared->result = job();
    } catch (const std::exception&) {
      shared->result =
          Fail(ErrorCode::kResourceExhausted, "There is not enough memory for this request.");
    }
    shared->wakeup->Notify();
  });
  if (!posted) {
    co_return Fail(Error{ErrorCode::kTooManyRequests, options_.too_many, "", 1000});
  }
  deadline = std::min(deadline, std::chrono::steady_clock::now() +
                                    std::chrono::milliseconds(limits::kWorkerDeadlineMs));
  if (!co_await shared->wakeup->Wait(deadline)) {
    co_return Fail(ErrorCode::kDeadlineExceeded, options_.too_long);
  }
  co_return std::move(*shared->result);
}

}  // namespace tradewind::providers
