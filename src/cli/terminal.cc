#include "cli/terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <unistd.h>

#include <fmt/format.h>

#include "base/utf8.h"
#include "cli/json_output.h"

namespace tradewind::cli {
namespace {

int g_output_error = 0;  // errno of the first failed write; verbs print from one thread

size_t Width(std::string_view text) {  // characters; wide ones only make a column ragged
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

bool IsTerminal(std::FILE* stream) {
  return ::isatty(::fileno(stream)) == 1;
}

bool UseColor(std::FILE* stream, const Environment& environment) {
  return IsTerminal(stream) && !environment("NO_COLOR") &&
         environment("TERM").value_or("dumb") != "dumb";
}

std::string WithoutControls(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Char c = DecodeUtf8(text);
    const bool is_control = (c.code_point < 0x20 && c.code_point != '\n' && c.code_point != '\t') ||
                            (c.code_point >= 0x7F && c.code_point < 0xA0);
    if (!is_control) {
      AppendUtf8(c.code_point, out);
    }
    text.remove_prefix(static_cast<size_t>(c.bytes));
  }
  return out;
}

void Print(std::string_view text) {
  if (g_output_error == 0 && std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    g_output_error = errno;
  }
}

Status OutputStatus() {
  if (std::fflush(stdout) != 0 && g_output_error == 0) {
    g_output_error = errno;
  }
  if (g_output_error == 0 || g_output_error == EPIPE) {
    return {};
  }
  return Fail(g_output_error == ENOSPC ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
              fmt::format("cannot write the output: {}; free some space or write it elsewhere",
                          std::strerror(g_output_error)));
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows, bool color) {
  std::vector<std::vector<std::string>> clean = rows;
  std::vector<size_t> widths;
  for (auto& row : clean) {
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = WithoutControls(row[i]);
      std::erase(row[i], '\n');
      widths.resize(std::max(widths.size(), i + 1));
      widths[i] = std::max(widths[i], Width(row[i]));
    }
  }
  std::string out;
  for (size_t r = 0; r < clean.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < clean[r].size(); ++i) {
      line += clean[r][i];
      if (i + 1 < clean[r].size()) {
        line.append(widths[i] - Width(clean[r][i]) + 2, ' ');
      }
    }
    out += color && r == 0 ? "\033[1m" + line + "\033[0m\n" : line + "\n";
  }
  return out;
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) {
    value /= 1000;
  }
  return value < 9.95 && unit > 0 ? fmt::format("{:.1f} {}", value, kUnits[unit])
                                  : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

std::string FormatCount(int64_t count) {
  const double value = static_cast<double>(count);
  if (value >= 999.5e6) {
    return fmt::format("{:.1f}B", value / 1e9);
  }
  return value >= 999.5e3 ? fmt::format("{:.0f}M", value / 1e6) : fmt::format("{}", count);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t ms = duration.count();
  if (ms < 1000) {
    return fmt::format("{} ms", ms);
  }
  return ms < 120'000 ? fmt::format("{} s", ms / 1000) : fmt::format("{}m", ms / 60'000);
}

Result<Progress::Style> Progress::ReadStyle(const Settings& settings, bool as_json) {
  TW_ASSIGN_OR_RETURN(const std::string how, settings.Choice("progress"));
  const bool quiet = how == "none" || (as_json && how == "auto");
  return quiet ? Style::kNone : how == "json" ? Style::kJson : Style::kAuto;
}

void Progress::Show(std::string_view what, int64_t done, int64_t total) {
  const auto now = std::chrono::steady_clock::now();
  const bool is_plain = style_ == Style::kAuto && !is_terminal_;
  const bool is_new = what != what_;
  if (is_new && done == 0) {
    since_ = now;
  }
  what_ = what;
  const int64_t percent = total > 0 ? 100 * done / total : 0;
  const auto pause = is_plain ? std::chrono::milliseconds(10'000) : std::chrono::milliseconds(100);
  // Counted parts have names of their own, and a line for each would be too many.
  const bool is_due =
      now - drawn_ >= pause || (is_new && (done == 0 || !is_plain)) || percent >= percent_ + 10;
  if (style_ == Style::kNone || !is_due) {
    return;
  }
  drawn_ = now;
  percent_ = percent;
  Draw(done, total);
}

void Progress::Draw(int64_t done, int64_t total) {
  const double seconds = std::chrono::duration<double>(drawn_ - since_).count();
  if (style_ == Style::kJson) {
    auto json = BeginJson("progress");
    json.Field("phase", what_).Field("elapsed_ms", std::round(seconds * 1e6) / 1e3);
    FieldOrNull(json, "done", total > 0 ? std::optional(done) : std::nullopt);
    FieldOrNull(json, "total", total > 0 ? std::optional(total) : std::nullopt);
    fmt::print(stderr, "{}", EndJson(json));
  } else {
    std::string line = what_;
    line += total > 0 ? fmt::format(" {}%", percent_) : "";
    line += is_terminal_   ? fmt::format(" {:.1f}s", seconds)
            : seconds >= 1 ? fmt::format(" {:.0f}s", seconds)
                           : "";
    fmt::print(stderr, "{}{}{}", is_terminal_ ? "\r\033[K" : "", line, is_terminal_ ? "" : "\n");
    is_drawn_ = is_terminal_;
  }
  std::fflush(stderr);
}

void Progress::Clear() {
  if (is_drawn_) {
    fmt::print(stderr, "\r\033[K");
    std::fflush(stderr);
    is_drawn_ = false;
  }
  what_.clear();
  percent_ = 0;
}

}  // namespace tradewind::cli
