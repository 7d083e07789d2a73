// What a server answers, whoever it is, as a verb prints it.
#include "cli/reply_fields.h"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace tradewind::cli::reply {
namespace {

namespace json = boost::json;

json::object Answer(std::string_view text) {
  return json::parse(text).as_object();
}

TEST(ReplyFields, TextNeverSteersATerminal) {
  const json::object answer = Answer(R"({"a":"\u001b[2J\u009b1mred\r","b":"caf\u00e9","c":7})");
  EXPECT_EQ(Text(answer, "a").find('\x1b'), std::string::npos);
  EXPECT_EQ(Text(answer, "a").find('\r'), std::string::npos);
  EXPECT_EQ(Text(answer, "a").find("\xc2\x9b"), std::string::npos);
  EXPECT_NE(Text(answer, "a").find("red"), std::string::npos);
  EXPECT_EQ(Text(answer, "b"), "caf\xc3\xa9");
  EXPECT_EQ(Text(answer, "c"), "");
  EXPECT_EQ(Text(answer, "d"), "");
}

TEST(ReplyFields, AnUnknownCostIsNeverZero) {
  const json::object answer = Answer(
      R"({"a":"250000000","b":"0","c":null,"d":"","e":"1x","f":250000000,"g":"9223372036854775808",
          "h":"-250000000"})");
  EXPECT_EQ(Dollars(answer, "a"), "$0.25");
  EXPECT_EQ(Dollars(answer, "b").substr(0, 2), "$0");
  EXPECT_EQ(Dollars(answer, "h"), "-$0.25");
  for (const char* name : {"c", "d", "e", "f", "g", "missing"}) {
    EXPECT_EQ(Dollars(answer, name), "unknown") << name;
  }
}

TEST(ReplyFields, WhatIsOfAnotherTypeReadsAsNothing) {
  const json::object answer = Answer(
      R"({"number":-5,"big":1e300,"text":"5","yes":true,"object":{"number":1},"array":[1,2]})");
  EXPECT_EQ(Number(answer, "number"), -5);
  EXPECT_EQ(Number(answer, "text"), 0);
  EXPECT_EQ(Number(answer, "big"), 0);
  EXPECT_EQ(Number(answer, "missing"), 0);
  EXPECT_TRUE(Flag(answer, "yes"));
  EXPECT_FALSE(Flag(answer, "text"));
  EXPECT_EQ(Number(Object(answer, "object"), "number"), 1);
  EXPECT_TRUE(Object(answer, "array").empty());
  EXPECT_EQ(Array(answer, "array").size(), 2U);
  EXPECT_TRUE(Array(answer, "object").empty());
  EXPECT_TRUE(Array(answer, "missing").empty());
}

}  // namespace
}  // namespace tradewind::cli::reply
