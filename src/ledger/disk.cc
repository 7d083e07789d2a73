#include "ledger/disk.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <map>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/ids.h"
#include "ledger/record.h"

namespace tradewind::ledger {
namespace {

namespace fs = std::filesystem;

std::unexpected<Error> SystemError(std::string_view what, const fs::path& path, int error) {
  const ErrorCode code = error == ENOENT                      ? ErrorCode::kNotFound
                         : error == EEXIST                    ? ErrorCode::kInvalidArgument
                         : error == ENOSPC || error == EDQUOT ? ErrorCode::kResourceExhausted
                                                              : ErrorCode::kIo;
  return Fail(code, fmt::format("cannot {} {}: {}", what, path.string(),
                                std::generic_category().message(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Where to go on when the system refuses a page of a mapping, which it tells by a signal.
thread_local sigjmp_buf* volatile page_refused = nullptr;
struct sigaction bus_error_before = {};

void OnBusError(int /*signal*/) {
  if (page_refused != nullptr) {
    siglongjmp(*page_refused, 1);
  }
  ::sigaction(SIGBUS, &bus_error_before, nullptr);  // somebody else's: it comes again, to them
}

void CatchBusErrors() {
  [[maybe_unused]] static const bool once = [] {
    struct sigaction action = {};
    action.sa_handler = OnBusError;
    action.sa_flags = SA_NODEFER;  // the handler is left by a jump, which unblocks nothing
    return ::sigaction(SIGBUS, &action, &bus_error_before) == 0;
  }();
}

// A file whose blocks are claimed, as memory: what is copied there is the system's, like what a
// write hands over, and outlives the process too; but it costs no system call for each record.
class Mapping {
 public:
  Mapping(int fd, uint64_t bytes) {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED) {
      bytes_ = {static_cast<std::byte*>(memory), bytes};
      CatchBusErrors();
    }
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (!bytes_.empty()) {
      ::munmap(bytes_.data(), bytes_.size());
    }
  }
  // False: there is no such place, or the system refuses a page: a file system that has become
  // read-only does, or one whose files share blocks when it is full. A write says why.
  bool Write(uint64_t offset, std::span<const std::byte> bytes) {
    if (offset > bytes_.size() || bytes.size() > bytes_.size() - offset) {
      return false;
    }
    sigjmp_buf refused;
    if (sigsetjmp(refused, 0) != 0) {
      page_refused = nullptr;
      return false;
    }
    page_refused = &refused;
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the copy stays between the two
    std::memcpy(bytes_.data() + offset, bytes.data(), bytes.size());
    std::atomic_signal_fence(std::memory_order_seq_cst);
    page_refused = nullptr;
    return true;
  }

 private:
  std::span<std::byte> bytes_;
};

class FolderFile final : public DiskFile {
 public:
  FolderFile(fs::path path, Descriptor fd, uint64_t bytes)
      : path_(std::move(path)), fd_(std::move(fd)), mapping_(fd_.get(), bytes) {}

  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (mapping_.Write(offset, bytes)) {
      return {};
    }
    while (!bytes.empty()) {
      const ssize_t done =
          ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) {
        continue;
      }
      if (done <= 0) {
        return SystemError("write", path_, done < 0 ? errno : EIO);
      }
      bytes = bytes.subspan(static_cast<size_t>(done));
      offset += static_cast<uint64_t>(done);
    }
    return {};
  }

  Status Sync() override {
    if (::fdatasync(fd_.get()) != 0) {
      return SystemError("flush", path_, errno);
    }
    return {};
  }

 private:
  const fs::path path_;
  const Descriptor fd_;
  Mapping mapping_;
};

class Folder final : public Disk {
 public:
  Folder(fs::path path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  Result<std::unique_ptr<DiskFile>> Create(const std::string& name, uint64_t bytes) override {
    const fs::path path = path_ / name;
    Descriptor fd(::openat(fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (fd.get() < 0) {
      return SystemError("create", path, errno);
    }
    // Claims the blocks, so that what is written later finds room; the size is final, so that a
    // flush has no new size to write.
    if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0) {
      ::unlinkat(fd_.get(), name.c_str(), 0);
      return SystemError("make room for", path, error);
    }
    if (::fsync(fd.get()) != 0 || ::fsync(fd_.get()) != 0) {
      const int error = errno;
      ::unlinkat(fd_.get(), name.c_str(), 0);
      return SystemError("flush", path, error);
    }
    return std::make_unique<FolderFile>(path, std::move(fd), bytes);
  }

  Result<std::vector<std::byte>> Read(const std::string& name, uint64_t offset,
                                      size_t bytes) override {
    const fs::path path = path_ / name;
    int opened = ::openat(fd_.get(), name.c_str(), O_RDONLY | O_CLOEXEC);
    if (opened < 0 && errno == ENOENT) {
      opened = ::openat(fd_.get(), Retired(name).c_str(), O_RDONLY | O_CLOEXEC);
    }
    const Descriptor fd(opened);
    if (fd.get() < 0) {
      return SystemError("open", path, errno);
    }
    std::vector<std::byte> out(bytes);
    size_t size = 0;
    while (size < bytes) {
      const ssize_t done =
          ::pread(fd.get(), out.data() + size, bytes - size, static_cast<off_t>(offset + size));
      if (done < 0 && errno == EINTR) {
        continue;
      }
      if (done < 0) {
        return SystemError("read", path, errno);
      }
      if (done == 0) {
        break;
      }
      size += static_cast<size_t>(done);
    }
    out.resize(size);
    return out;
  }

  Result<std::vector<std::string>> List() override { return FilesOf(path_); }

  Status Remove(const std::string& name) override {
    if (::unlinkat(fd_.get(), name.c_str(), 0) != 0) {
      return SystemError("remove", path_ / name, errno);
    }
    return {};
  }

  Status Rename(const std::string& name, const std::string& to) override {
    if (::renameat(fd_.get(), name.c_str(), fd_.get(), to.c_str()) != 0) {
      return SystemError("rename", path_ / name, errno);
    }
    return {};
  }

  Status Retire(const std::string& name) override {
    if (::mkdirat(fd_.get(), kRetired, 0700) != 0 && errno != EEXIST) {
      return SystemError("create", path_ / kRetired, errno);
    }
    if (::renameat(fd_.get(), name.c_str(), fd_.get(), Retired(name).c_str()) != 0) {
      return SystemError("set aside", path_ / name, errno);
    }
    return {};
  }

  Result<std::vector<std::string>> ListRetired() override {
    auto names = FilesOf(path_ / kRetired);
    const bool is_none = !names.has_value() && names.error().code == ErrorCode::kNotFound;
    return is_none ? std::vector<std::string>() : std::move(names);
  }

  Status TrimRetired(uint64_t bytes_max) override {
    TW_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListRetired());
    uint64_t total = 0;
    for (auto name = names.rbegin(); name != names.rend(); ++name) {
      TW_ASSIGN_OR_RETURN(const uint64_t size, SizeTrimmed(*name));
      total += size;
      if (total > bytes_max) {
        trimmed_.erase(*name);
        TW_RETURN_IF_ERROR(Remove(Retired(*name)));
      }
    }
    return {};
  }

  std::string BootId() override {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    return std::getline(file, id) && id.size() <= kBootIdBytesMax ? id : RandomId("unknown-", 24);
  }

  Result<DiskRoom> Room() override {
    struct statvfs volume = {};
    if (::fstatvfs(fd_.get(), &volume) != 0) {
      return SystemError("tell the free space of", path_, errno);
    }
    const uint64_t block = volume.f_frsize;
    return DiskRoom{volume.f_bavail * block, volume.f_blocks * block, path_.string()};
  }

 private:
  static constexpr const char* kRetired = "archive";

  static std::string Retired(const std::string& name) { return std::string(kRetired) + "/" + name; }

  static Result<std::vector<std::string>> FilesOf(const fs::path& folder) {
    std::error_code error;
    std::vector<std::string> names;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      if (!it->is_directory(error)) {
        names.push_back(it->path().filename().string());
      }
    }
    if (error) {
      return SystemError("list", folder, error.value());
    }
    std::ranges::sort(names);
    return names;
  }

  // Without most of the zeros at its end, of which a segment that a start has followed is nearly
  // all. Some stay: a record may end with zeros, and has to be whole.
  Result<uint64_t> SizeTrimmed(const std::string& name) {
    if (const auto known = trimmed_.find(name); known != trimmed_.end()) {
      return known->second;
    }
    const fs::path path = path_ / kRetired / name;
    const Descriptor fd(::openat(fd_.get(), Retired(name).c_str(), O_RDWR | O_CLOEXEC));
    struct stat file = {};
    if (fd.get() < 0 || ::fstat(fd.get(), &file) != 0) {
      return SystemError("open", path, errno);
    }
    constexpr uint64_t kBlock = 64 << 10;
    std::vector<std::byte> block(kBlock);
    auto size = static_cast<uint64_t>(file.st_size);
    while (size > 0) {
      const uint64_t begin = (size - 1) / kBlock * kBlock;
      const ssize_t read = ::pread(fd.get(), block.data(), size - begin, static_cast<off_t>(begin));
      if (read != static_cast<ssize_t>(size - begin)) {
        return SystemError("read", path, read < 0 ? errno : EIO);
      }
      const auto used = std::find_if(std::make_reverse_iterator(block.begin() + read), block.rend(),
                                     [](std::byte byte) { return byte != std::byte{0}; });
      size = begin + static_cast<uint64_t>(block.rend() - used);
      if (used != block.rend()) {
        break;
      }
    }
    constexpr uint64_t kKept = 32 << 10;  // the longest record has 24 KiB
    size = std::min(size + kKept, static_cast<uint64_t>(file.st_size));
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
      return SystemError("shorten", path, errno);
    }
    trimmed_[name] = size;
    return size;
  }

  const fs::path path_;
  const Descriptor fd_;
  std::map<std::string, uint64_t> trimmed_;  // retired ones: their sizes
};

}  // namespace

Result<std::unique_ptr<Disk>> OpenFolder(const std::filesystem::path& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return SystemError("create", folder, errno);
  }
  Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) {
    return SystemError("open", folder, errno);
  }
  return std::make_unique<Folder>(folder, std::move(fd));
}

}  // namespace tradewind::ledger
