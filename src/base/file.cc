#include "base/file.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include <sys/mman.h>
#include <sys/stat.h>

#include "base/bytes.h"

namespace tradewind {
namespace {

std::string SystemMessage(const std::filesystem::path& path, int error) {
  return path.string() + ": " + std::strerror(error);
}

ErrorCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:  // the limit of this process or file system
    case ENOMEM:
      return ErrorCode::kResourceExhausted;
    default:
      return ErrorCode::kIo;
  }
}

std::unexpected<Error> SystemError(const std::filesystem::path& path, int error) {
  return Fail(CodeOf(error), SystemMessage(path, error));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) {
    return SystemError(path, errno);
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return SystemError(path, errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorCode::kIo, path.string() + ": not a regular file");
  }
  MappedFile file;
  if (info.st_size > 0) {
    void* data =
        ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, fd.get(), 0);
    if (data == MAP_FAILED) {
      return SystemError(path, errno);
    }
    file.data_ = static_cast<const std::byte*>(data);
    file.size_ = static_cast<size_t>(info.st_size);
  }
  return file;
}

void MappedFile::Release(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = (first + part.size()) / page * page;
  if (begin < end) {  // advice: that it may be refused changes nothing but memory use
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

PageBuffer::~PageBuffer() {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
  }
}

Result<PageBuffer> PageBuffer::Allocate(size_t bytes) {
  PageBuffer buffer;
  if (bytes == 0) {
    return buffer;
  }
  constexpr size_t kHugePage = size_t{2} << 20;  // whole ones, wherever the system aligns them
  const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* const data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return Fail(ErrorCode::kResourceExhausted,
                "no memory for a buffer of " + std::to_string(bytes >> 20) + " MB");
  }
  ::madvise(data, size, MADV_HUGEPAGE);
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.size_ = size;
  return buffer;
}

Result<std::string> ReadFile(const std::filesystem::path& path, size_t bytes_max) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) {
    return SystemError(path, errno);
  }
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return SystemError(path, errno);
    }
    if (n == 0) {
      return text;
    }
    if (text.size() + static_cast<size_t>(n) > bytes_max) {
      return Fail(ErrorCode::kPayloadTooLarge,
                  path.string() + ": longer than " + std::to_string(bytes_max) + " bytes");
    }
    text.append(buffer, static_cast<size_t>(n));
  }
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

Result<AtomicFile> AtomicFile::Create(const std::filesystem::path& path, uint64_t bytes, int mode) {
  static std::atomic<int> count = 0;  // two threads may write the same file; the last one wins
  AtomicFile file;
  file.path_ = path;
  file.temporary_ = path.string() + ".tmp." + std::to_string(::getpid()) + "." +
                    std::to_string(count.fetch_add(1));
  // A file of this name is what a killed process with our number left, or a trap: never written to.
  ::unlink(file.temporary_.c_str());
  file.fd_ =
      ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  if (file.fd_ < 0) {
    return SystemError(path, errno);
  }
  // The size stays 0: a claim that is not used up leaves no zeros at the end.
  if (bytes > 0 && ::fallocate(file.fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0 &&
      CodeOf(errno) == ErrorCode::kResourceExhausted) {
    return SystemError(path, errno);
  }
  return file;
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return SystemError(path_, errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status AtomicFile::Commit() {
  if (::fsync(fd_) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return SystemError(path_, errno);
  }
  ::close(std::exchange(fd_, -1));
  // A folder that may be written to and not read is flushed when its file system likes.
  const std::filesystem::path folder = path_.parent_path();
  return ::access(folder.empty() ? "." : folder.c_str(), R_OK) == 0 ? FlushFolder(folder)
                                                                    : Status();
}

Status FlushFolder(const std::filesystem::path& folder) {
  const FileDescriptor fd(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // EINVAL: a file system that flushes no folders, and has no names to lose.
  if (fd.get() < 0 || (::fsync(fd.get()) != 0 && errno != EINVAL)) {
    return SystemError(folder, errno);
  }
  return {};
}

Status WriteFileAtomic(const std::filesystem::path& path, std::string_view text, int mode) {
  TW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, 0, mode));
  TW_RETURN_IF_ERROR(file.Write(AsBytes(text)));
  return file.Commit();
}

}  // namespace tradewind
