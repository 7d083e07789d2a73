#include "dialects/rewritten.h"

#include <random>
#include <string>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <gtest/gtest.h>

#include "dialects/json_reader.h"
#include "dialects/message_parts.h"
#include "dialects/rewritten_test_support.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;
using testing::Bytes;
using testing::MostWritten;

constexpr std::string_view kWeather =
    R"([{"type":"function","function":{"name":"get_weather","description":"Get the current weather in a given location, e.g. San Francisco, CA","parameters":{"type":"object","properties":{"location":{"type":"string","description":"The city's name"},"unit":{"type":"string","enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14}},"required":["location"],"additionalProperties":false}}}])";

// Its text has spaces and escapes that its value does not need.
std::string RandomJson(std::mt19937& random, int depth) {
  const auto upto = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  const auto space = [&] { return std::string(upto(4) == 0 ? " " : ""); };
  const auto text = [&] {
    constexpr auto kPieces = std::to_array<std::string_view>(
        {"a", ",", ":", "{", "<", "&'", "é", "中", "🙂", R"(\")", R"(\\)", R"(\b)", R"(\/)",
         R"(\n)", R"(\u00e9)", R"(\ud83d\ude42)", R"(\u003c)", "\x7F", "]"});
    std::string out = "\"";
    for (int i = upto(6); i > 0; --i) {
      out += kPieces[static_cast<size_t>(upto(kPieces.size()))];
    }
    return out + '"';
  };
  const int kind = depth == 0 ? upto(4) : upto(8);
  if (kind == 0) {
    return "null";
  }
  if (kind == 1) {
    return upto(2) == 0 ? "12" : "-7";
  }
  if (kind < 4) {
    return text();
  }
  const bool is_object = kind < 6;
  std::string out = space() + (is_object ? "{" : "[") + space();
  for (int i = 0, n = upto(4); i < n; ++i) {
    out += i == 0 ? "" : "," + space();
    out += is_object ? "\"" + std::to_string(i) + text().substr(1) + space() + ":" : "";
    out += space() + RandomJson(random, depth - 1);
  }
  return out + space() + (is_object ? "}" : "]");
}

TEST(RewrittenGrowth, IsNeverLessThanWhatATemplateAdds) {
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i < 3000; ++i) {
    const std::string text = RandomJson(random, 6);
    const auto value = ParseJson(text);
    ASSERT_TRUE(value.has_value()) << text;
    ASSERT_GE(Bytes(text) + RewrittenGrowth(text), MostWritten(*value)) << text;
    // As the arguments of a call, in which they are a string.
    const std::string call =
        R"([{"function":{"name":"f","arguments":)" + json::serialize(json::value(text)) + "}}]";
    json::value parsed = ParseJson(call).value();
    if (value->is_object() || value->is_array()) {
      parsed.at(0).at("function").at("arguments") = *value;
    }
    ASSERT_GE(Bytes(call) + RewrittenGrowth(call, true), MostWritten(parsed)) << call;
  }
}

// The bytes are of Python 3.11: the longest of json.dumps with and without indent=4 and
// ensure_ascii, after which < > & ' are escaped.
TEST(RewrittenGrowth, CoversWhatPythonWrites) {
  struct Case {
    std::string text;
    int64_t python;
  };
  std::string numbers = "[1";
  for (int i = 1; i < 1000; ++i) {
    numbers += ",1";
  }
  for (const Case& one : {
           Case{std::string(kWeather), 1028},
           {numbers + "]", 7002},
           {R"({"a":{},"b":[],"c":[[]],"d":{ }})", 70},
           {"[1e15,1e16,-1.7976931348623157e+308,0.5,1E-4,123456789012345678.5,5e-324,1e400]", 142},
           {R"({"a":"<b> & 'c'","d\"<":"é中🙂\u00e9\b\f\n\/\u007f"})", 113},
           {R"([[[[[[{"a":[1,{"b":null}]}]]]]]])", 409},
       }) {
    const int64_t bound = Bytes(one.text) + RewrittenGrowth(one.text);
    EXPECT_GE(bound, one.python) << one.text.substr(0, 80);
    EXPECT_LE(bound, one.python * 2) << "and no more than it has to be: " << one.text.substr(0, 80);
  }
}

TEST(RewrittenGrowth, CountsSpacesThatAreThere) {
  EXPECT_EQ(RewrittenGrowth("{}"), 0);
  EXPECT_EQ(RewrittenGrowth("[ ]"), 0);
  EXPECT_EQ(RewrittenGrowth(R"({"a":"b"})"), 5 + 2 + 1);
  EXPECT_EQ(RewrittenGrowth(R"({  "a": "b"})"), 5 + 2 + 1 - 3);
  EXPECT_EQ(RewrittenGrowth("{" + std::string(100, ' ') + "}"), 0) << "it may pass as it is";
}

TEST(RewrittenGrowth, LooksIntoStringsOfCallsAlone) {
  const std::string call = R"({"arguments":"{\"a\":[1,1]}"})";
  EXPECT_GT(RewrittenGrowth(call, true), RewrittenGrowth(call) + int64_t{3} * 9);
  EXPECT_EQ(RewrittenGrowth(R"({"arguments":"a, b: c"})", true),
            RewrittenGrowth(R"({"arguments":"aaa"})"));
}

TEST(RewrittenGrowth, EndsWithItsValue) {
  EXPECT_EQ(RewrittenGrowth(R"([1],"<<<<",[1,2,3])"), RewrittenGrowth("[1]"));
}

TEST(RewrittenGrowth, TakesWhatIsNoJson) {
  for (const char* text : {"", "\"", "\"\\", "]]]", "[", "{\"a", "[1e", ",,,:", "\\", "\"[\\u"}) {
    EXPECT_GE(RewrittenGrowth(text), 0) << text;
    EXPECT_GE(RewrittenGrowth(text, true), 0) << text;
    EXPECT_GE(RewrittenToolsGrowth(text), 0) << text;
  }
}

TEST(RewrittenGrowth, OfToolsHasRoomForWhatServersAdd) {
  const std::string two = R"([{"function":{"name":"f"}},{"function":{"name":"g"}}])";
  EXPECT_EQ(RewrittenToolsGrowth(two), RewrittenGrowth(two) + int64_t{2} * 128);
  EXPECT_EQ(RewrittenToolsGrowth("[]"), 0);
}

TEST(RewrittenGrowth, IsFoundInTheCallsOfMessages) {
  const std::string calls = R"([{"function":{"name":"f","arguments":"{\"a\":[1,1]}"}}])";
  for (const char* name : {"tool_calls", "function_call", "Tool_Calls"}) {
    EXPECT_EQ(ReadParts(R"([{"content":"a"},{"role":"assistant",")" + std::string(name) +
                        "\":" + calls + R"(,"content":"[1,1,1]"}])")
                  .rewritten_growth,
              RewrittenGrowth(calls, true));
  }
  EXPECT_EQ(ReadParts(R"([{"content":[{"type":"text","text":"[1,1]","tool_calls":[1]}]}])")
                .rewritten_growth,
            0);
}

}  // namespace
}  // namespace tradewind::dialects
