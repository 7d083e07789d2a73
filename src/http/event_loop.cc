#include "http/event_loop.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <string>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/check.h"
#include "base/thread_name.h"
#include "http/http.h"
#include "telemetry/log.h"

namespace tradewind::http {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

thread_local EventLoop* current_loop = nullptr;

}  // namespace

EventLoop::EventLoop() : context_(std::make_unique<asio::io_context>(1)) {}

EventLoop::~EventLoop() {
  Stop();
  Destroy();
}

std::shared_ptr<EventLoop> EventLoop::Start() {
  std::shared_ptr<EventLoop> loop(new EventLoop);
  loop->thread_ = std::thread([raw = loop.get()] { raw->Run(); });
  return loop;
}

EventLoop* EventLoop::Current() {
  return current_loop;
}

void EventLoop::Run() {
  NameThread("event-loop");
  current_loop = this;
  const auto work = asio::make_work_guard(*context_);
  while (!context_->stopped()) {
    try {
      context_->run();
    } catch (const std::exception& e) {
      // A callback of ours threw. The others on this loop are not to blame.
      telemetry::Log(telemetry::Level::kError, std::string("event loop: ") + e.what());
    }
  }
  current_loop = nullptr;
}

void EventLoop::Post(std::move_only_function<void()> task) {
  const std::lock_guard lock(mutex_);
  if (context_ != nullptr) {
    asio::post(*context_, std::move(task));
  }
}

void EventLoop::Spawn(std::move_only_function<Task<void>()> begin) {
  Post([this, begin = std::move(begin)]() mutable {
    // The function lives in the coroutine's own frame: a lambda's captures must outlive its task.
    auto run = [](std::move_only_function<Task<void>()> make) -> Task<void> { co_await make(); };
    asio::co_spawn(*context_, run(std::move(begin)), [](const std::exception_ptr& thrown) {
      if (thrown) {
        telemetry::Log(telemetry::Level::kError, "a task on an event loop ended by an exception");
      }
    });
  });
}

std::shared_ptr<EventLoop::Attachment> EventLoop::FindAttachment(uint64_t owner) const {
  const auto at = attachments_.find(owner);
  return at == attachments_.end() ? nullptr : at->second;
}

void EventLoop::Attach(uint64_t owner, std::shared_ptr<Attachment> attachment) {
  attachments_[owner] = std::move(attachment);
}

void EventLoop::Stop() {
  if (thread_.joinable()) {
    context_->stop();
    thread_.join();
  }
}

void EventLoop::Destroy() {
  std::unique_ptr<asio::io_context> context;
  {
    const std::lock_guard lock(mutex_);
    context = std::move(context_);
  }
  // Outside of the lock: what is destroyed here may still call Notify.
  attachments_.clear();
  context.reset();
}

namespace {

// The flag is the truth and the timer only the bell: Notify sets the flag on any thread, then rings
// on the loop's thread. Wait looks at the flag after every ring, and cannot miss one: the bell is
// rung by a task of the same thread, which runs only once Wait is suspended. A late bell finds
// either no waiter, or one that goes back to sleep.
class LoopWakeup final : public Wakeup, public std::enable_shared_from_this<LoopWakeup> {
 public:
  explicit LoopWakeup(std::shared_ptr<EventLoop> loop) : loop_(std::move(loop)) {}

  void Notify() override {
    if (!notified_.exchange(true)) {
      loop_->Post([self = shared_from_this()] { self->Ring(); });
    }
  }

  Task<bool> Wait(steady_clock::time_point deadline) override {
    TW_CHECK(EventLoop::Current() == loop_.get() && waiter_ == nullptr);
    // The timer lives in this frame and not in the wakeup, which may outlive the loop.
    asio::steady_timer timer(loop_->context());
    const Waiting waiting(*this, timer);
    while (!notified_.exchange(false)) {
      const auto now = steady_clock::now();
      if (now >= deadline) {
        co_return false;
      }
      timer.expires_at(std::min(deadline, now + std::chrono::hours(1)));
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return true;
  }

 private:
  struct Waiting {
    Waiting(LoopWakeup& in, asio::steady_timer& timer) : wakeup(in) { wakeup.waiter_ = &timer; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() { wakeup.waiter_ = nullptr; }
    LoopWakeup& wakeup;
  };

  void Ring() {
    if (waiter_ != nullptr) {
      waiter_->cancel();
    }
  }

  const std::shared_ptr<EventLoop> loop_;
  std::atomic<bool> notified_{false};
  asio::steady_timer* waiter_ = nullptr;  // on the loop's thread
};

}  // namespace

std::shared_ptr<Wakeup> Wakeup::Create() {
  EventLoop* loop = EventLoop::Current();
  TW_CHECK(loop != nullptr);
  return std::make_shared<LoopWakeup>(loop->shared_from_this());
}

void RunBeside(std::move_only_function<Task<void>()> begin) {
  EventLoop* loop = EventLoop::Current();
  TW_CHECK(loop != nullptr);
  loop->Spawn(std::move(begin));
}

}  // namespace tradewind::http
