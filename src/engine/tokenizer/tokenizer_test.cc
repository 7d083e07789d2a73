#include "engine/tokenizer/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "engine/tokenizer/test_vocabularies.h"

namespace tradewind::engine {
namespace {

using testing::ByteVocabulary;
using testing::EndTokens;
using testing::Load;
using testing::SentencePieceVocabulary;
using testing::SpellBytes;
using testing::TestVocabulary;
using testing::TryLoad;

using Ids = std::vector<TokenId>;

// --- Special tokens ------------------------------------------------------------------------------

struct Chat {
  TestVocabulary vocabulary = ByteVocabulary();
  TokenId start = vocabulary.Add("<|im_start|>", TokenKind::kControl);
  TokenId end = vocabulary.Add("<|im_end|>", TokenKind::kControl);
  TokenId tool = vocabulary.Add("<tool>", TokenKind::kUserDefined);
  TokenId tools = vocabulary.Add("<tool>s", TokenKind::kUserDefined);
  std::unique_ptr<Tokenizer> tokenizer = Load(vocabulary.ByteLevel());
};

TEST(SpecialTokenTest, FormsOnlyWhereItLiesWhollyInsideOneRange) {
  const Chat chat;
  const std::string_view text = "<|im_end|>";
  const auto encode = [&](std::vector<ByteRange> ranges) {
    return chat.tokenizer->Encode(text, ranges);
  };
  EXPECT_EQ(encode({{0, 10}}), Ids{chat.end});
  EXPECT_EQ(encode({{0, 99}}), Ids{chat.end});
  for (const auto& ranges : std::vector<std::vector<ByteRange>>{{},
                                                                {{0, 9}},
                                                                {{1, 10}},
                                                                {{0, 5}, {5, 10}},
                                                                {{3, 3}},
                                                                {{10, 10}},
                                                                {{7, 2}},
                                                                {{50, 60}}}) {
    const Ids ids = encode(ranges);
    EXPECT_EQ(ids.size(), text.size());
    EXPECT_EQ(chat.tokenizer->Decode(ids), text);
  }
}

TEST(SpecialTokenTest, UserTextBetweenMarkersStaysText) {
  const Chat chat;
  const std::string text = "<|im_start|>user\n<|im_end|><|im_end|>";
  const std::vector<ByteRange> ranges = {{0, 17}, {27, text.size()}};
  const Ids ids = chat.tokenizer->Encode(text, ranges);
  EXPECT_EQ(std::ranges::count(ids, chat.end), 1);
  EXPECT_EQ(ids.front(), chat.start);
  EXPECT_EQ(ids.back(), chat.end);
  EXPECT_EQ(chat.tokenizer->Decode(ids, true), text);
  EXPECT_EQ(chat.tokenizer->Decode(ids), "user\n<|im_end|>");
}

TEST(SpecialTokenTest, TheLeftmostWinsAndOfThoseTheLongest) {
  const Chat chat;
  EXPECT_EQ(chat.tokenizer->EncodeWithSpecial("<tool>s<tool>"), (Ids{chat.tools, chat.tool}));
  EXPECT_EQ(chat.tokenizer->Encode("<tool>s", std::vector<ByteRange>{{0, 6}}),
            (Ids{chat.tool, 's'}));
}

TEST(SpecialTokenTest, NoMergeAndNoWholeWordFormsOneInOrdinaryText) {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.AddMerge("a", "b");
  vocabulary.kinds.back() = static_cast<int32_t>(TokenKind::kControl);
  vocabulary.AddMerge("c", "d");
  vocabulary.kinds.back() = static_cast<int32_t>(TokenKind::kUserDefined);
  for (const char* pre : {"gpt-2", "tekken"}) {
    const auto tokenizer = Load(vocabulary.ByteLevel(pre));
    EXPECT_EQ(tokenizer->Encode("abcd"), (Ids{'a', 'b', 'c', 'd'}));
    EXPECT_EQ(tokenizer->EncodeWithSpecial("abcd"), (Ids{256, 257}));
  }
  TestVocabulary pieces = SentencePieceVocabulary();
  pieces.Add("ab", TokenKind::kControl, 1);
  const auto tokenizer = Load(pieces.SentencePiece(false));
  EXPECT_EQ(tokenizer->Encode("ab"), (Ids{3 + 'a', 3 + 'b'}));
  EXPECT_EQ(tokenizer->Encode("<s>").size(), 3u);
}

TEST(SpecialTokenTest, EndTokensAreTheOnesThatKeysNameAndTheWellKnownMarkers) {
  Chat chat;
  const TokenId endoftext = chat.vocabulary.Add("<|endoftext|>", TokenKind::kControl);
  const TokenId eot = chat.vocabulary.Add("<|done|>", TokenKind::kControl);
  chat.vocabulary.Add("<|eot_id|>");  // an ordinary token: ends nothing
  auto file = chat.vocabulary.ByteLevel();
  file.Set("tokenizer.ggml.eot_token_id", static_cast<uint32_t>(eot));
  EXPECT_EQ(EndTokens(*Load(file)), (Ids{eot, chat.end}));
  file.Set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(endoftext));
  const auto tokenizer = Load(file);
  EXPECT_EQ(EndTokens(*tokenizer), (Ids{endoftext, eot, chat.end}));
  EXPECT_TRUE(tokenizer->IsEnd(eot));
  EXPECT_FALSE(tokenizer->IsEnd(chat.start));
}

// --- Byte-level BPE ------------------------------------------------------------------------------

TEST(ByteLevelTest, EveryStringOfBytesSurvives) {
  std::mt19937 random(5);
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.AddMerge("\xC3", "\xA9");
  vocabulary.AddMerge("\xE2", "\x82");
  vocabulary.AddMerge(" ", "a");
  for (const char* pre : {"default", "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"}) {
    const auto tokenizer = Load(vocabulary.ByteLevel(pre));
    for (int round = 0; round < 2000; ++round) {
      std::string text;
      for (size_t i = random() % 20; i > 0; --i) {
        constexpr std::string_view kUnits[] = {"\xC3", "\xA9", "é", "\xE2\x82",
                                               "€",    " ",    "a", "\n"};
        const uint32_t pick = random() % 12;
        text += pick < 8 ? std::string(kUnits[pick])
                         : std::string(1, static_cast<char>(random() % 256));
      }
      ASSERT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text) << pre;
    }
  }
}

TEST(ByteLevelTest, WithIgnoreMergesAWordThatIsATokenIsThatTokenElseOnlyIfMergesFormIt) {
  TestVocabulary vocabulary = ByteVocabulary();
  const TokenId word = vocabulary.Add("abc");  // no merge leads to it
  EXPECT_EQ(Load(vocabulary.ByteLevel("llama-bpe"))->Encode("abc"), Ids{word});
  const auto plain = Load(vocabulary.ByteLevel("gpt-2"));
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_EQ(plain->Encode("abc"), (Ids{'a', 'b', 'c'}));
  }
}

TEST(ByteLevelTest, DefaultsForBosFollowThePreTokenizerAndKeysOverrideThem) {
  TestVocabulary vocabulary = ByteVocabulary();
  const auto bos = static_cast<uint32_t>(vocabulary.Add("<s>", TokenKind::kControl));
  const auto with_bos = [&](const char* pre) {
    auto file = vocabulary.ByteLevel(pre);
    return file.Set("tokenizer.ggml.bos_token_id", bos);
  };
  EXPECT_FALSE(Load(with_bos("gpt-2"))->add_bos());
  EXPECT_TRUE(Load(with_bos("tekken"))->add_bos());
  EXPECT_TRUE(Load(with_bos("llama-bpe"))->add_bos());
  EXPECT_FALSE(Load(with_bos("llama-bpe").Set("tokenizer.ggml.add_bos_token", false))->add_bos());
  EXPECT_TRUE(Load(with_bos("gpt-2").Set("tokenizer.ggml.add_bos_token", true))->add_bos());
  EXPECT_FALSE(Load(vocabulary.ByteLevel("tekken"))->add_bos()) << "there is no BOS to add";
}

TEST(ByteLevelTest, BytesWithoutATokenBecomeTheUnknownTokenOrNothing) {
  TestVocabulary vocabulary;
  vocabulary.Add("a");
  const auto unknown = static_cast<uint32_t>(vocabulary.Add("<unk>", TokenKind::kUnknown));
  auto file = vocabulary.ByteLevel();
  EXPECT_EQ(Load(file)->Encode("abca"), (Ids{0, 0}));
  file.Set("tokenizer.ggml.unknown_token_id", unknown);
  EXPECT_EQ(Load(file)->Encode("abca"), (Ids{0, 1, 1, 0}));
}

TEST(ByteLevelTest, MergesThatNameTokensWhichAreNotThereAreLeftOut) {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.merges = {"a zz", "zz a", "a b", "b c", "\xFF a", "日 a", "a "};
  vocabulary.Add("bc");
  EXPECT_EQ(Load(vocabulary.ByteLevel())->Encode("abc"), (Ids{'a', 256}));
}

TEST(ByteLevelTest, OneTokenizerServesManyThreads) {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.AddMerge("a", "b");
  vocabulary.AddMerge("ab", "c");
  const auto tokenizer = Load(vocabulary.ByteLevel());
  const std::string text = "abc ab cab abcabc 日本 \xFF";
  const Ids expected = Load(vocabulary.ByteLevel())->Encode(text);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        wrong += tokenizer->Encode(text) != expected;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, 0);
}

// --- SentencePiece -------------------------------------------------------------------------------

TEST(SentencePieceTest, TheFirstPieceAndThoseAfterASpecialTokenGetASpace) {
  TestVocabulary vocabulary = SentencePieceVocabulary();
  const TokenId space = vocabulary.Add("\u2581", TokenKind::kNormal, -3);
  const TokenId a = vocabulary.Add("a", TokenKind::kNormal, -4);
  const TokenId spaced = vocabulary.Add("\u2581a", TokenKind::kNormal, -1);
  const auto tokenizer = Load(vocabulary.SentencePiece());
  EXPECT_EQ(tokenizer->Encode("a"), Ids{spaced});
  EXPECT_EQ(tokenizer->Encode(" a"), (Ids{space, spaced}));
  EXPECT_EQ(tokenizer->Encode("aa"), (Ids{spaced, a}));
  EXPECT_EQ(tokenizer->EncodeWithSpecial("a</s>a"), (Ids{spaced, 2, spaced}));
  EXPECT_EQ(tokenizer->Encode(""), Ids{});
  EXPECT_EQ(tokenizer->Decode(Ids{1, spaced, spaced}), "a a");
  EXPECT_TRUE(tokenizer->strips_leading_space());
  const auto bare = Load(vocabulary.SentencePiece(false));
  EXPECT_EQ(bare->Encode("a"), Ids{a});
  EXPECT_EQ(bare->EncodeWithSpecial("a</s>a"), (Ids{a, 2, a}));
  EXPECT_EQ(bare->Decode(Ids{spaced}), " a");
}

TEST(SentencePieceTest, EveryStringOfBytesSurvivesButForTheSpaceMark) {
  TestVocabulary vocabulary = SentencePieceVocabulary();
  vocabulary.Add("\u2581", TokenKind::kNormal, -3);
  vocabulary.Add("é", TokenKind::kNormal, -2);
  vocabulary.Add("\u2581\u2581", TokenKind::kNormal, -1);
  const auto tokenizer = Load(vocabulary.SentencePiece());
  std::mt19937 random(6);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t i = random() % 20; i > 0; --i) {
      const uint32_t pick = random() % 6;
      text += pick == 0   ? "é"
              : pick == 1 ? "\xE2\x96"
              : pick < 4  ? " "
                          : std::string(1, static_cast<char>(random() % 128));
    }
    ASSERT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
  }
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("a\u2581b")), "a b");
}

TEST(SentencePieceTest, ScoresMayBeIntegersAndEqualScoresMergeLeftmostFirst) {
  TestVocabulary vocabulary = SentencePieceVocabulary();
  for (const char* piece : {"a", "aa"}) {
    vocabulary.Add(piece);
  }
  testing::GgufBuilder integers;
  integers.Set("tokenizer.ggml.model", "llama").Set("tokenizer.ggml.tokens", vocabulary.tokens);
  integers.Set("tokenizer.ggml.token_type", vocabulary.kinds);
  integers.Set("tokenizer.ggml.scores", std::vector<int32_t>(vocabulary.tokens.size(), 0));
  integers.Set("tokenizer.ggml.add_space_prefix", false);
  EXPECT_EQ(Load(integers)->Encode("aaa"), (Ids{260, 259}));
}

// --- Lookup --------------------------------------------------------------------------------------

TEST(TokenizerTest, FindTokenKnowsTokensByTheirBytesAndSpecialsByName) {
  const Chat chat;
  EXPECT_EQ(chat.tokenizer->FindToken("<|im_end|>"), chat.end);
  EXPECT_EQ(chat.tokenizer->FindToken(" "), ' ');
  EXPECT_EQ(chat.tokenizer->FindToken("\n"), '\n');
  EXPECT_EQ(chat.tokenizer->FindToken("nothing"), std::nullopt);
  EXPECT_EQ(chat.tokenizer->FindToken(""), std::nullopt);
}

TEST(TokenizerTest, IdsOutsideTheVocabularyStandForNothing) {
  const Chat chat;
  for (const TokenId id : {-1, 1 << 30, chat.tokenizer->vocab_size()}) {
    EXPECT_EQ(chat.tokenizer->TokenBytes(id), "");
    EXPECT_EQ(chat.tokenizer->Kind(id), TokenKind::kUnused);
    EXPECT_FALSE(chat.tokenizer->IsSpecial(id));
    EXPECT_EQ(chat.tokenizer->Decode(Ids{id}), "");
  }
}

TEST(TokenizerTest, EmptyAndRepeatedTokensDoNoHarm) {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.Add("");
  vocabulary.Add("", TokenKind::kControl);
  vocabulary.Add("a");
  vocabulary.Add("<x>", TokenKind::kControl);
  vocabulary.Add("<x>", TokenKind::kControl);
  const auto tokenizer = Load(vocabulary.ByteLevel());
  EXPECT_EQ(tokenizer->EncodeWithSpecial("a<x>"), (Ids{'a', 259}));
  EXPECT_EQ(tokenizer->Decode(Ids{256, 257, 258}, true), "a");
}

// --- Hostile files -------------------------------------------------------------------------------

void ExpectRefused(const testing::GgufBuilder& file, ErrorCode code, std::string_view word) {
  const auto tokenizer = TryLoad(file);
  ASSERT_FALSE(tokenizer.has_value()) << word;
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_NE(tokenizer.error().message.find(word), std::string::npos) << tokenizer.error().message;
}

TEST(HostileVocabularyTest, AnUnknownModelOrPreTokenizerIsNamedWithTheKnownOnes) {
  const TestVocabulary vocabulary = ByteVocabulary();
  ExpectRefused(vocabulary.ByteLevel("gibberish"), ErrorCode::kUnsupported, "gibberish");
  testing::GgufBuilder file;
  file.Set("tokenizer.ggml.model", "rwkv");
  ExpectRefused(file, ErrorCode::kUnsupported, "rwkv");
  ExpectRefused(file, ErrorCode::kUnsupported, "gpt2");
  ExpectRefused(testing::GgufBuilder(), ErrorCode::kCorruptFile, "tokenizer.ggml.model");
}

TEST(HostileVocabularyTest, MissingOrMistypedKeysAreNamed) {
  const auto model = [](const char* name) {
    testing::GgufBuilder file;
    return file.Set("tokenizer.ggml.model", name);
  };
  const std::vector<std::string> two = {"a", "b"};
  ExpectRefused(model("gpt2"), ErrorCode::kCorruptFile, "tokenizer.ggml.tokens");
  ExpectRefused(model("gpt2").Set("tokenizer.ggml.tokens", "text"), ErrorCode::kCorruptFile,
                "tokenizer.ggml.tokens");
  ExpectRefused(model("gpt2").Set("tokenizer.ggml.tokens", std::vector<std::string>()),
                ErrorCode::kCorruptFile, "tokenizer.ggml.tokens");
  ExpectRefused(model("gpt2").Set("tokenizer.ggml.tokens", two), ErrorCode::kCorruptFile,
                "tokenizer.ggml.merges");
  ExpectRefused(model("llama").Set("tokenizer.ggml.tokens", two), ErrorCode::kCorruptFile,
                "tokenizer.ggml.scores");
  ExpectRefused(model("llama").Set("tokenizer.ggml.tokens", two).Set("tokenizer.ggml.scores", two),
                ErrorCode::kCorruptFile, "tokenizer.ggml.scores");
  ExpectRefused(model("llama")
                    .Set("tokenizer.ggml.tokens", two)
                    .Set("tokenizer.ggml.scores", std::vector<float>{0, NAN}),
                ErrorCode::kCorruptFile, "tokenizer.ggml.scores");
  ExpectRefused(model("gpt2")
                    .Set("tokenizer.ggml.tokens", two)
                    .Set("tokenizer.ggml.merges", std::vector<std::string>{"ab"}),
                ErrorCode::kCorruptFile, "tokenizer.ggml.merges");
  ExpectRefused(model("gpt2")
                    .Set("tokenizer.ggml.tokens", two)
                    .Set("tokenizer.ggml.merges", std::vector<std::string>{""}),
                ErrorCode::kCorruptFile, "tokenizer.ggml.merges");
}

TEST(HostileVocabularyTest, TokenTypesOutOfRangeOrOfAnotherLengthAreRefused) {
  for (const std::vector<int32_t>& types :
       std::vector<std::vector<int32_t>>{{1}, {1, 7}, {-1, 1}, {1, 1, 1}}) {
    TestVocabulary vocabulary;
    vocabulary.Add("a");
    vocabulary.Add("b");
    vocabulary.kinds = types;
    ExpectRefused(vocabulary.ByteLevel(), ErrorCode::kCorruptFile, "tokenizer.ggml.token_type");
  }
}

TEST(HostileVocabularyTest, MarkerIdsOutsideTheVocabularyAreRefusedByName) {
  for (const char* key : {"bos", "eos", "eot", "eom", "unknown"}) {
    const std::string name = std::string("tokenizer.ggml.") + key + "_token_id";
    for (const int64_t id : {int64_t{256}, int64_t{-1}, int64_t{1} << 40}) {
      ExpectRefused(ByteVocabulary().ByteLevel().Set(name, id), ErrorCode::kCorruptFile, name);
    }
    ExpectRefused(ByteVocabulary().ByteLevel().Set(name, "one"), ErrorCode::kCorruptFile, name);
  }
}

TEST(HostileVocabularyTest, TokensBeyondTheBoundsAreRefusedOrNotMatched) {
  TestVocabulary vocabulary = ByteVocabulary();
  vocabulary.Add(std::string(limits::kTokenBytesMax + 1, 'a'));
  ExpectRefused(vocabulary.ByteLevel(), ErrorCode::kCorruptFile, "token 256");

  vocabulary = ByteVocabulary();
  const std::string name(limits::kSpecialTokenBytesMax + 1, 'x');
  vocabulary.Add(name, TokenKind::kControl);
  EXPECT_EQ(Load(vocabulary.ByteLevel())->EncodeWithSpecial(name).size(), name.size());

  vocabulary = ByteVocabulary();
  for (int i = 0; i <= limits::kSpecialBytesMax / 200; ++i) {
    vocabulary.Add(std::to_string(i) + std::string(200, 'y'), TokenKind::kControl);
  }
  ExpectRefused(vocabulary.ByteLevel(), ErrorCode::kCorruptFile, "special");
}

}  // namespace
}  // namespace tradewind::engine
