// TW_CHECK: a broken invariant of our own; prints where and aborts. Nothing that a client, provider
// or file can send may trip one. TW_DCHECK: the same in debug and sanitizer builds only, for hot
// paths.
#pragma once

namespace tradewind::internal {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}

#define TW_CHECK(condition)                                               \
  do {                                                                    \
    if (!(condition)) [[unlikely]] {                                      \
      ::tradewind::internal::CheckFailed(#condition, __FILE__, __LINE__); \
    }                                                                     \
  } while (false)

#ifdef NDEBUG
#define TW_DCHECK(condition) static_cast<void>(sizeof(condition))
#else
#define TW_DCHECK(condition) TW_CHECK(condition)
#endif
