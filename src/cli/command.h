// The command table: every verb with its arguments and flags. Parsing, help, completion and the man
// page are all made from it, so that none can say what another does not know.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/exit_codes.h"

namespace tradewind::cli {

class Settings;

// What a shell may offer for a value.
enum class Offer { kNothing, kModel, kShell, kVerb, kFile, kChoice };

struct Flag {
  std::string_view name;   // "port": --port, TRADEWIND_PORT
  std::string_view value;  // "N"; empty for a switch
  std::string_view help;
  std::string_view built_in = {};  // the value when nobody says one; empty = none
  std::string_view config = {};    // "server.port"; empty = not in the config file
  std::string_view choices = {};   // "f16 f32"
  std::string_view env = {};       // when the twin is not TRADEWIND_<NAME>
  Offer offer = Offer::kNothing;
  char letter = 0;  // 'q': -q is the same
};

struct Argument {
  std::string_view name;  // "REF"
  std::string_view help;
  bool required = true;
  bool repeated = false;
  Offer offer = Offer::kNothing;
  std::string_view choices = {};  // "get path"
};

struct Command {
  std::string_view name;
  std::string_view summary;      // one line, no full stop
  std::string_view description;  // paragraphs, separated by empty lines
  std::span<const Argument> arguments;
  std::span<const Flag> flags;     // its own; CommonFlags() come on top
  std::string_view examples = {};  // lines
  Result<ExitCode> (*run)(const Settings& settings) = nullptr;
  bool hidden = false;
};

std::span<const Command> Commands();
const Command* FindCommand(std::string_view name);
std::span<const Flag> CommonFlags();  // every verb has them

// The flag of this verb (common ones included), or nullptr.
const Flag* FindFlag(const Command& command, std::string_view name);

std::string EnvironmentName(const Flag& flag);  // "TRADEWIND_TOP_P"

}  // namespace tradewind::cli
