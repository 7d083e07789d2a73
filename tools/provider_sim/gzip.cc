#include "provider_sim/gzip.h"

#include <boost/beast/zlib/deflate_stream.hpp>
#include <boost/crc.hpp>

namespace provider_sim {

namespace zlib = boost::beast::zlib;

struct GzipStream::State {
  zlib::deflate_stream deflate;
  boost::crc_32_type crc;
  uint32_t bytes = 0;
  bool begun = false;
};

GzipStream::GzipStream() : state_(std::make_unique<State>()) {}
GzipStream::~GzipStream() = default;
GzipStream::GzipStream(GzipStream&&) noexcept = default;

std::string GzipStream::Write(std::string_view bytes, bool end) {
  constexpr size_t kPieceBytes = 16 << 10;
  std::string out;
  if (!state_->begun) {
    out.assign("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
    state_->begun = true;
  }
  state_->crc.process_bytes(bytes.data(), bytes.size());
  state_->bytes += static_cast<uint32_t>(bytes.size());
  zlib::z_params params;
  params.next_in = bytes.data();
  params.avail_in = bytes.size();
  boost::system::error_code error;
  do {
    const size_t before = out.size();
    out.resize(before + kPieceBytes);
    params.next_out = out.data() + before;
    params.avail_out = kPieceBytes;
    state_->deflate.write(params, end ? zlib::Flush::finish : zlib::Flush::sync, error);
    out.resize(out.size() - params.avail_out);
  } while (params.avail_out == 0 && !error);
  if (end) {
    for (const uint32_t word : {static_cast<uint32_t>(state_->crc.checksum()), state_->bytes}) {
      for (int shift = 0; shift < 32; shift += 8) {
        out.push_back(static_cast<char>(word >> shift));
      }
    }
  }
  return out;
}

std::string Gzip(std::string_view bytes) {
  return GzipStream().Write(bytes, true);
}

}  // namespace provider_sim
