// What a model asks of the machine, and what the machine can do at most: between them `bench` says
// how far a speed is from its limit.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "cli/bench_run.h"
#include "dialects/json_writer.h"
#include "engine/engine.h"
#include "engine/probe/probe.h"

namespace tradewind::cli {

// Counted from the tensors' shapes.
struct ModelWork {
  double step_bytes = 0;     // weights that one decode step reads, whatever its sequences
  double matrix_macs = 0;    // multiply-adds of one token in the layers' matrices
  double head_macs = 0;      // and in the output matrix: decoded tokens, and the last of a prompt
  double position_macs = 0;  // attention, for each position that a token sees

  // Of a whole prompt, from an empty cache.
  double PrefillMacs(int64_t prompt_tokens) const;
};

// Errors: those of GgufFile::Open.
Result<ModelWork> ReadModelWork(const std::filesystem::path& path, const engine::ModelInfo& info);

// What a plan reached. Weights and multiply-adds only: the KV cache comes on top.
struct Achieved {
  double decode_gb_per_s = 0;     // 1e9 weight bytes
  double prefill_gmac_per_s = 0;  // 1e9 multiply-adds
};
Achieved AchievedBy(const BenchFigures& figures, const BenchPlan& plan, const ModelWork& work);

// "peaks": {"f32": {"gmac_per_s", "instruction"}, "int16": ..., "int8": ...}, null where unknown.
void WritePeaks(dialects::JsonWriter& json, const engine::DotPeaks& peaks);

// Of this process, mapped file pages included; 0 where the system does not say.
int64_t ResidentBytes();

}  // namespace tradewind::cli
