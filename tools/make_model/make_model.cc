#include "make_model/make_model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/file.h"
#include "make_model/gguf_header.h"
#include "make_model/random_blocks.h"
#include "make_model/vocabulary.h"

namespace tradewind::make_model {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

void SetShapeKeys(const ModelShape& s, GgufHeader& header) {
  const auto key = [&](const char* name) { return s.architecture + "." + name; };
  const auto number = [&](const char* name, int64_t value) {
    header.Set(key(name), static_cast<uint32_t>(value));
  };
  number("block_count", s.layers);
  number("context_length", s.context);
  number("embedding_length", s.model_dim);
  number("feed_forward_length", s.ffn_dim);
  number("attention.head_count", s.heads);
  number("attention.head_count_kv", s.kv_heads);
  number("attention.key_length", s.head_dim);
  number("attention.value_length", s.head_dim);
  header.Set(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  number("rope.dimension_count", s.head_dim);
  header.Set(key("rope.freq_base"), static_cast<float>(s.rope_base));
  number("vocab_size", s.vocab);
  if (s.yarn) {
    header.Set(key("attention.temperature_scale"), 0.1f);
    header.Set(key("rope.scaling.type"), "yarn");
    header.Set(key("rope.scaling.factor"), 16.0f);
    number("rope.scaling.original_context_length", 16384);
    header.Set(key("rope.scaling.yarn_beta_fast"), 32.0f);
    header.Set(key("rope.scaling.yarn_beta_slow"), 1.0f);
    header.Set(key("rope.scaling.yarn_log_multiplier"), 1.0f);
  }
}

void SetVocabularyKeys(const ModelShape& s, GgufHeader& header) {
  const MadeUpVocabulary vocabulary = MakeVocabulary(s.vocab);
  header.Set("tokenizer.ggml.model", "gpt2");
  header.Set("tokenizer.ggml.pre", "tekken");
  header.Set("tokenizer.ggml.tokens", vocabulary.tokens);
  header.Set("tokenizer.ggml.token_type", vocabulary.types);
  header.Set("tokenizer.ggml.merges", vocabulary.merges);
  header.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(vocabulary.unknown));
  header.Set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(vocabulary.bos));
  header.Set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(vocabulary.eos));
  header.Set("tokenizer.ggml.padding_token_id", static_cast<uint32_t>(vocabulary.padding));
  header.Set("tokenizer.ggml.add_bos_token", true);
  header.Set("tokenizer.ggml.add_eos_token", false);
  header.Set("tokenizer.chat_template", MadeUpChatTemplate());
}

std::string BuildHeader(const ModelShape& shape, const TypePlan& types,
                        std::span<const TensorSpec> tensors) {
  GgufHeader header;
  header.Set("general.architecture", shape.architecture);
  header.Set("general.type", "model");
  header.Set("general.name", shape.name + " (random weights)");
  header.Set("general.file_type", types.file_type);
  header.Set("general.quantization_version", uint32_t{2});
  SetShapeKeys(shape, header);
  SetVocabularyKeys(shape, header);
  return header.Build(tensors);
}

// A norm of ones keeps activations at size 1; a matrix with values of rms 1/sqrt(cols) does too.
Status WriteTensor(const TensorSpec& tensor, uint64_t seed, std::vector<std::byte>& piece,
                   AtomicFile& file) {
  uint64_t left = tensor.bytes();
  const uint64_t padding = GgufHeader::Align(left) - left;
  if (tensor.rows == 0) {
    const std::vector<float> ones(static_cast<size_t>(tensor.cols), 1.0f);
    TW_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(ones))));
    left = 0;
  }
  RandomBlocks blocks(tensor.type, 1.0 / std::sqrt(static_cast<double>(tensor.cols)), seed);
  const size_t block_bytes = engine::TraitsOf(tensor.type).block_bytes;
  piece.resize(kPieceBytes / block_bytes * block_bytes);
  while (left > 0) {
    const auto part =
        std::span(piece).first(static_cast<size_t>(std::min<uint64_t>(left, piece.size())));
    blocks.Fill(part);
    TW_RETURN_IF_ERROR(file.Write(part));
    left -= part.size();
  }
  return file.Write(AsBytes(std::string(padding, '\0')));
}

// The disk's refusal, with how much was asked of it.
std::unexpected<Error> NoRoom(Error error, uint64_t bytes) {
  if (error.code == ErrorCode::kResourceExhausted) {
    error.message += fmt::format("; the file takes {:.1f} MB: free some room or write it elsewhere",
                                 static_cast<double>(bytes) / 1e6);
  }
  return Fail(std::move(error));
}

Result<AtomicFile> WriteAll(const std::string& header, std::span<const TensorSpec> tensors,
                            uint64_t seed, uint64_t bytes, const std::filesystem::path& path) {
  TW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, bytes));
  TW_RETURN_IF_ERROR(file.Write(AsBytes(header)));
  RandomBits seeds(seed);
  std::vector<std::byte> piece;
  for (const TensorSpec& tensor : tensors) {
    TW_RETURN_IF_ERROR(WriteTensor(tensor, seeds.Next(), piece, file));
  }
  return file;
}

}  // namespace

Result<uint64_t> MakeModel(const ModelShape& shape, const TypePlan& types, uint64_t seed,
                           const std::filesystem::path& path) {
  TW_RETURN_IF_ERROR(CheckShape(shape));
  const std::vector<TensorSpec> tensors = PlanTensors(shape, types);
  const std::string header = BuildHeader(shape, types, tensors);
  uint64_t bytes = header.size();
  for (const TensorSpec& tensor : tensors) {
    bytes += GgufHeader::Align(tensor.bytes());
  }
  auto file = WriteAll(header, tensors, seed, bytes, path);
  if (!file) {
    return NoRoom(std::move(file).error(), bytes);
  }
  TW_RETURN_IF_ERROR(file->Commit());
  return bytes;
}

}  // namespace tradewind::make_model
