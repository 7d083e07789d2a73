#include "dialects/tokenize.h"

#include <gtest/gtest.h>

namespace tradewind::dialects {
namespace {

TEST(Tokenize, TakesAPromptOrMessagesWithTheDefaultsOfVllm) {
  const auto prompt = ParseTokenize(R"({"model":"m","prompt":"","return_token_strs":true})");
  ASSERT_TRUE(prompt.has_value()) << prompt.error().message;
  EXPECT_TRUE(prompt->add_special_tokens);
  EXPECT_TRUE(prompt->return_token_strs);
  EXPECT_FALSE(prompt->is_chat);

  const auto chat = ParseTokenize(
      R"({"messages":[{"role":"user","content":"x"}],"add_generation_prompt":false})");
  ASSERT_TRUE(chat.has_value());
  EXPECT_TRUE(chat->is_chat);
  EXPECT_FALSE(chat->add_special_tokens);
  EXPECT_FALSE(chat->chat.add_generation_prompt);
}

TEST(Tokenize, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(ParseTokenize("{}").error().param, "prompt");
  EXPECT_EQ(ParseTokenize(R"({"messages":[]})").error().param, "messages");
  EXPECT_EQ(ParseDetokenize("{}").error().param, "tokens");
  EXPECT_EQ(ParseDetokenize(R"({"tokens":[1,"x"]})").error().param, "tokens[1]");
}

TEST(Tokenize, AnswersInTheShapesOfVllm) {
  const std::vector<int64_t> ids = {1, 2};
  const std::vector<std::string> strings = {"a", "\xff"};
  EXPECT_EQ(FormatTokenize(ids, nullptr, 8192),
            R"({"count":2,"max_model_len":8192,"tokens":[1,2],"token_strs":null})");
  EXPECT_EQ(
      FormatTokenize(ids, &strings, 1),
      "{\"count\":2,\"max_model_len\":1,\"tokens\":[1,2],\"token_strs\":[\"a\",\"\xEF\xBF\xBD\"]}");
  EXPECT_EQ(FormatDetokenize("x"), R"({"prompt":"x"})");
  EXPECT_EQ(FormatTokenizerInfo({"gpt2", "smollm", 49152, 2048, 1, -1, false, "<s>", ""}),
            R"({"tokenizer_class":"gpt2","pre_tokenizer":"smollm","vocab_size":49152,)"
            R"("model_max_length":2048,"bos_token_id":1,"eos_token_id":null,"add_bos_token":false,)"
            R"("bos_token":"<s>","eos_token":null})");
}

}  // namespace
}  // namespace tradewind::dialects
