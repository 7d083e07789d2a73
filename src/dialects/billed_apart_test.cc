#include "dialects/billed_apart.h"

#include <gtest/gtest.h>

#include "dialects/message_parts.h"

namespace tradewind::dialects {
namespace {

std::string Apart(const std::string& fields) {
  return FieldBilledApart(JsonText::Parse("{" + fields + "}").value());
}

TEST(FieldBilledApart, NamesWhatBeatsTheBoundsOfARequest) {
  EXPECT_EQ(Apart(R"("prediction":{"type":"content","content":"a"})"), "prediction");
  EXPECT_EQ(Apart(R"("model":"m","extra_body":{"max_tokens":100000,"n":8})"), "extra_body");
  EXPECT_EQ(Apart(R"("images":["https://a.example/b.png"])"), "images");
  EXPECT_EQ(Apart(R"("preset":"p")"), "preset");
  EXPECT_EQ(Apart(R"("fallbacks":["dear"])"), "fallbacks");
  EXPECT_EQ(Apart(R"("additional_drop_params":["max_tokens"])"), "additional_drop_params");
  EXPECT_EQ(Apart(R"("num_return_sequences":8)"), "num_return_sequences");
  EXPECT_EQ(Apart(R"("num_retries":3)"), "num_retries");
  EXPECT_EQ(Apart(R"("speed" : "fast")"), "speed");
  EXPECT_EQ(Apart(R"("web_search":true)"), "web_search");
}

TEST(FieldBilledApart, ReadsNamesAsServersDo) {
  EXPECT_EQ(Apart(R"("Extra_Body":{"n":8})"), "extra_body");
  EXPECT_EQ(Apart(R"("\u0069mages":["a"])"), "images");
  EXPECT_EQ(Apart(R"("fallbac\u212As":["dear"])"), "fallbacks");
  EXPECT_EQ(Apart(R"("maxOutputTokens":100000)"), "maxoutputtokens");
}

TEST(FieldBilledApart, LeavesWhatSaysNothingAndWhatIsBounded) {
  for (const char* nothing : {"null", "false", "0", "[]", "{}", R"("")"}) {
    EXPECT_EQ(Apart(R"("images":)" + std::string(nothing)), "") << nothing;
  }
  EXPECT_EQ(Apart(R"("model":"m","messages":[{"content":"prediction"}],"temperature":1,"seed":2,
                     "stop":["images"],"logit_bias":{"speed":1},"metadata":{"route":"a"},"user":"u",
                     "documents":[{"text":"a"}],"echo":true,"suffix":"a","top_k":1,"store":true,
                     "reasoning_effort":"low","transforms":["middle-out"],"tools":[],)"
                  R"("audio":{"voice":"alloy"},"provider":{},"models":["m"])"),
            "");
}

TEST(FieldBilledApart, LeavesSwitchesThatAreAllOff) {
  EXPECT_EQ(Apart(R"("features":{"web_search":false,"image_generation":0,"a":null})"), "");
  EXPECT_EQ(Apart(R"("features":{"web_search":false,"image_generation":true})"), "features");
  EXPECT_EQ(Apart(R"("features":["web_search"])"), "features");
  EXPECT_EQ(Apart(R"("extra_body":{"max_tokens":0})"), "extra_body") << "whatever it says";
}

TEST(FieldBilledApart, NamesATemplateAmongItsArguments) {
  EXPECT_EQ(Apart(R"("chat_template_kwargs":{"enable_thinking":false})"), "");
  EXPECT_EQ(Apart(R"("chat_template_kwargs":{"chat\u005ftemplate":"{% for %}"})"),
            "chat_template_kwargs");
  EXPECT_EQ(Apart(R"("chat_template_kwargs":"chat_template")"), "");
}

TEST(FieldBilledApart, NamesArgumentsOfATemplateThatItMayRepeat) {
  for (const std::string field : {"chat_template_kwargs", "chat_template_args"}) {
    const auto apart = [&](const std::string& arguments) {
      return Apart('"' + field + "\":{" + arguments + "}");
    };
    EXPECT_EQ(
        apart(R"("enable_thinking":true,"thinking_token_budget":4096,"effort":"high","a":null)"),
        "");
    EXPECT_EQ(apart(R"("eos_token":"lorem ipsum")"), field);
    EXPECT_EQ(apart(R"("eos\u005fToken":"a")"), field);
    EXPECT_EQ(apart(R"("suffix":")" + std::string(17, 'a') + '"'), field);
    EXPECT_EQ(apart(R"("tools":[{"a":"b"}])"), field);
    EXPECT_EQ(apart(R"("a":{"b":"c"})"), field);
    EXPECT_EQ(apart(R"("chat_template":"{{a}}")"), field);
  }
}

TEST(FieldBilledApart, NamesArgumentsOfATemplateThatAreMoreThanAreRead) {
  std::string arguments = R"("eos_token":"lorem ipsum")";
  for (int i = 0; i < 600; ++i) {
    arguments += ",\"a" + std::to_string(i) + "\":1";
  }
  EXPECT_EQ(Apart(R"("chat_template_kwargs":{)" + arguments + "}"), "chat_template_kwargs");
}

TEST(FieldBilledApart, NamesAPictureThatIsSomethingElse) {
  const auto apart = [](const std::string& part) {
    return ReadParts(R"([{"role":"user","content":[)" + part + "]}]").unbounded;
  };
  const auto url = [&](const std::string& address, const std::string& more = "") {
    return apart(R"({"type":"image_url","image_url":{"url":")" + address + '"' + more + "}}");
  };
  for (const char* picture :
       {"https://a.example/b.png", "https://a.example/b.JPEG?x=1.pdf", "http://a.example/b",
        "https://a.example", "https://a.example/v1.2", "https://a.example/show.php?id=5",
        "data:image/png;base64,aGk=", R"(data:image\/png;base64,a\/Gk=)",
        R"(https:\/\/a.example\/b.webp)", "https://a.example/b.svg#.pdf"}) {
    EXPECT_EQ(url(picture), "") << picture;
  }
  for (const char* other :
       {"gs://bucket/film.mp4", "https://a.example/report.pdf", "https://a.example/b.MP4?x=.png",
        "https://a.example/report.p\u0064f#a.png",
        "data:application/pdf;base64,aGk=", "data:video/mp4;base64,aGk=", "film.mp4", "file-abc"}) {
    EXPECT_EQ(url(other), "image_url") << other;
  }
  EXPECT_EQ(url("https://a.example/b", R"(,"format":"video/mp4")"), "image_url");
  EXPECT_EQ(url("https://a.example/b", R"(,"format":"image/webp","detail":"low")"), "");
  EXPECT_EQ(apart(R"({"type":"image_url","image_url":"https://a.example/b.pdf"})"), "image_url");
  EXPECT_EQ(apart(R"({"type":"image","source":{"media_type":"image/png","data":"aGk="}})"), "");
  EXPECT_EQ(apart(R"({"type":"text","text":"https://a.example/b.pdf"})"), "");
}

TEST(FieldBilledApart, NamesMediaBesideTheContentOfAMessage) {
  const auto apart = [](const std::string& fields) {
    return ReadParts(R"([{"role":"user","content":"a"},{"role":"user",)" + fields + "}]").unbounded;
  };
  EXPECT_EQ(apart(R"("content":"x","images":["https://a.example/b.png"])"), "images");
  EXPECT_EQ(apart(R"("images": {"url":"a"},"content":"x")"), "images");
  EXPECT_EQ(apart(R"("Images":"https://a.example/b.png")"), "images");
  EXPECT_EQ(apart(R"("content":"x","files":[{"id":"a"}])"), "files");
  EXPECT_EQ(apart(R"("content":"x","images":[ ],"files":null,"videos":{},"audios":"")"), "");
  EXPECT_EQ(apart(R"("content":"images","tool_calls":[{"images":["a"]}],"name":"files")"), "");
}

TEST(FieldBilledApart, NamesATextThatStandsForFilesAtTheProvider) {
  const auto apart = [](const std::string& content) {
    return ReadParts(R"([{"role":"system","content":)" + content + "}]").unbounded;
  };
  EXPECT_EQ(apart(R"("fileid://file-fe-abc,fileid://file-fe-def")"), "fileid://");
  EXPECT_EQ(apart(R"("file\u0069d:\/\/file-fe-abc")"), "fileid://");
  EXPECT_EQ(apart(R"("\u0066\u0069\u006c\u0065\u0069\u0064\u003a\u002f\u002fa")"), "fileid://");
  EXPECT_EQ(apart(R"([{"type":"text","text":"fileid://file-fe-abc"}])"), "fileid://");
  EXPECT_EQ(apart(R"("what does fileid:// mean?")"), "");
  EXPECT_EQ(apart(R"("file://a")"), "");
}

TEST(FieldBilledApart, NamesHowManyTilesAPictureIsCutInto) {
  EXPECT_EQ(ReadParts(R"([{"content":[{"type":"image_url",
                         "image_url":{"url":"a","max_dynamic_patch":4000}}]}])")
                .unbounded,
            "max_dynamic_patch");
}

}  // namespace
}  // namespace tradewind::dialects
