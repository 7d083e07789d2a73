#include "engine/loaded_model.h"

#include <algorithm>
#include <map>
#include <string>

#include <fmt/format.h>

#include "base/limits.h"
#include "engine/threads/cgroup.h"

namespace tradewind::engine {
namespace {

std::string TokenText(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id ? std::string(tokenizer.TokenBytes(*id)) : std::string();
}

// The type that most weight bytes have: what people call the quantisation of a file.
std::string Quantization(const GgufFile& file) {
  std::map<TensorType, uint64_t> bytes;
  for (const GgufTensor& tensor : file.tensors()) {
    bytes[tensor.type] += tensor.data.size();
  }
  const auto most =
      std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? std::string() : std::string(TraitsOf(most->first).name);
}

// What a step may take; a hostile file could ask for more than any machine has.
Status CheckMemory(const std::string& path, const ModelConfig& c, const EngineOptions& options) {
  const int64_t q_dim = c.heads * c.head_dim;
  const int64_t kv_dim = c.kv_heads * c.head_dim;
  const int64_t row = 2 * c.model_dim + 2 * q_dim + 2 * kv_dim + c.ffn_dim + c.head_dim;
  const int64_t widest = std::max({c.model_dim, q_dim, c.ffn_dim});
  const int64_t per_worker =
      MatMul::WorkerBytes(widest, limits::kBatchTokensMax) / 4 + Attention::WorkerFloats(c);
  const int64_t floats = limits::kBatchTokensMax * row + limits::kLogitRowsMax * c.vocab_size +
                         MatMul::SharedBytes(widest, limits::kBatchTokensMax) / 4 +
                         options.threads * per_worker;
  if (floats * 4 > limits::kActivationBytesMax) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: a step of this model needs {} MB of buffers, more than the {} MB "
                            "allowed; lower --threads",
                            path, floats * 4 >> 20, limits::kActivationBytesMax >> 20));
  }
  return {};
}

// Blocks for all sequences and those kept of ended ones: what was asked for, or the worst case as
// far as a quarter of the memory holds it. One sequence can always use its whole context.
Result<int64_t> KvBlocksMax(const std::string& path, const ModelConfig& c, const KvShape& kv,
                            const EngineOptions& options) {
  const int64_t context = std::min<int64_t>(options.context, c.context_trained);
  const int64_t least = KvBlocksFor(context);
  const double needed = static_cast<double>(least) * static_cast<double>(kv.block_bytes());
  if (needed > static_cast<double>(limits::kKvBytesMax)) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: {} positions need {:.0f} GB of KV cache; lower --ctx", path,
                            context, needed / 1e9));
  }
  const int64_t worst_case = least * options.slots;
  if (options.kv_bytes > 0) {
    if (options.kv_bytes / kv.block_bytes() < least) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: a context of {} positions needs {} MB of KV cache, but only {} "
                              "MB may be used; raise --kv-memory or lower --ctx",
                              path, context, (static_cast<int64_t>(needed) >> 20) + 1,
                              options.kv_bytes >> 20),
                  "kv-memory");
    }
    return std::min(options.kv_bytes, limits::kKvBytesMax) / kv.block_bytes();
  }
  const int64_t quarter = AllowedMemoryBytes().value_or(limits::kKvBytesMax) / 4;
  return std::clamp(quarter / kv.block_bytes(), least, worst_case);
}

}  // namespace

int64_t KvBytesPerToken(int64_t layers, int64_t kv_heads, int64_t head_dim, KvType type) {
  return KvShape{layers, kv_heads, head_dim, type}.bytes_per_token();
}

Result<std::unique_ptr<LoadedModel>> LoadedModel::Load(const std::filesystem::path& path,
                                                       const EngineOptions& options) {
  std::unique_ptr<LoadedModel> model(new LoadedModel);
  TW_ASSIGN_OR_RETURN(model->kernels_, SelectKernels(options.kernels));
  TW_ASSIGN_OR_RETURN(model->file_, GgufFile::Open(path));
  TW_ASSIGN_OR_RETURN(model->config_, ModelConfig::FromGguf(model->file_));
  TW_ASSIGN_OR_RETURN(model->weights_, Weights::FromGguf(model->file_, model->config_));
  TW_ASSIGN_OR_RETURN(model->tokenizer_, Tokenizer::FromGguf(model->file_));
  const Tokenizer& tokenizer = *model->tokenizer_;
  if (tokenizer.vocab_size() < 1 || tokenizer.vocab_size() > model->config_.vocab_size) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{}: the tokenizer has {} tokens but token_embd.weight {} rows",
                            path.string(), tokenizer.vocab_size(), model->config_.vocab_size));
  }
  const std::string_view source =
      model->file_.String("tokenizer.chat_template").value_or(FallbackChatTemplate());
  auto chat_template = ChatTemplate::Parse(source, TokenText(tokenizer, tokenizer.bos()),
                                           TokenText(tokenizer, tokenizer.eos()));
  if (!chat_template) {
    return Fail(ErrorCode::kCorruptFile, fmt::format("{}: key tokenizer.chat_template: {}",
                                                     path.string(), chat_template.error().message));
  }
  model->chat_template_.emplace(std::move(*chat_template));
  model->kv_shape_ = {model->config_.layers, model->config_.kv_heads, model->config_.head_dim,
                      options.kv_type};
  TW_RETURN_IF_ERROR(CheckMemory(path.string(), model->config_, options));
  TW_ASSIGN_OR_RETURN(model->kv_blocks_max_,
                      KvBlocksMax(path.string(), model->config_, model->kv_shape_, options));
  model->pool_ = std::make_unique<WorkerPool>(std::max(options.threads, 1));
  if (options.activations != ActivationType::kF32) {
    TW_RETURN_IF_ERROR(model->weights_.Pack(model->file_, *model->pool_));
  }
  model->transformer_ = std::make_unique<Transformer>(
      model->config_, model->weights_, *model->kernels_, *model->pool_, options.activations);
  model->Describe(options);
  return model;
}

void LoadedModel::Describe(const EngineOptions& options) {
  info_.architecture = config_.architecture;
  info_.name = std::string(file_.String("general.name").value_or(""));
  info_.license = std::string(file_.String("general.license").value_or(""));
  info_.quantization = Quantization(file_);
  for (const GgufTensor& tensor : file_.tensors()) {
    info_.parameters += static_cast<int64_t>(tensor.rows() * tensor.row_elements());
  }
  info_.file_bytes = static_cast<int64_t>(file_.tensor_bytes());
  info_.layers = static_cast<int>(config_.layers);
  info_.model_dim = static_cast<int>(config_.model_dim);
  info_.heads = static_cast<int>(config_.heads);
  info_.kv_heads = static_cast<int>(config_.kv_heads);
  info_.head_dim = static_cast<int>(config_.head_dim);
  info_.ffn_dim = static_cast<int>(config_.ffn_dim);
  info_.vocab_size = tokenizer_->vocab_size();
  info_.context_trained = static_cast<int>(config_.context_trained);
  info_.context = static_cast<int>(std::min<int64_t>(options.context, config_.context_trained));
  info_.has_chat_template = file_.String("tokenizer.chat_template").has_value();
  info_.kv_type = std::string(Name(options.kv_type));
  info_.kv_bytes_per_token = kv_shape_.bytes_per_token();
  info_.kernels = std::string(kernels_->name);
  info_.activations = std::string(Name(options.activations));
  info_.threads = pool_->threads();
  info_.slots = options.slots;
}

}  // namespace tradewind::engine
