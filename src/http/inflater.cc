#include "http/inflater.h"

#include <array>
#include <zlib.h>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::http {

struct Inflater::State {
  z_stream stream{};
  bool at_end = false;  // of a member; another one may follow
  bool got_some = false;
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
  std::array<char, limits::kUpstreamBufferBytes> out;
};

Inflater::Inflater() : state_(std::make_unique<State>()) {
  constexpr int kWindowBits = 15 + 32;  // the largest; gzip or zlib, as the first bytes say
  TW_CHECK(::inflateInit2(&state_->stream, kWindowBits) == Z_OK);
}

Inflater::~Inflater() {
  ::inflateEnd(&state_->stream);
}

Result<std::string_view> Inflater::Next(std::string_view& input) {
  State& state = *state_;
  z_stream& stream = state.stream;
  while (true) {
    if (state.at_end && !input.empty()) {
      ::inflateReset(&stream);
      state.at_end = false;
    }
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(state.out.data());
    stream.avail_out = static_cast<uInt>(state.out.size());
    const int outcome = state.at_end ? Z_BUF_ERROR : ::inflate(&stream, Z_NO_FLUSH);
    const size_t used = input.size() - stream.avail_in;
    const size_t made = state.out.size() - stream.avail_out;
    input.remove_prefix(used);
    state.got_some = state.got_some || used > 0;
    state.bytes_in += static_cast<int64_t>(used);
    state.bytes_out += static_cast<int64_t>(made);
    if (outcome != Z_OK && outcome != Z_STREAM_END && outcome != Z_BUF_ERROR) {
      return Fail(ErrorCode::kIo, "the upstream's answer is not the gzip that it says it is");
    }
    if (state.bytes_out > limits::kInflatedBytesFree + state.bytes_in * limits::kInflateFactorMax) {
      return Fail(ErrorCode::kPayloadTooLarge,
                  "the upstream's compressed answer inflates to far too much");
    }
    state.at_end = state.at_end || outcome == Z_STREAM_END;
    if (made > 0) {
      return std::string_view(state.out.data(), made);
    }
    if (input.empty() || (used == 0 && !state.at_end)) {
      return std::string_view();
    }
  }
}

Status Inflater::End() const {
  if (state_->got_some && !state_->at_end) {
    return Fail(ErrorCode::kUnavailable, "the upstream's compressed answer is cut");
  }
  return {};
}

}  // namespace tradewind::http
