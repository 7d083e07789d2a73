// Small vocabularies made from the first bytes of the input; the rest is text to encode, with
// special tokens allowed in random ranges. Then: the text comes back, and specials stand only where
// a range allows them. An input that begins with 0xFF is edits of a small tekken.json instead.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "base/check.h"
#include "base/utf8.h"
#include "engine/tokenizer/byte_level_tokenizer.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"

namespace tradewind::engine {
namespace {

class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  uint8_t Byte() {
    if (rest_.empty()) {
      return 0;
    }
    const auto byte = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return byte;
  }
  std::string_view Text(size_t size) {
    const std::string_view text = rest_.substr(0, size);
    rest_.remove_prefix(text.size());
    return text;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

TokenId Add(Vocabulary& vocabulary, std::string_view bytes, TokenKind kind) {
  vocabulary.bytes.emplace_back(bytes);
  vocabulary.kinds.push_back(kind);
  vocabulary.merging.ranks.push_back(static_cast<int32_t>(vocabulary.bytes.size()));
  return static_cast<TokenId>(vocabulary.bytes.size()) - 1;
}

void AddSpecials(Input& input, Vocabulary& vocabulary) {
  Add(vocabulary, "<s>", TokenKind::kControl);
  Add(vocabulary, "<s><s>", TokenKind::kUserDefined);
  for (int i = input.Byte() % 4; i > 0; --i) {
    Add(vocabulary, input.Text(input.Byte() % 6u),
        i % 2 == 0 ? TokenKind::kControl : TokenKind::kUserDefined);
  }
}

std::unique_ptr<Tokenizer> MakeByteLevel(Input& input) {
  constexpr const char* kNames[] = {"default", "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"};
  Vocabulary vocabulary;
  vocabulary.pre_name = kNames[input.Byte() % std::size(kNames)];
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    Add(vocabulary, {&byte, 1}, TokenKind::kNormal);
  }
  vocabulary.merging.rule = input.Byte() % 2 == 0 ? MergeRule::kPairs : MergeRule::kJoined;
  vocabulary.merging.ignore_merges = input.Byte() % 2 == 0;
  for (int i = input.Byte() % 24; i > 0; --i) {
    const auto size = vocabulary.bytes.size();
    const auto left = static_cast<TokenId>((input.Byte() | input.Byte() << 8) % size);
    const auto right = static_cast<TokenId>((input.Byte() | input.Byte() << 8) % size);
    const std::string joined = vocabulary.bytes[left] + vocabulary.bytes[right];
    if (joined.size() <= 4096) {
      vocabulary.merging.pairs.push_back(
          {left, right, Add(vocabulary, joined, TokenKind::kNormal)});
    }
  }
  AddSpecials(input, vocabulary);
  auto tokenizer = MakeByteLevelTokenizer(std::move(vocabulary));
  TW_CHECK(tokenizer.has_value());
  return *std::move(tokenizer);
}

std::unique_ptr<Tokenizer> MakeSentencePiece(Input& input) {
  Vocabulary vocabulary;
  vocabulary.add_space_prefix = input.Byte() % 2 == 0;
  vocabulary.merging.rule = MergeRule::kJoined;
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    Add(vocabulary, {&byte, 1}, TokenKind::kByte);
  }
  for (int i = input.Byte() % 24; i > 0; --i) {
    const std::string_view piece = input.Text(1u + input.Byte() % 5u);
    // As from a file: a normal piece never holds the mark itself.
    if (piece.find(kSpaceMark) == std::string_view::npos) {
      Add(vocabulary, piece, TokenKind::kNormal);
    }
  }
  AddSpecials(input, vocabulary);
  return MakeSentencePieceTokenizer(std::move(vocabulary));
}

std::string SmallTekkenJson() {
  std::string json = R"({"config":{"pattern":)" +
                     boost::json::serialize(boost::json::string(TekkenPattern())) +
                     R"(,"default_vocab_size":262,"default_num_special_tokens":4,"version":"v3"},)"
                     R"("special_tokens":[{"rank":0,"token_str":"<unk>","is_control":true},)"
                     R"({"rank":1,"token_str":"<s>","is_control":true},)"
                     R"({"rank":2,"token_str":"</s>","is_control":true}],"vocab":[)";
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int rank = 0; rank < 256; ++rank) {
    json += R"({"rank":)" + std::to_string(rank) + R"(,"token_bytes":")" + kDigits[rank >> 2] +
            kDigits[(rank & 3) << 4] + R"(=="},)";
  }
  return json + R"({"rank":256,"token_bytes":"YWI="},{"rank":257,"token_bytes":"YWJj"}]})";
}

// Each edit: a place, how many bytes go away there, and the bytes that come.
void CheckTekken(Input& input) {
  const bool is_edited = !input.rest().empty();
  std::string json = SmallTekkenJson();
  for (int edits = 0; !input.rest().empty() && edits < 32; ++edits) {
    const size_t at = (input.Byte() | input.Byte() << 8) % json.size();
    const size_t away = input.Byte() % 64u;
    json.replace(at, away, input.Text(input.Byte() % 32u));
  }
  const auto tokenizer = Tokenizer::FromTekkenJson(json);
  if (!tokenizer.has_value()) {
    TW_CHECK(is_edited);
    TW_CHECK(tokenizer.error().code == ErrorCode::kCorruptFile ||
             tokenizer.error().code == ErrorCode::kUnsupported);
    TW_CHECK(tokenizer.error().message.starts_with("tekken.json: "));
    return;
  }
  const std::string_view text = "abc <s>ab\xFF d\xC3\xA9 42";
  TW_CHECK((*tokenizer)->Decode((*tokenizer)->Encode(text)) == text);
}

// The ids' texts laid along `text`: every special one must lie inside a range.
void CheckSpecialsLieInRanges(const Tokenizer& tokenizer, std::string_view text,
                              const std::vector<TokenId>& ids,
                              const std::vector<ByteRange>& ranges) {
  size_t at = 0;
  for (const TokenId id : ids) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    TW_CHECK(text.substr(at, bytes.size()) == bytes);
    if (IsSpecialKind(tokenizer.Kind(id))) {
      TW_CHECK(std::ranges::any_of(ranges, [&](const ByteRange& range) {
        return range.begin <= at && at + bytes.size() <= range.end;
      }));
    }
    at += bytes.size();
  }
  TW_CHECK(at == text.size());
}

void Check(const Tokenizer& tokenizer, std::string_view text, const std::vector<ByteRange>& ranges,
           bool byte_level) {
  const auto ids = tokenizer.Encode(text, ranges);
  if (byte_level) {
    CheckSpecialsLieInRanges(tokenizer, text, ids, ranges);
    TW_CHECK(tokenizer.Decode(ids, true) == text);
  }
  const auto plain = tokenizer.Encode(text);
  TW_CHECK(
      std::ranges::none_of(plain, [&](TokenId id) { return IsSpecialKind(tokenizer.Kind(id)); }));
  if (byte_level || text.find(kSpaceMark) == std::string_view::npos) {
    TW_CHECK(tokenizer.Decode(plain) == text);
  }
  Detokenizer detokenizer(tokenizer, true, true);
  std::string streamed;
  for (const TokenId id : ids) {
    streamed += detokenizer.Push(id);
  }
  streamed += detokenizer.Flush();
  TW_CHECK(streamed == ReplaceInvalidUtf8(tokenizer.Decode(ids, true)));
}

}  // namespace
}  // namespace tradewind::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tradewind::engine;
  Input input({reinterpret_cast<const char*>(data), size});
  if (size > 0 && data[0] == 0xFF) {
    input.Byte();
    CheckTekken(input);
    return 0;
  }
  const bool byte_level = input.Byte() % 2 == 0;
  const auto tokenizer = byte_level ? MakeByteLevel(input) : MakeSentencePiece(input);
  std::vector<ByteRange> ranges;
  size_t at = 0;
  for (int i = input.Byte() % 4; i > 0; --i) {
    const size_t begin = at + input.Byte() % 16u;
    at = begin + input.Byte() % 32u;
    ranges.push_back({begin, at});
  }
  Check(*tokenizer, input.rest(), ranges, byte_level);
  return 0;
}
