#include "billing/ascii.h"

#include <string>

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace tradewind::billing {
namespace {

TEST(Ascii, KeepsLettersWithoutTheirMarks) {
  EXPECT_EQ(AsciiFolded("Müller & Söhne, Gruß"), "Muller & Sohne, Gruss");
  EXPECT_EQ(AsciiFolded("u\xCC\x88"), "u") << "a letter and its mark";
  EXPECT_EQ(AsciiFolded("Łódź Ærø Ðorđe"), "Lodz AEro Dorde");
  EXPECT_EQ(AsciiFolded("“5 €” – ‘a’…"), "\"5 EUR\" - 'a'...");
  EXPECT_EQ(AsciiFolded("plain\t\\"), "plain\t\\");
}

TEST(Ascii, EscapesWhatHasNoLetterLikeIt) {
  EXPECT_EQ(AsciiFolded("中 é 😀"), "\\u4e2d e \\ud83d\\ude00");
  EXPECT_EQ(AsciiEscaped("é中"), "\\u00e9\\u4e2d");
  EXPECT_EQ(AsciiEscaped("a\xFFz"), "a\\ufffdz") << "no UTF-8";
  EXPECT_EQ(AsciiFolded("\xC3"), "\\ufffd");
  EXPECT_EQ(AsciiFolded(""), "");
}

TEST(Ascii, HasNothingElseForAnyCharacter) {
  for (char32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    std::string text;
    tradewind::AppendUtf8(c, text);
    EXPECT_TRUE(IsAscii(AsciiFolded(text)) && IsAscii(AsciiEscaped(text)))
        << static_cast<uint32_t>(c);
  }
}

}  // namespace
}  // namespace tradewind::billing
