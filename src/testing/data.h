// For tests only: where reference data lies.
//
// `tests/data` is part of the repository. `../shared` (golden models, vectors) may stand beside a
// checkout; a test that needs it and does not find it says so by GTEST_SKIP through
// TW_NEED_REFERENCE, so that ctest reports the absence. The environment variable TW_SHARED_DIR
// names another place, or one that is not there: the tests as a clone without it has them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"

namespace tradewind::testing {

inline std::filesystem::path DataPath(const std::string& relative) {
  return std::filesystem::path(TW_SOURCE_DIR) / "tests/data" / relative;
}

inline std::filesystem::path SharedDir() {
  const char* named = std::getenv("TW_SHARED_DIR");
  return named != nullptr ? named : TW_SHARED_DIR;
}

// Reference data from where it lies, ../shared; what the tests cannot do without is also in
// tests/data.
inline std::filesystem::path ReferencePath(const std::string& relative) {
  const std::filesystem::path shared = SharedDir() / relative;
  return std::filesystem::exists(shared) ? shared : DataPath(relative);
}

inline bool HasReference(const std::string& relative) {
  return std::filesystem::exists(ReferencePath(relative));
}

// The default model, or an empty path when `make` has not fetched it.
inline std::filesystem::path DefaultModelPath() {
  const char* folder = std::getenv("TRADEWIND_TEST_MODELS");
  const std::filesystem::path path =
      std::filesystem::path(folder != nullptr ? folder : TW_SOURCE_DIR "/build/models") /
      "SmolLM2-135M-Instruct.Q4_1.gguf";
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

// Reads a reference file whole; the test fails when it cannot be read.
inline std::string ReadReference(const std::string& relative) {
  auto text = ReadFile(ReferencePath(relative));
  EXPECT_TRUE(text.has_value()) << relative;
  return text.value_or("");
}

}  // namespace tradewind::testing

#define TW_NEED_REFERENCE(relative)                                                    \
  if (!::tradewind::testing::HasReference(relative)) {                                 \
    GTEST_SKIP() << "reference data " << (relative) << " is not beside this checkout"; \
  }

#define TW_NEED_DEFAULT_MODEL()                                                        \
  if (::tradewind::testing::DefaultModelPath().empty()) {                              \
    GTEST_SKIP() << "the default model is not in build/models (make test fetches it)"; \
  }
