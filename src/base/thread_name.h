// What tools that look into a running process (top -H, perf, gdb) call its threads.
#pragma once

#include <pthread.h>

namespace tradewind {

// Of the calling thread; at most 15 characters.
inline void NameThread(const char* name) {
  pthread_setname_np(pthread_self(), name);
}

}  // namespace tradewind
