// Small files with secrets in them: mode 0600, there whole or not at all.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "identity/secret.h"

namespace tradewind::identity {

// The file's text without the line break at its end; nullopt when it is not there. Errors:
// kPermissionDenied when it is not ours or others may read it, kIo.
Result<std::optional<Secret>> ReadPrivateFile(const std::filesystem::path& path);

// Creates the file with `text` and a line break; one that is there, whoever made it, is an error
// (kAddressInUse) and stays as it is. Errors: kResourceExhausted, kIo.
Status CreatePrivateFile(const std::filesystem::path& path, std::string_view text);

// The server's own key, 32 random bytes as hex, from which the keys for each purpose are derived.
class MasterKey {
 public:
  // `path` as given by the operator or in the data folder. Errors: those of ReadPrivateFile,
  // kNotFound, kCorruptFile (not 64 hex digits).
  static Result<MasterKey> Load(const std::filesystem::path& path);
  static Result<MasterKey> Create(const std::filesystem::path& path);

  enum class Purpose { kTokens = 1, kProviderKeys = 2, kFingerprints = 3, kCheck = 4 };
  Secret Derive(Purpose purpose) const;  // 32 bytes

 private:
  explicit MasterKey(Secret bytes) : bytes_(std::move(bytes)) {}
  Secret bytes_;
};

}  // namespace tradewind::identity
