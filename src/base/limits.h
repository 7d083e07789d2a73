// Every bound in one place. A bound names its unit; the comment says why this number.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tradewind::limits {

// --- HTTP
// -----------------------------------------------------------------------------------------------------
inline constexpr int64_t kBodyBytesMax =
    32 << 20;  // a 262,144-token prompt is about 1.2 MB; images come later
inline constexpr int64_t kHeaderBytesMax = 32 << 10;  // nginx allows 4 x 8 KiB
inline constexpr int64_t kConnectionsMax =
    1024;  // per listener; beyond it new connections wait in the backlog
inline constexpr int64_t kReadHeadDeadlineMs = 60'000;  // also the keep-alive idle time
inline constexpr int64_t kReadBodyDeadlineMs =
    60'000;  // slow uploads are cut: one cannot hold a slot by trickling
inline constexpr int64_t kWriteDeadlineMs =
    120'000;  // a stalled reader is cut after this long without progress
inline constexpr int64_t kDrainDeadlineMs =
    30'000;  // SIGTERM: running exchanges get this long to finish
inline constexpr int64_t kSseLineBytesMax = 8 << 20;  // one event line from an upstream
inline constexpr int64_t kClientBodyBytesMax =
    256 << 20;  // a non-streamed answer that our own client reads

// --- Requests
// -------------------------------------------------------------------------------------------------
inline constexpr int kJsonDepthMax = 64;
inline constexpr int kMessagesMax = 4096;
inline constexpr int kStopStringsMax = 16;  // OpenAI documents 4; vLLM and others take more
inline constexpr int kStopStringBytesMax = 1024;
inline constexpr int kChoicesMax = 128;  // OpenAI's bound for n
inline constexpr int kPromptsMax =
    256;  // prompts in one /v1/completions batch (lm-eval sends batches)
inline constexpr int kTopLogprobsMax = 20;  // OpenAI's bound
inline constexpr int kLogitBiasMax = 2048;

// --- Engine
// ---------------------------------------------------------------------------------------------------
inline constexpr int kSlotsMax = 64;             // sequences that share a pass over the weights
inline constexpr int kQueuedSequencesMax = 256;  // waiting for a slot; beyond it 429
inline constexpr int kEventsQueuedMax = 64;   // per sequence; a full queue pauses it (slow client)
inline constexpr int kBatchTokensMax = 256;   // rows of one forward pass (prefill chunk + decodes)
inline constexpr int kLogitRowsMax = 64;      // rows of one pass whose logits are computed
inline constexpr int kKvBlockPositions = 32;  // positions in one KV block
inline constexpr int kThreadsMax = 256;

// --- Model files
// ----------------------------------------------------------------------------------------------
inline constexpr uint64_t kGgufTensorsMax = 1u << 20;
inline constexpr uint64_t kGgufKeysMax = 1u << 16;
inline constexpr uint64_t kGgufStringBytesMax = 64u
                                                << 20;  // tokenizer.huggingface.json is about 17 MB
inline constexpr uint64_t kGgufSplitsMax = 4096;
inline constexpr uint64_t kGgufKeyBytesMax = 65'535;     // the specification's bound
inline constexpr uint64_t kGgufTensorNameBytesMax = 64;  // likewise
inline constexpr uint32_t kGgufDimsMax = 4;              // likewise
inline constexpr uint64_t kGgufAlignmentMax = 1u << 20;  // files use 32; a huge page is 2 MiB
inline constexpr int kVocabularyMax = 1 << 21;
inline constexpr int kTokenBytesMax = 1 << 16;
inline constexpr uint64_t kMergesMax = 1 << 24;
inline constexpr int kSpecialTokenBytesMax = 256;  // longer ones are not matched in text
inline constexpr int kSpecialBytesMax = 1 << 20;   // names of all; Tekken's 1000 take 14 KB
inline constexpr int kWordBytesMax = 1 << 20;      // one pre-token; merging takes 60 bytes a byte

// --- Chat templates
// ---------------------------------------------------------------------------------------------
inline constexpr int64_t kTemplateStepsMax =
    2'000'000;  // interpreter steps; the longest published template uses about 30,000
inline constexpr int64_t kTemplateBytesMax = 64 << 20;  // memory of values made while rendering
inline constexpr int64_t kTemplateOutputBytesMax = 32 << 20;
inline constexpr int64_t kTemplateSourceBytesMax = 1 << 20;
inline constexpr int kTemplateDepthMax = 128;  // nesting of expressions, blocks, macros

}  // namespace tradewind::limits
