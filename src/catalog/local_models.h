// The model files on this device: what /v1/models lists and what a model string resolves to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/model_ref.h"

namespace tradewind::catalog {

// The id of the model that `make` fetches.
inline constexpr std::string_view kDefaultModelId = "HuggingFaceTB/SmolLM2-135M-Instruct";

struct LocalModel {
  std::string id;  // "HuggingFaceTB/SmolLM2-135M-Instruct", or the path below the folder
  std::filesystem::path path;  // of the first part of a split model
  int64_t bytes = 0;           // all parts together
  int64_t modified_unix_s = 0;
  std::optional<std::string>
      error;  // why it cannot be served: not a GGUF file, a part is missing, unreadable
};

// A snapshot: immutable after Scan and Add, any thread may read.
class LocalModels {
 public:
  // Looks for *.gguf below the folders: at most kModelFolderDepthMax deep, kModelFilesMax files.
  // Links are followed, each folder is visited once. Only the first bytes of a file are read:
  // whether its contents hold is the engine's to say. Never fails: what cannot be read becomes a
  // warning. An id that two files claim goes to the first folder's.
  static LocalModels Scan(std::span<const std::filesystem::path> folders);

  // A file named on the command line or in the config; its id is the well-known one, or its name
  // without ".gguf". Errors: kNotFound, kIo, kCorruptFile.
  Result<std::string> Add(const std::filesystem::path& path);

  const std::vector<LocalModel>& models() const { return models_; }  // by id
  const std::vector<std::string>& warnings() const { return warnings_; }

  const LocalModel* Find(std::string_view id) const;  // the exact id, in upper or lower case

  // What `text` means here: an id; the name without its organisation when only one model has it; on
  // the command line also an unambiguous prefix of one; each with an optional place, which must be
  // this device or a policy. Errors: kModelNotSupported with param "model" and the next step.
  Result<const LocalModel*> Resolve(std::string_view text, RefSource source) const;

 private:
  Result<const LocalModel*> ResolveName(std::string_view name, RefSource source) const;

  std::vector<LocalModel> models_;
  std::vector<std::string> warnings_;
};

}  // namespace tradewind::catalog
