// A file that one process writes once, when something has ended there, and keeps locked until then:
// who reads it knows whether that process still may, and a kill needs no other sign.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace tradewind::billing {

// Unlocked when it is destroyed, or its process ends.
class LockedFile {
 public:
  // An empty one, with mode 0600. Errors: kUnavailable (it is another's), kIo.
  static Result<LockedFile> Create(const std::filesystem::path& path);
  LockedFile(LockedFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  LockedFile& operator=(LockedFile&&) = delete;
  ~LockedFile();

  // Once, whole or not at all for who reads it; on the disk when it returns. Errors: kIo.
  Status Write(std::string_view text);

 private:
  explicit LockedFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

struct LockedText {
  bool is_locked = false;           // it may still be written
  std::optional<std::string> text;  // nullopt: nothing whole, and there is to be nothing
};
// Errors: kNotFound, kIo.
Result<LockedText> ReadLockedFile(const std::filesystem::path& path);

}  // namespace tradewind::billing
