// The files of one folder, as the journal needs them: a seam, so that tests can tear writes, fill
// the disk and cut the power.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace tradewind::ledger {

// Open for appending. Write and Sync may be called from two threads at once.
class DiskFile {
 public:
  virtual ~DiskFile() = default;
  // At `offset`, whole: a kill of the process does not lose it any more. Errors: kResourceExhausted
  // (disk full), kIo; then some of the bytes may be there.
  virtual Status Write(uint64_t offset, std::span<const std::byte> bytes) = 0;
  // What was written before the call survives a power cut. After an error nothing of the file is
  // sure any more: the system may have dropped what it could not write.
  virtual Status Sync() = 0;
};

struct DiskRoom {
  uint64_t free_bytes = 0, total_bytes = 0;  // of the file system
  std::string where;                         // for people
};

// Errors of all: kIo, kNotFound, kResourceExhausted.
class Disk {
 public:
  virtual ~Disk() = default;
  // A new file of `bytes` zeros, with room for them claimed and its name safe. Errors: also
  // kInvalidArgument when there is one.
  virtual Result<std::unique_ptr<DiskFile>> Create(const std::string& name, uint64_t bytes) = 0;
  // At most `bytes`, fewer at the end of the file.
  virtual Result<std::vector<std::byte>> Read(const std::string& name, uint64_t offset,
                                              size_t bytes) = 0;
  virtual Result<std::vector<std::string>> List() = 0;  // sorted
  virtual Status Remove(const std::string& name) = 0;
  // Another name, which replaces a file that has it. A power cut may undo it.
  virtual Status Rename(const std::string& name, const std::string& to) = 0;
  // Sets a file aside that no start needs, but that bills are made again from: List has it no more,
  // Read still finds it. A power cut may undo it.
  virtual Status Retire(const std::string& name) = 0;
  virtual Result<std::vector<std::string>> ListRetired() = 0;  // sorted
  // Gives back the room behind what retired files say, and removes the oldest beyond `bytes_max`
  // together. One thread at a time.
  virtual Status TrimRetired(uint64_t bytes_max) = 0;
  // Thread-safe.
  virtual Result<DiskRoom> Room() = 0;
  // Of this start of the system: another one may follow a power cut. At most 64 bytes; another one
  // with every call where the system tells none.
  virtual std::string BootId() = 0;
};

// A folder of the system; created with mode 0700 when it is not there.
Result<std::unique_ptr<Disk>> OpenFolder(const std::filesystem::path& folder);

}  // namespace tradewind::ledger
