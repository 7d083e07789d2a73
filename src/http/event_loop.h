// One thread with one io_context. Asio itself stays behind the forward declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "base/task.h"

namespace boost::asio {
class io_context;
}

namespace tradewind::http {

class Connection;

// Wakeups may outlive the server, so they hold the loop by shared_ptr and Post to it; Destroy()
// ends its context early, which breaks the circle of context -> coroutine -> wakeup -> loop.
class EventLoop : public std::enable_shared_from_this<EventLoop> {
 public:
  static std::shared_ptr<EventLoop> Start();
  // The loop whose thread this is; null on other threads.
  static EventLoop* Current();
  ~EventLoop();

  // Runs `task` on the loop's thread, later. Any thread; dropped without being run once the loop
  // has stopped.
  void Post(std::move_only_function<void()> task);

  // The same for a coroutine that `begin` makes on the loop's thread; what it throws is logged.
  void Spawn(std::move_only_function<Task<void>()> begin);

  // Something that others keep for this loop (`owner` tells whose), made with its first use. On the
  // loop's thread. Destroyed in Destroy(), before the context.
  class Attachment {
   public:
    virtual ~Attachment() = default;
  };
  std::shared_ptr<Attachment> FindAttachment(uint64_t owner) const;
  void Attach(uint64_t owner, std::shared_ptr<Attachment> attachment);

  void Stop();     // after the running task; joins. Not from the loop's own thread
  void Destroy();  // after Stop: destroys every suspended coroutine and queued task, on the calling
                   // thread

  boost::asio::io_context& context() { return *context_; }  // on the loop's thread, or before Stop
  std::unordered_set<Connection*>& connections() { return connections_; }  // on the loop's thread

 private:
  EventLoop();
  void Run();

  std::mutex mutex_;  // guards the pointer context_ against Post from other threads
  std::unique_ptr<boost::asio::io_context> context_;  // null after Destroy
  std::unordered_set<Connection*> connections_;
  std::unordered_map<uint64_t, std::shared_ptr<Attachment>> attachments_;
  std::thread thread_;
};

}  // namespace tradewind::http
