// For tests only: SQLite's own files on a disk that fails. Every database that is opened while one
// lives is on it. What was written and not synced may be lost at a power cut, in any order and torn
// at any sector; what a failed sync was for is lost for good.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <sqlite3.h>

#include "base/check.h"

namespace tradewind::storage {

class FaultVfs {
 public:
  enum class Fault {
    kIoError,
    kFull,
    kShortWrite,  // half of it
    kSyncError,   // at the next sync
    kPowerCut,    // from then on nothing works until Reboot
  };

  FaultVfs() : real_(sqlite3_vfs_find(nullptr)) {
    vfs_ = *real_;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
    vfs_.zName = "tradewind-fault";
    vfs_.pNext = nullptr;
    vfs_.pAppData = this;
    vfs_.xOpen = Open;
    vfs_.xDelete = Delete;
    TW_CHECK(sqlite3_vfs_register(&vfs_, 1) == SQLITE_OK);
  }
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;
  ~FaultVfs() {
    sqlite3_vfs_unregister(&vfs_);
    sqlite3_vfs_register(real_, 1);
  }

  // The operation of this number (writes, truncations and syncs, from 0) fails, once.
  void FailAt(int64_t operation, Fault fault) {
    fail_at_ = operation;
    fault_ = fault;
  }
  int64_t operations() const { return operations_; }
  bool has_fired() const { return has_fired_; }

  // After a power cut and the end of all connections: the files are as a disk may have them.
  void Reboot(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (auto& [path, state] : states_) {
      for (const Change& change : state.pending) {
        Apply(change, state.durable, &random);
      }
      state.pending.clear();
      std::ofstream file(path, std::ios::binary | std::ios::trunc);
      file.write(state.durable.data(), static_cast<std::streamsize>(state.durable.size()));
    }
    is_off_ = false;
    fail_at_ = -1;
    operations_ = 0;
    has_fired_ = false;
  }

 private:
  static constexpr size_t kSector = 512;

  struct Change {
    bool is_truncation = false;
    size_t offset = 0;  // of a truncation: the size
    std::vector<char> bytes = {};
  };
  struct State {
    std::vector<char> durable;
    std::vector<Change> pending;
  };
  struct File {
    sqlite3_file base;
    FaultVfs* owner;
    State* state;  // null: a file without a name

    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File& Of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }
  static const sqlite3_io_methods& Real(sqlite3_file* file) { return *Of(file).real()->pMethods; }

  // `random`: each sector, and each truncation, is there or is not.
  static void Apply(const Change& change, std::vector<char>& content, std::mt19937_64* random) {
    const auto is_there = [random] { return random == nullptr || ((*random)() & 1) != 0; };
    if (change.is_truncation) {
      if (is_there()) {
        content.resize(std::min(content.size(), change.offset));
      }
      return;
    }
    for (size_t at = 0; at < change.bytes.size();) {
      const size_t begin = change.offset + at;
      const size_t count = std::min(kSector - begin % kSector, change.bytes.size() - at);
      if (is_there()) {
        content.resize(std::max(content.size(), begin + count));
        std::memcpy(content.data() + begin, change.bytes.data() + at, count);
      }
      at += count;
    }
  }

  // SQLITE_OK, or how this operation fails.
  int Next(bool is_sync) {
    if (is_off_) {
      return SQLITE_IOERR;
    }
    const bool is_due = fail_at_ >= 0 && operations_ >= fail_at_ && !has_fired_;
    ++operations_;
    const bool is_kind = fault_ == Fault::kPowerCut || (fault_ == Fault::kSyncError) == is_sync;
    if (!is_due || !is_kind) {
      return SQLITE_OK;
    }
    has_fired_ = true;
    switch (fault_) {
      case Fault::kIoError:
      case Fault::kShortWrite:
        return SQLITE_IOERR_WRITE;
      case Fault::kFull:
        return SQLITE_FULL;
      case Fault::kSyncError:
        return SQLITE_IOERR_FSYNC;
      case Fault::kPowerCut:
        is_off_ = true;
        return SQLITE_IOERR;
    }
    return SQLITE_IOERR;
  }

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
    auto* const self = static_cast<FaultVfs*>(vfs->pAppData);
    File& opened = Of(file);
    opened.base.pMethods = nullptr;
    if (self->is_off_) {
      return SQLITE_CANTOPEN;
    }
    const int code = self->real_->xOpen(self->real_, name, opened.real(), flags, out_flags);
    if (code != SQLITE_OK) {
      return code;
    }
    opened.owner = self;
    opened.state = nullptr;
    if (name != nullptr) {
      const auto [found, is_new] = self->states_.try_emplace(name);
      opened.state = &found->second;
      if (is_new) {
        std::ifstream content(name, std::ios::binary);
        opened.state->durable.assign(std::istreambuf_iterator<char>(content), {});
      }
    }
    opened.base.pMethods = &Methods();
    return SQLITE_OK;
  }
  static int Delete(sqlite3_vfs* vfs, const char* name, int sync_folder) {
    auto* const self = static_cast<FaultVfs*>(vfs->pAppData);
    if (self->is_off_) {
      return SQLITE_IOERR_DELETE;
    }
    self->states_.erase(name);
    return self->real_->xDelete(self->real_, name, sync_folder);
  }
  static int Write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
    File& opened = Of(file);
    const int fails = opened.owner->Next(false);
    if (fails != SQLITE_OK) {
      count = opened.owner->fault_ == Fault::kShortWrite && !opened.owner->is_off_ ? count / 2 : 0;
    }
    if (count > 0) {
      const int code = Real(file).xWrite(opened.real(), bytes, count, offset);
      if (code != SQLITE_OK) {
        return code;
      }
      if (opened.state != nullptr) {
        const char* begin = static_cast<const char*>(bytes);
        opened.state->pending.push_back(
            {false, static_cast<size_t>(offset), std::vector<char>(begin, begin + count)});
      }
    }
    return fails;
  }
  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    File& opened = Of(file);
    if (const int fails = opened.owner->Next(false); fails != SQLITE_OK) {
      return fails;
    }
    if (opened.state != nullptr) {
      opened.state->pending.push_back({true, static_cast<size_t>(size), {}});
    }
    return Real(file).xTruncate(opened.real(), size);
  }
  static int Sync(sqlite3_file* file, int /*flags*/) {
    File& opened = Of(file);
    const int fails = opened.owner->Next(true);
    if (opened.state != nullptr && !opened.owner->is_off_) {
      if (fails == SQLITE_OK) {
        for (const Change& change : opened.state->pending) {
          Apply(change, opened.state->durable, nullptr);
        }
      }
      // A system that could not write pages takes them for written afterwards.
      opened.state->pending.clear();
    }
    return fails;
  }

  static const sqlite3_io_methods& Methods() {
    static const sqlite3_io_methods methods = [] {
      sqlite3_io_methods all{};
      all.iVersion = 1;  // no shared memory: our databases hold their files alone
      all.xClose = [](sqlite3_file* file) { return Real(file).xClose(Of(file).real()); };
      all.xRead = [](sqlite3_file* file, void* bytes, int count, sqlite3_int64 offset) {
        return Real(file).xRead(Of(file).real(), bytes, count, offset);
      };
      all.xWrite = Write;
      all.xTruncate = Truncate;
      all.xSync = Sync;
      all.xFileSize = [](sqlite3_file* file, sqlite3_int64* size) {
        return Real(file).xFileSize(Of(file).real(), size);
      };
      all.xLock = [](sqlite3_file* file, int lock) {
        return Real(file).xLock(Of(file).real(), lock);
      };
      all.xUnlock = [](sqlite3_file* file, int lock) {
        return Real(file).xUnlock(Of(file).real(), lock);
      };
      all.xCheckReservedLock = [](sqlite3_file* file, int* is_reserved) {
        return Real(file).xCheckReservedLock(Of(file).real(), is_reserved);
      };
      all.xFileControl = [](sqlite3_file* file, int what, void* argument) {
        return Real(file).xFileControl(Of(file).real(), what, argument);
      };
      all.xSectorSize = [](sqlite3_file* /*file*/) { return static_cast<int>(kSector); };
      all.xDeviceCharacteristics = [](sqlite3_file* file) {
        return Real(file).xDeviceCharacteristics(Of(file).real());
      };
      return all;
    }();
    return methods;
  }

  sqlite3_vfs* const real_;
  sqlite3_vfs vfs_;
  std::map<std::string, State, std::less<>> states_;
  int64_t operations_ = 0, fail_at_ = -1;
  Fault fault_ = Fault::kIoError;
  bool has_fired_ = false, is_off_ = false;
};

}  // namespace tradewind::storage
