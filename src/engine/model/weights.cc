#include "engine/model/weights.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "engine/quant/dequantize.h"
#include "engine/threads/cgroup.h"

namespace tradewind::engine {
namespace {

class WeightReader {
 public:
  explicit WeightReader(const GgufFile& file) : file_(file) {}

  // rows == 0: any number.
  Result<Weight> Matrix(const std::string& name, int64_t rows, int64_t cols) const {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) {
      return Fail(ErrorCode::kCorruptFile,
                  fmt::format("{}: tensor {} is missing", file_.name(), name));
    }
    const auto file_rows = static_cast<int64_t>(tensor->rows());
    const auto file_cols = static_cast<int64_t>(tensor->row_elements());
    if (tensor->dims.size() > 2 || file_cols != cols || (rows != 0 && file_rows != rows)) {
      return Fail(ErrorCode::kCorruptFile,
                  fmt::format("{}: tensor {} has shape [{}], expected [{}, {}]", file_.name(), name,
                              fmt::join(tensor->dims, ", "), cols,
                              rows == 0 ? std::string("any") : std::to_string(rows)));
    }
    if (ScalarDequantizer(tensor->type) == nullptr) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("{}: tensor {} has type {}, which is no weight type", file_.name(),
                              name, TraitsOf(tensor->type).name));
    }
    Weight weight{tensor->type, file_rows, cols, tensor->data.data(),
                  static_cast<int64_t>(RowBytes(tensor->type, tensor->row_elements()).value())};
    TW_ASSIGN_OR_RETURN(weight.scale, Scale(name));
    return weight;
  }

  Result<std::vector<float>> Vector(const std::string& name, int64_t size) const {
    TW_ASSIGN_OR_RETURN(const Weight weight, Matrix(name, 1, size));
    std::vector<float> values(static_cast<size_t>(size));
    ScalarDequantizer(weight.type)(weight.data, values);
    return values;
  }

  bool Has(const std::string& name) const { return file_.FindTensor(name) != nullptr; }

  // Tensors whose silent absence from the computation would give wrong answers.
  Status RefuseUnused(int64_t layers) const {
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const char* part : {"attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias",
                               "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias", "attn_qkv.weight",
                               "attn_q_norm.weight", "attn_k_norm.weight", "ffn_gate_inp.weight"}) {
        const std::string name = fmt::format("blk.{}.{}", layer, part);
        if (Has(name)) {
          return Fail(ErrorCode::kUnsupported,
                      fmt::format("{}: tensor {} is part of the model but not supported",
                                  file_.name(), name));
        }
      }
    }
    return {};
  }

 private:
  // NVFP4 files, and those made from FP8, carry one output factor beside the tensor:
  // "blk.0.attn_q.scale".
  Result<float> Scale(const std::string& name) const {
    if (!name.ends_with(".weight")) {
      return 1.0f;
    }
    const GgufTensor* tensor = file_.FindTensor(name.substr(0, name.size() - 6) + "scale");
    if (tensor == nullptr) {
      return 1.0f;
    }
    if (tensor->type != TensorType::kF32 || tensor->data.size() != sizeof(float) ||
        !std::isfinite(LoadLe<float>(tensor->data.data()))) {
      return Fail(ErrorCode::kCorruptFile, fmt::format("{}: tensor {} is not one F32 number",
                                                       file_.name(), std::string(tensor->name)));
    }
    return LoadLe<float>(tensor->data.data());
  }

  const GgufFile& file_;
};

Result<LayerWeights> ReadLayer(const WeightReader& reader, const ModelConfig& c, int64_t index) {
  const auto name = [&](const char* part) { return fmt::format("blk.{}.{}.weight", index, part); };
  LayerWeights layer;
  TW_ASSIGN_OR_RETURN(layer.attention_norm, reader.Vector(name("attn_norm"), c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.q, reader.Matrix(name("attn_q"), c.heads * c.head_dim, c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.k, reader.Matrix(name("attn_k"), c.kv_heads * c.head_dim, c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.v, reader.Matrix(name("attn_v"), c.kv_heads * c.head_dim, c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.o,
                      reader.Matrix(name("attn_output"), c.model_dim, c.heads * c.head_dim));
  TW_ASSIGN_OR_RETURN(layer.ffn_norm, reader.Vector(name("ffn_norm"), c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.gate, reader.Matrix(name("ffn_gate"), c.ffn_dim, c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.up, reader.Matrix(name("ffn_up"), c.ffn_dim, c.model_dim));
  TW_ASSIGN_OR_RETURN(layer.down, reader.Matrix(name("ffn_down"), c.model_dim, c.ffn_dim));
  return layer;
}

}  // namespace

Result<Weights> Weights::FromGguf(const GgufFile& file, ModelConfig& config) {
  const WeightReader reader(file);
  Weights weights;
  TW_ASSIGN_OR_RETURN(weights.embedding, reader.Matrix("token_embd.weight", 0, config.model_dim));
  if (weights.embedding.rows > limits::kVocabularyMax) {
    return Fail(ErrorCode::kCorruptFile, fmt::format("{}: a vocabulary of {} entries is too large",
                                                     file.name(), weights.embedding.rows));
  }
  config.vocab_size = weights.embedding.rows;
  TW_RETURN_IF_ERROR(reader.RefuseUnused(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    TW_ASSIGN_OR_RETURN(LayerWeights layer, ReadLayer(reader, config, i));
    weights.layers.push_back(std::move(layer));
  }
  TW_ASSIGN_OR_RETURN(weights.final_norm, reader.Vector("output_norm.weight", config.model_dim));
  weights.tied = !reader.Has("output.weight");
  weights.head = weights.embedding;
  if (!weights.tied) {
    TW_ASSIGN_OR_RETURN(weights.head,
                        reader.Matrix("output.weight", config.vocab_size, config.model_dim));
  }
  if (config.rope.has_divisors) {
    TW_ASSIGN_OR_RETURN(weights.rope_divisors,
                        reader.Vector("rope_freqs.weight", config.rope.dims / 2));
    for (const float divisor : weights.rope_divisors) {
      if (!(divisor > 0)) {
        return Fail(ErrorCode::kCorruptFile,
                    file.name() + ": tensor rope_freqs.weight holds a number that is not positive");
      }
    }
  }
  return weights;
}

Status Weights::Pack(const GgufFile& file, WorkerPool& pool) {
  std::vector<Weight*> matrices = {&head};  // the embedding is looked up row by row, in the file
  for (LayerWeights& layer : layers) {
    for (Weight* weight :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      matrices.push_back(weight);
    }
  }
  // Products of packed weights know no factor for the whole tensor.
  std::erase_if(matrices, [](Weight* weight) {
    return FindPackedLayout(weight->type) == nullptr || weight->scale != 1.0f;
  });
  int64_t bytes = 0;
  for (Weight* weight : matrices) {
    weight->strip_bytes = PackedStripBytes(*FindPackedLayout(weight->type), weight->cols);
    bytes += weight->strips() * weight->strip_bytes;
  }
  // Asking for more would be granted and then end in an out-of-memory kill while packing.
  if (const auto allowed = AllowedMemoryBytes(); allowed && bytes > *allowed) {
    return Fail(
        ErrorCode::kResourceExhausted,
        fmt::format("{}: the weights take {} MB of memory when repacked for this CPU, of the "
                    "{} MB there are; use a smaller model, or --activations f32",
                    file.name(), bytes >> 20, *allowed >> 20));
  }
  TW_ASSIGN_OR_RETURN(packed, PageBuffer::Allocate(static_cast<size_t>(bytes)));
  std::byte* next = packed.bytes().data();
  for (Weight* weight : matrices) {
    std::byte* const strips = next;
    next += weight->strips() * weight->strip_bytes;
    pool.ParallelFor(weight->strips(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t strip = begin; strip < end; ++strip) {
        const int64_t row = strip * kStripRows;
        PackStrip(weight->type, weight->row(row), weight->row_bytes,
                  std::min(kStripRows, weight->rows - row), weight->cols,
                  strips + strip * weight->strip_bytes);
      }
    });
    weight->packed = strips;
    file.Release({weight->data, static_cast<size_t>(weight->rows * weight->row_bytes)});
  }
  return {};
}

}  // namespace tradewind::engine
