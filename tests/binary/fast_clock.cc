// Loaded into the server (LD_PRELOAD): its clocks run TW_CLOCK_SPEED times as fast from its start
// on, for what happens after minutes only.
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <sys/syscall.h>

namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

int64_t RealNs(clockid_t id) {
  timespec time{};
  syscall(SYS_clock_gettime, id, &time);
  return int64_t{time.tv_sec} * kNanosPerSecond + time.tv_nsec;
}

int64_t Speed() {
  const char* text = std::getenv("TW_CLOCK_SPEED");
  return text == nullptr ? 1 : std::atoll(text);
}

const int64_t speed = Speed();
const int64_t begin_ns = RealNs(CLOCK_MONOTONIC);

// Of a clock: how far it is ahead of the real one by now.
int64_t AheadNs(clockid_t id) {
  const bool is_fast = speed > 1 && (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC);
  return is_fast ? (RealNs(CLOCK_MONOTONIC) - begin_ns) * (speed - 1) : 0;
}

timespec TimeOf(int64_t ns) {
  return {ns / kNanosPerSecond, ns % kNanosPerSecond};
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t id, timespec* time) noexcept {
  *time = TimeOf(RealNs(id) + AheadNs(id));
  return 0;
}

// Waits are as long as they were.
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t id,
                           const timespec* until) {
  static const auto real = reinterpret_cast<decltype(&pthread_cond_clockwait)>(
      dlsym(RTLD_NEXT, "pthread_cond_clockwait"));
  const timespec time =
      TimeOf(int64_t{until->tv_sec} * kNanosPerSecond + until->tv_nsec - AheadNs(id));
  return real(condition, mutex, id, &time);
}

}  // extern "C"
