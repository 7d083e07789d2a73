#include "catalog/local_models.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <map>
#include <set>
#include <system_error>
#include <tuple>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::catalog {
namespace {

namespace fs = std::filesystem;

// Files that are known by their name: the Hub's id, without asking the Hub.
struct WellKnown {
  std::string_view stem, id;
};
constexpr WellKnown kWellKnown[] = {
    {"SmolLM2-135M-Instruct.Q4_1", kDefaultModelId},
};

bool EqualNoCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view BareName(std::string_view id) {
  const size_t slash = id.rfind('/');
  return slash == std::string_view::npos ? id : id.substr(slash + 1);
}

// NAME-00002-of-00005: the parts of one model.
struct SplitName {
  std::string stem;  // NAME
  int part = 1, parts = 1;
};

SplitName ParseSplitName(const std::string& stem) {
  constexpr size_t kSuffix = 15;  // "-00002-of-00005"
  const SplitName whole{stem, 1, 1};
  if (stem.size() <= kSuffix) {
    return whole;
  }
  const std::string_view suffix = std::string_view(stem).substr(stem.size() - kSuffix);
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-") {
    return whole;
  }
  const auto number = [](std::string_view digits) {
    int value = 0;
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return failed == std::errc() && end == digits.data() + digits.size() ? value : 0;
  };
  const int part = number(suffix.substr(1, 5));
  const int parts = number(suffix.substr(10, 5));
  if (part < 1 || part > parts) {
    return whole;
  }
  return {stem.substr(0, stem.size() - kSuffix), part, parts};
}

// Why the file cannot be a model, or nothing. A reader that opens fully would be the engine's.
std::optional<std::string> HeaderError(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::array<char, 8> head{};
  if (!in) {
    return "it cannot be read; check its permissions";
  }
  in.read(head.data(), head.size());
  if (in.gcount() != static_cast<std::streamsize>(head.size()) ||
      std::string_view(head.data(), 4) != "GGUF") {
    return "it is not a GGUF file";
  }
  const auto version = LoadLe<uint32_t>(head.data() + 4);
  if (version < 2 || version > 3) {
    return fmt::format("its GGUF version is {}; versions 2 and 3 are supported", version);
  }
  return std::nullopt;
}

struct FoundFile {
  fs::path path;
  SplitName name;
  std::string relative_folder;  // "org/", or empty
};

std::string WellKnownId(const std::string& stem) {
  for (const WellKnown& known : kWellKnown) {
    if (EqualNoCase(known.stem, stem)) {
      return std::string(known.id);
    }
  }
  return "";
}

// One model of its files, which share folder, stem and number of parts.
LocalModel MakeModel(std::vector<FoundFile>& files) {
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.name.part < b.name.part; });
  LocalModel model;
  const FoundFile& first = files.front();
  model.path = first.path;
  model.id = WellKnownId(first.name.stem);
  if (model.id.empty()) {
    model.id = ReplaceInvalidUtf8(first.relative_folder + first.name.stem);
  }
  for (const FoundFile& file : files) {
    struct stat status{};
    if (::stat(file.path.c_str(), &status) == 0) {
      model.bytes += status.st_size;
      model.modified_unix_s = std::max<int64_t>(model.modified_unix_s, status.st_mtime);
    }
  }
  if (static_cast<int>(files.size()) != first.name.parts) {
    model.error = fmt::format("{} of its {} parts are there; put the others beside them",
                              files.size(), first.name.parts);
  } else {
    model.error = HeaderError(first.path);
  }
  return model;
}

class Scanner {
 public:
  explicit Scanner(std::vector<std::string>& warnings) : warnings_(warnings) {}

  void Folder(const fs::path& folder, const std::string& relative, int depth) {
    std::error_code error;
    const fs::path real = fs::canonical(folder, error);
    if (error || !visited_.insert(real).second) {
      if (error) {
        warnings_.push_back(fmt::format("{}: {}", folder.string(), error.message()));
      }
      return;  // missing, or a link back to where we were
    }
    fs::directory_iterator entries(real, error);
    if (error) {
      warnings_.push_back(fmt::format("{}: {}", folder.string(), error.message()));
      return;
    }
    for (; entries != fs::directory_iterator(); entries.increment(error)) {
      if (error || ++looked_at_ > limits::kModelFilesMax) {
        warnings_.push_back(
            fmt::format("{}: {}", folder.string(),
                        error ? error.message() : "too many files; the rest is not listed"));
        return;
      }
      Entry(*entries, relative, depth);
    }
  }

  using Key = std::tuple<fs::path, std::string, int>;  // folder, stem, parts
  std::map<Key, std::vector<FoundFile>>& files() { return files_; }

 private:
  void Entry(const fs::directory_entry& entry, const std::string& relative, int depth) {
    std::error_code error;
    const std::string name = entry.path().filename().string();
    if (entry.is_directory(error)) {
      if (!name.starts_with('.') && depth < limits::kModelFolderDepthMax) {
        Folder(entry.path(), relative + name + "/", depth + 1);
      }
    } else if (EqualNoCase(entry.path().extension().string(), ".gguf") &&
               entry.is_regular_file(error)) {
      const SplitName split = ParseSplitName(entry.path().stem().string());
      files_[{entry.path().parent_path(), split.stem, split.parts}].push_back(
          {entry.path(), split, relative});
    }
  }

  std::vector<std::string>& warnings_;
  std::set<fs::path> visited_;
  std::map<Key, std::vector<FoundFile>> files_;
  int looked_at_ = 0;
};

std::unexpected<Error> NotSupported(std::string message) {
  return Fail(ErrorCode::kModelNotSupported, std::move(message), "model");
}

}  // namespace

LocalModels LocalModels::Scan(std::span<const fs::path> folders) {
  LocalModels out;
  for (const fs::path& folder : folders) {
    Scanner scanner(out.warnings_);
    scanner.Folder(folder, "", 0);
    for (auto& [key, files] : scanner.files()) {
      LocalModel model = MakeModel(files);
      if (const LocalModel* other = out.Find(model.id); other != nullptr) {
        out.warnings_.push_back(fmt::format("{} is not listed: {} has the same id {}",
                                            model.path.string(), other->path.string(), model.id));
        continue;
      }
      if (model.error.has_value()) {
        out.warnings_.push_back(fmt::format("{}: {}", model.path.string(), *model.error));
      }
      out.models_.push_back(std::move(model));
    }
  }
  std::sort(out.models_.begin(), out.models_.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return out;
}

Result<std::string> LocalModels::Add(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    return Fail(ErrorCode::kNotFound, fmt::format("{} is not a file.", path.string()), "model");
  }
  const SplitName split = ParseSplitName(path.stem().string());
  std::vector<FoundFile> files;
  for (int part = 1; part <= split.parts; ++part) {
    const fs::path file =
        split.parts == 1 ? path
                         : path.parent_path() / fmt::format("{}-{:05}-of-{:05}{}", split.stem, part,
                                                            split.parts, path.extension().string());
    if (fs::is_regular_file(file, error)) {
      files.push_back({file, {split.stem, part, split.parts}, ""});
    }
  }
  LocalModel model = MakeModel(files);
  if (model.error.has_value()) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{} cannot be served: {}.", path.string(), *model.error), "model");
  }
  // A file that is named outright counts before what a folder holds.
  std::erase_if(models_, [&](const LocalModel& other) { return EqualNoCase(other.id, model.id); });
  const std::string id = model.id;
  const auto at = std::lower_bound(models_.begin(), models_.end(), id,
                                   [](const auto& a, const std::string& b) { return a.id < b; });
  models_.insert(at, std::move(model));
  return id;
}

const LocalModel* LocalModels::Find(std::string_view id) const {
  const auto found = std::find_if(models_.begin(), models_.end(), [&](const LocalModel& model) {
    return EqualNoCase(model.id, id);
  });
  return found == models_.end() ? nullptr : &*found;
}

Result<const LocalModel*> LocalModels::Resolve(std::string_view text, RefSource source) const {
  // A file's own name may hold a colon: "llama3:8b.gguf".
  if (const LocalModel* exact = Find(text); exact != nullptr) {
    return exact;
  }
  TW_ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(text, source));
  if (ref.is_path) {
    return NotSupported(fmt::format(
        "{} is a path; it is not among the models that are loaded from folders.", text));
  }
  if (ref.place == Place::kProvider) {
    return NotSupported(fmt::format(
        "The provider \"{}\" is not configured; use \"{}\" or \"{}:local\" for this device.",
        ref.suffix, ref.model, ref.model));
  }
  if (!ref.tag.empty()) {
    return NotSupported(
        fmt::format("\"{}\" has no tag or place \"{}\"; GET /v1/models lists what is served.",
                    ref.model, ref.tag));
  }
  return ResolveName(ref.model, source);
}

Result<const LocalModel*> LocalModels::ResolveName(std::string_view name, RefSource source) const {
  if (const LocalModel* exact = Find(name); exact != nullptr) {
    return exact;
  }
  std::vector<const LocalModel*> found;
  const auto collect = [&](auto&& matches) {
    for (const LocalModel& model : models_) {
      if (found.size() < 100 && matches(model)) {
        found.push_back(&model);
      }
    }
  };
  collect([&](const LocalModel& model) { return EqualNoCase(BareName(model.id), name); });
  if (found.empty() && source == RefSource::kCommandLine) {
    collect([&](const LocalModel& model) {
      return EqualNoCase(BareName(model.id).substr(0, name.size()), name) ||
             EqualNoCase(std::string_view(model.id).substr(0, name.size()), name);
    });
  }
  if (found.size() == 1) {
    return found[0];
  }
  if (found.empty()) {
    return NotSupported(fmt::format(
        "The model \"{}\" is not served here; GET /v1/models lists those that are.", name));
  }
  return NotSupported(fmt::format("\"{}\" could be {} or {}; write the whole id.", name,
                                  found[0]->id, found[1]->id));
}

}  // namespace tradewind::catalog
