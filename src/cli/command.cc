#include "cli/command.h"

#include <cctype>

#include "cli/command_flags.h"
#include "cli/verb_alerts.h"
#include "cli/verb_bill.h"
#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

constexpr Command kCommands[] = {
    {.name = "serve",
     .summary = "start the server",
     .description = "Serves the OpenAI-compatible API on this machine. The first line on stdout, "
                    "`listening on http://...`, appears once "
                    "connections are accepted; the model loads after that, and /readyz turns 200 "
                    "when it is there.\n\n"
                    "SIGTERM or SIGINT lets running answers finish and then exits with 0; a second "
                    "one cuts them. SIGHUP reads the config again. SIGUSR2 replaces the process by "
                    "the program that is installed now (`tradewind help upgrade`).",
     .arguments = {},
     .flags = kServeFlags,
     .examples = "tradewind serve\ntradewind serve --model ./model.gguf --port 0",
     .run = RunServe},
    {.name = "upgrade",
     .summary = "replace the running server by the installed version",
     .description =
         "The running server starts the program that its command line names now, with the same "
         "words. The new process reads the config, loads the model, takes the listening socket and "
         "the data folder, and serves; only then the old one stops accepting, and ends when its "
         "running answers have. No connection is refused meanwhile. When the new one does not get "
         "that far, the old one serves on, and this verb says why.",
     .arguments = {},
     .flags = kUpgradeFlags,
     .examples = "tradewind upgrade",
     .run = RunUpgrade},
    {.name = "run",
     .summary = "chat with a model, or ask it once",
     .description = "With a prompt, or text on stdin, prints one answer and exits; with both, the "
                    "text follows the prompt. Otherwise chats: "
                    "/bye leaves, /clear forgets the conversation, /help lists the commands; a "
                    "line that ends in a backslash goes on, and so "
                    "does everything between \"\"\" and \"\"\". Ctrl-C stops the answer. Write -- "
                    "before a prompt that begins with a dash.\n\n"
                    "Uses the running server. Without one it starts a private server, which exits "
                    "when it has been idle for --keep.",
     .arguments = kRunArguments,
     .flags = kRunFlags,
     .examples = "tradewind run HuggingFaceTB/SmolLM2-135M-Instruct\n"
                 "tradewind run ./model.gguf \"Why is the sky blue?\" --stats\n"
                 "git diff | tradewind run REF \"Summarise this change:\"",
     .run = RunChat},
    {.name = "ls",
     .summary = "list the models on this device",
     .description = "Lists the GGUF files of the models folder.",
     .arguments = {},
     .flags = kListFlags,
     .examples = "tradewind ls --json",
     .run = RunList},
    {.name = "ps",
     .summary = "show the running servers and their models",
     .description = "Shows each running server of this home, private ones included, with its "
                    "model, memory in use, slots and speed, and when it will exit if it is idle.",
     .arguments = {},
     .flags = kProcessFlags,
     .examples = "tradewind ps",
     .run = RunProcesses},
    {.name = "show",
     .summary = "describe one model",
     .description = "Prints what a model file says about itself: architecture, sizes, context, "
                    "template, recommended sampling.",
     .arguments = kShowArguments,
     .flags = kShowFlags,
     .examples = "tradewind show ./model.gguf",
     .run = RunShow},
    {.name = "bench",
     .summary = "measure the speed of a model on this device",
     .description =
         "Loads the model in this process and measures prompt and generation speed for every "
         "combination of prompt "
         "length and concurrency, with random prompts. Figures are medians over the repetitions. "
         "Decode speed is that of all sequences together, while all of them decode. Beside them "
         "stand the limits of this machine, measured in the same run: the weights read per second "
         "as a share of plain reading, the multiply-adds of prefill as a share of the dot-product "
         "peak.",
     .arguments = kBenchArguments,
     .flags = kBenchFlags,
     .examples = "tradewind bench REF --prompt-tokens 128,1024 --concurrency 1,2,4",
     .run = RunBench},
    {.name = "doctor",
     .summary = "check this machine",
     .description =
         "Checks CPU, memory, disk, data folder, port, energy counter and clock. Exits with 0 when "
         "nothing fails.",
     .arguments = {},
     .flags = kDoctorFlags,
     .examples = "tradewind doctor",
     .run = RunDoctor},
    {.name = "search",
     .summary = "find models on this device and at providers",
     .description =
         "Lists who serves which model at what price, in USD per million tokens with the date of "
         "the "
         "price. Whatever is not known shows as a question mark and passes no filter. A provider "
         "without a key is off.",
     .arguments = kSearchArguments,
     .flags = kSearchFlags,
     .examples = "tradewind search gpt-oss\n"
                 "tradewind search --tools --max-price 0.50 --sort price",
     .run = RunSearch},
    {.name = "providers",
     .summary = "list the providers, and where their keys come from",
     .description = "Lists every provider in order of preference with its address, where its key "
                    "comes from (never the key), its data policy and how many models it serves.\n\n"
                    "`providers check [NAME]` shows each model of the running server's providers: "
                    "what the last probe found, and how its traffic goes. With --probe it is "
                    "probed first, which costs some hundred tokens a model; exits with 6 when one "
                    "does not end well.",
     .arguments = kProvidersArguments,
     .flags = kProvidersFlags,
     .examples = "tradewind providers --json\ntradewind providers check together --probe",
     .run = RunProviders},
    {.name = "route",
     .summary = "tell which route a model string takes, and why",
     .description = "`route explain REF` lists every route of a model: the one that would be "
                    "chosen now, those that would follow, and why the others are left out. It asks "
                    "the running server, which knows how each route is doing; without one it knows "
                    "prices and capabilities only.",
     .arguments = kRouteArguments,
     .flags = kRouteFlags,
     .examples = "tradewind route explain openai/gpt-oss-120b@cheapest --need tools\n"
                 "tradewind route explain openai/gpt-oss-120b:fastest --max-price 0.50 --json",
     .run = RunRoute},
    {.name = "prices",
     .summary = "import a public price map; versions of prices; settle anew by another price",
     .description =
         "Reads a price map from a file, exactly as its digits say, and keeps it in the data "
         "folder. "
         "Every row that cannot be priced is named with the reason. Rows of an earlier import of "
         "the same map are replaced.\n\n"
         "`prices rerate MODEL --provider SLUG` shows what settled requests would have cost at the "
         "price that is in force now, or at one that is named; with --apply they are corrected, as "
         "by `receipt adjust`. One that was ended half-way is run again, and goes on.",
     .arguments = kPricesArguments,
     .flags = kPricesFlags,
     .examples = "tradewind prices history org/name\n"
                 "tradewind prices import ./pricing/together-ai.json ./pricing/groq.json\n"
                 "tradewind prices import ./model_prices_and_context_window.json --json\n"
                 "tradewind prices rerate org/name --provider together --from 2026-11-01 --apply "
                 "--reason \"the price was mistyped\"",
     .run = RunPrices},
    {.name = "keys",
     .summary = "create, list, rotate and revoke tokens",
     .description =
         "`keys create --name N` prints a new token on stdout, once: it is stored as a hash only. "
         "The first key ends calls without a token for good. `keys rotate KEY` gives a new secret "
         "under the same id, with --grace for the old one; `keys rotate admin` replaces the admin "
         "token in HOME/admin-token. `keys revoke KEY` ends a key at once.\n\n"
         "Talks to the server that holds the data folder, with the admin token; without one it "
         "changes the data folder itself.",
     .arguments = kKeysArguments,
     .flags = kKeysFlags,
     .examples = "tradewind keys create --name laptop\n"
                 "tradewind keys create --name ci --models 'org/*' --expires 30d --rpm 60 --json\n"
                 "tradewind keys create --name demo --budget 1 --period day\n"
                 "tradewind keys rotate laptop --grace 24h",
     .run = RunKeys},
    {.name = "orgs",
     .summary = "organisations: limits and members",
     .description =
         "`orgs ls` lists organisations with their limits and members. `orgs set ORG` makes one, "
         "or changes its limits, which all of its requests share beside those of each key. `orgs "
         "add ORG --user NAME` makes a user its member, or gives him another role; all his keys "
         "may "
         "then have it pay (X-HF-Bill-To), where a key that was made for him in it pays from it "
         "alone. `orgs remove` ends that, and what his keys of it could do, at once.\n\n"
         "Talks to the server that holds the data folder, with the admin token; without one it "
         "changes the data folder itself.",
     .arguments = kOrgsArguments,
     .flags = kOrgsFlags,
     .examples = "tradewind orgs set acme --rpm 600 --parallel 20\n"
                 "tradewind orgs add acme --user ada --role admin",
     .run = RunOrgs},
    {.name = "usage",
     .summary = "what was spent, what is held, and what is in doubt",
     .description =
         "Sums over requests: settled ones at their cost, running ones at the most that they can "
         "cost, and those in doubt, whose end nobody knows yet. What has no price is counted, "
         "never "
         "as zero.",
     .arguments = {},
     .flags = kUsageFlags,
     .examples = "tradewind usage --key laptop --json\n"
                 "tradewind usage --from 2026-11-01 --provider together",
     .run = RunUsage},
    {.name = "requests",
     .summary = "the requests behind a number",
     .description =
         "One row for each attempt, the newest first, by the time it ended, as bills count it; "
         "with "
         "--by admission also those that run. --line is the id of a line of a bill: only what it "
         "counts is listed, and adds up to it, exactly. A key sees its own requests, one that "
         "manages its organisation's.",
     .arguments = {},
     .flags = kRequestsFlags,
     .examples = "tradewind requests --key laptop --limit 20\n"
                 "tradewind requests --period 2026-11 --line 0123456789abcdef --limit all --csv\n"
                 "tradewind requests --state in_doubt",
     .run = RunRequests},
    {.name = "budget",
     .summary = "bound what a key, user, project, organisation or the server may spend",
     .description =
         "A hard budget is never exceeded, not by one nano-dollar: before each request the most "
         "that "
         "it can cost is held. Raising a limit acts at once; lowering one below what is used stops "
         "new requests, and ends no running one. A new one counts from when it is set, and says "
         "what was spent in its period before. After a power cut the most that may have been "
         "spent in the records it took counts as used; `budget release` says that it was not.",
     .arguments = kBudgetArguments,
     .flags = kBudgetFlags,
     .examples = "tradewind budget set org:default --usd 50 --period month --zone Europe/Berlin\n"
                 "tradewind budget set provider:together --usd 500 --period month\n"
                 "tradewind budget ls",
     .run = RunBudget},
    {.name = "credit",
     .summary = "what organisations have paid ahead, or were given",
     .description =
         "Credits pay what an organisation is charged, presents first, then those that expire "
         "soonest; what is beyond them is owed, and stands on its invoice. `credit prepaid ORG` "
         "makes it pay from credits alone: a request that they do not cover is refused before "
         "anything is sent. `credit postpaid ORG` ends that. A grant is never changed; one with "
         "--id is made once, however often it is asked for.",
     .arguments = kCreditArguments,
     .flags = kCreditFlags,
     .examples = "tradewind credit grant acme 25 --expires 2027-01-01 --note \"order 4711\"\n"
                 "tradewind credit prepaid acme\n"
                 "tradewind credit ls --json",
     .run = RunCredit},
    {.name = "bill",
     .summary = "statements, their proof, exports and invoices",
     .description =
         "`bill` shows what was used and charged in a month, by project, key, model, provider and "
         "kind of token. `bill verify` makes the same statement again from the journal and "
         "compares "
         "the two byte for byte. `bill export` writes it hour by hour in the FinOps Open Cost and "
         "Usage Specification. `bill invoice --org ORG --period MONTH` issues an invoice from "
         "twelve "
         "hours after the month's end on: it is numbered without gaps, never changed, and refused "
         "when requests are in doubt, the journal does not explain it, or a provider's bill of the "
         "month differs and nothing explains that (--accept says why it is issued all the same). "
         "`bill invoice NUMBER --format html` hands it out. What was wrong is corrected by `bill "
         "credit NUMBER`, once under its --reference; what credits had paid of it comes back as a "
         "credit. `bill pay NUMBER` records that so much of "
         "one was paid, and `bill invoices` shows what is open.",
     .arguments = kBillArguments,
     .flags = kBillFlags,
     .examples = "tradewind bill --period 2026-11\n"
                 "tradewind bill verify --period 2026-11\n"
                 "tradewind bill export --focus 1.3 --format parquet --out focus.parquet\n"
                 "tradewind bill invoice --org acme --period 2026-11\n"
                 "tradewind bill invoice TW-000001 --format html --out invoice.html\n"
                 "tradewind bill pay TW-000001 --usd 42.50 --reference \"bank 4711\"",
     .run = RunBill},
    {.name = "backup",
     .summary = "copy keys, the ledger and invoices while the server runs",
     .description =
         "Writes copies that belong together into HOME/backups/TIME and prints that folder. To "
         "restore, copy its files into an empty data folder and start the server with that.",
     .arguments = {},
     .flags = kBackupFlags,
     .examples = "tradewind backup",
     .run = RunBackup},
    {.name = "reconcile",
     .summary = "providers' bills against what was recorded here",
     .description =
         "`reconcile import FILE --provider SLUG` reads a bill as CSV: what the provider counted "
         "by "
         "day or hour and model. `reconcile fetch PROVIDER` asks the provider's usage API for it, "
         "day by day, where the config says how (usage_api, usage_api_key_env). `reconcile status "
         "[MONTH]` lists each line beside what was "
         "recorded here, with the class of the difference: rounding, estimated, boundary, "
         "missing_local, "
         "missing_remote, units, price; and the price that the bill implies, where its lines agree "
         "on "
         "one. `reconcile close MONTH --provider SLUG` ends a month; it "
         "refuses while a request of it runs or is in doubt, and differences that nothing explains "
         "(requests that no line is of are some, too) unless --accept says why. `reconcile reopen "
         "MONTH --provider SLUG --reason TEXT` takes that back, for a bill that came late. "
         "`reconcile resolve RECEIPT` ends a request in doubt by your word, "
         "with --cost or --void, and a --reason.\n\n"
         "Talks to the server that holds the data folder, with the admin token; without one it "
         "works in the data folder itself.",
     .arguments = kReconcileArguments,
     .flags = kReconcileFlags,
     .examples =
         "tradewind reconcile import together-2026-11.csv --provider together --invoice\n"
         "tradewind reconcile fetch openai --from 2026-11-01\n"
         "tradewind reconcile status 2026-11\n"
         "tradewind reconcile close 2026-11 --provider together\n"
         "tradewind reconcile reopen 2026-11 --provider together --reason \"their invoice came\"\n"
         "tradewind reconcile resolve 019abc... --void --reason \"not on their bill\"",
     .run = RunReconcile},
    {.name = "receipt",
     .summary = "what one request cost, attempt by attempt; put it right",
     .description =
         "By the x-tradewind-receipt that every answer has. `receipt adjust RECEIPT --cost USD "
         "--reason TEXT` says what a settled request did cost: budgets, usage and the next bill "
         "follow, the receipt keeps both, and what was billed before stays. A charge falls, and "
         "never rises. In a day so much may be corrected as the config's "
         "billing.adjust_daily_usd says.",
     .arguments = kReceiptArguments,
     .flags = kReceiptFlags,
     .examples = "tradewind receipt 019abc...\n"
                 "tradewind receipt adjust 019abc... --cost 0.002 --reason \"the price was "
                 "mistyped\"",
     .run = RunReceipt},
    {.name = "alerts",
     .summary = "what you should know of money before the invoice tells you",
     .description =
         "Shares of budgets that are used, spending that is unusually fast or unusual for its time "
         "of the week, providers and models that were never paid for before, bills beyond what was "
         "held, providers' bills that differ from what was recorded, a disk that is nearly full. "
         "`alerts ack ID` says that it is known, and lets hard budgets use a route again that an "
         "alert of the kind `barred` names; `alerts forecast` says where budgets will "
         "end. [alerts] in the config file sends them to a webhook or a command.",
     .arguments = kAlertsArguments,
     .flags = kAlertsFlags,
     .examples = "tradewind alerts\n"
                 "tradewind alerts ack 12\n"
                 "tradewind alerts forecast",
     .run = RunAlerts},
    {.name = "login",
     .summary = "store a provider's key",
     .description =
         "Stores the key of an inference provider, encrypted. Without --org or --user it is the "
         "server's, for all callers. The key is read from stdin with --stdin, or typed at a "
         "terminal; it is never an argument, which others could see.",
     .arguments = {},
     .flags = kLoginFlags,
     .examples = "tradewind login --provider together --stdin < key.txt",
     .run = RunLogin},
    {.name = "logout",
     .summary = "forget a provider's key",
     .description = "Removes what `login` stored.",
     .arguments = {},
     .flags = kLogoutFlags,
     .examples = "tradewind logout --provider together",
     .run = RunLogout},
    {.name = "whoami",
     .summary = "say whose token this is",
     .description = "Asks the server about TRADEWIND_TOKEN, or else about the admin token of the "
                    "data folder.",
     .arguments = {},
     .flags = kWhoAmIFlags,
     .examples = "TRADEWIND_TOKEN=hf_tw_... tradewind whoami",
     .run = RunWhoAmI},
    {.name = "config",
     .summary = "print settings and where they come from",
     .description = "`config get [KEY]` prints the effective settings of the server, `config path` "
                    "the config files in the order "
                    "in which they count.",
     .arguments = kConfigArguments,
     .flags = kConfigFlags,
     .examples = "tradewind config get server.port --origin",
     .run = RunConfig},
    {.name = "completion",
     .summary = "print a completion script for a shell",
     .description = "Prints a script that completes verbs, flags and model names.",
     .arguments = kCompletionArguments,
     .flags = {},
     .examples =
         "tradewind completion bash > ~/.local/share/bash-completion/completions/tradewind\n"
         "tradewind completion zsh > ~/.zfunc/_tradewind\n"
         "tradewind completion fish > ~/.config/fish/completions/tradewind.fish",
     .run = RunCompletion},
    {.name = "man",
     .summary = "print the manual page",
     .description = "Prints the manual page in roff.",
     .arguments = {},
     .flags = {},
     .examples = "tradewind man | man -l -",
     .run = RunMan},
    {.name = "version",
     .summary = "print the version",
     .description = "Prints the version; with --json also how it was built.",
     .arguments = {},
     .flags = kVersionFlags,
     .examples = "tradewind version --json",
     .run = RunVersion},
    {.name = "help",
     .summary = "explain a verb",
     .description = "Prints the help of a verb, or the list of verbs.",
     .arguments = kHelpArguments,
     .flags = {},
     .examples = "tradewind help run",
     .run = RunHelp},
    {.name = "__complete",
     .summary = "candidates for completion scripts",
     .description = "Prints candidates, one per line. Reads only names of files.",
     .arguments = kCompleteArguments,
     .flags = {},
     .run = RunComplete,
     .hidden = true},
};

}  // namespace

std::span<const Command> Commands() {
  return kCommands;
}
std::span<const Flag> CommonFlags() {
  return kCommonFlags;
}

const Command* FindCommand(std::string_view name) {
  for (const Command& command : kCommands) {
    if (command.name == name) {
      return &command;
    }
  }
  return nullptr;
}

const Flag* FindFlag(const Command& command, std::string_view name) {
  for (const auto flags : {command.flags, CommonFlags()}) {
    for (const Flag& flag : flags) {
      if (flag.name == name) {
        return &flag;
      }
    }
  }
  return nullptr;
}

std::string EnvironmentName(const Flag& flag) {
  if (!flag.env.empty()) {
    return std::string(flag.env);
  }
  std::string name = "TRADEWIND_";
  for (const char c : flag.name) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

}  // namespace tradewind::cli
