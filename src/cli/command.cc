#include "cli/command.h"

#include <cctype>

#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

constexpr Flag kJson{.name = "json", .value = "", .help = "print JSON with a versioned schema"};
constexpr Flag kContext{.name = "ctx",
                        .value = "N",
                        .help = "positions per sequence; clamped to what the model was trained for",
                        .built_in = "8192",
                        .config = "local.context"};
constexpr Flag kThreads{.name = "threads",
                        .value = "N|auto",
                        .help = "threads of the engine; auto = the CPUs this process may use",
                        .built_in = "auto",
                        .config = "local.threads"};
constexpr Flag kKv{.name = "kv",
                   .value = "TYPE",
                   .help = "element type of the KV cache",
                   .built_in = "f16",
                   .config = "local.kv",
                   .choices = "f16 f32 q8_0",
                   .offer = Offer::kChoice};
constexpr Flag kActivations{.name = "activations",
                            .value = "TYPE",
                            .help =
                                "how activations enter the products with weights: f32 is exact "
                                "and slow, i16 is near it, i8 rounds like other engines",
                            .built_in = "i16",
                            .config = "local.activations",
                            .choices = "f32 i16 i8",
                            .offer = Offer::kChoice};
constexpr Flag kKvMemory{
    .name = "kv-memory",
    .value = "MB|auto",
    .help =
        "memory for keys and values, of running and ended sequences; auto = slots x ctx, at "
        "most a quarter of the memory there is",
    .built_in = "auto",
    .config = "local.kv_memory"};
constexpr Flag kNoPrefixCache{
    .name = "no-prefix-cache",
    .value = "",
    .help = "evaluate every prompt from its first token, even when the beginning is known",
    .config = "local.no_prefix_cache"};
constexpr Flag kKernels{.name = "kernels",
                        .value = "NAME",
                        .help = "force one set of kernels instead of the best this CPU has",
                        .built_in = "auto",
                        .config = "local.kernels",
                        .choices = "auto scalar avx2 avx512",
                        .offer = Offer::kChoice};
constexpr Flag kHost{.name = "host",
                     .value = "ADDRESS",
                     .help = "address to listen on or to reach",
                     .built_in = "127.0.0.1",
                     .config = "server.host"};
constexpr Flag kPort{.name = "port",
                     .value = "N",
                     .help = "port to listen on or to reach; 0 lets the system pick one",
                     .built_in = "8737",
                     .config = "server.port"};
constexpr Flag kModels{.name = "models-dir",
                       .value = "FOLDER",
                       .help = "folder of GGUF files (default: HOME/models)",
                       .config = "local.models_dir",
                       .env = "TRADEWIND_MODELS",
                       .offer = Offer::kFile};

constexpr Flag kSecretKeyFile{
    .name = "secret-key-file",
    .value = "FILE",
    .help =
        "the server's own key, 64 hex digits, which guards tokens and provider keys (default: "
        "HOME/secret.key, made at the first start)",
    .config = "server.secret_key_file",
    .offer = Offer::kFile};

constexpr Flag kProgress{
    .name = "progress",
    .value = "HOW",
    .help =
        "what stderr says meanwhile: auto = a line on a terminal, now and then one elsewhere "
        "(none with --json); json = one object per line",
    .built_in = "auto",
    .choices = "auto json none",
    .offer = Offer::kChoice};

constexpr Flag kCommonFlags[] = {
    {.name = "home",
     .value = "FOLDER",
     .help = "data folder (default: the XDG data folder)",
     .offer = Offer::kFile},
    {.name = "config",
     .value = "FILE",
     .help = "config file (default: the XDG config folder's tradewind/config.toml)",
     .offer = Offer::kFile},
};

constexpr Flag kServeFlags[] = {
    kHost,
    kPort,
    {.name = "model",
     .value = "REF",
     .help = "model to load, or a path to a GGUF file (default: the only or first one in the "
             "models folder)",
     .config = "local.model",
     .offer = Offer::kModel},
    kModels,
    kContext,
    {.name = "slots",
     .value = "N",
     .help = "sequences that share each pass over the weights",
     .built_in = "8",
     .config = "local.slots"},
    {.name = "queue",
     .value = "N",
     .help = "sequences that may wait for a slot; beyond it clients get 429",
     .built_in = "64",
     .config = "local.queue"},
    kThreads,
    kKv,
    kActivations,
    kKvMemory,
    kNoPrefixCache,
    kKernels,
    {.name = "loaded",
     .value = "N",
     .help = "models in memory at once; the least recently used one makes room",
     .built_in = "1",
     .config = "local.loaded"},
    {.name = "access-log",
     .value = "FILE",
     .help = "write one JSON line per request there; - means stderr, none turns it off",
     .built_in = "-",
     .config = "server.access_log",
     .offer = Offer::kFile},
    {.name = "first-byte",
     .value = "TIME",
     .help = "the longest wait for a provider's first byte",
     .built_in = "2m",
     .config = "server.first_byte"},
    {.name = "stall",
     .value = "TIME",
     .help = "the longest pause inside a provider's answer",
     .built_in = "2m",
     .config = "server.stall"},
    {.name = "deadline",
     .value = "TIME",
     .help = "the longest time for a request, all attempts together",
     .built_in = "15m",
     .config = "server.deadline"},
    {.name = "connections",
     .value = "N",
     .help =
         "clients' connections at once; further ones wait; fewer when too few files may be open",
     .built_in = "8192",
     .config = "server.connections_max"},
    kSecretKeyFile,
    {.name = "idle-exit",
     .value = "TIME",
     .help = "exit after this long without a request (30s, 5m, 1h); 0 = never",
     .built_in = "0"},
};
constexpr Argument kRunArguments[] = {
    {.name = "REF", .help = "model id, or a path to a GGUF file", .offer = Offer::kModel},
    {.name = "PROMPT",
     .help = "one question; without it, chat",
     .required = false,
     .repeated = true},
};
constexpr Flag kRunFlags[] = {
    {.name = "system", .value = "TEXT", .help = "system message"},
    {.name = "temp", .value = "T", .help = "temperature; 0 always takes the most likely token"},
    {.name = "top-p", .value = "P", .help = "keep the most likely tokens up to this mass"},
    {.name = "max-tokens", .value = "N", .help = "longest answer"},
    {.name = "seed", .value = "N", .help = "the same seed and settings repeat the answer"},
    {.name = "stats", .value = "", .help = "print times, speeds and cost to stderr"},
    {.name = "raw", .value = "", .help = "no chat template: the prompt goes to the model as it is"},
    kJson,
    kProgress,
    kHost,
    kPort,
    kModels,
    {.name = "ctx",
     .value = "N",
     .help = "context of a server that run starts",
     .built_in = "8192",
     .config = "local.context"},
    {.name = "keep",
     .value = "TIME",
     .help = "idle time after which a server that run started exits",
     .built_in = "30m",
     .config = "local.keep"},
};
constexpr Flag kUpgradeFlags[] = {kJson};
constexpr Flag kQuiet{.name = "quiet", .value = "", .help = "names only", .letter = 'q'};
constexpr Flag kListFlags[] = {kJson, kQuiet, kModels};
constexpr Flag kProcessFlags[] = {kJson, kQuiet, kHost, kPort};
constexpr Argument kShowArguments[] = {
    {.name = "REF", .help = "model id, or a path to a GGUF file", .offer = Offer::kModel}};
constexpr Flag kShowFlags[] = {
    kJson, {.name = "template", .value = "", .help = "print the chat template only"}, kModels};
constexpr Argument kBenchArguments[] = {
    {.name = "REF", .help = "model id, or a path to a GGUF file", .offer = Offer::kModel}};
constexpr Flag kBenchFlags[] = {
    {.name = "prompt-tokens", .value = "N,...", .help = "prompt lengths", .built_in = "128,512"},
    {.name = "gen-tokens", .value = "N", .help = "tokens to generate", .built_in = "64"},
    {.name = "concurrency",
     .value = "N,...",
     .help = "sequences at the same time",
     .built_in = "1,4"},
    {.name = "plan",
     .value = "PxNxC,...",
     .help = "prompt x output tokens x sequences, instead of the three above: 512x1x1,64x64x8"},
    {.name = "reps",
     .value = "N",
     .help = "measured repetitions, after a short one to warm up",
     .built_in = "3"},
    kContext,
    kThreads,
    kKv,
    kActivations,
    kKernels,
    kJson,
    kProgress,
    kModels,
};
constexpr Flag kDoctorFlags[] = {
    kJson,
    kHost,
    kPort,
    kModels,
    {.name = "measure",
     .value = "",
     .help = "measure read bandwidth and dot-product peaks too; takes two seconds"},
    kThreads,
};
constexpr Argument kSearchArguments[] = {{.name = "TEXT",
                                          .help = "part of a model's id; without it, all",
                                          .required = false,
                                          .repeated = true}};
constexpr Flag kSearchFlags[] = {
    {.name = "place", .value = "NAME", .help = "only at this provider, or local"},
    {.name = "tools", .value = "", .help = "only where tool calls are known to work"},
    {.name = "schema-output",
     .value = "",
     .help = "only where answers by a JSON schema are known to work"},
    {.name = "max-price",
     .value = "USD",
     .help = "only where neither input nor output costs more per million tokens"},
    {.name = "min-ctx", .value = "N", .help = "only with a context of at least N tokens"},
    {.name = "license", .value = "NAME", .help = "only models under this licence: apache-2.0"},
    {.name = "sort",
     .value = "HOW",
     .help = "name; price, the cheapest output first; context, the longest first",
     .built_in = "name",
     .choices = "name price context",
     .offer = Offer::kChoice},
    kJson,
    kModels};
constexpr Argument kProvidersArguments[] = {
    {.name = "ACTION",
     .help = "check: keys, health and probes",
     .required = false,
     .offer = Offer::kChoice,
     .choices = "check"},
    {.name = "NAME", .help = "only this provider", .required = false}};
constexpr Flag kProvidersFlags[] = {
    {.name = "probe",
     .value = "",
     .help = "with check: let the server probe now; each model costs some hundred tokens"},
    kJson,
    kHost,
    kPort,
    kModels};
constexpr Argument kRouteArguments[] = {
    {.name = "ACTION", .help = "explain", .offer = Offer::kChoice, .choices = "explain"},
    {.name = "REF", .help = "model id, with a place or policy if any", .offer = Offer::kModel}};
constexpr Flag kRouteFlags[] = {
    {.name = "need",
     .value = "LIST",
     .help = "what the request would use: tools,json,vision,audio,logprobs,reasoning"},
    {.name = "max-price",
     .value = "USD",
     .help = "only where neither input nor output costs more per million tokens"},
    kJson,
    kHost,
    kPort,
    kModels};
constexpr Argument kPricesArguments[] = {
    {.name = "ACTION", .help = "import", .offer = Offer::kChoice, .choices = "import"},
    {.name = "FILE", .help = "a price map", .repeated = true, .offer = Offer::kFile}};
constexpr Flag kPricesFlags[] = {{.name = "format",
                                  .value = "NAME",
                                  .help = "portkey: US cents per token, one file a provider, which "
                                          "names it; litellm: USD per token, all in one file",
                                  .built_in = "auto",
                                  .choices = "auto portkey litellm",
                                  .offer = Offer::kChoice},
                                 kJson};
constexpr Argument kConfigArguments[] = {
    {.name = "ACTION", .help = "get or path", .offer = Offer::kChoice, .choices = "get path"},
    {.name = "KEY", .help = "as in the file: server.port; without it, all", .required = false},
};
constexpr Flag kConfigFlags[] = {
    {.name = "origin", .value = "", .help = "say where each value came from"}, kJson};
constexpr Argument kKeysArguments[] = {
    {.name = "ACTION",
     .help = "create, ls, rotate or revoke",
     .offer = Offer::kChoice,
     .choices = "create ls rotate revoke"},
    {.name = "KEY", .help = "name or id of a key; rotate also takes admin", .required = false},
};
constexpr Flag kOrg{.name = "org",
                    .value = "NAME",
                    .help = "organisation; made when it is not there",
                    .env = "TRADEWIND_KEY_ORG"};
constexpr Flag kUser{
    .name = "user", .value = "NAME", .help = "user; likewise", .env = "TRADEWIND_KEY_USER"};
constexpr Flag kKeysFlags[] = {
    {.name = "name",
     .value = "N",
     .help = "name of a new key; unique",
     .env = "TRADEWIND_KEY_NAME"},
    kOrg,
    {.name = "project",
     .value = "NAME",
     .help = "project of the organisation; likewise",
     .env = "TRADEWIND_KEY_PROJECT"},
    kUser,
    {.name = "role",
     .value = "ROLE",
     .help = "what the user may do in the organisation, from now on",
     .choices = "viewer member admin",
     .env = "TRADEWIND_KEY_ROLE",
     .offer = Offer::kChoice},
    {.name = "scopes",
     .value = "S,...",
     .help = "inference (ask models), read (look), manage (keys of the organisation)",
     .built_in = "inference,read",
     .env = "TRADEWIND_KEY_SCOPES"},
    {.name = "models",
     .value = "REF,...",
     .help = "allow these models only; org/* allows all of an organisation",
     .env = "TRADEWIND_KEY_MODELS"},
    {.name = "providers",
     .value = "SLUG,...",
     .help = "allow these providers only; local is this device",
     .env = "TRADEWIND_KEY_PROVIDERS"},
    {.name = "expires",
     .value = "WHEN",
     .help = "30d, 12h, a date, or a time such as 2027-01-31T12:00:00Z (default: never)",
     .env = "TRADEWIND_KEY_EXPIRES"},
    {.name = "rpm", .value = "N", .help = "requests per minute", .env = "TRADEWIND_KEY_RPM"},
    {.name = "tpm", .value = "N", .help = "tokens per minute", .env = "TRADEWIND_KEY_TPM"},
    {.name = "parallel",
     .value = "N",
     .help = "requests at the same time"},
    {.name = "budget",
     .value = "USD",
     .help = "refused by this version, which does not count what keys spend",
     .env = "TRADEWIND_KEY_BUDGET"},
    {.name = "grace",
     .value = "TIME",
     .help = "rotate: how long the old secret goes on working (15m, 24h)",
     .built_in = "0",
     .env = "TRADEWIND_KEY_GRACE"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
constexpr Flag kProviderName{
    .name = "provider", .value = "NAME", .help = "slug of the provider: together, groq, ..."};
constexpr Flag kLoginFlags[] = {
    kProviderName,
    {.name = "stdin", .value = "", .help = "read the key from stdin"},
    {.name = "org",
     .value = "NAME",
     .help = "the key is this organisation's own, not the server's",
     .env = "TRADEWIND_KEY_ORG"},
    {.name = "user",
     .value = "NAME",
     .help = "the key is this user's own",
     .env = "TRADEWIND_KEY_USER"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
constexpr Flag kLogoutFlags[] = {kProviderName, kOrg, kUser, kJson, kHost, kPort, kSecretKeyFile};
constexpr Flag kWhoAmIFlags[] = {kJson, kHost, kPort};
constexpr Flag kVersionFlags[] = {kJson};
constexpr Argument kCompletionArguments[] = {
    {.name = "SHELL", .help = "bash, zsh or fish", .offer = Offer::kShell}};
constexpr Argument kHelpArguments[] = {{.name = "VERB",
                                        .help = "a verb; without it, all of them",
                                        .required = false,
                                        .offer = Offer::kVerb}};
constexpr Argument kCompleteArguments[] = {
    {.name = "WHAT", .help = "models or verbs"},
    {.name = "PREFIX", .help = "what is typed so far", .required = false},
};

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
                    "probed first, which costs some hundred tokens a model.",
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
     .summary = "import a public price map",
     .description =
         "Reads a price map from a file, exactly as its digits say, and keeps it in the data "
         "folder. "
         "Every row that cannot be priced is named with the reason. Rows of an earlier import of "
         "the same map are replaced.",
     .arguments = kPricesArguments,
     .flags = kPricesFlags,
     .examples = "tradewind prices import ./pricing/together-ai.json ./pricing/groq.json\n"
                 "tradewind prices import ./model_prices_and_context_window.json --json",
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
                 "tradewind keys rotate laptop --grace 24h",
     .run = RunKeys},
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
