#include "dialects/repeated.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "dialects/rewritten.h"

namespace tradewind::dialects {
namespace {

TEST(RepeatedGrowth, CountsToolsForEachMessageThatEqualsTheLast) {
  const std::string_view again =
      R"([{"role":"user","content":"continue"},{"role":"assistant","content":"continue"},
          {"role":"user","content":[{"type":"text","text":"conti"},{"type":"text","text":"nue"}]},
          {"role":"user","content":"stop"},{"role":"user","content":"con\u0074inue","name":"a"}])";
  EXPECT_EQ(RepeatedGrowth(again, 1000).written, 2000)
      << "as servers join parts, whatever the name is";
  EXPECT_EQ(RepeatedGrowth(again, 0).written, 0) << "no tools";
  EXPECT_EQ(RepeatedGrowth(R"([{"role":"user","content":"a"},{"role":"user","content":"b"}])", 1000)
                .written,
            0);
  EXPECT_EQ(RepeatedGrowth(R"([{"role":"user"},{"role":"user","content":null}])", 1000).written,
            1000);
}

TEST(RepeatedGrowth, CountsTheLongestNameOfACallForEachResult) {
  const std::string name(500, 'n');
  for (const auto& [head, tail] :
       {std::pair(R"("tool_calls":[{"function":{"name":"a"}},{"function":{"name":")", R"("}}])"),
        std::pair(R"("tool_calls":[{"type":"function","name":")", R"("}])"),
        std::pair(R"("tool\u005fcalls":[{"function":{"name":")", R"("}}])")}) {
    EXPECT_EQ(RepeatedGrowth(R"([{"role":"assistant",)" + (head + name + tail) +
                                 R"(},{"role":"tool","content":""},{"role":"tool","content":""}])",
                             0)
                  .written,
              1000)
        << head;
  }
  EXPECT_EQ(RepeatedGrowth(R"([{"role":"assistant","function_call":{"name":")" + name +
                               R"("}},{"role":"function","content":""}])",
                           0)
                .written,
            500);
}

TEST(RepeatedGrowth, CountsToolsAndInstructionsForEachFurtherMessageOfADeveloper) {
  const std::string_view three =
      R"([{"role":"system","content":"a"},{"role":"developer","content":""},
          {"role":"developer","content":""},{"role":"user","content":"b"}])";
  EXPECT_EQ(RepeatedGrowth(three, 1000).written, 2 * (1000 + 512));
  EXPECT_EQ(RepeatedGrowth(three, 0).written, 0) << "no tools";
  EXPECT_EQ(RepeatedGrowth(R"([{"role":"developer","content":"a"}])", 1000).written, 0);
}

TEST(RepeatedGrowth, CountsWhatToolsOfAMessageGrowBy) {
  const std::string tools = R"([{"type":"function","function":{"name":"f"}}])";
  const std::string messages = R"([{"role":"system","content":"","tools":)" + tools +
                               R"(},{"role":"developer","\u0074ools":)" + tools + "}]";
  EXPECT_EQ(RepeatedGrowth(messages, 0).written,
            RewrittenToolsGrowth("[" + tools.substr(1, tools.size() - 2) + "," + tools.substr(1)));
  EXPECT_EQ(
      RepeatedGrowth(R"([{"role":"system","tools":"a"},{"role":"user","tools":[]}])", 0).written,
      0);
}

TEST(RepeatedGrowth, HasApartWhatReferencesInToolsOfAMessageGrowBy) {
  const std::string tools =
      R"([{"x":{"$ref":"#/$defs/a"},"y":{"$ref":"#/$defs/a"},"$defs":{"a":")" +
      std::string(5000, 'a') + R"("}}])";
  const MessagesGrowth growth =
      RepeatedGrowth(R"([{"role":"system","content":"","tools":)" + tools + "}]", 0);
  EXPECT_EQ(growth.resolved, ResolvedToolsGrowth(tools));
  EXPECT_GT(growth.resolved, 9000);
  EXPECT_LT(growth.written, 1000);
}

TEST(RepeatedGrowth, IsTheMostThereCanBeOfWhatCannotBeRead) {
  EXPECT_GE(RepeatedGrowth(R"([{"role":"user"},{"role":"user"},)", 1000).written, 2000);
}

TEST(RepeatedGrowth, IsNoneOfWhatIsNoMessages) {
  for (const char* json : {"null", "{}", R"("a")", "[1,null]", R"([{"role":1,"tool_calls":2}])"}) {
    EXPECT_EQ(RepeatedGrowth(json, 1000).written, 0) << json;
  }
}

}  // namespace
}  // namespace tradewind::dialects
