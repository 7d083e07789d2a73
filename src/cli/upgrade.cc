#include "cli/upgrade.h"

#include <utility>

#include <fmt/format.h>

#include "base/utf8.h"
#include "cli/terminal.h"
#include "telemetry/log.h"

namespace tradewind::cli {

using telemetry::Level;
using telemetry::Log;

void Upgrade::Begin() {
  if (is_under_way()) {
    Log(Level::kWarn, "an upgrade is under way already");
    return;
  }
  auto started = Successor::Start(files_.listener, files_.lock);
  if (!started) {
    GiveUp(started.error().message);
    return;
  }
  successor_.emplace(std::move(*started));
  Log(Level::kInfo, fmt::format("upgrade: process {} loads", successor_->pid()));
}

bool Upgrade::Advance() {
  switch (is_under_way() ? successor_->Poll() : Successor::News::kNone) {
    case Successor::News::kNone:
      return false;
    case Successor::News::kLoaded:
      has_given_ = true;
      server_.SetAccepting(false);  // who connects now is the successor's
      store_.Release();
      books_.Release();
      successor_->GiveHome();
      return false;
    case Successor::News::kServing:
      return true;
    case Successor::News::kFailed:
      TakeBack();
      return false;
  }
  return false;
}

// Only what was given: books that are read anew know nothing of what runs here, but that it may.
void Upgrade::TakeBack() {
  const std::string why = successor_->error();
  successor_.reset();
  if (!std::exchange(has_given_, false)) {
    GiveUp(why);
    return;
  }
  if (const Status reopened = store_.Reopen(); !reopened) {
    Log(Level::kError, fmt::format("keys cannot be changed until the next start: {}",
                                   WithoutControls(reopened.error().message)));
  }
  if (const Status reopened = books_.Reopen(); !reopened) {
    Log(Level::kError, fmt::format("paid requests are refused until the next start: {}",
                                   WithoutControls(reopened.error().message)));
  }
  server_.SetAccepting(true);
  GiveUp(why);
}

void Upgrade::GiveUp(const std::string& why) {
  constexpr size_t kTextMax = 500;  // server.json is small
  const std::string text = WithoutControls(ReplaceInvalidUtf8(why));
  Log(Level::kError, fmt::format("the upgrade failed, and this process serves on: {}", text));
  ++record_.failed_upgrades;
  record_.upgrade_error = ReplaceInvalidUtf8(std::string_view(text).substr(0, kTextMax));
  if (const Status written = WriteServerRecord(home_, record_); !written) {
    Log(Level::kWarn, WithoutControls(written.error().message));
  }
}

}  // namespace tradewind::cli
