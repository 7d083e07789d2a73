#include "dialects/json_text.h"

#include <random>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "base/limits.h"

namespace tradewind::dialects {
namespace {

JsonText Parsed(std::string text) {
  auto parsed = JsonText::Parse(std::move(text));
  EXPECT_TRUE(parsed.has_value());
  return std::move(*parsed);
}

TEST(JsonText, IsTheVeryBytesWhenNothingIsEdited) {
  const std::string odd =
      " {\"seed\" : 18446744073709551615,\n\t\"x\":[1.50, {\"a\":\"}\\\"\"}] , \"e\":\"\" } ";
  EXPECT_EQ(Parsed(odd).Text(), odd);
}

TEST(JsonText, ReplacesAValueInItsPlaceAndKeepsEveryOtherByte) {
  JsonText text = Parsed(R"({"model":"a/b:fastest","seed":1e2,"messages":[ {"role" : "user"} ]})");
  text.Set("model", "\"x\"");
  EXPECT_EQ(text.Text(), R"({"model":"x","seed":1e2,"messages":[ {"role" : "user"} ]})");
}

TEST(JsonText, KeepsTheSpacesBetweenFields) {
  JsonText text = Parsed("\n{ \"model\" : \"m\" ,\n  \"a\": 1,\t\"b\":2\n}\n");
  text.Set("model", "\"x\"");
  EXPECT_EQ(text.Text(), "\n{ \"model\" : \"x\" ,\n  \"a\": 1,\t\"b\":2\n}\n");
  text.Remove("a");
  EXPECT_EQ(text.Text(), "\n{ \"model\" : \"x\" ,\t\"b\":2\n}\n");
}

TEST(JsonText, AddsRemovesAndRenames) {
  JsonText text = Parsed(R"({"a":1,"b":{"c":[]},"d":null})");
  text.Remove("a");
  text.Rename("b", "z");
  text.Set("new", "true");
  EXPECT_EQ(text.Text(), R"({"z":{"c":[]},"d":null,"new":true})");
  EXPECT_EQ(text.Raw("z"), R"({"c":[]})");
  EXPECT_EQ(text.Raw("d"), "null");
  EXPECT_FALSE(text.Has("a"));
}

TEST(JsonText, KeepsOnlyTheLastOfFieldsWithOneName) {
  const JsonText text = Parsed(R"({"model":"cheap","x":1,"mod\u0065l":"dear"})");
  EXPECT_EQ(text.Raw("model"), "\"dear\"");
  EXPECT_EQ(text.Text(), R"({"x":1,"mod\u0065l":"dear"})");
}

TEST(JsonText, TakesAnEmptyObject) {
  JsonText text = Parsed("{}");
  text.Set("a", "1");
  EXPECT_EQ(text.Text(), R"({"a":1})");
}

TEST(JsonText, RefusesWhatIsNoObject) {
  for (const std::string bad : {"", "[]", "{", "{\"a\":}", "{\"a\":1}}", "nul", "{'a':1}",
                                "{\"a\":01}", "{\"a\":\"\xff\"}", "{\"a\":1,}"}) {
    const auto parsed = JsonText::Parse(bad);
    ASSERT_FALSE(parsed.has_value()) << bad;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument) << bad;
  }
}

TEST(JsonText, BoundsDepthAndFields) {
  EXPECT_FALSE(JsonText::Parse("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}"));
  std::string many = "{\"f0\":0";
  for (size_t i = 1; i <= limits::kRequestFieldsMax; ++i) {
    many += ",\"f" + std::to_string(i) + "\":0";
  }
  EXPECT_FALSE(JsonText::Parse(many + "}"));
}

// The oracle parses the whole text into a tree; the walk over the top level must agree with it.
TEST(JsonText, FindsTheValuesThatAParserFinds) {
  std::mt19937 random(7);
  const std::vector<std::string> values = {
      "1",    "-2.5e3", "\"a\\\"}]\"", "[1,[2,{\"k\":\"]\"}]]",  "{}", "[]",
      "true", "null",   "\"\\\\\"",    "{\"a\":{\"b\":[\"{\"]}}"};
  const std::vector<std::string> spaces = {"", " ", "\n\t"};
  const auto pick = [&](const auto& from) { return from[random() % from.size()]; };
  for (int round = 0; round < 500; ++round) {
    std::string text = "{";
    const size_t count = random() % 6;
    for (size_t i = 0; i < count; ++i) {
      text += (i > 0 ? "," : "") + pick(spaces) + "\"k" + std::to_string(i) + "\"" + pick(spaces) +
              ":" + pick(spaces) + pick(values) + pick(spaces);
    }
    text += "}";
    const JsonText parsed = Parsed(text);
    const auto oracle = boost::json::parse(text).get_object();
    ASSERT_EQ(parsed.names().size(), oracle.size()) << text;
    for (const auto& member : oracle) {
      const std::string_view raw =
          parsed.Raw(std::string_view(member.key().data(), member.key().size()));
      ASSERT_EQ(boost::json::parse(std::string(raw)), member.value()) << text;
    }
  }
}

}  // namespace
}  // namespace tradewind::dialects
