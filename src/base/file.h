// Files as the rest of the program needs them: mapped read-only, read whole, written atomically.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind {

// A read-only memory map of a whole regular file. Movable; unmaps when destroyed, so views into
// bytes() must not outlive it. Reading pages after another process truncates the file raises
// SIGBUS: that is the operating system's rule for maps, and the reason why model files are replaced
// by rename only.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Errors: kNotFound, kIo (not a regular file, or refused by the system).
  static Result<MappedFile> Open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Gives up the memory of whole pages inside `part` of bytes(). They are read from the file again
  // when touched: only for what is not needed soon.
  void Release(std::span<const std::byte> part) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Zeroed memory of its own pages, in huge pages where the system has them: for large buffers that
// are read in full again and again. Movable.
class PageBuffer {
 public:
  PageBuffer() = default;
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(PageBuffer&& other) noexcept;
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;
  ~PageBuffer();

  // Errors: kResourceExhausted. Pages take memory when they are first touched.
  static Result<PageBuffer> Allocate(size_t bytes);

  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Errors: kNotFound, kIo, kPayloadTooLarge when the file is longer than `bytes_max`.
Result<std::string> ReadFile(const std::filesystem::path& path, size_t bytes_max = size_t{1} << 30);

// A file that appears whole or not at all: written piece by piece under a temporary name beside
// `path`, and renamed by Commit. Destroyed without Commit, it leaves nothing behind. One thread.
class AtomicFile {
 public:
  AtomicFile() = default;
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // `mode` is the permission of a new file. With `bytes` > 0 that much room is claimed at once,
  // where the file system can, so that a full disk is told before the work and not after it.
  // Errors: kNotFound (no such folder), kResourceExhausted (disk full), kIo.
  static Result<AtomicFile> Create(const std::filesystem::path& path, uint64_t bytes = 0,
                                   int mode = 0644);

  // Appends. Errors: kResourceExhausted, kIo.
  Status Write(std::span<const std::byte> bytes);
  // Flushes to disk and renames: readers see the old file or the new one. Errors as Write; after
  // the rename, that the new name is not flushed.
  Status Commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

// After this a power cut loses no name that was made, changed or removed in it; "" is the current
// folder, as of a path without one. Errors: kNotFound, kIo.
Status FlushFolder(const std::filesystem::path& folder);

// Replaces the whole file by `text`, with an AtomicFile and its errors.
Status WriteFileAtomic(const std::filesystem::path& path, std::string_view text, int mode = 0644);

}  // namespace tradewind
