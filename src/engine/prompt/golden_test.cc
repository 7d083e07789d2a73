// Every recorded case: what transformers' own environment renders, byte for byte.
#include <stdlib.h>  // setenv
#include <time.h>    // tzset

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/prompt/test_support.h"
#include "testing/data.h"

namespace tradewind::engine {
namespace {

namespace json = boost::json;

std::string Optional(const json::object& object, std::string_view name) {
  const json::value& value = object.at(name);
  return value.is_null() ? "" : json::serialize(value);
}

std::string TakeString(json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  std::string text = value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  object.erase(name);
  return text;
}

class TemplateGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    clock_.SetWall(std::chrono::system_clock::time_point(
        std::chrono::seconds(1741529107)));  // 2025-03-09 14:05:07
  }

  void RunFile(const std::string& path, size_t expected_cases) {
    const json::value cases = json::parse(testing::ReadReference(path));
    EXPECT_EQ(cases.get_array().size(), expected_cases);
    for (const json::value& entry : cases.get_array()) {
      Check(entry.get_object());
    }
  }

  void Check(const json::object& entry) {
    SCOPED_TRACE(std::string(entry.at("name").get_string()));
    const json::value* file = entry.if_contains("template_file");
    const std::string source =
        file == nullptr
            ? std::string(entry.at("template").get_string())
            : testing::ReadReference("golden/templates/" + std::string(file->get_string()));
    json::object extra = entry.at("extra").get_object();
    std::string bos = TakeString(extra, "bos_token"), eos = TakeString(extra, "eos_token");
    const TemplateInputs inputs = {json::serialize(entry.at("messages")), Optional(entry, "tools"),
                                   json::serialize(extra),
                                   entry.at("add_generation_prompt").get_bool()};
    const Rendering got = RenderText(source, inputs, {}, clock_, std::move(bos), std::move(eos));
    if (const json::value* expected = entry.if_contains("expected"); expected != nullptr) {
      EXPECT_FALSE(got.failed) << got.error;
      EXPECT_EQ(got.text, expected->get_string());
      return;
    }
    const json::object& error = entry.at("error").get_object();
    ASSERT_TRUE(got.failed) << got.text;
    EXPECT_EQ(got.code, ErrorCode::kTemplateFailed);
    EXPECT_EQ(got.phase, error.at("phase").get_string()) << got.error;
    if (error.at("type") == "TemplateError") {
      EXPECT_EQ(got.error, error.at("message").get_string());
    } else {
      EXPECT_TRUE(got.error.starts_with("line ")) << got.error;
    }
    if (const json::value* line = error.if_contains("line"); line != nullptr && line->is_int64()) {
      EXPECT_TRUE(got.error.starts_with("line " + std::to_string(line->get_int64()) + ": "))
          << got.error;
    }
  }

  FakeClock clock_;
};

TEST_F(TemplateGolden, EveryLanguageFeatureRendersAsTransformersRendersIt) {
  RunFile("golden/templates/features.json", 196);
}

TEST_F(TemplateGolden, EveryErrorIsAnErrorInItsPhaseAndOnItsLine) {
  RunFile("golden/templates/errors.json", 75);
}

TEST_F(TemplateGolden, EveryFamilyOfModelsRendersItsConversations) {
  TW_NEED_REFERENCE("golden/templates/families.json");
  RunFile("golden/templates/families.json", 272);
}

TEST_F(TemplateGolden, TheDefaultModelsOwnTemplateMarksOnlyWhatItWrote) {
  TW_NEED_REFERENCE("golden/templates/jinja/gguf_smollm2.jinja");
  const std::string source = testing::ReadReference("golden/templates/jinja/gguf_smollm2.jinja");
  const Rendering got =
      RenderText(source, {R"([{"role":"user","content":"<|im_end|>"}])", "", "", true});
  const size_t data = got.text.find("<|im_end|><|im_end|>");
  ASSERT_NE(data, std::string::npos) << got.text;
  EXPECT_EQ(got.literal.substr(data, 20), "..........<|im_end|>");
  EXPECT_TRUE(got.literal.ends_with("<|im_end|>\n<|im_start|>assistant\n")) << got.literal;
}

TEST(FallbackTemplate, IsChatMl) {
  const Rendering got = RenderText(
      FallbackChatTemplate(),
      {R"([{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":" a"},{"type":"image"},{"type":"text","text":"b "}]},
          {"role":"assistant","content":null}])",
       "", "", true});
  EXPECT_FALSE(got.failed) << got.error;
  EXPECT_EQ(got.text,
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n ab "
            "<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(got.literal,
            "<|im_start|>......\n.<|im_end|>\n<|im_start|>....\n....<|im_end|>\n<|im_start|>......."
            "..\n<|im_end|>\n"
            "<|im_start|>assistant\n");
}

}  // namespace
}  // namespace tradewind::engine
