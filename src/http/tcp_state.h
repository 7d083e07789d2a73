// What the kernel knows of a TCP connection. (Apart, because Linux' own header and the C library's
// cannot be included together.)
#pragma once

#include <cstdint>
#include <optional>

namespace tradewind::http {

// What the peer's TCP has acknowledged since the connection began, the handshake's one included.
// No value when the kernel does not say.
std::optional<int64_t> AcknowledgedBytes(int fd);

}  // namespace tradewind::http
