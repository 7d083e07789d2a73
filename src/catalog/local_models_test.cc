#include "catalog/local_models.h"

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "testing/temp_dir.h"

namespace tradewind::catalog {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& path, const std::string& bytes = std::string("GGUF\x03\0\0\0rest", 12)) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

LocalModels ScanOne(const fs::path& folder) {
  return LocalModels::Scan(std::span(&folder, 1));
}

std::vector<std::string> Ids(const LocalModels& models) {
  std::vector<std::string> ids;
  for (const LocalModel& model : models.models()) {
    ids.push_back(model.id);
  }
  return ids;
}

TEST(LocalModels, TakeTheirIdsFromPathsAndFromWellKnownNames) {
  testing::TempDir dir;
  Write(dir.path() / "SmolLM2-135M-Instruct.Q4_1.gguf");
  Write(dir.path() / "org/name.GGUF");
  Write(dir.path() / "plain.gguf");
  Write(dir.path() / "notes.txt");
  Write(dir.path() / ".hidden/x.gguf");
  const LocalModels models = ScanOne(dir.path());
  EXPECT_EQ(Ids(models),
            (std::vector<std::string>{std::string(kDefaultModelId), "org/name", "plain"}));
  EXPECT_EQ(models.models()[1].bytes, 12);
  EXPECT_GT(models.models()[1].modified_unix_s, 1'600'000'000);
  EXPECT_FALSE(models.models()[1].error.has_value());
  EXPECT_TRUE(models.warnings().empty());
}

TEST(LocalModels, ListSplitsOnceAndSayWhenPartsAreMissing) {
  testing::TempDir dir;
  Write(dir.path() / "a-00001-of-00002.gguf");
  Write(dir.path() / "a-00002-of-00002.gguf");
  Write(dir.path() / "b-00002-of-00003.gguf");
  Write(dir.path() / "c-00005-of-00002.gguf");
  const LocalModels models = ScanOne(dir.path());
  ASSERT_EQ(Ids(models), (std::vector<std::string>{"a", "b", "c-00005-of-00002"}));
  EXPECT_EQ(models.models()[0].bytes, 24);
  EXPECT_EQ(models.models()[0].path.filename(), "a-00001-of-00002.gguf");
  EXPECT_FALSE(models.models()[0].error.has_value());
  EXPECT_TRUE(models.models()[1].error.has_value());
}

TEST(LocalModels, ListABadFileWithItsError) {
  testing::TempDir dir;
  Write(dir.path() / "empty.gguf", "");
  Write(dir.path() / "text.gguf", "hello, this is text");
  Write(dir.path() / "old.gguf", std::string("GGUF\x01\0\0\0", 8));
  Write(dir.path() / "swapped.gguf", std::string("GGUF\0\0\0\x03", 8));
  const LocalModels models = ScanOne(dir.path());
  ASSERT_EQ(models.models().size(), 4u);
  for (const LocalModel& model : models.models()) {
    EXPECT_TRUE(model.error.has_value()) << model.id;
  }
  EXPECT_EQ(models.warnings().size(), 4u);
}

TEST(LocalModels, SurviveLoopsOfLinksAndMissingFolders) {
  testing::TempDir dir;
  Write(dir.path() / "org/m.gguf");
  fs::create_directory_symlink(dir.path(), dir.path() / "org/loop");
  fs::create_symlink(dir.path() / "nowhere", dir.path() / "dangling.gguf");
  fs::create_symlink(dir.path() / "org/m.gguf", dir.path() / "linked.gguf");
  const std::vector<fs::path> folders = {dir.path(), dir.path() / "missing"};
  const LocalModels models = LocalModels::Scan(folders);
  EXPECT_EQ(Ids(models), (std::vector<std::string>{"linked", "org/m"}));
  EXPECT_EQ(models.warnings().size(), 1u);
}

TEST(LocalModels, GiveAnIdToTheFirstFolderThatClaimsIt) {
  testing::TempDir dir;
  Write(dir.path() / "one/m.gguf");
  Write(dir.path() / "two/M.gguf");
  const std::vector<fs::path> folders = {dir.path() / "one", dir.path() / "two"};
  const LocalModels models = LocalModels::Scan(folders);
  ASSERT_EQ(models.models().size(), 1u);
  EXPECT_EQ(models.models()[0].path.parent_path().filename(), "one");
  EXPECT_EQ(models.warnings().size(), 1u);
}

TEST(LocalModels, ResolveIdsBareNamesAndPlaces) {
  testing::TempDir dir;
  Write(dir.path() / "SmolLM2-135M-Instruct.Q4_1.gguf");
  Write(dir.path() / "a/twin.gguf");
  Write(dir.path() / "b/twin.gguf");
  Write(dir.path() / "llama3:8b.gguf");
  const LocalModels models = ScanOne(dir.path());
  for (const char* text :
       {"HuggingFaceTB/SmolLM2-135M-Instruct", "huggingfacetb/smollm2-135m-instruct",
        "SmolLM2-135M-Instruct", "smollm2-135m-instruct:local", "smollm2-135m-instruct:fastest",
        "SmolLM2-135M-Instruct:latest"}) {
    const auto model = models.Resolve(text, RefSource::kWire);
    ASSERT_TRUE(model.has_value()) << text;
    EXPECT_EQ((*model)->id, kDefaultModelId);
  }
  EXPECT_TRUE(models.Resolve("llama3:8b", RefSource::kWire).has_value());
  EXPECT_TRUE(models.Resolve("llama3:8b:local", RefSource::kWire).has_value());
  EXPECT_TRUE(models.Resolve("a/twin", RefSource::kWire).has_value());
  for (const std::string& text : {std::string("twin"), std::string("smollm2"),
                                  std::string("gpt-4o"), std::string("a/twin:together"),
                                  std::string("a/twin:7b"), (dir.path() / "a/twin.gguf").string(),
                                  std::string("./a/twin.gguf"), std::string("../a/twin")}) {
    const auto model = models.Resolve(text, RefSource::kWire);
    ASSERT_FALSE(model.has_value()) << text;
    EXPECT_EQ(model.error().code, ErrorCode::kModelNotSupported) << text;
  }
}

TEST(LocalModels, ResolvePrefixesOnTheCommandLineOnly) {
  testing::TempDir dir;
  Write(dir.path() / "SmolLM2-135M-Instruct.Q4_1.gguf");
  Write(dir.path() / "a/twin-1.gguf");
  Write(dir.path() / "b/twin-2.gguf");
  const LocalModels models = ScanOne(dir.path());
  EXPECT_TRUE(models.Resolve("smollm2", RefSource::kCommandLine).has_value());
  EXPECT_TRUE(models.Resolve("smollm2@local", RefSource::kCommandLine).has_value());
  const auto twin = models.Resolve("twin", RefSource::kCommandLine);
  ASSERT_FALSE(twin.has_value());
  EXPECT_NE(twin.error().message.find("a/twin-1 or b/twin-2"), std::string::npos);
}

TEST(LocalModels, AddAFileNamedOutright) {
  testing::TempDir dir;
  Write(dir.path() / "elsewhere/m.gguf");
  Write(dir.path() / "bad.gguf", "no");
  LocalModels models;
  const auto id = models.Add(dir.path() / "elsewhere/m.gguf");
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(*id, "m");
  EXPECT_TRUE(models.Resolve("m", RefSource::kWire).has_value());
  EXPECT_EQ(models.Add(dir.path() / "bad.gguf").error().code, ErrorCode::kCorruptFile);
  EXPECT_EQ(models.Add(dir.path() / "none.gguf").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace tradewind::catalog
