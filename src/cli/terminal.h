// What goes to a terminal: tables, sizes, one line of progress. No library; plain ANSI, and only on
// a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cli/settings.h"

namespace tradewind::cli {

bool IsTerminal(std::FILE* stream);
// A terminal that understands colours, and NO_COLOR unset.
bool UseColor(std::FILE* stream, const Environment& environment);

// Text of others (answers, names out of files) without the control characters that steer a
// terminal: only \n and \t stay. `text` is UTF-8.
std::string WithoutControls(std::string_view text);

// Writes data to stdout. A failure (closed pipe, full disk) is reported once by OutputStatus.
void Print(std::string_view text);
Status OutputStatus();

// Columns padded to their widest cell, two spaces apart, header in bold when `color`; controls are
// removed.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows, bool color);

std::string FormatBytes(int64_t bytes);  // "98 MB", "3.1 GB": decimal, as disks and hubs count
std::string FormatCount(int64_t count);  // "135M", "3.8B"
std::string FormatDuration(std::chrono::milliseconds duration);  // "850 ms", "23 s", "4m"

// What a waiting verb is doing, on stderr: one line, redrawn at most ten times a second, on a
// terminal; otherwise one plain line now, and then every 10 s or 10 %; or one JSON object per line
// as often as on a terminal.
class Progress {
 public:
  enum class Style { kNone, kAuto, kJson };

  // --progress; `as_json`: the verb's own output is JSON, which keeps stderr still unless somebody
  // asked for progress. Errors: kInvalidArgument.
  static Result<Style> ReadStyle(const Settings& settings, bool as_json);

  explicit Progress(Style style) : style_(style), is_terminal_(IsTerminal(stderr)) {}
  ~Progress() { Clear(); }
  // `done` of `total` parts when they can be counted; `done` never falls within a job.
  void Show(std::string_view what, int64_t done = 0, int64_t total = 0);
  void Clear();

 private:
  void Draw(int64_t done, int64_t total);

  Style style_;
  bool is_terminal_;
  bool is_drawn_ = false;
  std::string what_;
  int64_t percent_ = 0;  // when drawn last
  std::chrono::steady_clock::time_point since_{}, drawn_{};
};

}  // namespace tradewind::cli
