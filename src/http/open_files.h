// How many files, sockets included, this process may have open.
#pragma once

#include <cstdint>

namespace tradewind::http {

// Raises the soft bound to the hard one, and returns what holds then. The soft one is 1024 on most
// systems, for programs that still use select(); we do not.
int64_t RaiseOpenFilesMax();

// How many connections a server may take: `wanted`, or fewer where files are short.
int64_t ConnectionsFor(int64_t wanted, int64_t open_files_max);

}  // namespace tradewind::http
