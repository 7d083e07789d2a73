// What a synthetic model is made of: dimensions, and which tensor has which type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/quant/types.h"

namespace tradewind::make_model {

struct ModelShape {
  std::string name;  // general.name
  std::string architecture = "llama";
  int64_t layers = 2, model_dim = 256, heads = 4, kv_heads = 2, head_dim = 64, ffn_dim = 512;
  int64_t vocab = 1024, context = 2048;
  double rope_base = 10000;
  bool tied = true;   // the head is the embedding
  bool yarn = false;  // Ministral 3's RoPE scaling and query scale
};

// "tiny", "smollm2-135m", "ministral-3-3b"; nullopt for another name.
std::optional<ModelShape> FindPreset(std::string_view name);
// For messages: "tiny, smollm2-135m, ministral-3-3b".
std::string PresetNames();

// Errors: kInvalidArgument (a dimension out of range, or dimensions that do not fit each other).
Status CheckShape(const ModelShape& shape);

// A type, or a mix, as llama-quantize names them.
struct TypePlan {
  std::string name;              // "Q4_K_M"
  uint32_t file_type = 0;        // general.file_type
  engine::TensorType base = {};  // of the matrices
  engine::TensorType more = {};  // of attn_v and ffn_down in half of the layers; base when uniform
  engine::TensorType head = {};  // of the output matrix, which may be the embedding
};

// Errors: kInvalidArgument (no such type; names those known). `head_type` "" = as llama-quantize:
// Q6_K where the matrices have at most six bits, else the base type.
Result<TypePlan> FindTypePlan(std::string_view type, std::string_view head_type);

struct TensorSpec {
  std::string name;
  engine::TensorType type;
  int64_t rows = 0;  // 0: a vector of `cols` ones (a norm)
  int64_t cols = 0;

  uint64_t bytes() const;
};

// Every tensor of the model, in file order. A type whose blocks do not fill a row is replaced as
// llama-quantize does: K-quants by a type with blocks of 32, and those by F16.
std::vector<TensorSpec> PlanTensors(const ModelShape& shape, const TypePlan& types);

}  // namespace tradewind::make_model
