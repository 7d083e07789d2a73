// Lines typed into a chat, and messages and commands out of them.
#pragma once

#include <string>
#include <string_view>

namespace tradewind::cli {

// Lines of stdin; a signal interrupts the reading, which it does not with std::getline.
class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted };
  Outcome Read(std::string& line);

 private:
  std::string buffer_;
};

// A message is one line; a trailing backslash joins the next line; text between """ and """ may
// span lines and is taken as it is. A line that starts with / is a command, except inside either.
class ChatInput {
 public:
  enum class Kind { kNothing, kMore, kMessage, kCommand, kTooLong };
  struct Entry {
    Kind kind = Kind::kNothing;
    std::string text;  // the message, or the command without its slash
  };

  // One line without its line break. kMore: the message goes on. kTooLong: what was typed is
  // dropped.
  Entry Push(std::string_view line);
  // What is pending when the input ends: a message, or kNothing.
  Entry End();
  bool is_pending() const { return mode_ != Mode::kNew; }
  void Reset();

 private:
  enum class Mode { kNew, kContinued, kQuoted };
  Entry PushQuoted(std::string_view line);
  Entry Finish();

  Mode mode_ = Mode::kNew;
  std::string text_;
};

}  // namespace tradewind::cli
