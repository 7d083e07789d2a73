#include "identity/private_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sodium.h>
#include <string>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/file.h"

namespace tradewind::identity {
namespace {

namespace fs = std::filesystem;
constexpr size_t kPrivateFileBytesMax = 4096;
constexpr size_t kMasterKeyBytes = crypto_kdf_KEYBYTES;
static_assert(kMasterKeyBytes == 32);

std::unexpected<Error> SystemError(std::string_view what, const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Fail(full ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
              fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Status CheckOwner(const fs::path& path, const struct stat& about) {
  if (!S_ISREG(about.st_mode) || (about.st_uid != ::geteuid() && about.st_uid != 0)) {
    return Fail(ErrorCode::kPermissionDenied,
                fmt::format("{} must be a file of yours; somebody else made it", path.string()));
  }
  if ((about.st_mode & 0007) != 0) {
    return Fail(ErrorCode::kPermissionDenied,
                fmt::format("{} holds a secret and everybody may open it; run `chmod 600 {}`, and "
                            "renew the secret if others have an account here",
                            path.string(), path.string()));
  }
  return {};
}

// Writes and flushes a new file; on failure nothing of it stays.
Status WriteNew(const fs::path& path, std::string_view text) {
  const Descriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) {
    return SystemError("create", path, errno);
  }
  Secret whole = Secret::OfSize(text.size() + 1);
  std::ranges::copy(text, whole.data());
  whole.data()[text.size()] = '\n';
  for (size_t done = 0; done < whole.size();) {
    const ssize_t n = ::write(file.get(), whole.data() + done, whole.size() - done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      const int error = errno;
      ::unlink(path.c_str());
      return SystemError("write", path, error);
    }
    done += static_cast<size_t>(n);
  }
  if (::fsync(file.get()) != 0) {
    const int error = errno;
    ::unlink(path.c_str());
    return SystemError("write", path, error);
  }
  return {};
}

}  // namespace

Result<std::optional<Secret>> ReadPrivateFile(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) {
    return std::nullopt;
  }
  struct stat about{};
  if (file.get() < 0 || ::fstat(file.get(), &about) != 0) {
    return SystemError("read", path, errno);
  }
  TW_RETURN_IF_ERROR(CheckOwner(path, about));
  Secret buffer = Secret::OfSize(kPrivateFileBytesMax);
  size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t n = ::read(file.get(), buffer.data() + size, buffer.size() - size);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return SystemError("read", path, errno);
    }
    if (n == 0) {
      break;
    }
    size += static_cast<size_t>(n);
  }
  std::string_view text = buffer.Reveal().substr(0, size);
  while (text.ends_with('\n') || text.ends_with('\r')) {
    text.remove_suffix(1);
  }
  return std::optional(Secret(text));
}

Status CreatePrivateFile(const fs::path& path, std::string_view text) {
  // Under another name first: link() puts the whole file there, or fails because one is there.
  const fs::path draft = path.string() + fmt::format(".{}.tmp", ::getpid());
  ::unlink(draft.c_str());
  TW_RETURN_IF_ERROR(WriteNew(draft, text));
  const int linked = ::link(draft.c_str(), path.c_str());
  const int error = errno;
  ::unlink(draft.c_str());
  if (linked == 0) {
    return FlushFolder(path.parent_path());  // keys are of no use to who lost what they are made of
  }
  if (error == EEXIST) {
    return Fail(ErrorCode::kAddressInUse, fmt::format("{} is there already", path.string()));
  }
  return SystemError("create", path, error);
}

namespace {

// "env:NAME": of secret stores that hand keys over in the environment.
Result<std::optional<Secret>> ReadFileOrVariable(const fs::path& path) {
  constexpr std::string_view kVariable = "env:";
  if (!path.string().starts_with(kVariable)) {
    return ReadPrivateFile(path);
  }
  const char* value = std::getenv(path.string().substr(kVariable.size()).c_str());
  return value == nullptr ? std::nullopt : std::optional(Secret(value));
}

}  // namespace

Result<MasterKey> MasterKey::Load(const fs::path& path) {
  TW_ASSIGN_OR_RETURN(const std::optional<Secret> text, ReadFileOrVariable(path));
  if (!text.has_value()) {
    return Fail(ErrorCode::kNotFound, fmt::format("the key file {} is not there", path.string()));
  }
  Secret bytes = Secret::OfSize(kMasterKeyBytes);
  size_t size = 0;
  const char* end = nullptr;
  const std::string_view hex = text->Reveal();
  const bool parsed =
      sodium_hex2bin(bytes.data(), bytes.size(), hex.data(), hex.size(), nullptr, &size, &end) == 0;
  if (!parsed || size != kMasterKeyBytes || end != hex.data() + hex.size()) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{} must hold 64 hex digits and nothing else; restore it from a backup",
                            path.string()));
  }
  return MasterKey(std::move(bytes));
}

Result<MasterKey> MasterKey::Create(const fs::path& path) {
  Secret bytes = Secret::OfSize(kMasterKeyBytes);
  randombytes_buf(bytes.data(), bytes.size());
  Secret hex = Secret::OfSize(2 * kMasterKeyBytes + 1);  // sodium ends it with a zero
  sodium_bin2hex(reinterpret_cast<char*>(hex.data()), hex.size(), bytes.data(), bytes.size());
  TW_RETURN_IF_ERROR(CreatePrivateFile(path, hex.Reveal().substr(0, 2 * kMasterKeyBytes)));
  return MasterKey(std::move(bytes));
}

Secret MasterKey::Derive(Purpose purpose) const {
  Secret out = Secret::OfSize(32);
  const int failed = crypto_kdf_derive_from_key(
      out.data(), out.size(), static_cast<uint64_t>(purpose), "tradewnd", bytes_.data());
  TW_CHECK(failed == 0);  // only wrong sizes of our own fail
  return out;
}

}  // namespace tradewind::identity
