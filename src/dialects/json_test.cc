#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "dialects/json_reader.h"
#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

TEST(ParseJson, RefusesWhatRfc8259Refuses) {
  for (const char* text : {"", " ", "{", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":01}", "{'a':1}",
                           "{\"a\":1,}", "{\"a\":1} x", "{\"a\":\"\xff\"}", "{\"a\":\"\\ud83d\"}",
                           "{\"a\":\"\n\"}", "// c\n{}", "\xef\xbb\xbf{}"}) {
    const auto value = ParseJson(text);
    ASSERT_FALSE(value.has_value()) << text;
    EXPECT_EQ(value.error().code, ErrorCode::kInvalidArgument) << text;
  }
}

TEST(ParseJson, BoundsDepthAndTheNumberOfValues) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(ParseJson(nested(limits::kJsonDepthMax)).has_value());
  EXPECT_FALSE(ParseJson(nested(limits::kJsonDepthMax + 1)).has_value());
  EXPECT_FALSE(ParseJson(std::string(1'000'000, '[')).has_value());

  std::string many = "[0";
  for (int64_t i = 0; i <= limits::kJsonValuesMax; ++i) {
    many += ",0";
  }
  const auto refused = ParseJson(many + "]");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kPayloadTooLarge);
  // Commas inside a string are text.
  EXPECT_TRUE(
      ParseJson("[\"" + std::string(limits::kJsonValuesMax + 1, ',') + "\\\"\"]").has_value());
}

TEST(ParseJson, TakesTheLastOfDuplicateKeys) {
  const auto object = ParseJsonObject(R"({"a":1,"a":2})");
  ASSERT_TRUE(object.has_value());
  EXPECT_EQ(AsInteger(object->at("a")), 2);
}

TEST(ParseJsonObject, SaysWhatItGotInstead) {
  const auto value = ParseJsonObject("[1]");
  ASSERT_FALSE(value.has_value());
  EXPECT_NE(value.error().message.find("not an array"), std::string::npos);
}

TEST(Fields, RemembersTheFirstWrongFieldAndItsPath) {
  const auto object = ParseJsonObject(R"({"a":"x","b":1.5,"c":1e999,"d":null,"e":2.0})");
  ASSERT_TRUE(object.has_value());
  Fields fields(*object, "list[3].");
  bool flag = true;
  std::optional<int64_t> integer;
  EXPECT_FALSE(fields.Flag("d", flag));
  EXPECT_TRUE(fields.Integer("e", 0, 5, integer));
  EXPECT_EQ(integer, 2);
  EXPECT_TRUE(fields.status().has_value());
  EXPECT_FALSE(fields.Integer("b", 0, 5, integer));
  EXPECT_FALSE(fields.Flag("a", flag));
  ASSERT_FALSE(fields.status().has_value());
  EXPECT_EQ(fields.status().error().param, "list[3].b");
  EXPECT_EQ(fields.Unknown(), std::vector<std::string>{"c"});
}

TEST(Fields, KeepsHugeAndVanishingNumbersOutOfRanges) {
  const auto object =
      ParseJsonObject(R"({"huge":1e999,"tiny":1e-60,"large":123456789012345678901})");
  ASSERT_TRUE(object.has_value());
  for (const char* name : {"huge", "tiny", "large"}) {
    Fields fields(*object);
    std::optional<float> number;
    EXPECT_FALSE(fields.Number(name, 0, 1, number, true)) << name;
    EXPECT_FALSE(number.has_value());
  }
  Fields fields(*object);
  std::optional<int64_t> integer;
  EXPECT_FALSE(fields.Integer("large", 0, std::numeric_limits<int64_t>::max(), integer));
}

TEST(JsonWriter, WritesFieldsInOrderAndNumbersShort) {
  JsonWriter json;
  json.BeginObject().Field("a", 1).Field("b", 0.5).Field("c", true).Field("d", "x\"\\\n\x01");
  json.Key("e").BeginArray().Value(-2).Null().BeginObject().EndObject().EndArray();
  json.Field("f", std::numeric_limits<double>::infinity())
      .Field("g", std::string("\xff"))
      .EndObject();
  EXPECT_EQ(json.Take(),
            "{\"a\":1,\"b\":0.5,\"c\":true,\"d\":\"x\\\"\\\\\\n\\u0001\",\"e\":[-2,null,{}],"
            "\"f\":null,\"g\":\"\xEF\xBF\xBD\"}");
}

}  // namespace
}  // namespace tradewind::dialects
