// A real gzip stream (RFC 1952), whole or flushed event by event.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace provider_sim {

class GzipStream {
 public:
  GzipStream();
  ~GzipStream();
  GzipStream(GzipStream&&) noexcept;

  // What `bytes` become, so that the reader can see all of them; `end` closes the stream.
  std::string Write(std::string_view bytes, bool end);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Gzip(std::string_view bytes);

}  // namespace provider_sim
