// The words of the command line, matched against the command table. The only place that knows CLI11
// is arguments.cc.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/command.h"

namespace tradewind::cli {

struct Arguments {
  const Command* command = nullptr;                       // never null in a result
  std::map<std::string, std::string, std::less<>> flags;  // given ones only; a switch has "true"
  std::vector<std::vector<std::string>>
      positional;     // one entry per Argument of the command; empty when not given
  bool help = false;  // --help: print the verb's help instead of running it
};

// `words` without the program's name. No words, `--help` and `-h` mean the verb help; `--version`
// the verb version. Errors: kInvalidArgument, with the closest name for a misspelt verb, action or
// flag.
Result<Arguments> ParseArguments(const std::vector<std::string>& words);

}  // namespace tradewind::cli
