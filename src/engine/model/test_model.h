// For tests only: a transformer over a model file, and the logits of whole sequences.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "engine/model/transformer.h"

namespace tradewind::engine {

class TestModel {
 public:
  // `bytes` is a GGUF file. `change` may alter the config before the transformer is built.
  explicit TestModel(std::string bytes, const std::function<void(ModelConfig&)>& change = {},
                     int threads = 2, KvType kv = KvType::kF32, const Kernels* kernels = nullptr,
                     ActivationType activations = ActivationType::kF32)
      : bytes_(std::move(bytes)), kv_(kv), pool_(threads) {
    auto file = GgufFile::Parse(AsBytes(bytes_), "test.gguf");
    EXPECT_TRUE(file) << file.error().message;
    file_ = std::move(*file);
    auto config = ModelConfig::FromGguf(file_);
    EXPECT_TRUE(config) << config.error().message;
    config_ = *config;
    auto weights = Weights::FromGguf(file_, config_);
    EXPECT_TRUE(weights) << weights.error().message;
    weights_ = std::move(*weights);
    if (change) {
      change(config_);
    }
    if (activations != ActivationType::kF32) {
      EXPECT_TRUE(weights_.Pack(file_, pool_));
    }
    transformer_ = std::make_unique<Transformer>(
        config_, weights_, kernels ? *kernels : **SelectKernels(""), pool_, activations);
    kv_pool_ = std::make_unique<KvBlockPool>(
        KvShape{config_.layers, config_.kv_heads, config_.head_dim, kv_}, int64_t{1} << 16);
  }

  // Logits of every position of `ids`, evaluated in steps of at most `chunk` tokens. [n, V]
  std::vector<std::vector<float>> Logits(const std::vector<TokenId>& ids,
                                         int64_t chunk = limits::kLogitRowsMax) {
    std::vector<std::vector<float>> all;
    KvSequence cache(*kv_pool_);
    EXPECT_TRUE(cache.Reserve(static_cast<int64_t>(ids.size())));
    Activations activations;
    for (size_t begin = 0; begin < ids.size();) {
      const size_t count = std::min(static_cast<size_t>(chunk), ids.size() - begin);
      std::vector<BatchRow> batch;
      for (size_t i = begin; i < begin + count; ++i) {
        batch.push_back({ids[i], static_cast<int64_t>(i), &cache, true});
      }
      transformer_->Forward(batch, activations);
      for (size_t i = 0; i < count; ++i) {
        const float* row = activations.logits.data() + i * static_cast<size_t>(config_.vocab_size);
        all.emplace_back(row, row + config_.vocab_size);
      }
      begin += count;
    }
    return all;
  }

  // `count` tokens, each the one with the largest logit after those before it.
  std::vector<TokenId> Greedy(std::vector<TokenId> ids, size_t count) {
    std::vector<TokenId> generated;
    for (size_t i = 0; i < count; ++i) {
      const auto last = Logits(ids).back();
      generated.push_back(static_cast<TokenId>(std::ranges::max_element(last) - last.begin()));
      ids.push_back(generated.back());
    }
    return generated;
  }

  const ModelConfig& config() const { return config_; }
  Transformer& transformer() { return *transformer_; }
  KvBlockPool& kv_pool() { return *kv_pool_; }

 private:
  std::string bytes_;
  KvType kv_;
  WorkerPool pool_;
  GgufFile file_;
  ModelConfig config_;
  Weights weights_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<KvBlockPool> kv_pool_;
};

}  // namespace tradewind::engine
