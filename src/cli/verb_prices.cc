// prices import: a public price map → HOME/prices.json.
#include <ctime>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/file.h>

#include "base/file.h"
#include "base/limits.h"
#include "cli/home.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "cli/verb_bill.h"
#include "cli/verbs.h"
#include "pricing/price_file.h"
#include "pricing/price_map.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;
using pricing::PriceImport;
using pricing::RowNote;

std::string Today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[16];
  return std::strftime(text, sizeof(text), "%Y-%m-%d", &utc) > 0 ? text : "";
}

// Two imports at the same time would lose one's rows: each waits for the other's read and write.
class ImportLock {
 public:
  explicit ImportLock(const fs::path& home)
      : descriptor_(::open((home / "prices.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (descriptor_ >= 0) {
      static_cast<void>(::flock(descriptor_, LOCK_EX));
    }
  }
  ImportLock(const ImportLock&) = delete;
  ImportLock& operator=(const ImportLock&) = delete;
  ~ImportLock() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }

 private:
  int descriptor_;
};

void WriteNotes(dialects::JsonWriter& json, std::string_view name,
                const std::vector<RowNote>& notes) {
  json.Key(name).BeginArray();
  for (const RowNote& note : notes) {
    json.BeginObject().Field("key", note.key).Field("reason", note.reason).EndObject();
  }
  json.EndArray();
}

void Report(const std::string& file, const PriceImport& got) {
  for (const RowNote& note : got.unpriced) {
    fmt::print(stderr, "{}: {}: not priced: {}\n", WithoutControls(file), WithoutControls(note.key),
               WithoutControls(note.reason));
  }
  for (const RowNote& note : got.remarks) {
    fmt::print(stderr, "{}: {}: {}\n", WithoutControls(file), WithoutControls(note.key),
               WithoutControls(note.reason));
  }
}

Result<pricing::MapFormat> ReadFormat(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::string name, settings.Choice("format"));
  return name == "portkey"   ? pricing::MapFormat::kPortkey
         : name == "litellm" ? pricing::MapFormat::kLiteLlm
                             : pricing::MapFormat::kAuto;
}

Result<PriceImport> ReadMap(const std::string& file, pricing::MapFormat format) {
  const auto text = ReadFile(file, limits::kPriceMapBytesMax);
  if (!text) {
    return Fail(text.error().code,
                fmt::format("{}; name the file of a price map", text.error().message));
  }
  auto got = pricing::ParsePriceMap(*text, file, format, Today());
  if (!got) {
    return Fail(got.error().code,
                fmt::format("{}: {}; nothing was imported", file, got.error().message));
  }
  return got;
}

}  // namespace

Result<ExitCode> RunPrices(const Settings& settings) {
  if (settings.Words(0).front() == "history") {
    return RunPriceHistory(settings);
  }
  if (settings.Words(0).front() == "rerate") {
    return RunRerate(settings);
  }
  if (settings.Words(1).empty()) {
    return Fail(ErrorCode::kInvalidArgument, "name a price map: `prices import FILE`", "WHAT");
  }
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const pricing::MapFormat format, ReadFormat(settings));
  TW_ASSIGN_OR_RETURN(const fs::path home, HomeFolder(settings));
  // All files are read before any counts: a wrong one leaves the home as it was.
  std::vector<std::pair<std::string, PriceImport>> imports;
  for (const std::string& file : settings.Words(1)) {
    TW_ASSIGN_OR_RETURN(PriceImport got, ReadMap(file, format));
    imports.emplace_back(file, std::move(got));
  }
  TW_RETURN_IF_ERROR(EnsurePrivateFolder(home));
  const ImportLock lock(home);
  TW_ASSIGN_OR_RETURN(std::vector<catalog::PriceRow> rows, pricing::LoadPrices(home));
  auto json = BeginJson("prices_import");
  json.Key("files").BeginArray();
  std::string text;
  for (const auto& [file, got] : imports) {
    rows = pricing::MergePrices(std::move(rows), got.rows);
    json.BeginObject().Field("file", file).Field("format", MapFormatName(got.format));
    json.Field("rows", got.seen).Field("priced", got.rows.size());
    WriteNotes(json, "unpriced", got.unpriced);
    WriteNotes(json, "remarks", got.remarks);
    json.EndObject();
    text += fmt::format("{}: {} of {} rows priced, {} not\n", WithoutControls(file),
                        got.rows.size(), got.seen, got.unpriced.size());
    if (!as_json) {
      Report(file, got);
    }
  }
  if (rows.size() > limits::kPriceRowsMax) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{} rows are more than the {} a home keeps; import fewer maps",
                            rows.size(), limits::kPriceRowsMax));
  }
  if (const tradewind::Status saved = pricing::SavePrices(home, rows); !saved) {
    return Fail(WithNextStep(saved.error(),
                             "free some space, or choose another data folder with "
                             "--home"));
  }
  json.EndArray().Field("kept", rows.size()).Field("path", pricing::PriceFilePath(home).string());
  text += fmt::format("{} rows in {}; a server reads them when it starts\n", rows.size(),
                      pricing::PriceFilePath(home).string());
  Print(as_json ? EndJson(json) : text);
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
