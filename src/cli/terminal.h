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

std::string FormatBytes(int64_t bytes);      // "98 MB", "3.1 GB": decimal, as disks and hubs count
std::string FormatCount(int64_t count);      // "135M", "3.8B"
std::string FormatDollars(int64_t nanousd);  // "$0.00", "$0.0000123": exact, at least two decimals
std::string FormatDuration(std::chrono::milliseconds duration);  // "850 ms", "23 s", "4m"

// What a waiting verb is doing: one line on stderr, redrawn on a terminal; otherwise one plain line
// now and every 10 s.
class Phase {
 public:
  explicit Phase(bool quiet) : is_quiet_(quiet), is_terminal_(IsTerminal(stderr)) {}
  ~Phase() { Clear(); }
  void Show(std::string_view what);
  void Clear();

 private:
  bool is_quiet_, is_terminal_;
  bool is_drawn_ = false;
  std::string what_;
  std::chrono::steady_clock::time_point since_{}, drawn_{};
};

}  // namespace tradewind::cli
