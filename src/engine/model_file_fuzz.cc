// Model files whose container is well-made and whose contents are not: keys, tensors and tokens of
// a tiny model are replaced as the input says, and everything that a file turns into is made and
// used. Whatever comes, it ends in an error that names the file, or in an answer.
#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/cache/kv_cache.h"
#include "engine/format/gguf.h"
#include "engine/model/transformer.h"
#include "engine/prompt/chat_template.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "testing/gguf_builder.h"

namespace tradewind::engine {
namespace {

using testing::GgufBuilder;

class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  bool is_empty() const { return rest_.empty(); }
  uint8_t Byte() { return Number<uint8_t>(); }
  template <class T>
  T Number() {
    T value{};
    const std::string_view bytes = Text(sizeof(T));
    std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(&value));
    return value;
  }
  std::string_view Text(size_t size) {
    const std::string_view text = rest_.substr(0, size);
    rest_.remove_prefix(text.size());
    return text;
  }

 private:
  std::string_view rest_;
};

// The names that a reader of model files looks for, in the order by which inputs mean them: new
// ones go to the end.
constexpr const char* kKeys[] = {
    "general.architecture",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.sliding_window",
    "llama.attention.scale",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.temperature_scale",
    "llama.attention.temperature_length",
    "llama.expert_count",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.attn_factor",
    "llama.rope.scaling.original_context_length",
    "llama.rope.scaling.yarn_beta_fast",
    "llama.rope.scaling.yarn_beta_slow",
    "llama.rope.scaling.yarn_ext_factor",
    "llama.rope.scaling.yarn_log_multiplier",
    "llama.rope.scaling.mscale",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.chat_template",
};
constexpr const char* kTensors[] = {
    "token_embd.weight",        "output_norm.weight",     "blk.0.attn_norm.weight",
    "blk.0.attn_q.weight",      "blk.0.attn_k.weight",    "blk.0.attn_v.weight",
    "blk.0.attn_output.weight", "blk.0.ffn_norm.weight",  "blk.0.ffn_gate.weight",
    "blk.0.ffn_up.weight",      "blk.0.ffn_down.weight",  "output.weight",
    "rope_freqs.weight",        "blk.0.attn_q.scale",     "token_embd.scale",
    "blk.0.attn_q.bias",        "blk.1.attn_norm.weight",
};
constexpr int kTokens = 300;

struct Tensor {
  TensorType type = TensorType::kF32;
  std::vector<uint64_t> dims;
  std::string data;
};

// What will be written. Keys that are not here keep the tiny model's value; those in `absent` have
// none.
struct Plan {
  GgufBuilder builder;
  std::set<std::string> replaced;
  std::map<std::string, Tensor> tensors;
  std::vector<std::string> tokens;
  std::vector<int32_t> kinds;
  std::vector<float> scores;
  std::vector<std::string> merges = {"a b", "ab c"};
  bool is_sentence_piece = false;
};

std::string Floats(uint64_t count, float first, float step) {
  std::string bytes;
  for (uint64_t i = 0; i < count; ++i) {
    bytes += GgufBuilder::Bytes(first + step * static_cast<float>(i % 7));
  }
  return bytes;
}

Plan TinyModel(bool is_sentence_piece) {
  Plan plan;
  plan.is_sentence_piece = is_sentence_piece;
  for (int i = 0; i < kTokens; ++i) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    const bool is_byte = is_sentence_piece && i >= 3 && i < 259;
    plan.tokens.push_back(is_byte ? std::string("<0x") + kDigits[(i - 3) / 16] +
                                        kDigits[(i - 3) % 16] + ">"
                          : i < 3               ? "<" + std::to_string(i) + ">"
                          : i >= 33 && i <= 126 ? std::string(1, static_cast<char>(i))
                                                : "t" + std::to_string(i));
    plan.kinds.push_back(is_byte ? 6 : i < 3 ? 3 : 1);
    plan.scores.push_back(-0.5f * static_cast<float>(i));
  }
  plan.tokens[260] = "ab";
  plan.tokens[261] = "abc";
  for (const std::string name : kTensors) {
    if (name.ends_with("scale") || name.ends_with("bias") || name.starts_with("output.") ||
        name.starts_with("rope") || name.starts_with("blk.1")) {
      continue;
    }
    const uint64_t rows = name.starts_with("token") ? kTokens : 8;
    plan.tensors[name] = name.find("norm") != name.npos
                             ? Tensor{TensorType::kF32, {8}, Floats(8, 1, 0)}
                             : Tensor{TensorType::kF32, {8, rows}, Floats(8 * rows, -0.3f, 0.1f)};
  }
  return plan;
}

void ReplaceKey(Input& input, Plan& plan) {
  const std::string key = kKeys[input.Byte() % std::size(kKeys)];
  if (!plan.replaced.insert(key).second) {
    return;  // the container would refuse a key that is there twice
  }
  switch (input.Byte() % 9) {
    case 0:
      break;  // it is absent
    case 1:
      plan.builder.Set(key, input.Number<uint32_t>());
      break;
    case 2:
      plan.builder.Set(key, int32_t{input.Number<int8_t>()});
      break;
    case 3:
      plan.builder.Set(key, input.Number<int64_t>());
      break;
    case 4:
      plan.builder.Set(key, input.Number<float>());
      break;
    case 5:
      plan.builder.Set(key, input.Byte() % 2 == 0);
      break;
    case 6:
      plan.builder.Set(key, input.Text(input.Byte()));
      break;
    case 7: {
      std::vector<float> list(input.Byte() % 8);
      std::ranges::generate(list, [&] { return input.Number<float>(); });
      plan.builder.Set(key, list);
      break;
    }
    default: {
      std::vector<std::string> list(input.Byte() % 8);
      std::ranges::generate(list, [&] { return std::string(input.Text(input.Byte() % 16u)); });
      plan.builder.Set(key, list);
    }
  }
}

void ReplaceTensor(Input& input, Plan& plan) {
  const std::string name = kTensors[input.Byte() % std::size(kTensors)];
  const auto types = AllTensorTypes();
  Tensor tensor;
  tensor.type = types[input.Byte() % types.size()].type;
  const uint64_t cols =
      input.Byte() % 4 == 0 ? TraitsOf(tensor.type).block_elements : 1 + input.Byte() % 64u;
  const uint64_t rows = 1 + input.Number<uint16_t>() % 512u;
  const auto row_bytes = RowBytes(tensor.type, cols);
  if (!row_bytes) {
    plan.tensors.erase(name);
    return;
  }
  tensor.dims = rows == 1 ? std::vector<uint64_t>{cols} : std::vector<uint64_t>{cols, rows};
  tensor.data.assign(*row_bytes * rows, static_cast<char>(input.Byte()));
  const std::string_view pattern = input.Text(input.Byte() % 32u);
  for (size_t i = 0; i < pattern.size(); ++i) {
    tensor.data[i * 37 % tensor.data.size()] = pattern[i];
  }
  plan.tensors[name] = std::move(tensor);
}

void ReplaceToken(Input& input, Plan& plan) {
  const size_t id = input.Number<uint16_t>() % plan.tokens.size();
  const uint8_t what = input.Byte();
  if (what % 4 == 0) {
    plan.kinds[id] = static_cast<int8_t>(input.Byte());
  } else if (what % 4 == 1) {
    plan.scores[id] = input.Number<float>();
  } else if (what % 4 == 2) {
    plan.merges.emplace_back(input.Text(input.Byte() % 24u));
  } else {
    plan.tokens[id] = input.Text(input.Byte() % 24u);
  }
}

std::string MakeFile(Input input) {
  Plan plan = TinyModel(input.Byte() % 2 == 1);
  for (int edits = 0; !input.is_empty() && edits < 64; ++edits) {
    const uint8_t what = input.Byte();
    what % 4 < 2    ? ReplaceKey(input, plan)
    : what % 4 == 2 ? ReplaceTensor(input, plan)
                    : ReplaceToken(input, plan);
  }
  const auto keep = [&](const std::string& key, const auto& value) {
    if (!plan.replaced.contains(key)) {
      plan.builder.Set(key, value);
    }
  };
  keep("general.architecture", "llama");
  keep("llama.block_count", uint32_t{1});
  keep("llama.context_length", uint32_t{64});
  keep("llama.embedding_length", uint32_t{8});
  keep("llama.feed_forward_length", uint32_t{8});
  keep("llama.attention.head_count", uint32_t{2});
  keep("tokenizer.ggml.model", plan.is_sentence_piece ? "llama" : "gpt2");
  keep("tokenizer.ggml.tokens", plan.tokens);
  keep("tokenizer.ggml.token_type", plan.kinds);
  keep("tokenizer.ggml.scores", plan.scores);
  keep("tokenizer.ggml.merges", plan.merges);
  keep("tokenizer.chat_template", "{% for m in messages %}<0>{{ m.content }}{% endfor %}");
  for (auto& [name, tensor] : plan.tensors) {
    plan.builder.Tensor(name, tensor.type, tensor.dims, std::move(tensor.data));
  }
  return plan.builder.Build();
}

// False, for those who say whether it went well.
bool CheckError(const Error& error) {
  TW_CHECK(error.code == ErrorCode::kCorruptFile || error.code == ErrorCode::kUnsupported);
  TW_CHECK(!error.message.empty());
  return false;
}

// One step over three tokens, as floats and as 16-bit numbers.
bool Evaluate(const GgufFile& file) {
  auto config = ModelConfig::FromGguf(file);
  if (!config) {
    return CheckError(config.error());
  }
  auto weights = Weights::FromGguf(file, *config);
  if (!weights) {
    return CheckError(weights.error());
  }
  WorkerPool pool(1);
  for (const ActivationType activations : {ActivationType::kF32, ActivationType::kI16}) {
    if (activations != ActivationType::kF32) {
      TW_CHECK(weights->Pack(file, pool).has_value());
    }
    Transformer transformer(*config, *weights, **SelectKernels(""), pool, activations);
    KvBlockPool blocks({config->layers, config->kv_heads, config->head_dim, KvType::kF16},
                       int64_t{1} << 4);
    KvSequence cache(blocks);
    TW_CHECK(cache.Reserve(3));
    std::vector<BatchRow> batch;
    for (int i = 0; i < 3; ++i) {
      const auto id = static_cast<TokenId>(i * 7 % config->vocab_size);
      batch.push_back({id, i, &cache, i == 2});
    }
    Activations scratch;
    transformer.Forward(batch, scratch);
    TW_CHECK(static_cast<int64_t>(scratch.logits.size()) == config->vocab_size);
  }
  return true;
}

bool Talk(const GgufFile& file) {
  const auto tokenizer = Tokenizer::FromGguf(file);
  if (!tokenizer) {
    return CheckError(tokenizer.error());
  }
  static constexpr prompt::TemplateLimits kBounds = {.steps_max = 2000,
                                                     .bytes_max = 1 << 20,
                                                     .output_bytes_max = 1 << 16,
                                                     .depth_max = 64,
                                                     .run_depth_max = 150};
  const auto name = [&](std::optional<TokenId> id) {
    return id ? std::string((*tokenizer)->TokenBytes(*id)) : std::string();
  };
  const auto parsed =
      ChatTemplate::Parse(file.String("tokenizer.chat_template").value_or(""),
                          name((*tokenizer)->bos()), name((*tokenizer)->eos()), kBounds);
  std::string text = "abc <0> d\xC3\xA9 \xFF 42";
  std::vector<ByteRange> ranges;
  if (parsed) {
    TemplateInputs inputs;
    inputs.messages_json = R"([{"role":"user","content":"abc <0> 1"}])";
    if (auto rendered = parsed->Render(inputs, FakeClock())) {
      text = std::move(rendered->text);
      ranges = std::move(rendered->literal_ranges);
    }
  }
  const auto ids = (*tokenizer)->Encode(text, ranges);
  TW_CHECK(std::ranges::all_of(ids, [&](TokenId id) { return (*tokenizer)->IsValid(id); }));
  Detokenizer detokenizer(**tokenizer, true, true);
  for (const TokenId id : ids) {
    detokenizer.Push(id);
  }
  detokenizer.Flush();
  return parsed.has_value();
}

}  // namespace
}  // namespace tradewind::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tradewind::engine;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  // A file as it is, or edits of the tiny model.
  const std::string bytes = input.starts_with("GGUF") ? std::string(input) : MakeFile(Input(input));
  const auto file = GgufFile::Parse(tradewind::AsBytes(bytes), "fuzz.gguf");
  if (file) {
    const bool evaluates = Evaluate(*file);
    const bool talks = Talk(*file);
    TW_CHECK(size > 1 || (evaluates && talks));  // without edits everything is in order
  }
  return 0;
}
