#include "engine/model/config.h"

#include <cmath>
#include <initializer_list>

#include <fmt/format.h>

namespace tradewind::engine {
namespace {

// Bounds that no real model reaches; they keep every product of dimensions far from overflow.
constexpr int64_t kDimMax = 1 << 20;
constexpr int64_t kLayersMax = 1024;
constexpr int64_t kHeadDimMax = 4096;
constexpr int64_t kContextMax = INT32_MAX;

// Reads `ARCH.name` keys with ranges, and says which key is wrong.
class KeyReader {
 public:
  KeyReader(const GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  std::string Key(std::string_view name) const { return architecture_ + "." + std::string(name); }

  // Some files hold one number, some an array with one per layer; we serve those whose layers
  // agree.
  Result<int64_t> Integer(std::string_view name, int64_t min, int64_t max) const {
    if (const GgufArray* array = file_.Array(Key(name))) {
      return Uniform(name, *array, min, max);
    }
    const auto value = file_.Integer(Key(name));
    if (!value) {
      return Fail(ErrorCode::kCorruptFile,
                  fmt::format("{}: key {} is missing or not an integer", file_.name(), Key(name)));
    }
    return InRange(name, *value, min, max);
  }
  Result<int64_t> Integer(std::string_view name, int64_t min, int64_t max,
                          int64_t otherwise) const {
    return file_.keys().contains(Key(name)) ? Integer(name, min, max) : Result<int64_t>(otherwise);
  }
  // The first of `names` that the file has.
  Result<double> Float(std::initializer_list<std::string_view> names, double min, double max,
                       double otherwise) const {
    for (const std::string_view name : names) {
      if (!file_.keys().contains(Key(name))) {
        continue;
      }
      const auto value = file_.Float(Key(name));
      if (!value || !(*value >= min && *value <= max)) {
        return Fail(ErrorCode::kCorruptFile, fmt::format("{}: key {} is not a number from {} to {}",
                                                         file_.name(), Key(name), min, max));
      }
      return *value;
    }
    return otherwise;
  }
  bool Has(std::string_view name) const { return file_.keys().contains(Key(name)); }

 private:
  Result<int64_t> InRange(std::string_view name, int64_t value, int64_t min, int64_t max) const {
    if (value < min || value > max) {
      return Fail(ErrorCode::kCorruptFile, fmt::format("{}: key {} is {}, outside {} to {}",
                                                       file_.name(), Key(name), value, min, max));
    }
    return value;
  }
  Result<int64_t> Uniform(std::string_view name, const GgufArray& array, int64_t min,
                          int64_t max) const {
    if (!array.is_number() || array.count == 0) {
      return Fail(ErrorCode::kCorruptFile,
                  fmt::format("{}: key {} is not a list of numbers", file_.name(), Key(name)));
    }
    for (uint64_t i = 1; i < array.count; ++i) {
      if (array.IntegerAt(i) != array.IntegerAt(0)) {
        return Fail(ErrorCode::kUnsupported,
                    fmt::format("{}: key {} differs from layer to layer, which is not supported",
                                file_.name(), Key(name)));
      }
    }
    return InRange(name, array.IntegerAt(0), min, max);
  }

  const GgufFile& file_;
  std::string architecture_;
};

double YarnMscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

Status ReadYarn(const KeyReader& keys, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  TW_ASSIGN_OR_RETURN(rope.original_context, keys.Integer("rope.scaling.original_context_length", 1,
                                                          kContextMax, config.context_trained));
  TW_ASSIGN_OR_RETURN(
      rope.beta_fast,
      keys.Float({"rope.scaling.yarn_beta_fast", "rope.scaling.beta_fast"}, 1e-6, 1e6, 32.0));
  TW_ASSIGN_OR_RETURN(
      rope.beta_slow,
      keys.Float({"rope.scaling.yarn_beta_slow", "rope.scaling.beta_slow"}, 1e-6, 1e6, 1.0));
  TW_ASSIGN_OR_RETURN(rope.extrapolation,
                      keys.Float({"rope.scaling.yarn_ext_factor"}, -1.0, 1.0, 1.0));
  if (rope.extrapolation < 0) {
    rope.extrapolation = 1.0;  // a negative value means: as the scaling type says
  }
  // Without mscale_all_dim cos and sin grow by 0.1 ln(factor) + 1; with it by the ratio of both,
  // which is 1 for Ministral 3.
  TW_ASSIGN_OR_RETURN(const double all_dim, keys.Float({"rope.scaling.yarn_log_multiplier",
                                                        "rope.scaling.mscale_all_dim"},
                                                       0.0, 100.0, 0.0));
  TW_ASSIGN_OR_RETURN(const double mscale, keys.Float({"rope.scaling.mscale"}, 0.0, 100.0, 1.0));
  const double own = YarnMscale(rope.factor, mscale > 0 ? mscale : 1.0);
  rope.attention_factor *= all_dim > 0 ? own / YarnMscale(rope.factor, all_dim) : own;
  return {};
}

Status ReadRope(const GgufFile& file, const KeyReader& keys, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  TW_ASSIGN_OR_RETURN(rope.dims,
                      keys.Integer("rope.dimension_count", 2, config.head_dim, config.head_dim));
  if (rope.dims % 2 != 0) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{}: key {} is odd", file.name(), keys.Key("rope.dimension_count")));
  }
  TW_ASSIGN_OR_RETURN(rope.theta, keys.Float({"rope.freq_base"}, 1.0, 1e12, 10000.0));
  TW_ASSIGN_OR_RETURN(rope.factor,
                      keys.Float({"rope.scaling.factor", "rope.scale_linear"}, 1e-6, 1e6, 1.0));
  TW_ASSIGN_OR_RETURN(
      rope.attention_factor,
      keys.Float({"rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor"}, 1e-6, 1e6, 1.0));
  rope.has_divisors = file.FindTensor("rope_freqs.weight") != nullptr;
  const std::string type(
      file.String(keys.Key("rope.scaling.type"))
          .value_or(rope.factor != 1.0 ? std::string_view("linear") : std::string_view("none")));
  if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    return ReadYarn(keys, config);
  }
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type != "none") {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: rope scaling '{}' is not supported (none, linear, yarn are)",
                            file.name(), type));
  }
  return {};
}

Status ReadShape(const GgufFile& file, const KeyReader& keys, ModelConfig& config) {
  TW_ASSIGN_OR_RETURN(config.layers, keys.Integer("block_count", 1, kLayersMax));
  TW_ASSIGN_OR_RETURN(config.model_dim, keys.Integer("embedding_length", 1, kDimMax));
  TW_ASSIGN_OR_RETURN(config.ffn_dim, keys.Integer("feed_forward_length", 1, kDimMax));
  TW_ASSIGN_OR_RETURN(config.heads, keys.Integer("attention.head_count", 1, kDimMax));
  TW_ASSIGN_OR_RETURN(config.kv_heads,
                      keys.Integer("attention.head_count_kv", 1, config.heads, config.heads));
  if (config.heads % config.kv_heads != 0) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{}: {} query heads are no multiple of {} KV heads", file.name(),
                            config.heads, config.kv_heads));
  }
  TW_ASSIGN_OR_RETURN(config.head_dim, keys.Integer("attention.key_length", 1, 4096,
                                                    config.model_dim / config.heads));
  TW_ASSIGN_OR_RETURN(const int64_t value_dim,
                      keys.Integer("attention.value_length", 1, 4096, config.head_dim));
  if (config.head_dim > kHeadDimMax || config.heads * config.head_dim > kDimMax) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{}: {} heads of {} values are more than any model has", file.name(),
                            config.heads, config.head_dim));
  }
  if (config.head_dim < 2 || value_dim != config.head_dim) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: key length {} and value length {} must be equal and at least 2",
                            file.name(), config.head_dim, value_dim));
  }
  TW_ASSIGN_OR_RETURN(config.context_trained, keys.Integer("context_length", 1, kContextMax));
  TW_ASSIGN_OR_RETURN(config.sliding_window,
                      keys.Integer("attention.sliding_window", 0, kContextMax, 0));
  TW_ASSIGN_OR_RETURN(const double eps,
                      keys.Float({"attention.layer_norm_rms_epsilon"}, 0.0, 1.0, 1e-5));
  config.rms_eps = static_cast<float>(eps);
  TW_ASSIGN_OR_RETURN(const double scale, keys.Float({"attention.scale"}, 0.0, 1e6, 0.0));
  config.attention_scale =
      static_cast<float>(scale > 0 ? scale : 1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  return {};
}

}  // namespace

Result<ModelConfig> ModelConfig::FromGguf(const GgufFile& file) {
  ModelConfig config;
  const auto architecture = file.String("general.architecture");
  if (!architecture) {
    return Fail(ErrorCode::kCorruptFile, file.name() + ": key general.architecture is missing");
  }
  config.architecture = *architecture;
  if (config.architecture != "llama" && config.architecture != "mistral3") {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: architecture '{}' is not supported (llama and mistral3 are)",
                            file.name(), config.architecture));
  }
  const KeyReader keys(file, config.architecture);
  TW_ASSIGN_OR_RETURN(const int64_t experts, keys.Integer("expert_count", 0, kDimMax, 0));
  if (experts > 0) {
    return Fail(ErrorCode::kUnsupported,
                file.name() + ": mixture-of-experts models are not supported");
  }
  TW_RETURN_IF_ERROR(ReadShape(file, keys, config));
  TW_RETURN_IF_ERROR(ReadRope(file, keys, config));
  TW_ASSIGN_OR_RETURN(
      config.query_scale_beta,
      keys.Float({"attention.temperature_scale", "rope.scaling_beta"}, 0.0, 100.0, 0.0));
  if (config.query_scale_beta > 0) {
    TW_ASSIGN_OR_RETURN(config.query_scale_length,
                        keys.Integer("attention.temperature_length", 0, kContextMax, 0));
    if (config.query_scale_length == 0) {
      TW_ASSIGN_OR_RETURN(config.query_scale_length,
                          keys.Integer("rope.scaling.original_context_length", 1, kContextMax));
    }
  }
  return config;
}

}  // namespace tradewind::engine
