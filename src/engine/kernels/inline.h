// For the files of the instruction sets only: a call that is not inlined would pass vectors through
// memory.
#pragma once

#define TW_INLINE inline __attribute__((always_inline))
