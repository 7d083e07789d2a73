// Everything that one model file turns into: views into the map, tokenizer, template, and the
// transformer over them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "engine/cache/kv_cache.h"
#include "engine/engine.h"
#include "engine/format/gguf.h"
#include "engine/model/transformer.h"
#include "engine/threads/worker_pool.h"

namespace tradewind::engine {

// Constant after load, but for the transformer's scratch. Not movable: its parts refer to each
// other.
class LoadedModel {
 public:
  // `options.threads` >= 1. Errors: as Engine::Load.
  static Result<std::unique_ptr<LoadedModel>> Load(const std::filesystem::path& path,
                                                   const EngineOptions& options);

  const ModelInfo& info() const { return info_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate& chat_template() const { return *chat_template_; }
  Transformer& transformer() { return *transformer_; }
  void PinEngineThread() { pool_->PinCaller(); }  // called by it
  KvShape kv_shape() const { return kv_shape_; }
  int64_t kv_blocks_max() const { return kv_blocks_max_; }

 private:
  LoadedModel() = default;
  void Describe(const EngineOptions& options);

  GgufFile file_;
  ModelConfig config_;
  Weights weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  const Kernels* kernels_ = nullptr;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<Transformer> transformer_;
  KvShape kv_shape_;
  int64_t kv_blocks_max_ = 0;
  ModelInfo info_;
};

}  // namespace tradewind::engine
