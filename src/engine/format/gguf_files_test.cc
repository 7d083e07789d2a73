// Files that other programs wrote.
#include <filesystem>
#include <map>

#include <gtest/gtest.h>

#include "engine/format/gguf.h"
#include "engine/quant/dequantize.h"
#include "testing/data.h"

namespace tradewind::engine {
namespace {

GgufFile OpenReference(const std::string& relative) {
  auto file = GgufFile::Open(testing::ReferencePath(relative));
  EXPECT_TRUE(file.has_value()) << file.error().message;
  return std::move(file).value();
}

uint64_t ElementsOf(const GgufTensor& tensor) {
  return tensor.row_elements() * tensor.rows();
}

TEST(GgufFilesTest, ReadsTheTinyModels) {
  for (const char* name : {"mistral3", "llama"}) {
    const std::string path = std::string("vectors/synthetic/tiny-") + name + "-f32.gguf";
    TW_NEED_REFERENCE(path);
    const GgufFile file = OpenReference(path);
    EXPECT_EQ(file.String("general.architecture"), name);
    EXPECT_EQ(file.Integer(std::string(name) + ".block_count"), 2);
    EXPECT_EQ(file.Integer(std::string(name) + ".embedding_length"), 32);
    const GgufTensor* embedding = file.FindTensor("token_embd.weight");
    ASSERT_NE(embedding, nullptr);
    EXPECT_EQ(embedding->dims, (std::vector<uint64_t>{32, 64}));
    EXPECT_EQ(embedding->type, TensorType::kF32);
  }
}

TEST(GgufFilesTest, ReadsTheVocabularies) {
  const std::map<std::string, std::pair<std::string, uint64_t>> expected = {
      {"gpt-2", {"gpt2", 50257}}, {"llama-spm", {"llama", 32000}}, {"phi-3", {"llama", 32064}}};
  for (const auto& [name, vocabulary] : expected) {
    const std::string path = "vectors/tokenizers/ggml-vocab-" + name + ".gguf";
    TW_NEED_REFERENCE(path);
    const GgufFile file = OpenReference(path);
    EXPECT_EQ(file.String("tokenizer.ggml.model"), vocabulary.first);
    EXPECT_TRUE(file.tensors().empty());
    const GgufArray* tokens = file.Array("tokenizer.ggml.tokens");
    const GgufArray* kinds = file.Array("tokenizer.ggml.token_type");
    ASSERT_TRUE(tokens != nullptr && kinds != nullptr);
    EXPECT_EQ(tokens->count, vocabulary.second);
    EXPECT_EQ(tokens->Strings().size(), vocabulary.second);
    ASSERT_EQ(kinds->count, vocabulary.second);
    for (uint64_t i = 0; i < kinds->count; ++i) {
      ASSERT_GE(kinds->IntegerAt(i), 1);
      ASSERT_LE(kinds->IntegerAt(i), 6);
    }
  }
}

TEST(GgufFilesTest, ReadsTheReferenceModelsAndAdapters) {
  const std::map<std::string, std::string> architectures = {
      {"llama3-rope-f32", "llama"},      {"lora-all-r8", "mistral3"},
      {"lora-qv-r4-rslora", "mistral3"}, {"text-tied-f32", "mistral3"},
      {"text-untied-bf16", "mistral3"},  {"text-untied-f32", "mistral3"}};
  int seen = 0;
  for (const auto& [name, architecture] : architectures) {
    const std::string path = "golden/ministral3/gguf/" + name + ".gguf";
    if (!testing::HasReference(path)) {
      continue;
    }
    ++seen;
    SCOPED_TRACE(name);
    const GgufFile file = OpenReference(path);
    EXPECT_EQ(file.String("general.architecture"), architecture);
    const bool adapter = name.starts_with("lora");
    EXPECT_EQ(file.String("general.type").value_or("model"), adapter ? "adapter" : "model");
    EXPECT_EQ(file.FindTensor("token_embd.weight") == nullptr, adapter);
    EXPECT_FALSE(file.tensors().empty());
    for (const GgufTensor& tensor : file.tensors()) {
      EXPECT_EQ(tensor.data.size(), RowBytes(tensor.type, ElementsOf(tensor))) << tensor.name;
    }
  }
  EXPECT_GE(seen, 1) << "tests/data holds at least one of them";
}

TEST(GgufFilesTest, TheSameWeightsInTwoTypesAreTheSame) {
  TW_NEED_REFERENCE("golden/ministral3/gguf/text-untied-bf16.gguf");
  TW_NEED_REFERENCE("golden/ministral3/gguf/text-untied-f32.gguf");
  const GgufFile narrow = OpenReference("golden/ministral3/gguf/text-untied-bf16.gguf");
  const GgufFile wide = OpenReference("golden/ministral3/gguf/text-untied-f32.gguf");
  ASSERT_EQ(narrow.tensors().size(), wide.tensors().size());
  const auto values = [](const GgufTensor& tensor) {
    std::vector<float> out(ElementsOf(tensor));
    ScalarDequantizer(tensor.type)(tensor.data.data(), out);
    return out;
  };
  for (const GgufTensor& tensor : wide.tensors()) {
    const GgufTensor* twin = narrow.FindTensor(tensor.name);
    ASSERT_NE(twin, nullptr) << tensor.name;
    EXPECT_EQ(twin->dims, tensor.dims);
    EXPECT_EQ(values(*twin), values(tensor))
        << tensor.name;  // the weights were rounded to BF16 first
  }
}

TEST(GgufFilesTest, ReadsTheDefaultModel) {
  TW_NEED_DEFAULT_MODEL();
  const auto file = GgufFile::Open(testing::DefaultModelPath());
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(file->String("general.architecture"), "llama");
  std::map<TensorType, int> types;
  for (const GgufTensor& tensor : file->tensors()) {
    ++types[tensor.type];
  }
  const std::map<TensorType, int> expected = {
      {TensorType::kQ4_1, 210}, {TensorType::kQ8_0, 1}, {TensorType::kF32, 61}};
  EXPECT_EQ(types, expected);
  EXPECT_EQ(file->Array("tokenizer.ggml.tokens")->count, 49152u);
  EXPECT_TRUE(file->String("tokenizer.chat_template").has_value());
}

}  // namespace
}  // namespace tradewind::engine
