// For what the files of the instruction sets call: a call that is not inlined would pass vectors
// through memory, and an inline function that they share with other files could be the copy that
// the linker keeps for every CPU.
#pragma once

#define TW_INLINE inline __attribute__((always_inline))
