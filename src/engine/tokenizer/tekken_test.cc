// Tekken: the format with small files, and the real vocabularies when they are there.
#include <cstdlib>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/tokenizer/test_vocabularies.h"
#include "engine/tokenizer/tokenizer.h"
#include "testing/data.h"

namespace tradewind::engine {
namespace {

namespace json = boost::json;
using testing::EndTokens;
using ::tradewind::testing::ReadReference;

using Ids = std::vector<TokenId>;

std::string Base64(std::string_view bytes) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      text += i + k > bytes.size() ? '=' : kLetters[bits >> (18 - 6 * k) & 63];
    }
  }
  return text;
}

constexpr const char* kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// 10 special tokens, the bytes, then the given words.
json::object SmallFile(const std::vector<std::string>& words) {
  json::array vocabulary;
  for (int b = 0; b < 256; ++b) {
    vocabulary.push_back({{"rank", b},
                          {"token_bytes", Base64(std::string(1, static_cast<char>(b)))},
                          {"token_str", nullptr}});
  }
  for (const std::string& word : words) {
    vocabulary.push_back({{"rank", vocabulary.size()}, {"token_bytes", Base64(word)}});
  }
  return {{"config",
           {{"pattern", kPattern},
            {"num_vocab_tokens", vocabulary.size()},
            {"default_vocab_size", 10 + vocabulary.size()},
            {"default_num_special_tokens", 10},
            {"version", "v13"}}},
          {"vocab", vocabulary}};
}

json::object& Config(json::object& file) {
  return file["config"].as_object();
}

std::unique_ptr<Tokenizer> LoadJson(const json::object& file) {
  auto tokenizer = Tokenizer::FromTekkenJson(json::serialize(file));
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer.has_value() ? *std::move(tokenizer) : nullptr;
}

TEST(TekkenTest, IdsAreRanksAfterTheSpecialTokensAndTheLowestRankMergesFirst) {
  const auto tokenizer = LoadJson(SmallFile({"bc", "ab", "abcd"}));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Encode("abc"), (Ids{10 + 'a', 266}));
  EXPECT_EQ(tokenizer->Encode("abx"), (Ids{267, 10 + 'x'}));
  EXPECT_EQ(tokenizer->Encode("abcd"), Ids{268}) << "a word that is an entry is that entry";
  EXPECT_EQ(tokenizer->Encode("abcdx"), (Ids{10 + 'a', 266, 10 + 'd', 10 + 'x'}));
  EXPECT_EQ(tokenizer->model_name(), "tekken");
  EXPECT_EQ(tokenizer->version(), "v13");
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(EndTokens(*tokenizer), Ids{2});
  EXPECT_TRUE(tokenizer->add_bos());
}

TEST(TekkenTest, OnlyTheFirstEntriesOfAnOversizedVocabularyAreUsed) {
  json::object file = SmallFile({"ab", "cd"});
  Config(file)["default_vocab_size"] = 267;
  const auto tokenizer = LoadJson(file);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocab_size(), 267);
  EXPECT_EQ(tokenizer->Encode("abcd"), (Ids{266, 10 + 'c', 10 + 'd'}));
}

TEST(TekkenTest, SpecialTokensHaveTheirNamesAndTheOthersANumber) {
  json::object file = SmallFile({});
  const auto defaults = LoadJson(file);
  ASSERT_NE(defaults, nullptr);
  EXPECT_EQ(defaults->EncodeWithSpecial("[INST]a[/INST]"), (Ids{3, 10 + 'a', 4}));
  file["special_tokens"] = {{{"rank", 1}, {"token_str", "<s>"}, {"is_control", true}},
                            {{"rank", 2}, {"token_str", "</s>"}, {"is_control", true}},
                            {{"rank", 5}, {"token_str", "[ARGS]"}, {"is_control", false}}};
  const auto tokenizer = LoadJson(file);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->TokenBytes(0), "<SPECIAL_0>");
  EXPECT_EQ(tokenizer->FindToken("<SPECIAL_9>"), 9);
  EXPECT_EQ(tokenizer->EncodeWithSpecial("[ARGS]</s>"), (Ids{5, 2}));
  EXPECT_TRUE(tokenizer->IsSpecial(2));
  EXPECT_EQ(tokenizer->Kind(5), TokenKind::kUserDefined);
  EXPECT_EQ(tokenizer->Encode("[ARGS]").size(), 6u);
}

TEST(TekkenTest, ABrokenFileIsRefusedWithTheNameOfWhatIsWrong) {
  const auto refused = [](const json::object& file, std::string_view word) {
    const auto tokenizer = Tokenizer::FromTekkenJson(json::serialize(file));
    ASSERT_FALSE(tokenizer.has_value()) << word;
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kCorruptFile) << tokenizer.error().message;
    EXPECT_NE(tokenizer.error().message.find(word), std::string::npos) << tokenizer.error().message;
  };
  const auto config = [&](const char* key, const json::value& value) {
    json::object file = SmallFile({"ab"});
    Config(file)[key] = value;
    refused(file, key);
  };
  for (const json::value& value : {json::value(-1), json::value(1 << 30), json::value("many"),
                                   json::value(1e9), json::value(nullptr)}) {
    config("default_vocab_size", value);
    config("default_num_special_tokens", value);
  }
  config("pattern", nullptr);
  const auto entry = [&](size_t i, const char* key, const json::value& value) {
    json::object file = SmallFile({"ab"});
    file["vocab"].as_array()[i].as_object()[key] = value;
    refused(file, fmt::format("vocab[{}]", i));
  };
  entry(0, "rank", 7);
  entry(256, "rank", "x");
  entry(65, "token_bytes", "QkI=");
  for (const char* text : {"", "Q", "QQ=", "Q===", "====", "Q!==", "=QQQ"}) {
    entry(256, "token_bytes", text);
  }
  json::object file = SmallFile({});
  for (const json::value& list :
       {json::value("x"), json::value(json::array{1}),
        json::value({{{"rank", 10}, {"token_str", "x"}}}),
        json::value({{{"rank", 1}, {"token_str", ""}}}), json::value({{{"rank", 1}}}),
        json::value({{{"rank", 1}, {"token_str", "a"}}, {{"rank", 1}, {"token_str", "b"}}})}) {
    file["special_tokens"] = list;
    refused(file, "special_tokens");
  }
  refused({}, "config");
  file = SmallFile({});
  file["vocab"] = json::array();
  refused(file, "vocab");
}

TEST(TekkenTest, AnotherPatternIsUnsupportedBecausePatternsOfFilesAreNotRun) {
  json::object file = SmallFile({});
  Config(file)["pattern"] = "(a*)*b";
  const auto tokenizer = Tokenizer::FromTekkenJson(json::serialize(file));
  ASSERT_FALSE(tokenizer.has_value());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kUnsupported);
}

TEST(TekkenTest, TextThatIsNotJsonIsRefused) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string(100000, '['), std::string("{\"config\":1}"), std::string("\xFF")}) {
    const auto tokenizer = Tokenizer::FromTekkenJson(text);
    ASSERT_FALSE(tokenizer.has_value());
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kCorruptFile);
  }
}

// --- The real vocabularies -----------------------------------------------------------------------

std::filesystem::path TekkenPath(const std::string& name) {
  const char* folder = std::getenv("TRADEWIND_TEST_TEKKEN");
  return std::filesystem::path(folder != nullptr ? folder : TW_SOURCE_DIR "/build/tekken") / name;
}

class RealTekkenTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(TekkenPath(GetParam()))) {
      GTEST_SKIP() << TekkenPath(GetParam()) << " is not there (tools/fetch_tekken.sh fetches it)";
    }
  }
  // With the special tokens of `extra` put into the file, which lists none of its own.
  static std::unique_ptr<Tokenizer> LoadWith(const json::array& extra) {
    std::string text = ReadFile(TekkenPath(GetParam())).value_or("");
    if (!extra.empty()) {
      const size_t end = text.rfind('}');
      text = text.substr(0, end) + ",\"special_tokens\":" + json::serialize(extra) + "}";
    }
    auto tokenizer = Tokenizer::FromTekkenJson(text);
    EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
    return tokenizer.has_value() ? *std::move(tokenizer) : nullptr;
  }
};

TEST_P(RealTekkenTest, GivesTextsTheirIds) {
  TW_NEED_REFERENCE("vectors/tekken/tekken_text_to_ids.json");
  const auto tokenizer = LoadWith({});
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocab_size(), 131072);
  const json::value file = json::parse(ReadReference("vectors/tekken/tekken_text_to_ids.json"));
  EXPECT_GE(file.at("cases").as_array().size(), 74u);
  for (const json::value& one : file.at("cases").as_array()) {
    const std::string text(one.at("text").as_string());
    const Ids ids = json::value_to<Ids>(one.at("ids"));
    EXPECT_EQ(tokenizer->Encode(text), ids) << text;
    EXPECT_EQ(tokenizer->Decode(ids), text);
  }
}

TEST_P(RealTekkenTest, GivesMinistralPromptsTheirIds) {
  TW_NEED_REFERENCE("vectors/tekken/ministral3_prompts_to_ids.json");
  const json::value file =
      json::parse(ReadReference("vectors/tekken/ministral3_prompts_to_ids.json"));
  json::array specials;
  for (const auto& [name, id] : file.at("special_ids").as_object()) {
    specials.push_back({{"rank", id}, {"token_str", name}, {"is_control", true}});
  }
  const auto tokenizer = LoadWith(specials);
  ASSERT_NE(tokenizer, nullptr);
  for (const json::value& one : file.at("cases").as_array()) {
    const std::string text(one.at("text").as_string());
    const Ids ids = json::value_to<Ids>(one.at("ids"));
    EXPECT_EQ(tokenizer->EncodeWithSpecial(text), ids) << text;
    EXPECT_EQ(tokenizer->Decode(ids, true), text);
  }
}

TEST_P(RealTekkenTest, EveryEntryThatThePatternDoesNotSplitIsOneToken) {
  const auto tokenizer = LoadWith({});
  ASSERT_NE(tokenizer, nullptr);
  int whole = 0;
  for (TokenId id = 1000; id < tokenizer->vocab_size(); ++id) {
    const Ids ids = tokenizer->Encode(tokenizer->TokenBytes(id));
    ASSERT_EQ(tokenizer->Decode(ids), tokenizer->TokenBytes(id));
    whole += ids == Ids{id};
  }
  EXPECT_GT(whole, 129000);
}

INSTANTIATE_TEST_SUITE_P(All, RealTekkenTest,
                         ::testing::Values("tekken_240718.json", "tekken_240911.json"));

}  // namespace
}  // namespace tradewind::engine
