#include "http/body_decoder.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::http {
namespace {

constexpr int kSizeDigitsMax = 15;  // 2^60: no overflow, and more than any body

std::unexpected<Error> BadChunk(std::string_view what) {
  return Fail(ErrorCode::kIo, fmt::format("malformed chunk in the upstream's answer: {}", what));
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

void BodyDecoder::Begin(const ReceivedHead& head) {
  *this = BodyDecoder();
  framing_ = head.framing;
  left_ = head.framing == BodyFraming::kContentLength ? head.content_length : 0;
  done_ = head.framing == BodyFraming::kNone ||
          (head.framing == BodyFraming::kContentLength && left_ == 0);
}

Result<BodyDecoder::Decoded> BodyDecoder::Decode(char* bytes, size_t size) {
  Decoded decoded;
  while (decoded.used < size && !done_) {
    if (framing_ == BodyFraming::kChunked && state_ != State::kData) {
      TW_RETURN_IF_ERROR(TakeFramingByte(bytes[decoded.used++]));
      continue;
    }
    size_t run = size - decoded.used;
    if (framing_ != BodyFraming::kUntilClose) {
      run = static_cast<size_t>(std::min<int64_t>(left_, static_cast<int64_t>(run)));
      left_ -= static_cast<int64_t>(run);
    }
    if (decoded.bytes != decoded.used) {
      std::memmove(bytes + decoded.bytes, bytes + decoded.used, run);
    }
    decoded.bytes += run;
    decoded.used += run;
    if (framing_ == BodyFraming::kContentLength) {
      done_ = left_ == 0;
    } else if (framing_ == BodyFraming::kChunked && left_ == 0) {
      state_ = State::kDataCr;
    }
  }
  body_bytes_ += static_cast<int64_t>(decoded.bytes);
  return decoded;
}

Status BodyDecoder::TakeFramingByte(char c) {
  switch (state_) {
    case State::kSize:
    case State::kExtension:
    case State::kSizeLf:
      return TakeSizeByte(c);
    case State::kDataCr:
      state_ = State::kDataLf;
      return c == '\r' ? Status() : BadChunk("it is longer than its size says");
    case State::kDataLf:
      state_ = State::kSize;
      digits_ = 0;
      line_bytes_ = 0;
      return c == '\n' ? Status() : BadChunk("it is longer than its size says");
    case State::kTrailer:
    case State::kTrailerLf:
      return TakeTrailerByte(c);
    case State::kData:
      break;
  }
  return {};
}

Status BodyDecoder::TakeSizeByte(char c) {
  if (++line_bytes_ > limits::kChunkLineBytesMax) {
    return BadChunk("its size and extensions are too long");
  }
  if (state_ == State::kSizeLf) {
    return c == '\n' ? EndSizeLine() : BadChunk("a line break is incomplete");
  }
  const int value = state_ == State::kSize ? HexValue(c) : -1;
  if (value >= 0) {
    if (++digits_ > kSizeDigitsMax) {
      return BadChunk("its size is too large");
    }
    left_ = left_ * 16 + value;
    return {};
  }
  if (digits_ == 0) {
    return BadChunk("it has no size");
  }
  if (c == '\r') {
    state_ = State::kSizeLf;
  } else if (c == '\n' || (state_ == State::kSize && c != ';' && c != ' ' && c != '\t')) {
    return BadChunk("its size is not hexadecimal");
  } else {
    state_ = State::kExtension;
  }
  return {};
}

Status BodyDecoder::EndSizeLine() {
  if (left_ > 0) {
    state_ = State::kData;
  } else {
    state_ = State::kTrailer;
    line_bytes_ = 0;
    line_is_empty_ = true;
  }
  return {};
}

// Trailers are passed over: nobody asked for them.
Status BodyDecoder::TakeTrailerByte(char c) {
  if (++line_bytes_ > limits::kHeaderBytesMax) {
    return BadChunk("its trailers are too long");
  }
  if (state_ == State::kTrailerLf) {
    if (c != '\n') {
      return BadChunk("a line break is incomplete");
    }
    done_ = line_is_empty_;
    state_ = State::kTrailer;
    line_is_empty_ = true;
  } else if (c == '\r') {
    state_ = State::kTrailerLf;
  } else if (c == '\n') {
    return BadChunk("a line break is incomplete");
  } else {
    line_is_empty_ = false;
  }
  return {};
}

Status BodyDecoder::End() {
  if (done_ || framing_ == BodyFraming::kUntilClose) {
    done_ = true;
    return {};
  }
  if (framing_ == BodyFraming::kContentLength) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("the upstream closed the connection {} bytes into its answer's body, "
                            "{} before its end",
                            body_bytes_, left_));
  }
  return Fail(ErrorCode::kUnavailable,
              fmt::format("the upstream closed the connection {} bytes into its answer's body, "
                          "before the last chunk",
                          body_bytes_));
}

}  // namespace tradewind::http
