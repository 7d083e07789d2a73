#include "cli/bench_limits.h"

#include <fstream>
#include <string>
#include <unistd.h>
#include <utility>

#include "engine/format/gguf.h"

namespace tradewind::cli {

double ModelWork::PrefillMacs(int64_t prompt_tokens) const {
  const auto n = static_cast<double>(prompt_tokens);
  return n * matrix_macs + head_macs + position_macs * n * (n + 1) / 2;
}

Result<ModelWork> ReadModelWork(const std::filesystem::path& path, const engine::ModelInfo& info) {
  TW_ASSIGN_OR_RETURN(const engine::GgufFile file, engine::GgufFile::Open(path));
  // Without a matrix of its own the embedding is the output matrix too; with one, a step reads a
  // row of it for each token, which is nothing.
  const bool is_tied = file.FindTensor("output.weight") == nullptr;
  ModelWork work;
  for (const engine::GgufTensor& tensor : file.tensors()) {
    const bool is_embedding = tensor.name == "token_embd.weight";
    if (tensor.dims.size() < 2 || (is_embedding && !is_tied)) {
      continue;
    }
    const double macs =
        static_cast<double>(tensor.rows()) * static_cast<double>(tensor.row_elements());
    (is_embedding || tensor.name == "output.weight" ? work.head_macs : work.matrix_macs) += macs;
    work.step_bytes += static_cast<double>(tensor.data.size());
  }
  // Scores and mixing: twice the head dimension for each query head of each layer.
  work.position_macs = 2.0 * info.layers * info.heads * info.head_dim;
  return work;
}

Achieved AchievedBy(const BenchFigures& figures, const BenchPlan& plan, const ModelWork& work) {
  const auto sequences = static_cast<double>(plan.concurrency);
  Achieved out;
  out.decode_gb_per_s = figures.decode_per_s / sequences * work.step_bytes / 1e9;
  out.prefill_gmac_per_s = figures.prefill_per_s / static_cast<double>(plan.prompt_tokens) *
                           work.PrefillMacs(plan.prompt_tokens) / 1e9;
  return out;
}

void WritePeaks(dialects::JsonWriter& json, const engine::DotPeaks& peaks) {
  json.Key("peaks").BeginObject();
  for (const auto& [name, peak] :
       {std::pair("f32", &peaks.f32), {"int16", &peaks.int16}, {"int8", &peaks.int8}}) {
    json.Key(name);
    if (*peak) {
      json.BeginObject()
          .Field("gmac_per_s", (*peak)->gmac_per_s)
          .Field("instruction", (*peak)->instruction)
          .EndObject();
    } else {
      json.Null();
    }
  }
  json.EndObject();
}

int64_t ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  int64_t total_pages = 0, resident_pages = 0;
  in >> total_pages >> resident_pages;
  return in ? resident_pages * ::sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace tradewind::cli
