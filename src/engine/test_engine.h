// For tests only: an engine over a tiny random model with a byte-level vocabulary.
#pragma once

#include <algorithm>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "testing/gguf_builder.h"
#include "testing/temp_dir.h"

namespace tradewind::engine {

inline constexpr int kVocab = 260;  // 256 bytes, then four control tokens
inline constexpr TokenId kEnd = 257;

// The characters that byte-level BPE writes bytes as.
inline std::string ByteCharacter(int byte) {
  const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  int code = byte;
  if (!printable) {
    code = 256;
    for (int b = 0; b < byte; ++b) {
      const bool p = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      code += p ? 0 : 1;
    }
  }
  std::string out;
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else {
    out.push_back(static_cast<char>(0xC0 | (code >> 6)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
  return out;
}

// `context`: positions it says it was trained for.
inline std::string TinyModel(uint32_t context = 256) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  testing::GgufBuilder b;
  b.Set("general.architecture", "llama")
      .Set("general.name", "tiny")
      .Set("llama.block_count", uint32_t{2});
  b.Set("llama.embedding_length", uint32_t{32}).Set("llama.feed_forward_length", uint32_t{64});
  b.Set("llama.attention.head_count", uint32_t{4})
      .Set("llama.attention.head_count_kv", uint32_t{2});
  b.Set("llama.context_length", context).Set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(ByteCharacter(byte));
    types.push_back(1);
  }
  for (const char* control : {"<|im_start|>", "<|im_end|>", "<|a|>", "<|b|>"}) {
    tokens.push_back(control);
    types.push_back(3);
  }
  b.Set("tokenizer.ggml.model", "gpt2")
      .Set("tokenizer.ggml.pre", "gpt-2")
      .Set("tokenizer.ggml.tokens", tokens);
  b.Set("tokenizer.ggml.token_type", types)
      .Set("tokenizer.ggml.merges", std::vector<std::string>{});
  b.Set("tokenizer.ggml.bos_token_id", uint32_t{256})
      .Set("tokenizer.ggml.eos_token_id", uint32_t{257});
  const auto add = [&](const std::string& name, uint64_t rows, uint64_t cols) {
    std::vector<float> values(rows * cols);
    std::ranges::generate(values, [&] { return normal(random); });
    b.TensorF32(name, {cols, rows}, values);
  };
  const auto norm = [&](const std::string& name) {
    b.TensorF32(name, {32}, std::vector<float>(32, 1.0f));
  };
  add("token_embd.weight", kVocab, 32);
  norm("output_norm.weight");
  for (const std::string prefix : {"blk.0.", "blk.1."}) {
    norm(prefix + "attn_norm.weight");
    norm(prefix + "ffn_norm.weight");
    add(prefix + "attn_q.weight", 32, 32);
    add(prefix + "attn_k.weight", 16, 32);
    add(prefix + "attn_v.weight", 16, 32);
    add(prefix + "attn_output.weight", 32, 32);
    add(prefix + "ffn_gate.weight", 64, 32);
    add(prefix + "ffn_up.weight", 64, 32);
    add(prefix + "ffn_down.weight", 32, 64);
  }
  return b.Build();
}

class EngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> Load(EngineOptions options = {}, uint32_t context = 256) {
    const auto path = dir_.path() / "tiny.gguf";
    std::ofstream(path, std::ios::binary) << TinyModel(context);
    options.threads = options.threads == 0 ? 2 : options.threads;
    auto engine = Engine::Load(path, options);
    EXPECT_TRUE(engine) << engine.error().message;
    return std::move(*engine);
  }

  static GenerateRequest Request(std::vector<TokenId> prompt, int max_tokens, uint64_t seed = 1) {
    GenerateRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling.seed = seed;
    request.ignore_end = true;
    return request;
  }

  struct Answer {
    std::string text;
    std::vector<TokenId> tokens;
    std::vector<LogprobEntry> logprobs, prompt_logprobs;
    FinishReason finish = FinishReason::kError;
    std::string error;
    GenerateStats stats;
  };
  static Answer Collect(Generation& generation) {
    Answer answer;
    for (;;) {
      GenerateEvent event = generation.Next();
      answer.text += event.text;
      std::ranges::move(event.tokens, std::back_inserter(answer.tokens));
      std::ranges::move(event.logprobs, std::back_inserter(answer.logprobs));
      std::ranges::move(event.prompt_logprobs, std::back_inserter(answer.prompt_logprobs));
      if (event.finish) {
        answer.finish = *event.finish;
        answer.error = event.error;
        answer.stats = generation.stats();
        return answer;
      }
    }
  }
  static std::unique_ptr<Generation> Start(Engine& engine, GenerateRequest request) {
    std::vector<GenerateRequest> requests;
    requests.push_back(std::move(request));
    auto generations = engine.Submit(std::move(requests));
    EXPECT_TRUE(generations) << generations.error().message;
    return std::move((*generations)[0]);
  }
  static Answer Run(Engine& engine, GenerateRequest request) {
    return Collect(*Start(engine, std::move(request)));
  }

  testing::TempDir dir_;
};

}  // namespace tradewind::engine
