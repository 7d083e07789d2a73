// Every key of the shape with values that no model has: refused by name, or taken as harmless, and
// never more than that.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "engine/model/config.h"
#include "engine/model/rope.h"
#include "testing/gguf_builder.h"

namespace tradewind::engine {
namespace {

using testing::GgufBuilder;

struct Key {
  const char* name;
  bool is_integer = true;
  std::vector<int64_t> allowed = {};  // of 0, -1 and 2^31
};

const std::vector<Key> kKeys = {
    {"block_count"},
    {"context_length"},
    {"embedding_length"},
    {"feed_forward_length"},
    {"attention.head_count"},
    {"attention.head_count_kv"},
    {"attention.key_length"},
    {"attention.value_length"},
    {"attention.sliding_window", true, {0}},
    {"rope.dimension_count"},
    {"rope.scaling.original_context_length"},
    {"attention.temperature_length", true, {0}},
    {"expert_count", true, {0}},
    {"attention.layer_norm_rms_epsilon", false, {0}},
    {"attention.scale", false, {0}},
    {"attention.temperature_scale", false, {0}},
    {"rope.freq_base", false, {int64_t{1} << 31}},
    {"rope.scaling.factor", false},
    {"rope.scaling.attn_factor", false},
    {"rope.scaling.yarn_beta_fast", false},
    {"rope.scaling.yarn_beta_slow", false},
    {"rope.scaling.yarn_ext_factor", false, {0, -1}},
    {"rope.scaling.yarn_log_multiplier", false, {0}},
    {"rope.scaling.mscale", false, {0}},
};

// A model whose every key is read.
GgufBuilder Keys(const std::string& but_for) {
  GgufBuilder b;
  b.Set("general.architecture", "llama");
  const auto set = [&](const std::string& name, auto value) {
    if (name != but_for) {
      b.Set("llama." + name, value);
    }
  };
  set("block_count", uint32_t{2});
  set("context_length", uint32_t{512});
  set("embedding_length", uint32_t{64});
  set("feed_forward_length", uint32_t{64});
  set("attention.head_count", uint32_t{4});
  set("attention.temperature_scale", 0.1f);
  set("rope.scaling.type", "yarn");
  set("rope.scaling.original_context_length", uint32_t{64});
  return b;
}

Result<ModelConfig> ConfigOf(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  auto file = GgufFile::Parse(AsBytes(bytes), "model.gguf");
  EXPECT_TRUE(file) << file.error().message;
  return ModelConfig::FromGguf(*file);
}

void ExpectRefused(const Key& key, const GgufBuilder& builder, const std::string& value) {
  const auto config = ConfigOf(builder);
  ASSERT_FALSE(config) << key.name << " = " << value;
  EXPECT_TRUE(config.error().code == ErrorCode::kCorruptFile ||
              config.error().code == ErrorCode::kUnsupported);
  EXPECT_TRUE(config.error().message.starts_with("model.gguf: ")) << config.error().message;
}

TEST(HostileConfig, NumbersOutOfRangeAreRefused) {
  for (const Key& key : kKeys) {
    const std::string name = std::string("llama.") + key.name;
    for (const int64_t value : {int64_t{0}, int64_t{-1}, int64_t{1} << 31}) {
      GgufBuilder b = Keys(key.name);
      key.is_integer ? b.Set(name, value) : b.Set(name, static_cast<float>(value));
      if (std::ranges::count(key.allowed, value) == 0) {
        ExpectRefused(key, b, std::to_string(value));
      } else {
        const auto config = ConfigOf(b);
        ASSERT_TRUE(config) << key.name << " = " << value << ": " << config.error().message;
        for (const float f : Rope(config->rope, {}).frequencies()) {
          EXPECT_TRUE(std::isfinite(f)) << key.name << " = " << value;
        }
      }
    }
  }
}

TEST(HostileConfig, WhatIsNoNumberIsRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  for (const Key& key : kKeys) {
    const std::string name = std::string("llama.") + key.name;
    for (const double value : {nan, inf, -inf}) {
      GgufBuilder b = Keys(key.name);
      ExpectRefused(key, b.Set(name, value), std::to_string(value));
    }
    GgufBuilder text = Keys(key.name), list = Keys(key.name), empty = Keys(key.name);
    ExpectRefused(key, text.Set(name, "4"), "a string");
    ExpectRefused(key, list.Set(name, std::vector<std::string>{"4"}), "a list of strings");
    ExpectRefused(key, empty.Set(name, std::vector<int32_t>{}), "an empty list");
  }
}

}  // namespace
}  // namespace tradewind::engine
