// A model file that another program shortens while it is mapped: reading the missing pages raises
// SIGBUS (base/file.h).
#pragma once

namespace tradewind::cli {

// From now on such a SIGBUS ends the process with one line on stderr that says what to do, and with
// ExitCode::kDamaged. Of other causes it crashes as before. For the whole process, once.
void ExplainBusErrors();

}  // namespace tradewind::cli
