// Whole vocabularies against the ids that the models' own encoders gave.
#include <array>
#include <cstring>
#include <regex>
#include <sstream>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/tokenizer/test_vocabularies.h"
#include "engine/tokenizer/tokenizer.h"
#include "testing/data.h"

namespace tradewind::engine {
namespace {

namespace json = boost::json;
using testing::EndTokens;
using ::tradewind::testing::DefaultModelPath;
using ::tradewind::testing::HasReference;
using ::tradewind::testing::ReadReference;
using ::tradewind::testing::ReferencePath;

using Ids = std::vector<TokenId>;

Ids ReadIds(const json::value& list) {
  return json::value_to<Ids>(list);
}

std::unique_ptr<Tokenizer> LoadFile(const std::filesystem::path& path) {
  const auto file = GgufFile::Open(path);
  EXPECT_TRUE(file.has_value()) << file.error().message;
  auto tokenizer = file.has_value() ? Tokenizer::FromGguf(*file) : Fail(file.error());
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer.has_value() ? *std::move(tokenizer) : nullptr;
}

// --- The default model ---------------------------------------------------------------------------

TEST(DefaultModelTokenizerTest, Gives300StringsTheirIdsWithAndWithoutSpecialTokens) {
  TW_NEED_DEFAULT_MODEL();
  TW_NEED_REFERENCE("golden/smollm2/tokenizer.json");
  const auto tokenizer = LoadFile(DefaultModelPath());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->model_name(), "gpt2");
  EXPECT_EQ(tokenizer->pre_name(), "smollm");
  EXPECT_FALSE(tokenizer->add_bos());
  EXPECT_EQ(EndTokens(*tokenizer), Ids{2});
  const json::value cases = json::parse(ReadReference("golden/smollm2/tokenizer.json"));
  EXPECT_EQ(cases.as_array().size(), 300u);
  for (const json::value& one : cases.as_array()) {
    const std::string text(one.at("text").as_string());
    EXPECT_EQ(tokenizer->Encode(text), ReadIds(one.at("ids"))) << text;
    EXPECT_EQ(tokenizer->EncodeWithSpecial(text), ReadIds(one.at("ids_special"))) << text;
    EXPECT_EQ(tokenizer->Decode(ReadIds(one.at("ids"))), text);
    EXPECT_EQ(tokenizer->Decode(ReadIds(one.at("ids_special")), true), text);
  }
}

TEST(DefaultModelTokenizerTest, GivesALongTextItsIds) {
  TW_NEED_DEFAULT_MODEL();
  TW_NEED_REFERENCE("golden/smollm2/text.txt");
  TW_NEED_REFERENCE("golden/smollm2/text_ids.npy");
  const auto tokenizer = LoadFile(DefaultModelPath());
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = ReadReference("golden/smollm2/text.txt");
  const std::string npy = ReadReference("golden/smollm2/text_ids.npy");
  // NumPy's format 1: 8 bytes, the header's length in two, the header, then uint16.
  ASSERT_GT(npy.size(), 10u);
  Ids expected;
  for (size_t at = 10u + LoadLe<uint16_t>(npy.data() + 8); at + 2 <= npy.size(); at += 2) {
    expected.push_back(LoadLe<uint16_t>(npy.data() + at));
  }
  EXPECT_EQ(expected.size(), 12991u);
  EXPECT_EQ(tokenizer->Encode(text), expected);
  EXPECT_EQ(tokenizer->Decode(expected), text);
}

// --- Tiny models ---------------------------------------------------------------------------------

struct TinyModel {
  const char* cases;
  const char* model;
};
std::ostream& operator<<(std::ostream& out, const TinyModel& tiny) {
  return out << tiny.model;
}

class TinyModelTokenizerTest : public ::testing::TestWithParam<TinyModel> {};

TEST_P(TinyModelTokenizerTest, GivesTextsTheirIds) {
  const std::string folder = "golden/ministral3/gguf/";
  TW_NEED_REFERENCE(folder + GetParam().model);
  TW_NEED_REFERENCE(folder + GetParam().cases);
  const auto tokenizer = LoadFile(ReferencePath(folder + GetParam().model));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->pre_name(), "tekken");
  EXPECT_TRUE(tokenizer->add_bos());
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  const json::value cases = json::parse(ReadReference(folder + GetParam().cases));
  for (const json::value& one : cases.as_array()) {
    const std::string text(one.at("text").as_string());
    EXPECT_EQ(tokenizer->Encode(text), ReadIds(one.at("ids"))) << text;
    EXPECT_EQ(tokenizer->Decode(ReadIds(one.at("ids"))), text);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, TinyModelTokenizerTest,
    ::testing::Values(TinyModel{"text-tied.tokenized.json", "text-tied-f32.gguf"},
                      TinyModel{"text-untied.tokenized.json", "text-untied-f32.gguf"},
                      TinyModel{"llama3-rope.tokenized.json", "llama3-rope-f32.gguf"}));

// --- Published vocabularies ----------------------------------------------------------------------

class PublishedVocabularyTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PublishedVocabularyTest, GivesTextsTheirIds) {
  const std::string path = std::string("vectors/tokenizers/ggml-vocab-") + GetParam() + ".gguf";
  TW_NEED_REFERENCE(path + ".inp");
  if (!HasReference(path)) {
    GTEST_SKIP() << "there are texts and ids for " << GetParam() << ", but no vocabulary";
  }
  const auto tokenizer = LoadFile(ReferencePath(path));
  ASSERT_NE(tokenizer, nullptr);
  constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";
  const std::string texts = ReadReference(path + ".inp");
  std::istringstream lines(ReadReference(path + ".out"));
  int cases = 0;
  size_t begin = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const size_t end = texts.find(kBetween, begin);
    ASSERT_NE(end, std::string::npos);
    const std::string text = texts.substr(begin, end - begin);
    begin = end + kBetween.size();
    std::istringstream numbers(line);
    const Ids expected(std::istream_iterator<TokenId>(numbers), {});
    EXPECT_EQ(tokenizer->Encode(text), expected) << '"' << text << '"';
    EXPECT_EQ(tokenizer->Decode(expected), text);
  }
  EXPECT_EQ(cases, 46);
}

INSTANTIATE_TEST_SUITE_P(All, PublishedVocabularyTest,
                         ::testing::Values("gpt-2", "llama-spm", "phi-3", "llama-bpe", "qwen2",
                                           "deepseek-llm"));

// --- Mistral's SentencePiece models --------------------------------------------------------------

std::unique_ptr<Tokenizer> LoadSentencePiece(const std::string& name, bool add_space_prefix) {
  const std::string bytes = ReadReference("vectors/mistral-common/models/" + name);
  return testing::Load(testing::SentencePieceReader(bytes).Read().SentencePiece(add_space_prefix));
}

struct Version {
  const char* name;
  const char* model;
};
std::ostream& operator<<(std::ostream& out, const Version& version) {
  return out << version.name << " by " << version.model;
}

class MistralSampleTest : public ::testing::TestWithParam<Version> {};

// The samples print a conversation with special tokens and line feeds by name and spaces as
// SentencePiece marks (one of them as spaces); the space that each text after a special token
// begins with is there already.
TEST_P(MistralSampleTest, GivesConversationsTheirIds) {
  const auto [version, model] = GetParam();
  TW_NEED_REFERENCE(std::string("vectors/mistral-common/models/") + model);
  const auto tokenizer = LoadSentencePiece(model, false);
  const auto prefixing = LoadSentencePiece(model, true);
  ASSERT_TRUE(tokenizer != nullptr && prefixing != nullptr);
  int samples = 0;
  for (const char* name : {"no_tools", "get_weather_full", "get_weather_no_history",
                           "get_weather_no_system_prompt", "parallel_calls", "several_calls"}) {
    const std::string folder = std::string("vectors/mistral-common/samples/") + name + "/";
    if (!HasReference(folder + "text_" + version + ".txt")) {
      continue;
    }
    ++samples;
    std::string text = ReadReference(folder + "text_" + version + ".txt");
    text = std::regex_replace(text, std::regex("<0x0A>"), "\n");
    const json::value tokens = json::parse(ReadReference(folder + "tokens_" + version + ".json"));
    const Ids expected = ReadIds(tokens.at("tokens"));
    EXPECT_EQ(tokenizer->EncodeWithSpecial(text), expected) << name;
    // The same by the rule that puts that space there; in version 1 only <s> and </s> are special.
    const std::regex after_special(
        std::string(version) == "v1" ? "(</?s>)( |\u2581)" : "(</?s>|\\[[/A-Z_]+\\])( |\u2581)");
    EXPECT_EQ(prefixing->EncodeWithSpecial(std::regex_replace(text, after_special, "$1")), expected)
        << name;
    const std::string spaced = std::regex_replace(text, std::regex("\u2581"), " ");
    EXPECT_EQ(tokenizer->Decode(expected, true), spaced) << name;
  }
  EXPECT_GT(samples, 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, MistralSampleTest,
    ::testing::Values(Version{"v1", "tokenizer.model.v1"},
                      Version{"v2", "mistral_instruct_tokenizer_240323.model.v3"},
                      Version{"v3", "mistral_instruct_tokenizer_240323.model.v3"},
                      Version{"v3", "mistral_instruct_tokenizer_241114.model.v7"}));

TEST(MistralSentencePieceTest, Version1GivesThePublishedIds) {
  TW_NEED_REFERENCE("vectors/mistral-common/models/tokenizer.model.v1");
  const auto tokenizer = LoadSentencePiece("tokenizer.model.v1", true);
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<std::pair<std::string, Ids>> cases = {
      {"grabbed", {13300}},
      {" grabbed", {28705, 13300}},
      {"           grabbed", {17422, 13300}},
      {"\n", {28705, 13}},
      {" \n", {259, 13}},
      {"ax\n####\nboo", {6056, 13, 2000, 13, 1798, 28709}},
      {"镇", {28705, 29780}},
      {"🦙", {28705, 243, 162, 169, 156}},
  };
  for (const auto& [text, ids] : cases) {
    EXPECT_EQ(tokenizer->Encode(text), ids) << text;
    EXPECT_EQ(tokenizer->Decode(ids), text);
  }
}

}  // namespace
}  // namespace tradewind::engine
