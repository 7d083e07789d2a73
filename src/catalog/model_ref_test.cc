#include "catalog/model_ref.h"

#include <string>

#include <gtest/gtest.h>

namespace tradewind::catalog {
namespace {

struct Row {
  const char* text;
  const char* model;
  Place place;
  const char* suffix;
  const char* tag;
};

TEST(ParseModelRef, PartsTheSuffixAfterTheLastColon) {
  const Row rows[] = {
      {"org/name", "org/name", Place::kDefault, "", ""},
      {"name", "name", Place::kDefault, "", ""},
      {"org/name:local", "org/name", Place::kLocal, "local", ""},
      {"org/name:LOCAL", "org/name", Place::kLocal, "local", ""},
      {"org/name:fastest", "org/name", Place::kPolicy, "fastest", ""},
      {"org/name:cheapest", "org/name", Place::kPolicy, "cheapest", ""},
      {"org/name:preferred", "org/name", Place::kPolicy, "preferred", ""},
      {"org/name:private", "org/name", Place::kPolicy, "private", ""},
      {"org/name:together", "org/name", Place::kProvider, "together", ""},
      {"org/name:zai-org", "org/name", Place::kProvider, "zai-org", ""},
      {"llama3:8b-Q4", "llama3", Place::kDefault, "", "8b-Q4"},
      {"llama3:8b:local", "llama3:8b", Place::kLocal, "local", ""},
      {"llama3:latest", "llama3", Place::kDefault, "", ""},
      {"host:1/name", "host:1/name", Place::kDefault, "", ""},
      {"name@local", "name@local", Place::kDefault, "", ""},
      {"./x.gguf", "./x.gguf", Place::kDefault, "", ""},
  };
  for (const Row& row : rows) {
    const auto ref = ParseModelRef(row.text, RefSource::kWire);
    ASSERT_TRUE(ref.has_value()) << row.text;
    EXPECT_EQ(ref->model, row.model) << row.text;
    EXPECT_EQ(ref->place, row.place) << row.text;
    EXPECT_EQ(ref->suffix, row.suffix) << row.text;
    EXPECT_EQ(ref->tag, row.tag) << row.text;
    EXPECT_FALSE(ref->is_path) << row.text;
  }
}

TEST(ParseModelRef, TakesTheAtSignAndPathsOnTheCommandLine) {
  const auto at = ParseModelRef("org/name@cheapest", RefSource::kCommandLine);
  ASSERT_TRUE(at.has_value());
  EXPECT_EQ(at->model, "org/name");
  EXPECT_EQ(at->place, Place::kPolicy);
  for (const char* path : {"/a/b", "./m", "../m", "~/m", "m.gguf", "M.GGUF"}) {
    const auto ref = ParseModelRef(path, RefSource::kCommandLine);
    ASSERT_TRUE(ref.has_value());
    EXPECT_TRUE(ref->is_path) << path;
  }
  EXPECT_FALSE(ParseModelRef("name@nowhere", RefSource::kCommandLine).has_value());
}

TEST(ParseModelRef, RefusesWhatNamesNothing) {
  for (const std::string& text :
       {std::string(), std::string(":local"), std::string("org/:local"), std::string("name:"),
        std::string("\xff"), std::string(600, 'a')}) {
    const auto ref = ParseModelRef(text, RefSource::kWire);
    ASSERT_FALSE(ref.has_value()) << text;
    EXPECT_EQ(ref.error().code, ErrorCode::kModelNotSupported);
    EXPECT_EQ(ref.error().param, "model");
  }
}

}  // namespace
}  // namespace tradewind::catalog
