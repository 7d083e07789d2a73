// Decompresses a body as it arrives (gzip, or deflate as zlib). No sockets.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"

namespace tradewind::http {

class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Takes from the front of `input`, and returns what it inflates to: at most one buffer of
  // kUpstreamBufferBytes, valid until the next call. Empty: all of `input` is used and more is
  // needed. Errors: kIo (corrupt), kPayloadTooLarge (beyond kInflatedBytesFree and
  // kInflateFactorMax times what was taken).
  Result<std::string_view> Next(std::string_view& input);
  // The input has ended. Errors: kUnavailable (in the middle).
  Status End() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace tradewind::http
