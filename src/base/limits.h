// Every bound in one place. A bound names its unit; the comment says why this number.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tradewind::limits {

// --- HTTP ---

inline constexpr int64_t kBodyBytesMax = 32 << 20;  // a 262,144-token prompt is about 1.2 MB
// Of all requests being read or answered. The first part of each body is not counted, so that small
// requests find room always; for all connections that part is 128 MiB.
inline constexpr int64_t kBodyBytesInFlightMax = 256 << 20;  // beyond it 503
inline constexpr int64_t kBodyBytesUncounted = 16 << 10;
inline constexpr int64_t kHeaderBytesMax = 32 << 10;  // nginx allows 4 x 8 KiB
// Beyond it connections wait in the backlog. A process that may open fewer than twice as many files
// takes fewer: each stream may need one to its upstream too.
inline constexpr int64_t kConnectionsMax = 8192;
inline constexpr int64_t kFilesReserved = 128;          // for models, database, logs, probes
inline constexpr int64_t kKeptRequestBytes = 2048;      // of a reader's buffer, between requests
inline constexpr int64_t kReadHeadDeadlineMs = 60'000;  // also the keep-alive idle time
inline constexpr int64_t kReadBodyDeadlineMs = 60'000;  // a slow upload cannot hold a connection
inline constexpr int64_t kWriteDeadlineMs = 120'000;    // a reader without progress is cut then
inline constexpr int64_t kDrainDeadlineMs = 30'000;     // after SIGTERM, for running exchanges
// An upgrade in place: the successor loads its model; takes the data folder; the old process then
// answers what still comes on idle connections, and ends what runs (never before a request's own
// deadline).
inline constexpr int64_t kUpgradeLoadMs = 600'000;
inline constexpr int64_t kUpgradeTakeOverMs = 30'000;
inline constexpr int64_t kUpgradeIdleGraceMs = 5'000;
inline constexpr int64_t kUpgradeDrainMs = 3'600'000;
inline constexpr int64_t kLingerMs = 2'000;  // reading on before a close, so no answer is reset
inline constexpr int64_t kSseLineBytesMax = 8 << 20;       // one event line from an upstream
inline constexpr int64_t kClientBodyBytesMax = 256 << 20;  // a whole answer that our client reads
inline constexpr int64_t kClientStopCheckMs = 50;  // how often a waiting fetch asks if to stop

// --- Upstreams ---

inline constexpr int64_t kUpstreamConnectMs = 10'000;     // name, connection and TLS together
inline constexpr int64_t kUpstreamFirstByteMs = 600'000;  // a long prompt, in a long queue
// For an answer that is no stream, when another route may follow: long thoughts take minutes.
inline constexpr int64_t kUpstreamWholeAnswerMs = 300'000;
inline constexpr int64_t kUpstreamIdleMs = 120'000;  // a stream that stalls this long is dead
// Events of a stream before there is anything to see, which are held back, and one more: 128
// choices announce themselves in 40 kB.
inline constexpr size_t kUpstreamUnseenBytesMax = 256 << 10;
// After [DONE], for what ends the body: then the connection can be kept. The client has its end,
// but its own connection waits.
inline constexpr int64_t kUpstreamEndMs = 100;
inline constexpr size_t kUpstreamEndBytesMax = 4 << 10;
inline constexpr int64_t kUpstreamBufferBytes = 16 << 10;  // while bytes are there; a TLS record
inline constexpr int64_t kUpstreamSpareBuffersMax = 64;    // kept of each event loop
inline constexpr int64_t kUpstreamKeepMs = 30'000;         // many servers close after 60 s or 75 s
inline constexpr int64_t kUpstreamIdlePerHostMax = 128;    // of one event loop
inline constexpr int64_t kUpstreamIdleConnectionsMax = 1024;  // likewise
inline constexpr int64_t kUpstreamSweepMs = 1'000;            // how often unused ones are looked at
inline constexpr int kUpstreamHeaderFieldsMax = 256;          // providers send 20 to 40
// An answer that is no stream, which is read whole before it is passed on: so much in any case (a
// few pictures), for each token of the longest answer that was asked for, for each that comes with
// its alternatives or as sound, and for each text whose embedding it is (8,192 numbers); never more
// than the last.
inline constexpr int64_t kAnswerBytes = 16 << 20;
inline constexpr int64_t kAnswerTokenBytes = 64;
inline constexpr int64_t kAnswerRichTokenBytes = 8 << 10;
inline constexpr int64_t kAnswerEmbeddingBytes = 256 << 10;
inline constexpr int64_t kAnswerTokensUnbounded = 131'072;  // where nothing bounds them
inline constexpr int64_t kAnswerBytesMax = 256 << 20;
inline constexpr int64_t kUpstreamBodyBytesMax = int64_t{1} << 30;  // a stream of a whole day
inline constexpr int kInterimResponsesMax = 16;                     // 1xx before the answer
inline constexpr int64_t kChunkLineBytesMax = 4096;  // a chunk's size with its extensions
// A compressed body may inflate to this much, and by this factor beyond it. Event streams of equal
// chunks reach 50; deflate ends at 1032.
inline constexpr int64_t kInflatedBytesFree = 8 << 20;
inline constexpr int64_t kInflateFactorMax = 200;
inline constexpr int kUpstreamAddressesMax = 8;  // tried of one name
inline constexpr int kTlsSessionsMax = 256;      // hosts whose last session is remembered
inline constexpr int64_t kResolvedTtlMs = 30'000;
inline constexpr int64_t kNotResolvedTtlMs = 1'000;
inline constexpr int kResolvedNamesMax = 1024;
inline constexpr int kResolverThreads = 2;
inline constexpr int kResolverQueueMax = 256;

// Of a provider that bills the whole answer also when its reader has left: it is read to its end
// without one, so that its bill is known.
inline constexpr int64_t kReadOnMs = 60'000;
inline constexpr int64_t kReadOnBytesMax = 4 << 20;
// In doubt at a time; the ledger has room for 65,536 open holds.
inline constexpr int64_t kHoldsInDoubtMax = 32'768;
inline constexpr int kReadOnMax = 256;  // at a time; further ones are cancelled, and in doubt

inline constexpr int64_t kBillingAnswerBytesMax = 8 << 20;  // 10,000 costs by long ids take 2 MB
inline constexpr int64_t kBillingDeadlineMs = 60'000;       // of one call

// --- Telemetry ---

inline constexpr size_t kMetricSeriesMax = 1000;     // per family; beyond it labels are "other"
inline constexpr size_t kAccessLogQueuedMax = 8192;  // lines waiting for the disk; oldest dropped

// --- Requests ---

inline constexpr int kJsonDepthMax = 64;
inline constexpr int64_t kJsonValuesMax = 4 << 20;  // 256 prompts of 8,192 ids are 2 million
inline constexpr size_t kRequestFieldsMax = 512;    // at the top level; OpenAI documents about 40
inline constexpr int kMessagesMax = 4096;
inline constexpr int kStopStringsMax = 16;  // OpenAI documents 4; vLLM and others take more
inline constexpr int kStopStringBytesMax = 1024;
inline constexpr int kChoicesMax = 128;  // OpenAI's bound for n
inline constexpr int kPromptsMax = 256;  // of one /v1/completions call; lm-eval sends batches
inline constexpr int kSequencesPerRequestMax = 1024;  // prompts x n
inline constexpr int64_t kWireChoicesMax = 1 << 16;   // of an upstream's stream: prompts x n
inline constexpr int kTopLogprobsMax = 20;            // OpenAI's bound
// A log-probability entry is a token with its value and names; some 200 bytes while its answer is
// collected and written.
inline constexpr int64_t kLogprobEntriesMax = 1 << 20;          // of one request
inline constexpr int64_t kLogprobEntriesInFlightMax = 4 << 20;  // of all; beyond it 429
inline constexpr int kLogitBiasMax = 2048;
inline constexpr int kModelStringBytesMax = 512;   // a Hub id has at most 96 + 1 + 96
inline constexpr int kIgnoredFieldsNamedMax = 16;  // unknown fields in x-tradewind-ignored

inline constexpr size_t kFallbackModelsMax = 16;  // `models`: the ids to try after `model`
// --- Identity ---

inline constexpr int64_t kKeysMax = 100'000;       // all of them stand in memory, 1 kB each
inline constexpr int kKeyNameBytesMax = 100;       // of keys; shown in tables
inline constexpr int kAccountNameBytesMax = 64;    // of orgs, projects, users: they go into headers
inline constexpr int kAllowListEntriesMax = 256;   // models or providers of one key
inline constexpr int kProviderKeyBytesMax = 4096;  // some providers' keys are signed documents
inline constexpr int kProviderKeysMax = 100'000;
inline constexpr int64_t kKeyLimitMax = 1'000'000'000;  // rpm, tpm, concurrency, max_output
inline constexpr int64_t kRotationGraceMaxS =
    30 * 86'400;                                    // the old secret lives on for at most this
inline constexpr int64_t kLastUseFlushMs = 30'000;  // last use is written this often

// --- Providers ---

inline constexpr int64_t kRequestDeadlineMs = 900'000;       // attempts and answer together
inline constexpr int64_t kUpstreamErrorBytesMax = 64 << 10;  // of an error's body
inline constexpr int kWorkerThreads = 2;                     // rendering and tokenizing
inline constexpr int kWorkerJobsMax = 256;                   // waiting for a worker; beyond it 429
// Pages of the console and command line, which read the database: bills of millions of requests
// take minutes. Beyond so many that wait, 429.
inline constexpr int kConsoleThreads = 2;
inline constexpr int kConsoleJobsMax = 256;
// Answers under idempotency keys, found and kept: one database, so that one writes at a time.
inline constexpr int kReplayThreads = 1;
inline constexpr int kReplayJobsMax = 256;
inline constexpr int64_t kWorkerDeadlineMs = 120'000;     // one job: tokenizing 32 MB takes seconds
inline constexpr int64_t kModelLoadDeadlineMs = 600'000;  // a large file on a cold disk
inline constexpr int64_t kNextEventDeadlineMs = 600'000;  // for a token, time in the queue too
inline constexpr int kModelFilesMax = 10'000;             // looked at below the models folders
inline constexpr int kModelFolderDepthMax = 8;

// --- Catalogue ---

inline constexpr size_t kConfiguredProvidersMax = 256;
inline constexpr size_t kConfiguredModelsMax = 10'000;  // of one [[providers]] entry
inline constexpr size_t kPriceMapBytesMax = 64 << 20;   // the largest public map has 2 MB
inline constexpr size_t kPriceRowsMax = 100'000;        // kept in one home; maps have some 3,000
inline constexpr size_t kApiKeyBytesMax = 4096;         // JSON web tokens take about 1,000
inline constexpr int kModelListPageMax = 1000;          // of GET /api/models, as on the Hub

// --- Routing ---

inline constexpr size_t kRoutesMax = 20'000;         // with a health of their own; 1 kB each
inline constexpr size_t kHoldsMax = 64;              // own keys that rest at a time, per route
inline constexpr int64_t kSpeedTokensMin = 8;        // a shorter answer tells no tokens per second
inline constexpr size_t kRateSubjectsMax = 100'000;  // keys and orgs with limits, lately active
inline constexpr size_t kProbesMax = 20'000;         // mappings under watch

// --- Engine ---

inline constexpr int kSlotsMax = 64;             // sequences that share a pass over the weights
inline constexpr int kQueuedSequencesMax = 256;  // waiting for a slot; beyond it 429
inline constexpr int kEventsQueuedMax = 64;      // per sequence; a full queue pauses it
inline constexpr int kBatchTokensMax = 256;      // rows of one pass (prefill chunk and decodes)
// Rows of prompts in a pass that others wait in for their next token: beside 8 of them, 256 would
// make each token wait six times as long.
inline constexpr int kPrefillRowsBesideDecodes = 64;
inline constexpr int kLogitRowsMax = 64;  // rows of one pass whose logits are computed
inline constexpr int kKvBlockPositions = 32;
inline constexpr int kThreadsMax = 256;
inline constexpr int64_t kActivationBytesMax = int64_t{4} << 30;  // a 3B model's step takes 0.1
inline constexpr int64_t kKvBytesMax = int64_t{1} << 42;          // grows on demand; 4 TiB

// --- Answers of providers that are counted once more ---

inline constexpr size_t kRecountsWaitingMax = 64;
inline constexpr size_t kRecountedBytesMax = 1 << 20;  // of an answer
inline constexpr size_t kRecountedModelsMax = 16;      // their vocabularies stay in memory

// --- Model files ---

inline constexpr uint64_t kGgufTensorsMax = 1u << 20;
inline constexpr uint64_t kGgufKeysMax = 1u << 16;
inline constexpr uint64_t kGgufKeyBytesMax = 65'535;        // the specification's bound
inline constexpr uint64_t kGgufTensorNameBytesMax = 64;     // likewise
inline constexpr uint32_t kGgufDimsMax = 4;                 // likewise
inline constexpr uint64_t kGgufStringBytesMax = 64u << 20;  // a tokenizer.json is about 17 MB
inline constexpr uint64_t kGgufAlignmentMax = 1u << 20;     // files use 32
inline constexpr uint64_t kGgufSplitsMax = 4096;
inline constexpr int kVocabularyMax = 1 << 21;
inline constexpr int kTokenBytesMax = 1 << 16;
inline constexpr uint64_t kMergesMax = 1 << 24;
inline constexpr int kSpecialTokenBytesMax = 256;  // longer ones are not matched in text
inline constexpr int kSpecialBytesMax = 1 << 20;   // names of all; Tekken's 1000 take 14 KB
inline constexpr int kWordBytesMax = 1 << 20;      // one pre-token; merging takes 60 bytes a byte

// --- Chat templates ---

inline constexpr int64_t kTemplateStepsMax = 2'000'000;  // published ones use up to 30,000
inline constexpr int64_t kTemplateBytesMax = 64 << 20;   // of values made while rendering
inline constexpr int64_t kTemplateOutputBytesMax = 32 << 20;
inline constexpr int64_t kTemplateSourceBytesMax = 1 << 20;
inline constexpr int kTemplateDepthMax = 128;     // nesting in the source, and of values
inline constexpr int kTemplateIndentMax = 1024;   // spaces per level of tojson
inline constexpr int kTemplateRunDepthMax = 600;  // nested calls; under 1 MiB of stack

}  // namespace tradewind::limits
