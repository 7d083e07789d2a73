// For tests: a disk in memory that can fail, tear and forget what was not flushed.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "ledger/disk.h"

namespace tradewind::ledger {

// One thread at a time.
class FakeDisk final : public Disk {
 public:
  struct File {
    std::vector<std::byte> bytes;    // as a reader sees it
    std::vector<std::byte> flushed;  // as it is after a power cut
    // Since the last flush: where, and what.
    std::vector<std::pair<uint64_t, std::vector<std::byte>>> unflushed;
  };

  // Calls until the disk fails; negative: never. A failing write leaves a part of its bytes.
  int64_t writes_left = -1, syncs_left = -1, creates_left = -1;
  size_t torn_percent = 50;
  uint64_t lost_percent = 50;  // of the sectors that a power cut finds unflushed
  bool only_once = false;      // a write fails

  uint64_t trimmed_to = UINT64_MAX;  // by the last TrimRetired

  DiskRoom room = {uint64_t{1} << 40, uint64_t{1} << 40, "a disk in memory"};

  // Counts every call but Room; the one with this number fails, alone or with all that follow;
  // kFull: of those that follow the ones that need room.
  enum class Fault { kOnce, kFromThenOn, kFull };
  int64_t calls = 0, failed_syncs = 0;
  void FailAt(int64_t call, Fault fault) {
    fail_at_ = call;
    fault_ = fault;
  }
  void Heal() { fail_at_ = writes_left = syncs_left = creates_left = -1; }

  // The process is killed: what was written stays, and what it still does reaches nothing. The next
  // process has the disk from Revive on.
  void Kill() {
    ++process_;
    is_dead_ = true;
  }
  void Revive() { is_dead_ = false; }
  // The power is cut: what was not flushed comes in part, torn in sectors, in any order.
  void CutPower(Random& random) {
    ++boots_;
    for (auto& [name, file] : files_) {
      std::vector<std::byte> after = file->flushed;
      for (const auto& [offset, bytes] : file->unflushed) {
        constexpr size_t kSector = 512;
        for (size_t at = 0; at < bytes.size();) {
          const size_t to_sector_end = kSector - (offset + at) % kSector;
          const size_t size = std::min(to_sector_end, bytes.size() - at);
          if (random.Next64() % 100 >= lost_percent) {
            std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), size,
                        after.begin() + static_cast<ptrdiff_t>(offset + at));
          }
          at += size;
        }
      }
      file->bytes = file->flushed = after;
      file->unflushed.clear();
    }
  }

  File& file(const std::string& name) { return *files_.at(name); }

  Result<std::unique_ptr<DiskFile>> Create(const std::string& name, uint64_t bytes) override {
    if (is_dead_) {
      return Fail(ErrorCode::kIo, "the process is dead");
    }
    if (Fails(true) || !Take(creates_left)) {
      return Fail(ErrorCode::kResourceExhausted, "the disk is full");
    }
    if (files_.contains(name)) {
      return Fail(ErrorCode::kInvalidArgument, "there is such a file");
    }
    auto file = std::make_shared<File>();
    file->bytes.resize(bytes);
    file->flushed.resize(bytes);
    files_[name] = file;
    return std::make_unique<OpenFile>(*this, file);
  }

  Result<std::vector<std::byte>> Read(const std::string& name, uint64_t offset,
                                      size_t bytes) override {
    if (Fails(false)) {
      return Fail(ErrorCode::kIo, "the disk failed");
    }
    auto found = files_.find(name);
    if (found == files_.end()) {
      found = retired_.find(name);
      if (found == retired_.end()) {
        return Fail(ErrorCode::kNotFound, "there is no such file");
      }
    }
    const std::vector<std::byte>& all = found->second->bytes;
    const size_t start = std::min<size_t>(offset, all.size());
    const size_t size = std::min(bytes, all.size() - start);
    return std::vector<std::byte>(all.begin() + static_cast<ptrdiff_t>(start),
                                  all.begin() + static_cast<ptrdiff_t>(start + size));
  }

  Result<std::vector<std::string>> List() override {
    if (Fails(false)) {
      return Fail(ErrorCode::kIo, "the disk failed");
    }
    std::vector<std::string> names;
    for (const auto& [name, file] : files_) {
      names.push_back(name);
    }
    return names;
  }

  Status Remove(const std::string& name) override {
    if (is_dead_) {
      return Fail(ErrorCode::kIo, "the process is dead");
    }
    if (Fails(false)) {
      return Fail(ErrorCode::kIo, "the disk failed");
    }
    files_.erase(name);
    return {};
  }

  Status Rename(const std::string& name, const std::string& to) override {
    const auto found = files_.find(name);
    const std::shared_ptr<File> file = found == files_.end() ? nullptr : found->second;
    TW_RETURN_IF_ERROR(Remove(name));
    if (file == nullptr) {
      return Fail(ErrorCode::kNotFound, "there is no such file");
    }
    files_[to] = file;
    return {};
  }

  Status Retire(const std::string& name) override {
    const auto found = files_.find(name);
    const std::shared_ptr<File> file = found == files_.end() ? nullptr : found->second;
    TW_RETURN_IF_ERROR(Remove(name));
    if (file != nullptr) {
      retired_[name] = file;
    }
    return {};
  }
  Result<std::vector<std::string>> ListRetired() override {
    std::vector<std::string> names;
    for (const auto& [name, file] : retired_) {
      names.push_back(name);
    }
    return names;
  }
  Status TrimRetired(uint64_t bytes_max) override {
    trimmed_to = bytes_max;
    uint64_t total = 0;
    std::erase_if(retired_, [&](const auto& file) {  // of equal sizes: which ones does not matter
      total += file.second->bytes.size();
      return total > bytes_max;
    });
    return {};
  }
  Result<DiskRoom> Room() override { return room; }
  std::string BootId() override { return "boot " + std::to_string(boots_); }

 private:
  class OpenFile final : public DiskFile {
   public:
    OpenFile(FakeDisk& disk, std::shared_ptr<File> file)
        : disk_(disk), file_(std::move(file)), process_(disk.process_) {}

    Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
      if (process_ != disk_.process_) {
        return Fail(ErrorCode::kIo, "the process is dead");
      }
      const bool is_whole = !disk_.Fails(false) && Take(disk_.writes_left);
      if (!is_whole && disk_.only_once) {
        disk_.writes_left = -1;
      }
      const auto part = is_whole ? bytes : bytes.first(bytes.size() * disk_.torn_percent / 100);
      std::ranges::copy(part, file_->bytes.begin() + static_cast<ptrdiff_t>(offset));
      file_->unflushed.emplace_back(offset, std::vector<std::byte>(part.begin(), part.end()));
      return is_whole ? Status() : Fail(ErrorCode::kIo, "the disk failed");
    }
    Status Sync() override {
      if (process_ != disk_.process_) {
        return Fail(ErrorCode::kIo, "the process is dead");
      }
      if (disk_.Fails(false) || !Take(disk_.syncs_left)) {
        ++disk_.failed_syncs;
        // As Linux does it: the pages are dropped, and the next flush says all is well.
        file_->bytes = file_->flushed;
        file_->unflushed.clear();
        return Fail(ErrorCode::kIo, "the disk failed");
      }
      file_->flushed = file_->bytes;
      file_->unflushed.clear();
      return {};
    }

   private:
    FakeDisk& disk_;
    const std::shared_ptr<File> file_;
    const int process_;
  };

  bool Fails(bool needs_room) {
    const int64_t call = calls++;
    if (fail_at_ < 0 || call < fail_at_) {
      return false;
    }
    return fault_ == Fault::kOnce ? call == fail_at_ : fault_ == Fault::kFromThenOn || needs_room;
  }
  static bool Take(int64_t& left) {
    if (left == 0) {
      return false;
    }
    left -= left > 0 ? 1 : 0;
    return true;
  }

  std::map<std::string, std::shared_ptr<File>> files_, retired_;
  int64_t fail_at_ = -1;
  Fault fault_ = Fault::kOnce;
  int process_ = 0, boots_ = 0;
  bool is_dead_ = false;
};

// A sequence that a seed repeats (splitmix64, Steele et al. 2014).
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next64() override {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(Next64() % static_cast<uint64_t>(bound));
  }

 private:
  uint64_t state_;
};

}  // namespace tradewind::ledger
