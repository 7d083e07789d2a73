// For tests only: a folder that is gone at the end of the scope.
#pragma once

#include <filesystem>
#include <stdlib.h>  // mkdtemp
#include <string>

#include "base/check.h"

namespace tradewind::testing {

class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "tradewind-test-XXXXXX").string();
    TW_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace tradewind::testing
