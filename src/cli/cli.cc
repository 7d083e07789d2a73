#include "cli/cli.h"

#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cli/arguments.h"
#include "cli/bus_error.h"
#include "cli/exit_codes.h"
#include "cli/hand_over.h"
#include "cli/help.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace tradewind::cli {
namespace {

Result<ExitCode> Dispatch(const std::vector<std::string>& words) {
  TW_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments(words));
  const Command& command = *arguments.command;
  if (arguments.help) {
    Print(HelpText(command));
    return ExitCode::kDone;
  }
  TW_ASSIGN_OR_RETURN(const Settings settings,
                      Settings::Load(std::move(arguments), ProcessEnvironment()));
  for (const std::string& warning : settings.warnings()) {
    fmt::print(stderr, "tradewind: warning: {}\n", warning);
  }
  return command.run(settings);
}

}  // namespace

int Main(int argc, char** argv) {
  ExplainBusErrors();
  Result<ExitCode> outcome;
  try {
    outcome = Dispatch(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::bad_alloc&) {
    outcome = Fail(ErrorCode::kResourceExhausted,
                   "there is not enough memory; `tradewind doctor` says how much there is");
  } catch (const std::exception& error) {
    outcome =
        Fail(ErrorCode::kInternal,
             fmt::format("unexpected: {}; `tradewind doctor` checks this machine", error.what()));
  }
  if (outcome) {
    if (const Status written = OutputStatus(); !written) {
      outcome = Fail(written.error());
    }
  }
  if (outcome) {
    return static_cast<int>(*outcome);
  }
  static_cast<void>(OutputStatus());  // what was printed so far goes out before the error
  if (outcome.error().code != ErrorCode::kCancelled) {
    fmt::print(stderr, "tradewind: {}\n", WithoutControls(outcome.error().message));
    TellPredecessor(outcome.error().message);
  }
  return static_cast<int>(ExitCodeFor(outcome.error().code));
}

}  // namespace tradewind::cli
