#include "dialects/picture_marks.h"

#include <string>

#include <gtest/gtest.h>

#include "dialects/openai_facts.h"

namespace tradewind::dialects {
namespace {

int64_t Count(std::string_view raw) {
  PictureMarks marks;
  marks.Read(raw);
  return marks.count();
}

TEST(PictureMarks, AreThoseOfPicturesWithoutWords) {
  EXPECT_EQ(Count("![](https://a.b/c.png)"), 1);
  EXPECT_EQ(Count("![](http://a.b/c.png) and ![](data:image/png;base64,aGk=)![](https://x)"), 3);
  EXPECT_EQ(Count("!![](http://a)!"), 1);
  EXPECT_EQ(Count(R"(a\n![](http:\/\/a\/b.png)\n)"), 1);
  EXPECT_EQ(Count(R"(\u0021\u005B]\u0028h\u0074tp://a)"), 1);
  for (const char* other :
       {"", "!", "![a picture](https://a.b/c.png)", "[](http://a)", "![](docs/a)", "![ ](http://a)",
        R"(!\[](http://a))", R"(!\n[](http://a))", R"(![](\u00e9http)", R"(\)", R"(\u00)",
        "![](htt", "! [](http://a)"}) {
    EXPECT_EQ(Count(other), 0) << other;
  }
}

TEST(PictureMarks, GoOnInTheNextText) {
  const std::string mark = "![](http";
  for (size_t cut = 1; cut < mark.size(); ++cut) {
    PictureMarks marks;
    marks.Read("lorem " + mark.substr(0, cut));
    marks.Read(mark.substr(cut) + "s://a.b)");
    EXPECT_EQ(marks.count(), 1) << cut;
  }
}

TEST(PictureMarks, AreCountedWhereverARequestHasThem) {
  const auto count = [](const std::string& fields) {
    return ReadOpenAiFacts(*JsonText::Parse(R"({"model":"m",)" + fields + "}"))->named_pictures;
  };
  const std::string mark = "![](https://a.b/c.png)";
  const auto message = [](const std::string& json) {
    return R"("messages":[{"role":"user",)" + json + "}]";
  };
  EXPECT_EQ(count(message(R"("content":")" + mark + mark + '"')), 2);
  EXPECT_EQ(count(message(R"("content":[{"type":"text","text":")" + mark + R"("}])")), 1);
  EXPECT_EQ(count(message(
                R"("content":[{"type":"text","text":"!["},{"type":"text","text":"](http://a"}])")),
            1)
      << "servers join the texts of a message";
  EXPECT_EQ(count(message(R"("content":[{"type":"image_url","image_url":{"url":"https://a)" + mark +
                          R"("}}])")),
            1);
  EXPECT_EQ(count(message(R"("tool_calls":[{"function":{"name":"f","arguments":"{\"a\":\")" + mark +
                          R"(\"}"}}])")),
            1);
  EXPECT_EQ(count(message(R"("content":null,"tool_calls":[{"function":{"arguments":{")" + mark +
                          R"(":{"type":")" + mark + R"("}}}}])")),
            2);
  EXPECT_EQ(count(R"("prompt":")" + mark + '"'), 1);
  EXPECT_EQ(count(R"("tools":[{"type":"function","function":{"description":")" + mark + R"("}}])"),
            1);
  EXPECT_EQ(count(message(R"x("content":"![a picture](https://a.b/c.png)")x")), 0);
}

}  // namespace
}  // namespace tradewind::dialects
