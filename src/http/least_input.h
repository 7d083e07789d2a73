// For the two readers: how many bytes Beast's parser can be given at least.
#pragma once

#include <cstddef>

namespace tradewind::http {

// Beast 1.81 asserts that the last chunk comes with five bytes at once, which a peer that sends
// "0\r\n" and then a single byte would trip. Inside a chunked body at least the five bytes of
// "0\r\n\r\n" are still to come, so that waiting for them delays nothing.
template <class Parser>
size_t LeastInput(const Parser& parser) {
  return parser.is_header_done() && parser.chunked() ? 5 : 1;
}

}  // namespace tradewind::http
