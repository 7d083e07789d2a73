// The arguments and flags of every verb, in the order of the table in command.cc, which alone uses
// them. Whole because it is one table.
#pragma once

#include "cli/command.h"

namespace tradewind::cli {

inline constexpr Flag kJson{
    .name = "json", .value = "", .help = "print JSON with a versioned schema"};
inline constexpr Flag kContext{
    .name = "ctx",
    .value = "N",
    .help = "positions per sequence; clamped to what the model was trained for",
    .built_in = "8192",
    .config = "local.context"};
inline constexpr Flag kThreads{
    .name = "threads",
    .value = "N|auto",
    .help = "threads of the engine; auto = the CPUs this process may use",
    .built_in = "auto",
    .config = "local.threads"};
inline constexpr Flag kKv{.name = "kv",
                          .value = "TYPE",
                          .help = "element type of the KV cache",
                          .built_in = "f16",
                          .config = "local.kv",
                          .choices = "f16 f32 q8_0",
                          .offer = Offer::kChoice};
inline constexpr Flag kActivations{
    .name = "activations",
    .value = "TYPE",
    .help =
        "how activations enter the products with weights: f32 is exact "
        "and slow, i16 is near it, mixed rounds all but outliers to 8 bits, "
        "i8 rounds like other engines",
    .built_in = "mixed",
    .config = "local.activations",
    .choices = "f32 i16 mixed i8",
    .offer = Offer::kChoice};
inline constexpr Flag kKvMemory{
    .name = "kv-memory",
    .value = "MB|auto",
    .help =
        "memory for keys and values, of running and ended sequences; auto = slots x ctx, at "
        "most a quarter of the memory there is",
    .built_in = "auto",
    .config = "local.kv_memory"};
inline constexpr Flag kNoPrefixCache{
    .name = "no-prefix-cache",
    .value = "",
    .help = "evaluate every prompt from its first token, even when the beginning is known",
    .config = "local.no_prefix_cache"};
inline constexpr Flag kKernels{.name = "kernels",
                               .value = "NAME",
                               .help = "force one set of kernels instead of the best this CPU has",
                               .built_in = "auto",
                               .config = "local.kernels",
                               .choices = "auto scalar avx2 avx512",
                               .offer = Offer::kChoice};
inline constexpr Flag kHost{.name = "host",
                            .value = "ADDRESS",
                            .help = "address to listen on or to reach",
                            .built_in = "127.0.0.1",
                            .config = "server.host"};
inline constexpr Flag kPort{.name = "port",
                            .value = "N",
                            .help = "port to listen on or to reach; 0 lets the system pick one",
                            .built_in = "8737",
                            .config = "server.port"};
inline constexpr Flag kModels{.name = "models-dir",
                              .value = "FOLDER",
                              .help = "folder of GGUF files (default: HOME/models)",
                              .config = "local.models_dir",
                              .env = "TRADEWIND_MODELS",
                              .offer = Offer::kFile};

inline constexpr Flag kSecretKeyFile{
    .name = "secret-key-file",
    .value = "FILE",
    .help =
        "the server's own key, 64 hex digits, which guards tokens and provider keys (default: "
        "HOME/secret.key, made at the first start)",
    .config = "server.secret_key_file",
    .offer = Offer::kFile};

inline constexpr Flag kProgress{
    .name = "progress",
    .value = "HOW",
    .help =
        "what stderr says meanwhile: auto = a line on a terminal, now and then one elsewhere "
        "(none with --json); json = one object per line",
    .built_in = "auto",
    .choices = "auto json none",
    .offer = Offer::kChoice};

inline constexpr Flag kCommonFlags[] = {
    {.name = "home",
     .value = "FOLDER",
     .help = "data folder (default: the XDG data folder)",
     .offer = Offer::kFile},
    {.name = "config",
     .value = "FILE",
     .help = "config file (default: the XDG config folder's tradewind/config.toml)",
     .offer = Offer::kFile},
};

inline constexpr Flag kServeFlags[] = {
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
     .help = "the longest wait for the first byte of a provider's stream",
     .built_in = "2m",
     .config = "server.first_byte"},
    {.name = "whole-answer",
     .value = "TIME",
     .help =
         "the longest silence before an answer that is no stream, when another route may follow",
     .built_in = "5m",
     .config = "server.whole_answer"},
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
    {.name = "drain",
     .value = "TIME",
     .help = "how long running answers may take to end after SIGTERM or SIGINT",
     .built_in = "30s",
     .config = "server.drain"},
    {.name = "billing-every",
     .value = "TIME",
     .help = "how often providers are asked about requests in doubt",
     .built_in = "1m",
     .config = "billing.every"},
    {.name = "billing-give-up",
     .value = "TIME",
     .help = "a request that its provider's billing does not know for this long is void",
     .built_in = "30m",
     .config = "billing.give_up"},
    {.name = "billing-deadline",
     .value = "TIME",
     .help = "a request in doubt that nobody could ask about is settled as metered after this",
     .built_in = "24h",
     .config = "billing.deadline"},
    {.name = "adjust-daily-usd",
     .value = "USD",
     .help = "by so much may settled requests be corrected in a day of UTC, up and down",
     .built_in = "1000",
     .config = "billing.adjust_daily_usd"},
    {.name = "keep-requests",
     .value = "DAYS|forever",
     .help = "how long single requests stay in ledger.db, like 100d, at least 35d; older days are "
             "set aside into HOME/archive, and sums stay",
     .built_in = "forever",
     .config = "billing.keep_requests"},
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
inline constexpr Argument kRunArguments[] = {
    {.name = "REF", .help = "model id, or a path to a GGUF file", .offer = Offer::kModel},
    {.name = "PROMPT",
     .help = "one question; without it, chat",
     .required = false,
     .repeated = true},
};
inline constexpr Flag kRunFlags[] = {
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
inline constexpr Flag kUpgradeFlags[] = {kJson};
inline constexpr Flag kQuiet{.name = "quiet", .value = "", .help = "names only", .letter = 'q'};
inline constexpr Flag kListFlags[] = {kJson, kQuiet, kModels};
inline constexpr Flag kProcessFlags[] = {kJson, kQuiet, kHost, kPort};
inline constexpr Argument kShowArguments[] = {
    {.name = "REF", .help = "model id, or a path to a GGUF file", .offer = Offer::kModel}};
inline constexpr Flag kShowFlags[] = {
    kJson, {.name = "template", .value = "", .help = "print the chat template only"}, kModels};
inline constexpr Argument kBenchArguments[] = {
    {.name = "REF", .help = "model id, or a path to a GGUF file", .offer = Offer::kModel}};
inline constexpr Flag kBenchFlags[] = {
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
inline constexpr Flag kDoctorFlags[] = {
    kJson,
    kHost,
    kPort,
    kModels,
    {.name = "measure",
     .value = "",
     .help = "measure read bandwidth and dot-product peaks too; takes two seconds"},
    kThreads,
};
inline constexpr Argument kSearchArguments[] = {{.name = "TEXT",
                                                 .help = "part of a model's id; without it, all",
                                                 .required = false,
                                                 .repeated = true}};
inline constexpr Flag kSearchFlags[] = {
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
    kModels,
    kSecretKeyFile};
inline constexpr Argument kProvidersArguments[] = {
    {.name = "ACTION",
     .help = "check: keys, health and probes",
     .required = false,
     .offer = Offer::kChoice,
     .choices = "check"},
    {.name = "NAME", .help = "only this provider", .required = false}};
inline constexpr Flag kProvidersFlags[] = {
    {.name = "probe",
     .value = "",
     .help = "with check: let the server probe now; each model costs some hundred tokens"},
    kJson,
    kHost,
    kPort,
    kModels,
    kSecretKeyFile};
inline constexpr Argument kRouteArguments[] = {
    {.name = "ACTION", .help = "explain", .offer = Offer::kChoice, .choices = "explain"},
    {.name = "REF", .help = "model id, with a place or policy if any", .offer = Offer::kModel}};
inline constexpr Flag kRouteFlags[] = {
    {.name = "task",
     .value = "NAME",
     .help = "what it is asked for (default: the first of these that the model serves)",
     .choices = "conversational text-generation feature-extraction",
     .offer = Offer::kChoice},
    {.name = "need",
     .value = "LIST",
     .help = "what the request would use: tools,json,vision,audio,logprobs,reasoning"},
    {.name = "max-price",
     .value = "USD",
     .help = "only where neither input nor output costs more per million tokens"},
    kJson,
    kHost,
    kPort,
    kModels,
    kSecretKeyFile};
inline constexpr Argument kPricesArguments[] = {
    {.name = "ACTION",
     .help = "import, history or rerate",
     .offer = Offer::kChoice,
     .choices = "import history rerate"},
    {.name = "WHAT",
     .help = "import: price maps; history: a model, by its id (default: all); rerate: the model",
     .required = false,
     .repeated = true,
     .offer = Offer::kFile}};
inline constexpr Flag kPricesFlags[] = {
    {.name = "format",
     .value = "NAME",
     .help = "portkey: US cents per token, one file a provider, which "
             "names it; litellm: USD per token, all in one file",
     .built_in = "auto",
     .choices = "auto portkey litellm",
     .offer = Offer::kChoice},
    {.name = "provider", .value = "SLUG", .help = "rerate: what was settled at this provider"},
    {.name = "from", .value = "TIME", .help = "rerate: admitted at this date or time, or later"},
    {.name = "to", .value = "TIME", .help = "rerate: and before this one"},
    {.name = "input-usd-per-mtok",
     .value = "USD",
     .help = "rerate: the price; with the output's (default: the price that is in force)"},
    {.name = "cached-input-usd-per-mtok", .value = "USD", .help = "rerate: likewise"},
    {.name = "output-usd-per-mtok", .value = "USD", .help = "rerate: likewise"},
    {.name = "apply", .value = "", .help = "rerate: correct them; otherwise it is only shown"},
    {.name = "reason", .value = "TEXT", .help = "rerate: why; the receipts keep it"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile};
inline constexpr Argument kConfigArguments[] = {
    {.name = "ACTION", .help = "get or path", .offer = Offer::kChoice, .choices = "get path"},
    {.name = "KEY", .help = "as in the file: server.port; without it, all", .required = false},
};
inline constexpr Flag kConfigFlags[] = {
    {.name = "origin", .value = "", .help = "say where each value came from"}, kJson};
inline constexpr Argument kKeysArguments[] = {
    {.name = "ACTION",
     .help = "create, ls, rotate or revoke",
     .offer = Offer::kChoice,
     .choices = "create ls rotate revoke"},
    {.name = "KEY", .help = "name or id of a key; rotate also takes admin", .required = false},
};
inline constexpr Flag kOrg{.name = "org",
                           .value = "NAME",
                           .help = "organisation; made when it is not there",
                           .env = "TRADEWIND_KEY_ORG"};
inline constexpr Flag kUser{
    .name = "user", .value = "NAME", .help = "user; likewise", .env = "TRADEWIND_KEY_USER"};
inline constexpr Flag kPeriod{.name = "period",
                              .value = "P",
                              .help =
                                  "of the budget: it begins anew with each; or the span that "
                                  "counts at any time, like rolling:24h or rolling:7d",
                              .built_in = "total",
                              .choices = "total minute hour day week month quarter",
                              .env = "TRADEWIND_BUDGET_PERIOD",
                              .offer = Offer::kChoice};
inline constexpr Flag kZone{
    .name = "zone",
    .value = "ZONE",
    .help = "whose calendar the period follows, like Europe/Berlin (default: UTC)",
    .env = "TRADEWIND_BUDGET_ZONE"};
inline constexpr Flag kWeekStart{
    .name = "week-start",
    .value = "DAY",
    .help = "on which a week of the budget begins, like sunday (default: monday)",
    .env = "TRADEWIND_BUDGET_WEEK_START"};
inline constexpr Flag kCycleDay{
    .name = "cycle-day",
    .value = "N",
    .help =
        "day on which a month of the budget begins, 1 to 31; in a shorter month its last day "
        "(default: 1)",
    .env = "TRADEWIND_BUDGET_CYCLE_DAY"};
inline constexpr Flag kOf{.name = "of",
                          .value = "WHAT",
                          .help =
                              "what the budget counts: cost (what providers bill) or charge "
                              "(what users are charged)",
                          .built_in = "cost",
                          .choices = "cost charge",
                          .env = "TRADEWIND_BUDGET_OF",
                          .offer = Offer::kChoice};
inline constexpr Flag kKeysFlags[] = {
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
    {.name = "parallel", .value = "N", .help = "requests at the same time"},
    {.name = "max-output",
     .value = "N",
     .help = "tokens of an answer under a hard budget whose request names no max_tokens (default: "
             "8192)",
     .env = "TRADEWIND_KEY_MAX_OUTPUT"},
    {.name = "budget",
     .value = "USD",
     .help = "what the key may spend, hard: not a nano-dollar more",
     .env = "TRADEWIND_KEY_BUDGET"},
    kPeriod,
    kZone,
    kWeekStart,
    kCycleDay,
    kOf,
    {.name = "on-exhausted",
     .value = "HOW",
     .help = "when a budget has no room: refuse, or let the model on this device answer",
     .built_in = "refuse",
     .choices = "refuse local",
     .env = "TRADEWIND_KEY_ON_EXHAUSTED",
     .offer = Offer::kChoice},
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
inline constexpr Argument kOrgsArguments[] = {
    {.name = "ACTION",
     .help = "ls, set, add or remove",
     .offer = Offer::kChoice,
     .choices = "ls set add remove"},
    {.name = "ORG", .help = "name of an organisation", .required = false},
};
inline constexpr Flag kOrgsFlags[] = {
    {.name = "rpm",
     .value = "N",
     .help = "set: requests per minute of all its keys; 0: no limit",
     .env = "TRADEWIND_KEY_RPM"},
    {.name = "tpm",
     .value = "N",
     .help = "set: tokens per minute; likewise",
     .env = "TRADEWIND_KEY_TPM"},
    {.name = "parallel", .value = "N", .help = "set: requests at the same time; likewise"},
    {.name = "max-output",
     .value = "N",
     .help = "set: tokens of an answer under a hard budget whose request names no max_tokens; "
             "likewise",
     .env = "TRADEWIND_KEY_MAX_OUTPUT"},
    {.name = "strict",
     .value = "WHETHER",
     .help =
         "set: the records of paid requests are on the disk before they go out, so that a power "
         "cut takes none of them; each waits for a flush",
     .choices = "on off",
     .env = "TRADEWIND_ORG_STRICT",
     .offer = Offer::kChoice},
    {.name = "user", .value = "NAME", .help = "add, remove: who", .env = "TRADEWIND_KEY_USER"},
    {.name = "role",
     .value = "ROLE",
     .help = "add: what he may do there",
     .built_in = "member",
     .choices = "viewer member admin",
     .env = "TRADEWIND_KEY_ROLE",
     .offer = Offer::kChoice},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Flag kUsageFlags[] = {
    {.name = "key", .value = "KEY", .help = "of this key only, by name or id"},
    {.name = "for-model", .value = "ID", .help = "of this model only"},
    {.name = "provider", .value = "SLUG", .help = "of this provider only"},
    {.name = "from",
     .value = "TIME",
     .help = "admitted at this date or time, or later; whole quarters of an hour"},
    {.name = "to", .value = "TIME", .help = "and before this one"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Flag kRequestsFlags[] = {
    {.name = "org",
     .value = "ORG",
     .help = "of this organisation only, by name or id",
     .env = "TRADEWIND_KEY_ORG"},
    {.name = "project",
     .value = "PROJECT",
     .help = "of this project only, by name or id",
     .env = "TRADEWIND_KEY_PROJECT"},
    {.name = "key", .value = "KEY", .help = "of this key only, by name or id"},
    {.name = "user",
     .value = "USER",
     .help = "of this user's keys only, by name or id",
     .env = "TRADEWIND_KEY_USER"},
    {.name = "for-model", .value = "ID", .help = "of this model only"},
    {.name = "provider", .value = "SLUG", .help = "of this provider only"},
    {.name = "state",
     .value = "STATE",
     .help = "only those that are so",
     .choices = "settled void in_doubt sent held",
     .offer = Offer::kChoice},
    {.name = "source",
     .value = "SOURCE",
     .help = "only those whose tokens come from there",
     .choices = "provider metered bound none billed operator",
     .offer = Offer::kChoice},
    {.name = "by",
     .value = "TIME",
     .help = "which time is meant: end, as bills count, or admission (default: end; of what has "
             "not ended: admission)",
     .choices = "end admission",
     .offer = Offer::kChoice},
    {.name = "period",
     .value = "MONTH|DAY",
     .help = "of this month or day of UTC, like 2026-11",
     .env = "TRADEWIND_BUDGET_PERIOD"},
    {.name = "from", .value = "TIME", .help = "at this date or time, or later"},
    {.name = "to", .value = "TIME", .help = "and before this one"},
    {.name = "line", .value = "ID", .help = "that this line of a bill counts (bill --json)"},
    {.name = "limit", .value = "N|all", .help = "at most so many", .built_in = "100"},
    {.name = "after", .value = "CURSOR", .help = "behind these, as a list before said"},
    {.name = "csv", .value = "", .help = "print CSV, amounts in nano-USD"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Argument kReconcileArguments[] = {
    {.name = "ACTION",
     .help = "import, fetch, status, close, reopen or resolve",
     .offer = Offer::kChoice,
     .choices = "import fetch status close reopen resolve"},
    {.name = "WHAT",
     .help = "import: the file with the bill; fetch: the provider; resolve: the receipt, with -N "
             "behind it for its attempt N; otherwise the month, like 2026-11",
     .required = false}};
inline constexpr Flag kReconcileFlags[] = {
    {.name = "provider", .value = "SLUG", .help = "whose bill it is"},
    {.name = "invoice",
     .value = "",
     .help = "import: an invoice, which counts before what a usage interface said"},
    {.name = "replace",
     .value = "",
     .help = "import, fetch: drop lines of before that count requests of this bill otherwise"},
    {.name = "from",
     .value = "DATE",
     .help = "fetch: the first day, of UTC; without it the first of the month"},
    {.name = "to",
     .value = "DATE",
     .help = "fetch: the day behind the last one; without it today, or yesterday before 03:00"},
    {.name = "accept",
     .value = "TEXT",
     .help = "close: why it is closed with differences that nothing explains"},
    {.name = "cost",
     .value = "USD",
     .help = "resolve: what it cost, at most what was held; charged is at most what was delivered"},
    {.name = "void", .value = "", .help = "resolve: it cost nothing"},
    {.name = "reason",
     .value = "TEXT",
     .help = "resolve: how that is known, which the receipt keeps; reopen: why"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Argument kBudgetArguments[] = {
    {.name = "ACTION",
     .help = "ls, set, release (what a power cut left unaccounted) or rm",
     .offer = Offer::kChoice,
     .choices = "ls set release rm"},
    {.name = "SCOPE",
     .help = "key:KEY, user:USER, project:PROJECT or org:ORG (an id or a name); with /model:ID or "
             "/provider:SLUG behind it, of "
             "these alone; of the whole server: all, provider:SLUG, model:ID, probes",
     .required = false}};
inline constexpr Flag kBudgetFlags[] = {
    {.name = "usd",
     .value = "USD",
     .help = "set: the limit, like 5 or 0.25; a new budget needs it"},
    kPeriod,
    kZone,
    kWeekStart,
    kCycleDay,
    kOf,
    {.name = "mode",
     .value = "MODE",
     .help = "hard refuses what does not fit, soft and warn only tell",
     .built_in = "hard",
     .choices = "hard soft warn",
     .env = "TRADEWIND_BUDGET_MODE",
     .offer = Offer::kChoice},
    {.name = "warn",
     .value = "PERCENT,...",
     .help = "set: at which shares an alert is raised, at most four; none: at no share (default: "
             "50,80,100)",
     .env = "TRADEWIND_BUDGET_WARN"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Argument kCreditArguments[] = {
    {.name = "ACTION",
     .help = "ls, grant, prepaid or postpaid",
     .offer = Offer::kChoice,
     .choices = "ls grant prepaid postpaid"},
    {.name = "ORG", .help = "an organisation, by name or id", .required = false},
    {.name = "USD", .help = "grant: how much, like 5 or 0.25", .required = false}};
inline constexpr Flag kCreditFlags[] = {
    {.name = "expires",
     .value = "WHEN",
     .help = "grant: 30d, a date, or a time; what is left then is gone (default: never)",
     .env = "TRADEWIND_KEY_EXPIRES"},
    {.name = "note", .value = "TEXT", .help = "grant: what for; it stands on bills"},
    {.name = "promotional", .value = "", .help = "grant: a present, spent before what was paid"},
    {.name = "models",
     .value = "ORG/NAME,...",
     .help = "grant: pays for these models alone (default: all)",
     .env = "TRADEWIND_KEY_MODELS"},
    {.name = "providers",
     .value = "SLUG,...",
     .help = "grant: pays for these providers alone (default: all)",
     .env = "TRADEWIND_KEY_PROVIDERS"},
    {.name = "priority",
     .value = "N",
     .help = "grant: 0 to 100, of those that expire at the same time the lowest is spent first "
             "(default: 0)"},
    {.name = "id",
     .value = "ID",
     .help = "grant: what it is called, so that it is not granted twice (default: one is made)"},
    {.name = "limit", .value = "N", .help = "ls: at most so many (default, and at most: 1000)"},
    {.name = "after", .value = "ID", .help = "ls: those that were granted after this one"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Argument kAlertsArguments[] = {
    {.name = "ACTION",
     .help = "ls (the default), ack or forecast",
     .required = false,
     .offer = Offer::kChoice,
     .choices = "ls ack forecast"},
    {.name = "ID", .help = "ack: the alert that is known now", .required = false}};
inline constexpr Flag kAlertsFlags[] = {
    {.name = "all", .value = "", .help = "ls: also those that are acknowledged"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Argument kBillArguments[] = {
    {.name = "ACTION",
     .help = "show (the default), verify, export, invoice, invoices, credit or pay",
     .required = false,
     .offer = Offer::kChoice,
     .choices = "show verify export invoice invoices credit pay"},
    {.name = "NUMBER",
     .help = "invoice: hand out one that was issued; credit, pay: of which invoice",
     .required = false}};
inline constexpr Flag kBillFlags[] = {
    {.name = "period",
     .value = "P",
     .help = "a month or a day of UTC: 2026-11, 2026-11-25 (default: this month)",
     .env = "TRADEWIND_BUDGET_PERIOD"},
    {.name = "org",
     .value = "NAME",
     .help = "of this organisation, by name or id",
     .env = "TRADEWIND_KEY_ORG"},
    {.name = "focus",
     .value = "VERSION",
     .help = "export: of the FinOps Open Cost and Usage Specification",
     .built_in = "1.3",
     .choices = "1.2 1.3 1.4",
     .offer = Offer::kChoice},
    {.name = "format",
     .value = "NAME",
     .help = "export: csv or parquet; invoice: json, html or csv (default: csv, json)"},
    {.name = "out",
     .value = "FILE",
     .help = "write there instead of on stdout",
     .offer = Offer::kFile},
    {.name = "draft", .value = "", .help = "invoice: show it, and issue nothing"},
    {.name = "issuer", .value = "NAME", .help = "invoice: who bills", .config = "billing.issuer"},
    {.name = "issuer-address",
     .value = "TEXT",
     .help = "invoice: of the issuer, lines and all",
     .config = "billing.issuer_address"},
    {.name = "issuer-tax-id",
     .value = "TEXT",
     .help = "invoice: likewise",
     .config = "billing.issuer_tax_id"},
    {.name = "tax-percent",
     .value = "N",
     .help = "invoice: tax on the net amount, like 19",
     .config = "billing.tax_percent"},
    {.name = "customer",
     .value = "NAME",
     .help = "invoice: who pays (default: the organisation's name)"},
    {.name = "customer-address", .value = "TEXT", .help = "invoice: likewise"},
    {.name = "customer-tax-id", .value = "TEXT", .help = "invoice: likewise"},
    {.name = "confirm-total",
     .value = "USD",
     .help = "invoice: a total that is unusual is right, like 1,234.50"},
    {.name = "usd", .value = "USD", .help = "credit, pay: how much"},
    {.name = "reason", .value = "TEXT", .help = "credit: why"},
    {.name = "reference",
     .value = "TEXT",
     .help = "pay: the bank's, say; credit: a complaint's (default: one is made); under the same "
             "one a payment is recorded, and a note issued, once"},
    {.name = "accept",
     .value = "TEXT",
     .help = "invoice: why it is issued though a provider's bill is not explained"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile,
};
inline constexpr Flag kBackupFlags[] = {kJson, kHost, kPort, kSecretKeyFile};
inline constexpr Argument kReceiptArguments[] = {
    {.name = "ID", .help = "the x-tradewind-receipt of an answer; or the word adjust"},
    {.name = "RECEIPT",
     .help = "adjust: the receipt, with -N behind it for its attempt N",
     .required = false}};
inline constexpr Flag kReceiptFlags[] = {
    {.name = "cost", .value = "USD", .help = "adjust: what it did cost, all in all"},
    {.name = "charge",
     .value = "USD",
     .help = "adjust: what is charged for it, all in all; never more than it was (default: as it "
             "was, and at most the cost)"},
    {.name = "reason", .value = "TEXT", .help = "adjust: why; the receipt keeps it"},
    kJson,
    kHost,
    kPort,
    kSecretKeyFile};
inline constexpr Flag kProviderName{
    .name = "provider", .value = "NAME", .help = "slug of the provider: together, groq, ..."};
inline constexpr Flag kLoginFlags[] = {
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
inline constexpr Flag kLogoutFlags[] = {kProviderName, kOrg,  kUser,         kJson,
                                        kHost,         kPort, kSecretKeyFile};
inline constexpr Flag kWhoAmIFlags[] = {kJson, kHost, kPort};
inline constexpr Flag kVersionFlags[] = {kJson};
inline constexpr Argument kCompletionArguments[] = {
    {.name = "SHELL", .help = "bash, zsh or fish", .offer = Offer::kShell}};
inline constexpr Argument kHelpArguments[] = {{.name = "VERB",
                                               .help = "a verb; without it, all of them",
                                               .required = false,
                                               .offer = Offer::kVerb}};
inline constexpr Argument kCompleteArguments[] = {
    {.name = "WHAT", .help = "models or verbs"},
    {.name = "PREFIX", .help = "what is typed so far", .required = false},
};

}  // namespace tradewind::cli
