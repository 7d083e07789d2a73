#include "dialects/thinking_tokens.h"

#include <string>

#include <gtest/gtest.h>

namespace tradewind::dialects {
namespace {

int64_t Of(const std::string& fields) {
  return ThinkingTokens(JsonText::Parse("{" + fields + "}").value());
}

TEST(ThinkingTokens, AreTheMostThatARequestAllowsByAnyName) {
  EXPECT_EQ(Of(R"("thinking_budget":32768)"), 32768);
  EXPECT_EQ(Of(R"("Thinking_Token_Budget":10)"), 10);
  EXPECT_EQ(Of(R"("thinking":{"type":"enabled","budget_tokens":12000})"), 12000);
  EXPECT_EQ(Of(R"("reasoning":{"max_tokens":2000},"thinking_budget":5)"), 2000);
  EXPECT_EQ(Of(R"("chat_template_kwargs":{"thinking_budget":512})"), 512);
  EXPECT_EQ(Of(R"("chat_template_args":{"reasoning_budget":"512"})"), 512);
}

TEST(ThinkingTokens, AreNoneWhereNoNumberSaysSo) {
  for (const char* fields :
       {"", R"("max_tokens":100)", R"("thinking":true)",
        R"("thinking":{"type":"disabled","budget_tokens":9})", R"("reasoning":{"effort":"high"})",
        R"("thinking_budget":null)", R"("thinking_budget":-1)", R"("thinking_budget":"x")",
        R"("thinking_budget":{"budget_tokens":9})", R"("metadata":{"max_tokens":7})"}) {
    EXPECT_EQ(Of(fields), 0) << fields;
  }
}

TEST(ThinkingTokens, AreBoundedWhateverIsWritten) {
  for (const char* number : {"1e300", "18446744073709551615", "9223372036854775807", "\"1e18\""}) {
    EXPECT_EQ(Of(std::string(R"("thinking_budget":)") + number), 1'000'000'000) << number;
  }
  EXPECT_EQ(Of(R"("thinking_budget":0.5)"), 1);
}

}  // namespace
}  // namespace tradewind::dialects
