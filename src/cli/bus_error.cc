#include "cli/bus_error.h"

#include <signal.h>
#include <string_view>
#include <unistd.h>

#include "cli/exit_codes.h"

namespace tradewind::cli {
namespace {

constexpr std::string_view kLine =
    "tradewind: a model file was shortened or overwritten while it was in use; restore it and "
    "start again, and replace model files by a rename (copy beside it, then mv)\n";

// Only what is async-signal-safe. There is no way back: the weights that a step reads are gone.
void OnBusError(int signal, siginfo_t* info, void*) {
  if (info->si_code != BUS_ADRERR) {
    ::signal(signal, SIG_DFL);
    return;  // to the instruction that raised it, which raises it again
  }
  static_cast<void>(::write(STDERR_FILENO, kLine.data(), kLine.size()));
  ::_exit(static_cast<int>(ExitCode::kDamaged));
}

}  // namespace

void ExplainBusErrors() {
  struct sigaction action{};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace tradewind::cli
