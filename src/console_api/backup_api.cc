// Of BillApi: copies of the data folder that belong together (docs/operating/backup.md).
#include <algorithm>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "base/file.h"
#include "billing/bill_period.h"
#include "console_api/bill_api.h"
#include "console_api/bodies.h"
#include "dialects/json_writer.h"
#include "pricing/price_file.h"

namespace tradewind::console_api {
namespace {

namespace fs = std::filesystem;

// Of one that is being made, or was when the process ended.
constexpr std::string_view kUnfinished = ".part";

// Ours, "2026-11-27T193045Z.part", and none of somebody else.
bool IsUnfinished(const fs::path& path) {
  constexpr std::string_view kForm = "dddd-dd-ddTddddddZ";
  const std::string name = path.stem().string();
  std::error_code error;
  return path.extension() == kUnfinished && fs::is_directory(path, error) &&
         std::ranges::equal(name, kForm, [](char c, char form) {
           return form == 'd' ? c >= '0' && c <= '9' : c == form;
         });
}

// What earlier ones left keeps the disk full, and looks like a backup.
void RemoveUnfinished(const fs::path& parent) {
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsUnfinished(entry->path())) {
      std::error_code ignored;
      fs::remove_all(entry->path(), ignored);
    }
  }
}

Status CreatePrivate(const fs::path& folder) {
  std::error_code error;
  fs::create_directory(folder, error);
  if (!error) {
    fs::permissions(folder, fs::perms::owner_all, error);
  }
  if (error) {
    return Fail(ErrorCode::kIo, fmt::format("{}: {}", folder.string(), error.message()));
  }
  return {};
}

Status CopyPrices(const fs::path& home, const fs::path& folder) {
  const fs::path from = pricing::PriceFilePath(home);
  std::error_code error;
  if (!fs::exists(from, error)) {
    return {};
  }
  TW_ASSIGN_OR_RETURN(const std::string text, ReadFile(from));
  return WriteFileAtomic(pricing::PriceFilePath(folder), text, 0600);
}

}  // namespace

Status BillApi::CopyTo(const fs::path& folder) {
  // Keys first: money names them, and they never name money.
  TW_RETURN_IF_ERROR(store_.BackUp(folder));
  TW_RETURN_IF_ERROR(books_.BackUp(folder));
  return CopyPrices(home_, folder);
}

// HOME/backups/TIME, so that nobody names a path over HTTP. Whole or not there.
Result<http::Response> BillApi::BackUp() {
  const std::lock_guard lock(backing_up_);
  std::string name = billing::UtcTime(NowS());
  std::erase(name, ':');
  const fs::path parent = home_ / "backups", folder = parent / name;
  fs::path unfinished = folder;
  unfinished += kUnfinished;
  std::error_code error;
  if (fs::exists(folder, error)) {
    return Fail(ErrorCode::kInvalidArgument, "There is a backup of this second; ask again.");
  }
  TW_RETURN_IF_ERROR(CreatePrivate(parent));
  RemoveUnfinished(parent);
  TW_RETURN_IF_ERROR(CreatePrivate(unfinished));
  if (const Status copied = CopyTo(unfinished); !copied.has_value()) {
    fs::remove_all(unfinished, error);
    return Fail(copied.error());
  }
  TW_RETURN_IF_ERROR(FlushFolder(unfinished));
  fs::rename(unfinished, folder, error);
  if (error) {
    return Fail(ErrorCode::kIo, fmt::format("{}: {}", folder.string(), error.message()));
  }
  TW_RETURN_IF_ERROR(FlushFolder(parent));
  dialects::JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.backup/v1").Field("folder", folder.string());
  return JsonResponse(json.EndObject().Take());
}

}  // namespace tradewind::console_api
