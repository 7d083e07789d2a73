#include "dialects/schema_refs.h"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "dialects/json_reader.h"
#include "dialects/rewritten.h"
#include "dialects/rewritten_test_support.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;
using testing::Bytes;
using testing::MostWritten;

std::string Tool(const std::string& properties, const std::string& defs) {
  return R"([{"type":"function","function":{"name":"f","parameters":{"type":"object",)"
         R"("properties":{)" +
         properties + R"(},"$defs":{)" + defs + "}}}}]";
}
std::string Ref(int i) {
  return fmt::format(R"({{"$ref":"#/$defs/A{}"}})", i);
}

// The slow twin: the schema as a template sees it that resolves each name until it comes again.
json::value Resolved(const json::value& value, const json::value& root,
                     const std::vector<std::string>& chain) {
  if (const json::array* items = value.if_array(); items != nullptr) {
    json::array out;
    for (const json::value& item : *items) {
      out.push_back(Resolved(item, root, chain));
    }
    return out;
  }
  if (!value.is_object()) {
    return value;
  }
  if (const json::value* ref = value.get_object().if_contains("$ref"); ref != nullptr) {
    const std::string name = json::value_to<std::string>(*ref);
    if (std::ranges::find(chain, name) != chain.end()) {
      return "any";
    }
    std::vector<std::string> longer = chain;
    longer.push_back(name);
    return Resolved(root.at_pointer(name.substr(1)), root, longer);
  }
  json::object out;
  for (const auto& member : value.get_object()) {
    out.emplace(member.key(), Resolved(member.value(), root, chain));
  }
  return out;
}

TEST(ResolvedBytes, AreNeverLessThanATemplateWrites) {
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same each time
  const auto upto = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  for (int i = 0; i < 1000; ++i) {
    const int count = 1 + upto(5);
    const bool is_cyclic = upto(2) == 0;
    std::string defs;
    for (int at = 0; at < count; ++at) {
      std::string fields;
      for (int field = upto(4); field > 0; --field) {
        const int to = is_cyclic ? upto(count) : at + 1 + upto(count);
        const std::string type =
            to < count && upto(3) > 0 ? Ref(to) : R"({"type":"string","description":"<é>"})";
        fields += fmt::format(R"({}"x{}":{})", fields.empty() ? "" : ",", field,
                              upto(3) == 0 ? R"({"type":"array","items":)" + type + "}" : type);
      }
      defs += fmt::format(R"({}"A{}":{{"properties":{{{}}},"enum":[1,2]}})",
                          defs.empty() ? "" : ",", at, fields);
    }
    const std::string tools = Tool(R"("a":)" + Ref(0) + R"(,"b":)" + Ref(upto(count)), defs);
    json::value expanded = ParseJson(tools).value();
    json::value& schema = expanded.at(0).at("function").at("parameters");
    schema = Resolved(json::value(schema), json::value(schema), {});
    const int64_t bound = Bytes(tools) + RewrittenToolsGrowth(tools) + ResolvedToolsGrowth(tools);
    ASSERT_GE(bound, MostWritten(expanded)) << tools;
    ASSERT_LE(bound, 6 * MostWritten(expanded) + 1000) << tools;
  }
}

// Each of `count` types has children that are any of them.
std::string Union(int count) {
  std::string any, defs;
  for (int i = 0; i < count; ++i) {
    any += (i == 0 ? "" : ",") + Ref(i);
  }
  for (int i = 0; i < count; ++i) {
    defs += fmt::format(R"({}"A{}":{{"type":"object","properties":{{"kind":{{"const":"N{}"}},)"
                        R"("children":{{"type":"array","items":{{"anyOf":[{}]}}}}}}}})",
                        i == 0 ? "" : ",", i, i, any);
  }
  return Tool(R"("root":{"anyOf":[)" + any + "]}", defs);
}

TEST(ResolvedBytes, OfTypesThatNameEachOtherAreCloseToWhatATemplateWrites) {
  for (const int count : {1, 2, 3, 4}) {
    const std::string tools = Union(count);
    json::value expanded = ParseJson(tools).value();
    json::value& schema = expanded.at(0).at("function").at("parameters");
    schema = Resolved(json::value(schema), json::value(schema), {});
    EXPECT_GE(ResolvedBytes(tools), MostWritten(expanded)) << count;
    EXPECT_LE(ResolvedBytes(tools), 2 * MostWritten(expanded)) << count;
  }
}

TEST(ResolvedBytes, AreTheMostWhereATextWouldBeWalkedOverTooOften) {
  std::string defs =
      fmt::format(R"("A10":{{"description":"{}","$ref":"#/$defs/A0"}})", std::string(20'000, 'x'));
  for (int i = 0; i < 10; ++i) {
    defs += fmt::format(R"(,"A{}":{{"a":{},"b":{}}})", i, Ref(i + 1), Ref(i + 1));
  }
  EXPECT_EQ(ResolvedBytes(Tool(R"("x":)" + Ref(0), defs)), kResolvedBytesMax);
}

TEST(ResolvedBytes, GrowWithEachNameThatStandsTwice) {
  std::string defs = R"("A24":{"type":"string"})";
  for (int i = 0; i < 24; ++i) {
    defs += fmt::format(R"(,"A{}":{{"properties":{{"a":{},"b":{}}}}})", i, Ref(i + 1), Ref(i + 1));
  }
  const int64_t bytes = ResolvedBytes(Tool(R"("x":)" + Ref(0), defs));
  EXPECT_GT(bytes, int64_t{1} << 24);
  EXPECT_LE(bytes, kResolvedBytesMax);
  for (int i = 24; i < 100; ++i) {
    defs += fmt::format(R"(,"B{}":{{"a":{},"b":{}}})", i, Ref(0), Ref(0));
  }
  EXPECT_EQ(ResolvedBytes(Tool(R"("x":)" + Ref(0), defs)), kResolvedBytesMax) << "each is written";
}

TEST(ResolvedBytes, OfARecursiveTypeAreFew) {
  const std::string tools =
      Tool(R"("tree":)" + Ref(0), R"("A0":{"type":"object","properties":{"children":)"
                                  R"({"type":"array","items":)" +
                                      Ref(0) + "}}}");
  EXPECT_LT(ResolvedBytes(tools), 10 * Bytes(tools));
}

TEST(ResolvedBytes, AreTheMostWhereNamesLeadInCirclesForTooLong) {
  std::string fields, defs;
  for (int i = 0; i < 30; ++i) {
    fields += fmt::format(R"({}"x{}":{})", i == 0 ? "" : ",", i, Ref(i));
  }
  for (int i = 0; i < 30; ++i) {
    defs += fmt::format(R"({}"A{}":{{"properties":{{{}}}}})", i == 0 ? "" : ",", i, fields);
  }
  EXPECT_EQ(ResolvedBytes(Tool(R"("x":)" + Ref(0), defs)), kResolvedBytesMax);
  std::string chain = R"("A100000":{})";
  for (int i = 0; i < 100'000; ++i) {
    chain += fmt::format(R"(,"A{}":{})", i, Ref(i + 1));
  }
  EXPECT_EQ(ResolvedBytes(Tool(R"("x":)" + Ref(0), chain)), kResolvedBytesMax) << "no stack for it";
}

TEST(ResolvedBytes, TakeANameInEachOfItsSpellings) {
  const std::string large(5000, 'd');
  for (const char* name : {"#/$defs/a~1b", R"(#\/\u0024defs/a~1b)", "#/$defs/c~0/0",
                           "#/$defs/c~/-1", "#/properties/y", "#/function/parameters/$defs/a~1b"}) {
    const std::string tools = Tool(
        fmt::format(R"("x":{{"$ref":"{}"}},"y":{{"description":"{}"}})", name, large),
        fmt::format(R"("a/b":{{"description":"{}"}},"c~":[{{"description":"{}"}}])", large, large));
    EXPECT_GT(ResolvedBytes(tools), 4 * 5000) << name;
  }
}

TEST(ResolvedBytes, AreNoneWithoutAReference) {
  for (const std::string& tools :
       {std::string("[]"), Tool(R"("x":{"description":"$ref"})", ""), Tool(R"("$ref":{})", ""),
        Tool(R"("x":{"$ref":"#/$defs/none"})", ""), Tool(R"("x":{"$ref":"https://a/b"})", ""),
        Tool(R"("x":{"$ref":7})", ""),
        Tool(R"("x":{"$ref":"#)" + std::string(5000, '/') + "\"}", ""),
        std::string(R"([{"$ref":"#)")}) {
    EXPECT_EQ(ResolvedBytes(tools), 0) << tools;
  }
}

}  // namespace
}  // namespace tradewind::dialects
