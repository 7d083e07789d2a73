// Well-made files: what is written comes back.
#include "engine/format/gguf.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "testing/gguf_builder.h"
#include "testing/temp_dir.h"

namespace tradewind::engine {
namespace {

using testing::GgufBuilder;

GgufFile ParseOk(const std::string& bytes) {
  auto file = GgufFile::Parse(AsBytes(bytes), "test.gguf");
  EXPECT_TRUE(file.has_value()) << file.error().message;
  return std::move(file).value();
}

TEST(GgufTest, ReadsKeysOfEveryType) {
  GgufBuilder builder;
  builder.Set("u8", uint8_t{200}).Set("i8", int8_t{-100}).Set("u16", uint16_t{60000});
  builder.Set("i16", int16_t{-30000})
      .Set("u32", uint32_t{4000000000})
      .Set("i32", int32_t{-2000000000});
  builder.Set("u64", uint64_t{1} << 63).Set("i64", INT64_MIN).Set("f32", 1.5f).Set("f64", -2.25);
  builder.Set("yes", true).Set("no", false).Set("text", "caf\xC3\xA9").Set("empty", "");
  const std::string bytes = builder.Build();
  const GgufFile file = ParseOk(bytes);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.keys().size(), 14u);
  EXPECT_EQ(file.Integer("u8"), 200);
  EXPECT_EQ(file.Integer("i8"), -100);
  EXPECT_EQ(file.Integer("u16"), 60000);
  EXPECT_EQ(file.Integer("i16"), -30000);
  EXPECT_EQ(file.Integer("u32"), 4000000000);
  EXPECT_EQ(file.Integer("i32"), -2000000000);
  EXPECT_EQ(file.Integer("u64"), std::nullopt);  // does not fit
  EXPECT_EQ(file.Float("u64"), 0x1p63);
  EXPECT_EQ(file.Integer("i64"), INT64_MIN);
  EXPECT_EQ(file.Float("f32"), 1.5);
  EXPECT_EQ(file.Float("f64"), -2.25);
  EXPECT_EQ(file.Bool("yes"), true);
  EXPECT_EQ(file.Bool("no"), false);
  EXPECT_EQ(file.String("text"), "caf\xC3\xA9");
  EXPECT_EQ(file.String("empty"), "");
}

TEST(GgufTest, NumbersAreReadWhateverTheirWidth) {
  GgufBuilder builder;
  builder.Set("whole", 7.0f).Set("fraction", 7.5).Set("huge", 1e30).Set("nan", std::nan(""));
  builder.Set("int", uint8_t{7}).Set("flag", true).Set("text", "7");
  const std::string bytes = builder.Build();
  const GgufFile file = ParseOk(bytes);
  EXPECT_EQ(file.Integer("whole"), 7);
  EXPECT_EQ(file.Integer("fraction"), std::nullopt);
  EXPECT_EQ(file.Integer("huge"), std::nullopt);
  EXPECT_EQ(file.Integer("nan"), std::nullopt);
  EXPECT_EQ(file.Float("int"), 7.0);
  for (const char* key : {"flag", "text", "absent"}) {
    EXPECT_EQ(file.Integer(key), std::nullopt) << key;
    EXPECT_EQ(file.Float(key), std::nullopt) << key;
    EXPECT_EQ(file.Array(key), nullptr) << key;
  }
  EXPECT_EQ(file.Bool("int"), std::nullopt);
  EXPECT_EQ(file.String("int"), std::nullopt);
}

TEST(GgufTest, ReadsArraysOfEveryElementType) {
  GgufBuilder builder;
  builder.Set("u8", std::vector<uint8_t>{1, 255}).Set("i8", std::vector<int8_t>{1, -1});
  builder.Set("u16", std::vector<uint16_t>{1, 65535}).Set("i16", std::vector<int16_t>{1, -2});
  builder.Set("u32", std::vector<uint32_t>{1, 1u << 31}).Set("i32", std::vector<int32_t>{1, -3});
  builder.Set("u64", std::vector<uint64_t>{1, UINT64_MAX}).Set("i64", std::vector<int64_t>{1, -4});
  builder.Set("f32", std::vector<float>{1, -0.5f}).Set("f64", std::vector<double>{1, 0.25});
  builder.SetRaw(
      "bool", 9,
      GgufBuilder::Bytes(uint32_t{7}) + GgufBuilder::Bytes(uint64_t{2}) + std::string("\1\0", 2));
  const std::string bytes = builder.Build();
  const GgufFile file = ParseOk(bytes);
  const std::pair<const char*, double> second[] = {
      {"u8", 255}, {"i8", -1},      {"u16", 65535}, {"i16", -2},   {"u32", 0x1p31}, {"i32", -3},
      {"i64", -4}, {"u64", 0x1p64}, {"f32", -0.5},  {"f64", 0.25}, {"bool", 0}};
  for (const auto& [key, expected] : second) {
    const GgufArray* array = file.Array(key);
    ASSERT_NE(array, nullptr) << key;
    EXPECT_TRUE(array->is_number());
    EXPECT_EQ(array->count, 2u);
    EXPECT_EQ(array->NumberAt(0), 1.0) << key;
    EXPECT_EQ(array->IntegerAt(0), 1) << key;
    EXPECT_EQ(array->NumberAt(1), expected) << key;
    EXPECT_TRUE(array->Strings().empty());
  }
}

TEST(GgufTest, IntegersThatDoNotFitBecomeTheNearestThatDoes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  GgufBuilder builder;
  builder.Set("u64", std::vector<uint64_t>{UINT64_MAX});
  builder.Set("f32",
              std::vector<float>{kInfinity, -kInfinity, std::nanf(""), -2.75f, 0x1p63f, -0x1p63f});
  const std::string bytes = builder.Build();
  const GgufFile file = ParseOk(bytes);
  EXPECT_EQ(file.Array("u64")->IntegerAt(0), INT64_MAX);
  const int64_t expected[] = {INT64_MAX, INT64_MIN, 0, -2, INT64_MAX, INT64_MIN};
  for (uint64_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(file.Array("f32")->IntegerAt(i), expected[i]) << i;
  }
}

TEST(GgufTest, StringsOfArraysMayBeAnyBytes) {
  const std::vector<std::string> tokens = {"", "a", std::string("\0\xFF\xC3", 3),
                                           "\xE2\x96\x81the"};
  const std::string bytes =
      GgufBuilder().Set("tokens", tokens).Set("none", std::vector<std::string>{}).Build();
  const GgufFile file = ParseOk(bytes);
  const auto strings = file.Array("tokens")->Strings();
  EXPECT_EQ(std::vector<std::string>(strings.begin(), strings.end()), tokens);
  EXPECT_FALSE(file.Array("tokens")->is_number());
  EXPECT_EQ(file.Array("none")->count, 0u);
  EXPECT_TRUE(file.Array("none")->Strings().empty());
}

TEST(GgufTest, ReadsTensorsAsViewsOfTheirBytes) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBuilder builder(version);
    builder.TensorF32("matrix", {3, 2}, {1, 2, 3, 4, 5, 6});
    builder.TensorF32("cube", {1, 2, 2, 1}, {7, 8, 9, 10});
    builder.Tensor("quantised", TensorType::kQ8_0, {64, 3}, std::string(34 * 6, '\x5A'));
    builder.TensorF32("scalar", {}, {11});
    const std::string bytes = builder.Build();
    const GgufFile file = ParseOk(bytes);
    EXPECT_EQ(file.version(), version);
    ASSERT_EQ(file.tensors().size(), 4u);
    const GgufTensor* matrix = file.FindTensor("matrix");
    ASSERT_NE(matrix, nullptr);
    EXPECT_EQ(matrix->dims, (std::vector<uint64_t>{3, 2}));
    EXPECT_EQ(matrix->row_elements(), 3u);
    EXPECT_EQ(matrix->rows(), 2u);
    ASSERT_EQ(matrix->data.size(), 24u);
    EXPECT_EQ(LoadLe<float>(matrix->data.data() + 20), 6.0f);
    EXPECT_EQ(file.FindTensor("cube")->rows(), 4u);
    EXPECT_EQ(file.FindTensor("quantised")->type, TensorType::kQ8_0);
    EXPECT_EQ(file.FindTensor("quantised")->data.size(), 34u * 6);
    EXPECT_EQ(file.FindTensor("scalar")->dims, (std::vector<uint64_t>{1}));
    EXPECT_EQ(LoadLe<float>(file.FindTensor("scalar")->data.data()), 11.0f);
    EXPECT_EQ(file.FindTensor("absent"), nullptr);
    EXPECT_EQ(file.tensor_bytes(), 24u + 16 + 34 * 6 + 4);
  }
}

TEST(GgufTest, ReadsTensorsOfEveryType) {
  GgufBuilder builder;
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    builder.Tensor(traits.name, traits.type, {traits.block_elements, 2},
                   std::string(2 * traits.block_bytes, 'x'));
  }
  const std::string bytes = builder.Build();
  const GgufFile file = ParseOk(bytes);
  for (const TensorTypeTraits& traits : AllTensorTypes()) {
    ASSERT_NE(file.FindTensor(traits.name), nullptr) << traits.name;
    EXPECT_EQ(file.FindTensor(traits.name)->type, traits.type);
    EXPECT_EQ(file.FindTensor(traits.name)->data.size(), 2 * traits.block_bytes);
  }
}

TEST(GgufTest, AlignmentIsTheFilesOwn) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    GgufBuilder builder;
    builder.SetAlignment(alignment).TensorF32("a", {1}, {1}).TensorF32("b", {1}, {2});
    const std::string bytes = builder.Build();
    const GgufFile file = ParseOk(bytes);
    const auto offset = [&](const char* name) {
      return reinterpret_cast<const char*>(file.FindTensor(name)->data.data()) - bytes.data();
    };
    EXPECT_EQ(offset("a") % alignment, 0);
    EXPECT_EQ(offset("b") - offset("a"), alignment);
    EXPECT_EQ(LoadLe<float>(file.FindTensor("b")->data.data()), 2.0f);
  }
}

TEST(GgufTest, AFileMayHaveNoTensorsOrNothingAtAll) {
  EXPECT_TRUE(ParseOk(GgufBuilder().Build()).keys().empty());
  EXPECT_TRUE(
      ParseOk(GgufBuilder().Set("general.architecture", "llama").Build()).tensors().empty());
}

TEST(GgufTest, TheLastTensorNeedsNoPaddingBehindIt) {
  std::string bytes = GgufBuilder().TensorF32("a", {1}, {1}).Build();
  bytes.resize(bytes.size() - 28);
  EXPECT_EQ(ParseOk(bytes).tensor_bytes(), 4u);
}

TEST(GgufTest, ViewsStayValidWhenTheFileIsMoved) {
  const testing::TempDir folder;
  GgufBuilder::WriteFile(folder.path() / "a.gguf",
                         GgufBuilder().Set("k", "value").TensorF32("t", {1}, {3}).Build());
  auto opened = GgufFile::Open(folder.path() / "a.gguf");
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  const std::string_view before = *opened->String("k");
  const GgufFile moved = std::move(*opened);
  EXPECT_EQ(before, "value");
  EXPECT_EQ(moved.String("k"), "value");
  EXPECT_EQ(LoadLe<float>(moved.FindTensor("t")->data.data()), 3.0f);
  EXPECT_EQ(moved.name(), (folder.path() / "a.gguf").string());
}

class GgufSplitTest : public ::testing::Test {
 protected:
  GgufSplitTest() {
    builder_.Set("general.architecture", "llama");
    for (int i = 0; i < 5; ++i) {
      builder_.TensorF32("t" + std::to_string(i), {1}, {static_cast<float>(i)});
    }
    parts_ = builder_.BuildSplit(3);
  }
  std::filesystem::path Path(int number, int count = 3) const {
    return folder_.path() / GgufBuilder::SplitName("model", number, count);
  }
  void WriteParts() const {
    for (size_t i = 0; i < parts_.size(); ++i) {
      GgufBuilder::WriteFile(Path(static_cast<int>(i) + 1), parts_[i]);
    }
  }
  // Opens part 2 of what WriteParts wrote, expecting a refusal.
  Error Refusal() const {
    WriteParts();
    auto file = GgufFile::Open(Path(2));
    EXPECT_FALSE(file.has_value());
    return file.has_value() ? Error{} : file.error();
  }

  testing::TempDir folder_;
  GgufBuilder builder_;
  std::vector<std::string> parts_;
};

TEST_F(GgufSplitTest, AnyPartOpensAllOfThem) {
  WriteParts();
  for (int number = 1; number <= 3; ++number) {
    auto file = GgufFile::Open(Path(number));
    ASSERT_TRUE(file.has_value()) << file.error().message;
    EXPECT_EQ(file->String("general.architecture"), "llama");
    EXPECT_EQ(file->Integer("split.no"), 0);
    ASSERT_EQ(file->tensors().size(), 5u);
    for (int i = 0; i < 5; ++i) {
      const GgufTensor& tensor = file->tensors()[i];
      EXPECT_EQ(tensor.name, "t" + std::to_string(i));
      EXPECT_EQ(LoadLe<float>(tensor.data.data()), static_cast<float>(i));
      EXPECT_EQ(file->FindTensor(tensor.name), &tensor);
    }
  }
}

TEST_F(GgufSplitTest, AMissingPartIsNamed) {
  WriteParts();
  std::filesystem::remove(Path(3));
  const auto file = GgufFile::Open(Path(1));
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(file.error().message.starts_with(Path(3).string())) << file.error().message;
}

TEST_F(GgufSplitTest, ABrokenPartIsNamed) {
  parts_[2].resize(40);
  const Error error = Refusal();
  EXPECT_EQ(error.code, ErrorCode::kCorruptFile);
  EXPECT_TRUE(error.message.starts_with(Path(3).string())) << error.message;
}

TEST_F(GgufSplitTest, PartsInTheWrongOrderAreRefused) {
  std::swap(parts_[0], parts_[2]);
  const Error error = Refusal();
  EXPECT_EQ(error.code, ErrorCode::kCorruptFile);
  EXPECT_NE(error.message.find("'split.no': is 2"), std::string::npos) << error.message;
}

TEST_F(GgufSplitTest, PartsOfAnotherSplitAreRefused) {
  parts_[2] = builder_.BuildSplit(4)[2];
  EXPECT_NE(Refusal().message.find("'split.count': is 4"), std::string::npos);
  parts_[2] = GgufBuilder().Set("general.architecture", "llama").Build();
  EXPECT_NE(Refusal().message.find("'split.count': is missing"), std::string::npos);
}

TEST_F(GgufSplitTest, ATensorInTwoPartsIsRefused) {
  parts_[2] = GgufBuilder()
                  .Set("split.no", uint16_t{2})
                  .Set("split.count", uint16_t{3})
                  .TensorF32("t0", {1}, {0})
                  .Build();
  const Error error = Refusal();
  EXPECT_TRUE(error.message.starts_with(Path(3).string())) << error.message;
  EXPECT_NE(error.message.find("tensor 't0': this name occurs twice"), std::string::npos)
      << error.message;
}

TEST_F(GgufSplitTest, TheNumberOfTensorsIsChecked) {
  parts_[2] = GgufBuilder().Set("split.no", uint16_t{2}).Set("split.count", uint16_t{3}).Build();
  EXPECT_NE(Refusal().message.find("'split.tensors.count': is 5"), std::string::npos);
}

TEST_F(GgufSplitTest, APartUnderAnotherNameIsRefusedWithAdvice) {
  GgufBuilder::WriteFile(folder_.path() / "other.gguf", parts_[0]);
  auto file = GgufFile::Open(folder_.path() / "other.gguf");
  ASSERT_FALSE(file.has_value());
  EXPECT_NE(file.error().message.find("rename the parts"), std::string::npos)
      << file.error().message;
  GgufBuilder::WriteFile(Path(1, 2), parts_[0]);
  file = GgufFile::Open(Path(1, 2));
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code, ErrorCode::kCorruptFile);
}

TEST_F(GgufSplitTest, ASingleFileMayBeNamedAsOneOfOne) {
  GgufBuilder::WriteFile(Path(1, 1), builder_.Build());
  EXPECT_TRUE(GgufFile::Open(Path(1, 1)).has_value());
  GgufBuilder::WriteFile(Path(1, 2), builder_.Build());
  const auto file = GgufFile::Open(Path(1, 2));
  ASSERT_FALSE(file.has_value());
  EXPECT_NE(file.error().message.find("no key 'split.count'"), std::string::npos);
}

TEST_F(GgufSplitTest, ImpossibleCountsAreRefused) {
  for (const int32_t count : {-1, 100000, INT32_MAX}) {
    GgufBuilder::WriteFile(Path(1), GgufBuilder().Set("split.count", count).Build());
    const auto file = GgufFile::Open(Path(1));
    ASSERT_FALSE(file.has_value());
    EXPECT_EQ(file.error().code, ErrorCode::kCorruptFile);
  }
  GgufBuilder::WriteFile(Path(1), GgufBuilder().Set("split.count", "3").Build());
  EXPECT_FALSE(GgufFile::Open(Path(1)).has_value());
}

TEST(GgufTest, AbsentFilesAndFoldersAreErrorsThatNameThem) {
  const testing::TempDir folder;
  const auto absent = GgufFile::Open(folder.path() / "absent.gguf");
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().message.find("absent.gguf"), std::string::npos);
  EXPECT_EQ(GgufFile::Open(folder.path()).error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tradewind::engine
