#include <array>
#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/boxed.h"
#include "base/budget.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/text.h"
#include "base/utf8.h"
#include "testing/temp_dir.h"

namespace tradewind {
namespace {

TEST(Crc32c, IsTheOneOfRfc3720) {
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xE3069283U);
  const std::vector<std::byte> zeros(32, std::byte{0}), ones(32, std::byte{0xFF});
  EXPECT_EQ(Crc32c(zeros), 0x8A9136AAU);
  EXPECT_EQ(Crc32c(ones), 0x62A8AB43U);
  EXPECT_EQ(Crc32c({}), 0U);
}

TEST(Crc32c, OfPartsOneBehindTheOtherIsThatOfTheWhole) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 100; ++i) {
    bytes.push_back(static_cast<std::byte>(i * 37));
    const std::span<const std::byte> all(bytes);
    const size_t cut = bytes.size() / 3;
    EXPECT_EQ(Crc32c(all.subspan(cut), Crc32c(all.first(cut))), Crc32c(all));
    EXPECT_EQ(internal::Crc32cByTable(all, 0), Crc32c(all));
  }
}

TEST(Budget, LendsNoMoreThanItHas) {
  Budget budget(10);
  BudgetShare one(budget), two(budget);
  EXPECT_TRUE(one.GrowTo(6));
  EXPECT_TRUE(one.GrowTo(4)) << "a share never shrinks";
  EXPECT_EQ(budget.used(), 6);
  EXPECT_FALSE(two.GrowTo(5));
  EXPECT_EQ(two.amount(), 0);
  EXPECT_TRUE(two.GrowTo(4));
  EXPECT_FALSE(one.GrowTo(7));
  EXPECT_EQ(one.amount(), 6);
  EXPECT_EQ(budget.used(), budget.max());
  EXPECT_FALSE(BudgetShare().GrowTo(1));
}

TEST(Budget, GetsBackWhatSharesHeldOnce) {
  Budget budget(10);
  {
    BudgetShare one(budget);
    EXPECT_TRUE(one.GrowTo(10));
    BudgetShare moved(std::move(one));
    EXPECT_EQ(budget.used(), 10);
    BudgetShare assigned;
    assigned = std::move(moved);
    EXPECT_EQ(assigned.amount(), 10);
    EXPECT_EQ(budget.used(), 10);
  }
  EXPECT_EQ(budget.used(), 0);
  BudgetShare again(budget);
  EXPECT_TRUE(again.GrowTo(3));
  again.Release();
  again.Release();
  EXPECT_EQ(budget.used(), 0);
}

TEST(Budget, HoldsWhileManyThreadsTakeAndGive) {
  Budget budget(100);
  std::atomic<int> lent = 0;
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        BudgetShare share(budget);
        if (share.GrowTo(40)) {
          over = over || ++lent > 2;  // a third share of 40 would be over 100
          --lent;
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_FALSE(over);
  EXPECT_EQ(budget.used(), 0);
}

TEST(Utf8, RoundTripsEveryCodePoint) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) {
      continue;
    }
    std::string text;
    AppendUtf8(c, text);
    const Utf8Char decoded = DecodeUtf8(text);
    ASSERT_TRUE(decoded.valid);
    ASSERT_EQ(decoded.code_point, c);
    ASSERT_EQ(static_cast<size_t>(decoded.bytes), text.size());
  }
}

TEST(Utf8, RefusesOverlongFormsSurrogatesAndTooLargeCodePoints) {
  for (const char* bad :
       {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\x80"}) {
    EXPECT_FALSE(IsValidUtf8(bad)) << bad;
  }
}

TEST(Utf8, CompletePrefixHoldsBackOnlyTheCutCharacter) {
  EXPECT_EQ(CompleteUtf8Prefix("ab\xF0\x9F\xA6"), 2u);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xF0\x9F\xA6\x99"), 6u);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xFF"), 3u);  // invalid, not cut: nothing to wait for
  EXPECT_EQ(CompleteUtf8Prefix("a\xE2\x82z"), 4u);
}

TEST(Utf8, ReplacesEachMaximalInvalidPartOnce) {
  EXPECT_EQ(ReplaceInvalidUtf8("a\xF0\x9F\xA6z\xFFq"), "a\xEF\xBF\xBDz\xEF\xBF\xBDq");
}

TEST(File, WriteAtomicReplacesTheWholeTextAndLeavesNoTemporary) {
  const testing::TempDir dir;
  const auto path = dir.path() / "f";
  ASSERT_TRUE(WriteFileAtomic(path, "one two"));
  ASSERT_TRUE(WriteFileAtomic(path, "three"));
  EXPECT_EQ(ReadFile(path).value(), "three");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST(File, FlushesAFolderThatIsThere) {
  const testing::TempDir dir;
  EXPECT_TRUE(FlushFolder(dir.path()));
  EXPECT_TRUE(FlushFolder(std::filesystem::path("f").parent_path()));
  EXPECT_EQ(FlushFolder(dir.path() / "none").error().code, ErrorCode::kNotFound);
}

TEST(File, AnAtomicFileAppearsWhenItIsWhole) {
  const testing::TempDir dir;
  const auto path = dir.path() / "f";
  {
    auto file = AtomicFile::Create(path, 1 << 20);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE(file->Write(AsBytes("ab")));
    ASSERT_TRUE(file->Write(AsBytes("cd")));
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_TRUE(file->Commit());
  }
  EXPECT_EQ(ReadFile(path).value(), "abcd");  // and not the room that was claimed
}

TEST(File, AnAtomicFileThatIsGivenUpLeavesNothing) {
  const testing::TempDir dir;
  {
    auto file = AtomicFile::Create(dir.path() / "f");
    ASSERT_TRUE(file && file->Write(AsBytes("ab")));
    const AtomicFile moved = std::move(*file);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_EQ(AtomicFile::Create(dir.path() / "no" / "f").error().code, ErrorCode::kNotFound);
}

TEST(File, NamesTheReasonWhenItCannotOpen) {
  const auto missing = MappedFile::Open("/nonexistent/x");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(MappedFile::Open("/").error().code, ErrorCode::kIo);
}

TEST(File, ReadStopsAtItsBound) {
  const testing::TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.path() / "f", "12345"));
  EXPECT_EQ(ReadFile(dir.path() / "f", 4).error().code, ErrorCode::kPayloadTooLarge);
}

TEST(Bytes, CheckedArithmeticRefusesOverflow) {
  uint64_t out = 0;
  EXPECT_FALSE(MultiplyChecked(uint64_t{1} << 33, uint64_t{1} << 33, out));
  EXPECT_FALSE(AddChecked(~uint64_t{0}, 1, out));
  ASSERT_TRUE(MultiplyChecked(3, 5, out));
  EXPECT_EQ(out, 15u);
}

TEST(Ids, HaveThePrefixTheLengthAndDoNotRepeat) {
  const std::string a = RandomId("req_", 24);
  EXPECT_EQ(a.size(), 28u);
  EXPECT_TRUE(a.starts_with("req_"));
  EXPECT_NE(a, RandomId("req_", 24));
}

TEST(AsciiLower, LeavesEveryOtherByteAlone) {
  EXPECT_EQ(AsciiLower("Org/Name-2B[@`{Z"), "org/name-2b[@`{z");
  EXPECT_EQ(AsciiLower("\xC3\x84\xFF"), "\xC3\x84\xFF");
}

TEST(CaseFolded, TakesTheTwoLettersThatFoldIntoAscii) {
  EXPECT_EQ(CaseFolded("Max_To\u212Aen\u017F"), "max_tokens");
  EXPECT_EQ(CaseFolded("\u017F\u017F\xE2\x84"), "ss\xE2\x84");
}

TEST(Boxed, IsAnOptionalOfOnePointer) {
  static_assert(sizeof(Boxed<std::array<char, 500>>) == sizeof(void*));
  Boxed<std::string> a;
  EXPECT_FALSE(a.has_value());
  a = std::string("one");
  Boxed<std::string> copy = a;
  *copy += " two";
  EXPECT_EQ(*a, "one");
  EXPECT_EQ(copy->size(), 7U);
  const Boxed<std::string> moved = std::move(copy);
  EXPECT_EQ(*moved, "one two");
  EXPECT_FALSE(copy.has_value()) << "what was moved from is empty";  // NOLINT
  a = Boxed<std::string>(std::optional<std::string>());
  EXPECT_FALSE(a.has_value());
}

}  // namespace
}  // namespace tradewind
