// The verbs, one function each. An Error's message ends with what to do next; main prints it and
// maps its code.
#pragma once

#include "base/result.h"
#include "cli/exit_codes.h"

namespace tradewind::cli {

class Settings;

Result<ExitCode> RunServe(const Settings& settings);
Result<ExitCode> RunUpgrade(const Settings& settings);
Result<ExitCode> RunChat(const Settings& settings);       // run
Result<ExitCode> RunList(const Settings& settings);       // ls
Result<ExitCode> RunProcesses(const Settings& settings);  // ps
Result<ExitCode> RunShow(const Settings& settings);
Result<ExitCode> RunBench(const Settings& settings);
Result<ExitCode> RunDoctor(const Settings& settings);
Result<ExitCode> RunSearch(const Settings& settings);
Result<ExitCode> RunProviders(const Settings& settings);
Result<ExitCode> CheckProviders(const Settings& settings);  // providers check
Result<ExitCode> RunRoute(const Settings& settings);
Result<ExitCode> RunPrices(const Settings& settings);
Result<ExitCode> RunKeys(const Settings& settings);
Result<ExitCode> RunOrgs(const Settings& settings);
Result<ExitCode> RunUsage(const Settings& settings);
Result<ExitCode> RunRequests(const Settings& settings);
Result<ExitCode> RunBudget(const Settings& settings);
Result<ExitCode> RunCredit(const Settings& settings);
Result<ExitCode> RunReceipt(const Settings& settings);
Result<ExitCode> RunReconcile(const Settings& settings);
Result<ExitCode> ResolveDoubt(const Settings& settings);  // reconcile resolve
Result<ExitCode> RunLogin(const Settings& settings);
Result<ExitCode> RunLogout(const Settings& settings);
Result<ExitCode> RunWhoAmI(const Settings& settings);
Result<ExitCode> RunConfig(const Settings& settings);
Result<ExitCode> RunVersion(const Settings& settings);
Result<ExitCode> RunCompletion(const Settings& settings);
Result<ExitCode> RunMan(const Settings& settings);
Result<ExitCode> RunHelp(const Settings& settings);
Result<ExitCode> RunComplete(const Settings& settings);  // __complete

}  // namespace tradewind::cli
