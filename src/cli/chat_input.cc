#include "cli/chat_input.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>
#include <utility>

namespace tradewind::cli {
namespace {

constexpr size_t kMessageBytesMax =
    16 << 20;  // half of the largest request body: JSON escapes need room
constexpr std::string_view kQuotes = "\"\"\"";

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == text.npos;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t\r"), text.size());
  text.remove_prefix(begin);
  const size_t end = text.find_last_not_of(" \t\r");
  return text.substr(0, end == text.npos ? 0 : end + 1);
}

}  // namespace

LineReader::Outcome LineReader::Read(std::string& line) {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != buffer_.npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return Outcome::kLine;
    }
    char bytes[4096];
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n < 0 && errno == EINTR) {
      buffer_.clear();
      return Outcome::kInterrupted;
    }
    if (n <= 0) {
      return Outcome::kEnd;
    }
    buffer_.append(bytes, static_cast<size_t>(n));
  }
}

void ChatInput::Reset() {
  mode_ = Mode::kNew;
  text_.clear();
}

ChatInput::Entry ChatInput::Finish() {
  Entry entry{IsBlank(text_) ? Kind::kNothing : Kind::kMessage, std::move(text_)};
  Reset();
  return entry;
}

ChatInput::Entry ChatInput::End() {
  return mode_ == Mode::kNew ? Entry{} : Finish();
}

ChatInput::Entry ChatInput::PushQuoted(std::string_view line) {
  const size_t end = line.find(kQuotes);
  text_ += line.substr(0, end);
  if (end != line.npos) {
    return Finish();
  }
  text_ += '\n';
  return {Kind::kMore, ""};
}

ChatInput::Entry ChatInput::Push(std::string_view line) {
  if (text_.size() + line.size() > kMessageBytesMax) {
    Reset();
    return {Kind::kTooLong, ""};
  }
  if (mode_ == Mode::kQuoted) {
    return PushQuoted(line);
  }
  const std::string_view trimmed = Trimmed(line);
  if (mode_ == Mode::kNew && trimmed.starts_with(kQuotes)) {
    mode_ = Mode::kQuoted;
    return PushQuoted(trimmed.substr(kQuotes.size()));
  }
  if (mode_ == Mode::kNew && trimmed.starts_with('/')) {
    return {Kind::kCommand, std::string(trimmed.substr(1))};
  }
  if (line.ends_with('\\')) {
    text_ += line.substr(0, line.size() - 1);
    text_ += '\n';
    mode_ = Mode::kContinued;
    return {Kind::kMore, ""};
  }
  text_ += line;
  return Finish();
}

}  // namespace tradewind::cli
