#include "make_model/shape.h"

#include <array>

#include <fmt/format.h>

namespace tradewind::make_model {
namespace {

using enum engine::TensorType;
using engine::TensorType;

std::vector<ModelShape> Presets() {
  return {
      {.name = "tiny"},
      {.name = "smollm2-135m",
       .layers = 30,
       .model_dim = 576,
       .heads = 9,
       .kv_heads = 3,
       .head_dim = 64,
       .ffn_dim = 1536,
       .vocab = 49152,
       .context = 8192,
       .rope_base = 100000},
      {.name = "ministral-3-3b",
       .architecture = "mistral3",
       .layers = 26,
       .model_dim = 3072,
       .heads = 32,
       .kv_heads = 8,
       .head_dim = 128,
       .ffn_dim = 9216,
       .vocab = 131072,
       .context = 262144,
       .rope_base = 1e6,
       .yarn = true},
  };
}

// Columns: name, general.file_type, base, more.
const std::array kPlans = {
    TypePlan{"F32", 0, kF32, kF32, kF32},
    TypePlan{"F16", 1, kF16, kF16, kF16},
    TypePlan{"BF16", 32, kBF16, kBF16, kBF16},
    TypePlan{"Q4_0", 2, kQ4_0, kQ4_0, kQ6_K},
    TypePlan{"Q4_1", 3, kQ4_1, kQ4_1, kQ6_K},
    TypePlan{"Q5_0", 8, kQ5_0, kQ5_0, kQ6_K},
    TypePlan{"Q5_1", 9, kQ5_1, kQ5_1, kQ6_K},
    TypePlan{"Q8_0", 7, kQ8_0, kQ8_0, kQ8_0},
    TypePlan{"Q2_K", 21, kQ2_K, kQ2_K, kQ6_K},  // the file types of the uniform mixes, "_S"
    TypePlan{"Q3_K", 11, kQ3_K, kQ3_K, kQ6_K},
    TypePlan{"Q4_K", 14, kQ4_K, kQ4_K, kQ6_K},
    TypePlan{"Q5_K", 16, kQ5_K, kQ5_K, kQ6_K},
    TypePlan{"Q6_K", 18, kQ6_K, kQ6_K, kQ6_K},
    TypePlan{"IQ4_NL", 25, kIQ4_NL, kIQ4_NL, kQ6_K},
    TypePlan{"IQ4_XS", 30, kIQ4_XS, kIQ4_XS, kQ6_K},
    TypePlan{"IQ2_XXS", 19, kIQ2_XXS, kIQ2_XXS, kQ6_K},
    TypePlan{"IQ2_XS", 20, kIQ2_XS, kIQ2_XS, kQ6_K},
    TypePlan{"IQ2_S", 28, kIQ2_S, kIQ2_S, kQ6_K},
    TypePlan{"IQ3_XXS", 23, kIQ3_XXS, kIQ3_XXS, kQ6_K},
    TypePlan{"IQ3_S", 26, kIQ3_S, kIQ3_S, kQ6_K},
    TypePlan{"IQ1_S", 24, kIQ1_S, kIQ1_S, kQ6_K},
    TypePlan{"IQ1_M", 31, kIQ1_M, kIQ1_M, kQ6_K},
    TypePlan{"TQ1_0", 36, kTQ1_0, kTQ1_0, kQ6_K},
    TypePlan{"TQ2_0", 37, kTQ2_0, kTQ2_0, kQ6_K},
    TypePlan{"MXFP4", 38, kMXFP4, kMXFP4, kQ6_K},
    TypePlan{"NVFP4", 39, kNVFP4, kNVFP4, kQ6_K},
    TypePlan{"Q1_0", 40, kQ1_0, kQ1_0, kQ6_K},
    TypePlan{"Q2_0", 41, kQ2_0, kQ2_0, kQ6_K},
    TypePlan{"Q4_K_M", 15, kQ4_K, kQ6_K, kQ6_K},
    TypePlan{"Q5_K_M", 17, kQ5_K, kQ6_K, kQ6_K},
};

// What llama-quantize takes when rows are not whole blocks of 256, and then of 32.
TensorType Fitting(TensorType type, int64_t cols) {
  const auto fits = [cols](TensorType t) { return cols % engine::TraitsOf(t).block_elements == 0; };
  if (!fits(type)) {
    switch (type) {
      case kQ2_K:
      case kQ3_K:
        type = kQ4_0;
        break;
      case kQ4_K:
        type = kQ5_0;
        break;
      case kQ5_K:
        type = kQ5_1;
        break;
      case kQ6_K:
        type = kQ8_0;
        break;
      case kIQ1_S:
      case kIQ1_M:
      case kIQ2_XXS:
      case kIQ2_XS:
      case kIQ2_S:
      case kIQ3_XXS:
      case kIQ3_S:
      case kIQ4_XS:
        type = kIQ4_NL;
        break;
      default:
        break;
    }
  }
  return fits(type) ? type : kF16;
}

// The layers whose attn_v and ffn_down the mixes make finer: the first and the last eighth, and
// every third between.
bool IsFinerLayer(int64_t layer, int64_t layers) {
  const int64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

}  // namespace

std::optional<ModelShape> FindPreset(std::string_view name) {
  for (ModelShape& shape : Presets()) {
    if (shape.name == name) {
      return shape;
    }
  }
  return std::nullopt;
}

std::string PresetNames() {
  std::string names;
  for (const ModelShape& shape : Presets()) {
    names += (names.empty() ? "" : ", ") + shape.name;
  }
  return names;
}

Status CheckShape(const ModelShape& s) {
  struct Range {
    const char* flag;
    int64_t value, min, max;
  };
  for (const Range& range :
       {Range{"--layers", s.layers, 1, 1024}, Range{"--dim", s.model_dim, 2, 1 << 16},
        Range{"--heads", s.heads, 1, 1024}, Range{"--kv-heads", s.kv_heads, 1, s.heads},
        Range{"--head-dim", s.head_dim, 2, 512}, Range{"--ffn", s.ffn_dim, 2, 1 << 18},
        Range{"--vocab", s.vocab, 512, 1 << 18}, Range{"--context", s.context, 1, 1 << 24}}) {
    if (range.value < range.min || range.value > range.max) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is {}; it must be {} to {}", range.flag, range.value, range.min,
                              range.max),
                  range.flag);
    }
  }
  if (s.heads % s.kv_heads != 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--heads {} is no multiple of --kv-heads {}", s.heads, s.kv_heads),
                "--kv-heads");
  }
  if (s.head_dim % 2 != 0) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--head-dim {} is odd, but RoPE turns pairs", s.head_dim),
                "--head-dim");
  }
  return {};
}

Result<TypePlan> FindTypePlan(std::string_view type, std::string_view head_type) {
  const TypePlan* found = nullptr;
  const TypePlan* head = nullptr;
  std::string names;
  for (const TypePlan& plan : kPlans) {
    found = plan.name == type ? &plan : found;
    // A mix is no type of one tensor.
    head = plan.name == head_type && plan.base == plan.more ? &plan : head;
    names += (names.empty() ? "" : ", ") + plan.name;
  }
  if (found == nullptr || (head == nullptr && !head_type.empty())) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("there is no type '{}'; known are {}",
                            found == nullptr ? type : head_type, names),
                found == nullptr ? "--type" : "--head-type");
  }
  TypePlan plan = *found;
  plan.head = head == nullptr ? plan.head : head->base;
  return plan;
}

uint64_t TensorSpec::bytes() const {
  const auto row = engine::RowBytes(type, static_cast<uint64_t>(cols)).value();
  return row * static_cast<uint64_t>(rows == 0 ? 1 : rows);
}

std::vector<TensorSpec> PlanTensors(const ModelShape& s, const TypePlan& types) {
  std::vector<TensorSpec> tensors;
  const auto matrix = [&](std::string name, TensorType type, int64_t rows, int64_t cols) {
    tensors.push_back({std::move(name), Fitting(type, cols), rows, cols});
  };
  const auto norm = [&](std::string name) {
    tensors.push_back({std::move(name), kF32, 0, s.model_dim});
  };
  matrix("token_embd.weight", s.tied ? types.head : types.base, s.vocab, s.model_dim);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const auto name = [&](const char* part) {
      return fmt::format("blk.{}.{}.weight", layer, part);
    };
    const TensorType finer = IsFinerLayer(layer, s.layers) ? types.more : types.base;
    const int64_t q_dim = s.heads * s.head_dim;
    const int64_t kv_dim = s.kv_heads * s.head_dim;
    norm(name("attn_norm"));
    matrix(name("attn_q"), types.base, q_dim, s.model_dim);
    matrix(name("attn_k"), types.base, kv_dim, s.model_dim);
    matrix(name("attn_v"), finer, kv_dim, s.model_dim);
    matrix(name("attn_output"), types.base, s.model_dim, q_dim);
    norm(name("ffn_norm"));
    matrix(name("ffn_gate"), types.base, s.ffn_dim, s.model_dim);
    matrix(name("ffn_up"), types.base, s.ffn_dim, s.model_dim);
    matrix(name("ffn_down"), finer, s.model_dim, s.ffn_dim);
  }
  norm("output_norm.weight");
  if (!s.tied) {
    matrix("output.weight", types.head, s.vocab, s.model_dim);
  }
  return tensors;
}

}  // namespace tradewind::make_model
