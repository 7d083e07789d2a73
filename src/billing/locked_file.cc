#include "billing/locked_file.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/file.h>

#include "base/file.h"
#include "billing/hash.h"

namespace tradewind::billing {
namespace {

constexpr size_t kHashDigits = 64;  // behind the text: of what a kill left unfinished it says so

std::unexpected<Error> Failed(const std::filesystem::path& path) {
  return Fail(ErrorCode::kIo, fmt::format("{} cannot be used", path.string()));
}

}  // namespace

Result<LockedFile> LockedFile::Create(const std::filesystem::path& path) {
  LockedFile file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (file.fd_ < 0) {
    return Failed(path);
  }
  if (::flock(file.fd_, LOCK_EX | LOCK_NB) != 0) {
    return Fail(ErrorCode::kUnavailable, fmt::format("{} is another's", path.string()));
  }
  if (::ftruncate(file.fd_, 0) != 0) {
    return Failed(path);
  }
  return file;
}

LockedFile::~LockedFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Status LockedFile::Write(std::string_view text) {
  const std::string all = std::string(text) + Sha256Hex(text);
  for (size_t done = 0; done < all.size();) {
    const ssize_t written = ::write(fd_, all.data() + done, all.size() - done);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return Fail(ErrorCode::kIo, "an answer cannot be handed over");
    }
    done += static_cast<size_t>(written);
  }
  return ::fsync(fd_) == 0 ? Status()
                           : Fail(ErrorCode::kIo, "an answer that was handed over is not safe");
}

Result<LockedText> ReadLockedFile(const std::filesystem::path& path) {
  LockedText read;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return errno == ENOENT ? Fail(ErrorCode::kNotFound, "there is no such file") : Failed(path);
  }
  const bool is_mine = ::flock(fd, LOCK_SH | LOCK_NB) == 0;
  read.is_locked = !is_mine && errno == EWOULDBLOCK;
  ::close(fd);  // nobody locks it again
  if (read.is_locked) {
    return read;
  }
  TW_ASSIGN_OR_RETURN(std::string all, ReadFile(path));
  if (all.size() >= kHashDigits) {
    std::string hash = all.substr(all.size() - kHashDigits);
    all.resize(all.size() - kHashDigits);
    if (Sha256Hex(all) == hash) {
      read.text = std::move(all);
    }
  }
  return read;
}

}  // namespace tradewind::billing
