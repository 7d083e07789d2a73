#include "engine/tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/byte_level_tokenizer.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"

namespace tradewind::engine {
namespace {

// Chat formats whose end-of-turn marker is often missing from the keys of a file.
constexpr std::string_view kEndMarkers[] = {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>",
                                            "<end_of_turn>"};

// Which of two tokens with the same bytes FindToken names: lower first.
int FindOrder(TokenKind kind) {
  if (IsSpecialKind(kind)) {
    return 0;
  }
  return kind == TokenKind::kNormal ? 1 : 2;
}

}  // namespace

Tokenizer::Tokenizer(Vocabulary vocabulary)
    : kinds_(std::move(vocabulary.kinds)),
      bytes_(std::move(vocabulary.bytes)),
      bos_(vocabulary.bos),
      eos_(vocabulary.eos),
      add_bos_(vocabulary.add_bos && vocabulary.bos.has_value()),
      add_eos_(vocabulary.add_eos && vocabulary.eos.has_value()),
      model_name_(std::move(vocabulary.model_name)),
      pre_name_(std::move(vocabulary.pre_name)),
      version_(std::move(vocabulary.version)),
      by_text_(bytes_, bytes_.size()) {
  for (int order = 0; order < 3; ++order) {
    for (TokenId id = 0; id < vocab_size(); ++id) {
      if (FindOrder(kinds_[id]) == order) {
        by_text_.Insert(id);
      }
    }
  }
  for (TokenId id = 0; id < vocab_size(); ++id) {
    if (IsSpecialKind(kinds_[id])) {
      specials_.Add(bytes_[id], id);
    }
  }
  FindEndTokens(vocabulary);
}

void Tokenizer::FindEndTokens(const Vocabulary& vocabulary) {
  const auto add = [&](std::optional<TokenId> id) {
    if (id.has_value() && !IsEnd(*id)) {
      end_tokens_.push_back(*id);
    }
  };
  add(vocabulary.eos);
  add(vocabulary.eot);
  add(vocabulary.eom);
  for (const std::string_view marker : kEndMarkers) {
    const auto id = FindToken(marker);
    if (id.has_value() && IsSpecialKind(kinds_[*id])) {
      add(id);
    }
  }
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  TW_ASSIGN_OR_RETURN(Vocabulary vocabulary, ReadGgufVocabulary(file));
  if (vocabulary.model_name == "llama") {
    return MakeSentencePieceTokenizer(std::move(vocabulary));
  }
  return MakeByteLevelTokenizer(std::move(vocabulary));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromTekkenJson(std::string_view json) {
  TW_ASSIGN_OR_RETURN(Vocabulary vocabulary, ReadTekkenVocabulary(json));
  return MakeByteLevelTokenizer(std::move(vocabulary));
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text,
                                       std::span<const ByteRange> special_ranges) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  size_t done = 0;
  bool after_special = false;
  const auto ordinary_until = [&](size_t end) {
    if (done < end) {
      EncodeOrdinary(text.substr(done, end - done), done == 0, after_special, ids);
      done = end;
    }
  };
  for (const ByteRange& range : special_ranges) {
    const size_t end = std::min(range.end, text.size());
    for (size_t at = std::max(range.begin, done); at < end;) {
      SpecialMatcher::Match match;
      if (specials_.MayStart(text[at])) {
        match = specials_.LongestAt(text.substr(at, end - at));
      }
      if (match.id == kNoToken) {
        ++at;
        continue;
      }
      ordinary_until(at);
      ids.push_back(match.id);
      at = done = at + match.bytes;
      after_special = true;
    }
  }
  ordinary_until(text.size());
  return ids;
}

std::vector<TokenId> Tokenizer::EncodeWithSpecial(std::string_view text) const {
  const ByteRange everything{0, text.size()};
  return Encode(text, {&everything, 1});
}

std::string_view Tokenizer::TokenBytes(TokenId id) const {
  return IsValid(id) ? std::string_view(bytes_[id]) : std::string_view();
}

TokenKind Tokenizer::Kind(TokenId id) const {
  return IsValid(id) ? kinds_[id] : TokenKind::kUnused;
}

void Tokenizer::AppendToken(TokenId id, bool with_special, bool& at_text_start,
                            std::string& out) const {
  const TokenKind kind = Kind(id);
  const bool named_only = kind == TokenKind::kControl || kind == TokenKind::kUnknown;
  std::string_view bytes = TokenBytes(id);
  if (bytes.empty() || (named_only && !with_special)) {
    return;
  }
  if (at_text_start && strips_leading_space_ && !named_only && bytes.front() == ' ') {
    bytes.remove_prefix(1);
  }
  at_text_start = false;
  out.append(bytes);
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool with_special) const {
  std::string text;
  bool at_text_start = true;
  for (const TokenId id : ids) {
    AppendToken(id, with_special, at_text_start, text);
  }
  return text;
}

std::optional<TokenId> Tokenizer::FindToken(std::string_view text) const {
  const TokenId id = by_text_.Find(text);
  return id == kNoToken ? std::nullopt : std::optional(id);
}

bool Tokenizer::IsEnd(TokenId id) const {
  return std::ranges::find(end_tokens_, id) != end_tokens_.end();
}

}  // namespace tradewind::engine
